"""Progress measures of modular addition: the circuit that generalises, seen before the accuracy shows it.

A net that has understood x + y modulo p computes with a few waves: its logits are sums of
cos(2 pi k (x + y - c) / p) over key frequencies k. `p` is the modulus, `F` = (p - 1) / 2 the number of
frequencies, `c` an answer.

Sources: Nanda et al. 2023 (restricted and excluded loss); Gromov 2023, Doshi et al. 2024 (inverse
participation ratio).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.datasets.arithmetic import Encoding, decode_pairs, encode_pairs
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_sparse_grid
from nnlab.phenomena.probe import Probe, Snapshot, subtree
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_OPERANDS = 200


class ProgressMeasures(NamedTuple):
    """Of the first and the last record, see `progress_measures`. initial_ipr, final_ipr: inverse
    participation ratio. initial_key_share, final_key_share: share of the embedding's power in its strongest
    `keys` frequencies. key_frequencies: those, at the last record, strongest first. final_restricted_loss,
    final_excluded_loss: at the last record.
    """

    initial_ipr: float
    final_ipr: float
    initial_key_share: float
    final_key_share: float
    key_frequencies: str
    final_restricted_loss: float
    final_excluded_loss: float


@phenomenon
def progress_measures(keys: Count = 5) -> RunPhenomenon:
    """What a net learns of x + y modulo p, in waves; for modular_arithmetic's x+y, one_hot or tokens.

    Of the embedding (the first layer's weights, over the operands): its power at each frequency k = 1 .. F,
    summed over features, and the inverse participation ratio, sum over k of the squared share of each
    feature's power, averaged over features: 1 / F where all frequencies are alike, 1 where each feature has
    one. Of the logits over all p^2 pairs, whose waves are those in x + y: restricted_loss, the mean loss over
    all pairs when only the `keys` strongest waves (and the mean) are left; excluded_loss, over the training
    pairs when those are taken away. Nanda et al. take the key frequencies of the finished net; here they are
    those of the moment. The loss is the experiment's.
    """
    columns = ("restricted_loss", "excluded_loss", "ipr")

    def progress(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        return (*_losses(setup, snapshot, keys), _ipr(_waves(setup, snapshot)))

    return RunPhenomenon(
        probes=(
            Probe("progress", _one_row, columns, progress, evaluates_all_examples=True),
            Probe("spectrum", _frequencies, ("power",), _power),
        ),
        result=ProgressMeasures,
        detect=lambda run: summarize(run, keys),
        figures={"progress_measures": progress_curves, "embedding_spectrum": embedding_spectrum},
        validate=_operands,
    )


def summarize(run: RunView, keys: int) -> ProgressMeasures:
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
        key_frequencies=" ".join(str(frequency) for frequency in last.index),
        final_restricted_loss=float(progress["restricted_loss"].iloc[-1]),
        final_excluded_loss=float(progress["excluded_loss"].iloc[-1]),
    )


def _encoding(setup: Setup) -> Encoding:
    """How the operands come in, by the first layer. Raises InvalidValue where that embeds no operands."""
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
    """The number of operands p. Raises InvalidValue where the data are no modular addition."""
    expected = _encoding(setup)
    operands = setup.output_shape[-1]
    if not 3 <= operands <= MOST_OPERANDS:
        raise InvalidValue(f"progress_measures takes a modulus from 3 to {MOST_OPERANDS}, not {operands}")
    x, y, encoding = decode_pairs(data.train.inputs, operands)
    if encoding != expected:
        raise InvalidValue(f"progress_measures: the first layer takes {expected}, the data are {encoding}")
    if data.train.targets.ndim != 1 or ((x + y) % operands != data.train.targets).any():
        raise InvalidValue(
            "progress_measures is one of x+y modulo p; these data are something else (or have wrong labels)"
        )
    return operands


def _one_row(setup: Setup, data: Data) -> dict[str, list[Any]]:
    return {"modulus": [_operands(setup, data)]}


def _frequencies(setup: Setup, data: Data) -> dict[str, list[Any]]:
    return {"frequency": list(range(1, (_operands(setup, data) + 1) // 2))}


def _waves(setup: Setup, snapshot: Snapshot) -> Array:
    """Power of each feature of the embedding at each frequency, `[F, features]`."""
    operands = setup.output_shape[-1]
    path, _ = next(setup.leaves())
    params = subtree(snapshot.params, path)
    if _encoding(setup) == "tokens":
        tables = params["embedding"][None, :operands]
    else:
        tables = params["kernel"].reshape(2, operands, -1)
    transformed = jnp.fft.rfft(tables, axis=1)[:, 1:]
    return (jnp.square(transformed.real) + jnp.square(transformed.imag)).sum(0)


def _power(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    return (_waves(setup, snapshot).sum(1),)


def _ipr(waves: Array) -> Array:
    """`[1]`, see `progress_measures`."""
    total = waves.sum(0, keepdims=True)
    shares = waves / jnp.broadcast_to(jnp.where(total > 0, total, 1.0), waves.shape)
    return jnp.square(shares).sum(0).mean()[None]


def _losses(setup: Setup, snapshot: Snapshot, keys: int) -> tuple[Array, Array]:
    """Restricted and excluded loss, `[1]` each, see `progress_measures`."""
    operands = setup.output_shape[-1]
    x, y = (axis.reshape(-1) for axis in np.indices((operands, operands)))
    sums = (x + y) % operands
    outputs = snapshot.outputs(jnp.asarray(encode_pairs(x, y, operands, _encoding(setup)), jnp.float32))
    by_sum = jnp.zeros((operands, operands)).at[sums].add(outputs) / operands  # mean over pairs of one sum
    waves = jnp.fft.rfft(by_sum, axis=0)
    power = (jnp.square(waves.real) + jnp.square(waves.imag)).sum(1)[1:]
    _, strongest = jax.lax.top_k(power, min(keys, power.shape[0]))
    key = jnp.zeros(power.shape[0] + 1, bool).at[strongest + 1].set(True)
    of_keys = jnp.fft.irfft(jnp.where(key[:, None], waves, 0.0), n=operands, axis=0)
    restricted = of_keys + jnp.broadcast_to(by_sum.mean(0), of_keys.shape)
    answers = jnp.arange(operands, dtype=jnp.int32)
    train = snapshot.examples["train"]
    excluded = snapshot.outputs(train.inputs) - of_keys[train.targets]
    return (
        snapshot.loss.per_example(restricted, answers).mean()[None],
        snapshot.loss.per_example(excluded, train.targets).mean()[None],
    )


def progress_curves(runs: Sequence[RunView]) -> Figure:
    """Restricted and excluded loss beside train and held-out loss, and the inverse participation ratio."""
    figure, axes = plotting.panels(len(runs), 2, width=8.6, height=3.3 * len(runs))
    for row, run in zip(axes, runs, strict=True):
        metrics, progress = (plotting.past_start(run.tables[name]) for name in ("metrics", "progress"))
        lines = [("train loss", metrics["step"], metrics["train_loss"], "--", 1)]
        held_out = [split for split in ("validation", "test") if f"{split}_loss" in metrics][:1]
        lines += [(f"{split} loss", metrics["step"], metrics[f"{split}_loss"], "-", 0) for split in held_out]
        lines += [
            ("restricted: key waves only", progress["step"], progress["restricted_loss"], "-", 2),
            ("excluded: without them, train", progress["step"], progress["excluded_loss"], "-.", 3),
        ]
        for label, steps, values, style, colour in lines:
            row[0].plot(steps, values, style, color=plotting.COLOURS[colour], label=label)
        row[1].plot(progress["step"], progress["ipr"], color=plotting.COLOURS[2])
        row[0].set(title=run.label, ylabel="mean loss", yscale="log")
        row[1].set(title="One wave a feature: 1; all alike: 1 / F", ylabel="inverse participation ratio")
        row[1].set_ylim(0, 1)
        plotting.legend(row[0], loc="lower left")
        for ax in row:
            plotting.log_step_axis(ax)
    return figure


def embedding_spectrum(runs: Sequence[RunView]) -> Figure:
    """The share of the embedding's power at each frequency, over training; a panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 4.4 * len(runs)), height=3.6)
    for ax, run in zip(axes[0], runs, strict=True):
        table = plotting.past_start(run.tables["spectrum"])
        refuse_sparse_grid(table, "frequency", "step")
        power = table.pivot(index="frequency", columns="step", values="power")
        share = power.div(power.sum(axis=0), axis=1)
        steps, frequencies = share.columns.to_numpy(float), share.index.to_numpy(float)
        borders = np.concatenate([frequencies - 0.5, frequencies[-1:] + 0.5])
        drawn = ax.pcolormesh(plotting.edges(steps), borders, 100 * share.to_numpy(), cmap="magma", vmin=0)
        ax.set(title=run.label, ylabel="frequency k of the embedding")
        plotting.log_step_axis(ax)
        ax.grid(visible=False)
        figure.colorbar(drawn, ax=ax, label="share of power, %")
    return figure
