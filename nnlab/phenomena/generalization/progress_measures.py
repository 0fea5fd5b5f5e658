"""Progress measures of modular addition: signs of the generalising circuit, before the accuracy rises.

A net that has understood x + y modulo p computes with a few waves: its logits are sums of
cos(2 pi k (x + y - c) / p) over key frequencies k. `p` is the modulus, `F` = (p - 1) / 2 the number of
frequencies, `c` an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.datasets.arithmetic import Encoding, decode_pairs, encode_pairs
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon, refuse_sparse_grid
from nnlab.phenomena.generalization.grokking import held_out_split
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot, subtree
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_OPERANDS = 3
MAXIMUM_OPERANDS = 200
PROGRESS_COLUMNS = ("restricted_loss", "excluded_loss", "ipr")


class ProgressMeasures(NamedTuple):
    """Measures at the first and at the last record, see `progress_measures`.

    Attributes:
        initial_ipr: Inverse participation ratio at the first record, from 1 / F to 1; 0 if all weights of the
            embedding are 0.
        final_ipr: The same at the last record.
        initial_key_share: Share of the embedding's power, 0 to 1, in its strongest `keys` frequencies, at the
            first record.
        final_key_share: The same at the last record.
        key_frequencies: Those frequencies at the last record, 1 to F, strongest first, separated by spaces;
            null if the embedding has no power.
        final_restricted_loss: Mean loss of all pairs with the key waves alone, at the last record.
        final_excluded_loss: Mean loss of the training pairs without the key waves, at the last record.
    """

    initial_ipr: float
    final_ipr: float
    initial_key_share: float
    final_key_share: float
    key_frequencies: str | None
    final_restricted_loss: float
    final_excluded_loss: float


@phenomenon
def progress_measures(keys: Count = 5) -> RunPhenomenon:
    """Does a net learn x + y modulo p in waves? For modular_arithmetic's x+y, one_hot or tokens.

    Let `F` = (p - 1) / 2 be the number of frequencies. The embedding (the weights of the first layer, over
    the operands) has a power at each frequency k = 1 .. F, summed over features. Its inverse participation
    ratio (ipr) is the sum over k of the squared share of each feature's power, averaged over features: 1 / F
    if all frequencies are alike, 1 if each feature has a single one.

    The logits of all p^2 pairs have waves in x + y. restricted_loss is the mean loss of all pairs when only
    the key waves and the mean are left, excluded_loss that of the training pairs when the key waves are
    removed; the loss is the experiment's. Nanda et al. take the key frequencies of the finished net; here
    they are those of the current net.

    Args:
        keys: Number of key waves, the strongest ones; 1 or more.

    Reference:
        Nanda et al. 2023 (restricted and excluded loss); Gromov 2023, Doshi et al. 2024 (inverse
        participation ratio).
    """

    def progress(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        losses = _restricted_and_excluded_loss(setup, snapshot, keys)
        return (*losses, _inverse_participation_ratio(_embedding_power(setup, snapshot)))

    return RunPhenomenon(
        probes=(
            Probe("progress", _progress_rows, PROGRESS_COLUMNS, progress, evaluates_all_examples=True),
            Probe("spectrum", _frequency_rows, ("power",), _total_power),
        ),
        result=ProgressMeasures,
        detect=lambda run: detect(run, keys),
        figures={
            "progress_measures": progress_curves,
            "embedding_spectrum": lambda runs: embedding_spectrum(runs, keys),
        },
        validate=_operands,
    )


def detect(run: RunView, keys: int) -> ProgressMeasures:
    """The numbers of the tables `progress` and `spectrum`."""
    progress, spectrum = run.tables["progress"], run.tables["spectrum"]
    shares = spectrum.pivot(index="step", columns="frequency", values="power").sort_index()
    shares = shares.div(shares.sum(axis=1), axis=0)
    first, last = (shares.iloc[i].sort_values(ascending=False)[:keys] for i in (0, -1))
    return ProgressMeasures(
        initial_ipr=float(progress["ipr"].iloc[0]),
        final_ipr=float(progress["ipr"].iloc[-1]),
        initial_key_share=float(first.sum(min_count=1)),
        final_key_share=float(last.sum(min_count=1)),
        key_frequencies=" ".join(map(str, last.index)) if last.notna().all() else None,
        final_restricted_loss=float(progress["restricted_loss"].iloc[-1]),
        final_excluded_loss=float(progress["excluded_loss"].iloc[-1]),
    )


def _encoding(setup: Setup) -> Encoding:
    """The encoding of the operands that the first layer takes. Raises InvalidValue if it takes none."""
    operands = setup.output_shape[-1]
    _, first = next(setup.leaves())
    if first.vocabulary == operands + 2:
        return "tokens"
    kernel = first.params.get("kernel")
    if kernel is not None and kernel.shape[0] == 2 * operands:
        return "one_hot"
    raise InvalidValue(
        "progress_measures reads the embedding of modular_arithmetic's operands: a net of one output a class "
        "whose first layer is an embedding of tokens, or a dense layer on one_hot operands"
    )


def _operands(setup: Setup, data: Data) -> int:
    """The number of operands p. Raises InvalidValue if the data are no modular addition."""
    expected = _encoding(setup)
    operands = setup.output_shape[-1]
    if not MINIMUM_OPERANDS <= operands <= MAXIMUM_OPERANDS:
        raise InvalidValue(
            f"progress_measures takes a modulus from {MINIMUM_OPERANDS} to {MAXIMUM_OPERANDS}, not {operands}"
        )
    x, y, encoding = decode_pairs(np.asarray(data.train.inputs), operands)
    if encoding != expected:
        raise InvalidValue(f"progress_measures: the first layer takes {expected}, the data are {encoding}")
    if data.train.targets.ndim != 1 or ((x + y) % operands != data.train.targets).any():
        raise InvalidValue(
            "progress_measures is one of x+y modulo p; these data are something else (or have wrong labels)"
        )
    return operands


def _progress_rows(setup: Setup, data: Data) -> RowLabels:
    return {"modulus": [_operands(setup, data)]}


def _frequency_rows(setup: Setup, data: Data) -> RowLabels:
    return {"frequency": list(range(1, (_operands(setup, data) + 1) // 2))}


def _embedding_power(setup: Setup, snapshot: Snapshot) -> Array:
    """Power of each feature of the embedding at each frequency, `[F, features]`."""
    operands = setup.output_shape[-1]
    path, _ = next(setup.leaves())
    params = subtree(snapshot.params, path)
    if _encoding(setup) == "tokens":
        tables = params["embedding"][None, :operands]
    else:
        tables = params["kernel"].reshape(2, operands, -1)
    return _power(jnp.fft.rfft(tables, axis=1)[:, 1:]).sum(0)


def _power(waves: Array) -> Array:
    """|z|^2 of complex values."""
    return jnp.square(waves.real) + jnp.square(waves.imag)


def _total_power(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """The embedding's power at each frequency, `[F]`."""
    return (_embedding_power(setup, snapshot).sum(1),)


def _inverse_participation_ratio(power: Array) -> Array:
    """The ipr, `[1]`, of the power `[F, features]`; see `progress_measures`."""
    total = power.sum(0, keepdims=True)
    shares = power / jnp.broadcast_to(jnp.where(total > 0, total, 1.0), power.shape)
    return jnp.square(shares).sum(0).mean()[None]


def _restricted_and_excluded_loss(setup: Setup, snapshot: Snapshot, keys: int) -> tuple[Array, Array]:
    """Both losses, `[1]` each; see `progress_measures`."""
    operands = setup.output_shape[-1]
    x, y = (axis.reshape(-1) for axis in np.indices((operands, operands)))
    sums = (x + y) % operands
    outputs = snapshot.outputs(jnp.asarray(encode_pairs(x, y, operands, _encoding(setup)), jnp.float32))
    mean_by_sum = jnp.zeros((operands, operands)).at[sums].add(outputs) / operands  # over pairs of one sum
    key_waves = _strongest_waves(mean_by_sum, keys)
    restricted = key_waves + jnp.broadcast_to(mean_by_sum.mean(0), key_waves.shape)
    answers = jnp.arange(operands, dtype=jnp.int32)
    train = snapshot.examples["train"]
    excluded = snapshot.outputs(train.inputs) - key_waves[train.targets]
    return (
        snapshot.loss.per_example(restricted, answers).mean()[None],
        snapshot.loss.per_example(excluded, train.targets).mean()[None],
    )


def _strongest_waves(logits: Array, keys: int) -> Array:
    """The part of logits `[p, classes]` that their strongest frequencies along the first axis make up."""
    waves = jnp.fft.rfft(logits, axis=0)
    power = _power(waves).sum(1)[1:]
    _, strongest = jax.lax.top_k(power, min(keys, power.shape[0]))
    is_key = jnp.zeros(power.shape[0] + 1, bool).at[strongest + 1].set(True)
    return jnp.fft.irfft(jnp.where(is_key[:, None], waves, 0.0), n=logits.shape[0], axis=0)


def progress_curves(runs: Sequence[RunView]) -> Figure:
    """Restricted and excluded loss beside train and held-out loss, and the inverse participation ratio."""
    figure, axes = plotting.panels(len(runs), 2, 3.3 * len(runs))
    for row, run in zip(axes, runs, strict=True):
        metrics, progress = (plotting.rows_after_start(run.tables[name]) for name in ("metrics", "progress"))
        _draw_losses(row[0], metrics, progress)
        last = progress.iloc[-1]
        losses = [plotting.scientific(last[f"{which}_loss"]) for which in ("restricted", "excluded")]
        found = f"{run.label}: loss of the key waves {losses[0]}, without them {losses[1]}"
        row[0].set(title=plotting.title(found, across=2), ylabel=loss_label([run]), yscale="log")
        row[1].plot(progress["step"], progress["ipr"], color="#000000")
        found = f"A feature's waves end at a ratio of {last['ipr']:.2f}, where a single wave has 1"
        row[1].set(title=plotting.title(found, across=2), ylabel="inverse participation ratio", ylim=(0, 1))
        plotting.legend(row[0], loc="lower left")
        for ax in row:
            plotting.log_step_axis(ax)
    return figure


def _draw_losses(ax: Axes, metrics: pandas.DataFrame, progress: pandas.DataFrame) -> None:
    curves = [
        (name_in_words(split), metrics, f"{split}_loss", style, plotting.SPLIT_COLOURS[split])
        for split, style in (("train", "--"), (held_out_split(metrics), "-"))
        if f"{split}_loss" in metrics
    ]
    curves += [
        ("all pairs, key waves alone", progress, "restricted_loss", "-", plotting.COLOURS[5]),
        ("without them, training", progress, "excluded_loss", "-.", plotting.COLOURS[3]),
    ]
    for label, table, column, style, colour in curves:
        ax.plot(table["step"], table[column], style, color=colour, label=label)


def embedding_spectrum(runs: Sequence[RunView], keys: int) -> Figure:
    """The share of the embedding's power at each frequency, over training; one panel per run."""
    return plotting.panel_per_result(runs, lambda ax, run: _draw_spectrum(ax, run, keys), height=3.6)[0]


def _draw_spectrum(ax: Axes, run: RunView, keys: int) -> str:
    """Draw the spectrum of a run; returns the panel's title."""
    table = plotting.rows_after_start(run.tables["spectrum"])
    refuse_sparse_grid(table, "frequency", "step")
    power = table.pivot(index="frequency", columns="step", values="power")
    share = power.div(power.sum(axis=0), axis=1)
    steps, frequencies = share.columns.to_numpy(float), share.index.to_numpy(float)
    borders = np.concatenate([frequencies - 0.5, frequencies[-1:] + 0.5])
    mesh = ax.pcolormesh(
        plotting.log_cell_edges(steps), borders, 100 * share.to_numpy(), cmap="magma", vmin=0
    )
    ax.set_ylabel("frequency of the embedding")
    plotting.log_step_axis(ax)
    ax.grid(visible=False)
    ax.figure.colorbar(mesh, ax=ax, label="share of power, %")
    strongest = keys if keys < len(share) else 1
    held = 100 * share.iloc[:, -1].nlargest(strongest).sum()
    return f"{run.label}: {held:.0f} % of the power ends in {strongest} of {len(share)} waves"
