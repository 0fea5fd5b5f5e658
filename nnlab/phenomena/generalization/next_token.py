"""Whether a model of a text uses more than the last token: its loss beside those of counts of tokens.

`N` is the number of windows, `L` their length, `K` the size of the vocabulary, `M` the number of targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.examples import Examples
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon, refuse_non_numeric
from nnlab.phenomena.examples import BLOCK_EXAMPLES, recorded_split
from nnlab.phenomena.probe import Batch, Probe, RowLabels, Snapshot
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_GAIN = 0.1  # nats a token below the bigram model
PRIOR_WEIGHTS = 2.0 ** np.arange(-4, 11)  # of the unigram model in the bigram's, in counts
CHANGED_EXAMPLES = 8  # whose later tokens are changed
MAXIMUM_DEPENDENCE = 1e-5  # of earlier outputs on that, by their size; a causal model has none but rounding
TABLE = "next_token"
BASELINES = ("uniform", "unigram", "bigram")
COLUMNS = ("loss", "dependence")
WORDS = {"uniform": "uniform guess", "unigram": "unigram model", "bigram": "bigram model"}

Verdict = Literal["context", "none"]


class NextToken(NamedTuple):
    """Mean losses on the next token, in nats, with the weights that training returns.

    Attributes:
        loss: Of the model: -log softmax(outputs)[next token], on the test set, or else on validation or
            training set.
        bigram_loss: Of the best model that sees the last token alone, by counts, see `next_token`.
        unigram_loss: Of the share of each token, which sees none.
        uniform_loss: log K.
        gain: bigram_loss - loss; null where the outputs depend on later tokens.
        verdict: `context` or `none`, see `next_token`; null likewise.
        reason: Why numbers are null.
    """

    loss: float
    bigram_loss: float
    unigram_loss: float
    uniform_loss: float
    gain: float | None
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def next_token() -> RunPhenomenon:
    """Does a model foretell the next token of a text better than the last token alone lets it?

    The bigram model is p(b | a) = (n_ab + c p(b)) / (n_a + c), of the pairs and tokens in the training part,
    with the unigram model p(b) = (n_b + 1) / (n + K); its c, 1/16 to 1024, is the one that is best on the
    very tokens that are foretold. Both are scored on the same targets as the model.

    Verdicts:
        context: The model's loss is at least 0.1 nats a token below that of the bigram model.
        none: It is not. Null where an output depends on later tokens, so that the model sees what it is to
            foretell: the second half of some windows is changed to see it.

    Reference:
        Shannon 1951, Prediction and entropy of printed English; MacKay & Peto 1995 for p(b | a).
    """
    probe = Probe(
        TABLE,
        _baseline_rows,
        COLUMNS,
        _measure,
        record_at="end",
        passes=lambda data: float(len(data.splits[reported_split(data.splits)]) + 2 * CHANGED_EXAMPLES),
    )
    return RunPhenomenon(
        probes=(probe,),
        result=NextToken,
        detect=lambda run: detect(run.tables[TABLE]),
        figures={"next_token": loss_curves},
        validate=_check_data,
    )


# --- the probe -------------------------------------------------------------------------------------------


def _check_data(setup: Setup, data: Data) -> None:
    train = data.train
    if not train.positions or train.inputs.shape[1:] != train.positions or setup.output_shape[-1] < 2:
        raise InvalidValue("next_token needs a next token at every position; give data of type text")


def _baseline_rows(setup: Setup, data: Data) -> RowLabels:
    _check_data(setup, data)
    split = reported_split(data.splits)
    losses = baseline_losses(_pairs(data.train), _pairs(data.splits[split]), data.train.classes)
    return {"split": [split]} | {name: [loss] for name, loss in zip(BASELINES, losses, strict=True)}


def _pairs(examples: Examples) -> np.ndarray:
    """Each token and the one behind it, `[2, M]`."""
    tokens = np.asarray(examples.inputs).reshape(-1).astype(np.int64)
    return np.stack([tokens, examples.targets.reshape(-1)])


def baseline_losses(train: np.ndarray, scored: np.ndarray, tokens: int) -> tuple[float, float, float]:
    """The losses of a uniform guess, of the unigram and of the bigram model.

    Args:
        train: The pairs that are counted, `[2, M]`.
        scored: Those whose second token is foretold.
        tokens: K.
    """
    of_next = (np.bincount(train[1], minlength=tokens) + 1) / (train.shape[1] + tokens)
    pairs, counts = np.unique(train[0] * tokens + train[1], return_counts=True)
    asked = scored[0] * tokens + scored[1]
    places = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    together = np.where(pairs[places] == asked, counts[places], 0)
    last, unigram = np.bincount(train[0], minlength=tokens)[scored[0]], of_next[scored[1]]
    bigram = min(-np.log((together + c * unigram) / (last + c)).mean() for c in PRIOR_WEIGHTS)
    return math.log(tokens), float(-np.log(unigram).mean()), float(bigram)


def _measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    """The loss, and how far earlier outputs depend on later tokens, `[1]` each."""
    examples = snapshot.examples[reported_split(snapshot.examples)]

    def loss_of_one(example: Batch) -> Array:
        log_p = jax.nn.log_softmax(snapshot.outputs(example.inputs[None])[0])
        return -jnp.take_along_axis(log_p, example.targets[:, None], axis=-1).mean()

    losses = jax.lax.map(loss_of_one, examples, batch_size=BLOCK_EXAMPLES)
    windows = examples.inputs[:CHANGED_EXAMPLES]
    length, tokens = windows.shape[1], setup.output_shape[-1]
    later = jnp.arange(length) >= length // 2
    others = jnp.where(later, jnp.mod(windows + 1, tokens), windows)
    before, after = (snapshot.outputs(some)[:, : length // 2] for some in (windows, others))
    change = jnp.abs(after - before).max(initial=0.0)
    size = jnp.maximum(jnp.abs(before).max(initial=0.0), jnp.finfo(jnp.float32).tiny)
    return losses.mean()[None], (change / size)[None]


# --- the detector ----------------------------------------------------------------------------------------


def detect(table: pandas.DataFrame) -> NextToken:
    """The numbers of the table `next_token`. Raises InvalidValue where they are not finite."""
    refuse_non_numeric(table, (*BASELINES, *COLUMNS))
    if not len(table) or not np.isfinite(table[[*BASELINES, *COLUMNS]].to_numpy(float)).all():
        raise InvalidValue("the losses on the next token are not finite")
    uniform, unigram, bigram, loss, dependence = (
        float(table[name].iloc[-1]) for name in (*BASELINES, *COLUMNS)
    )
    gain: float | None = bigram - loss
    verdict: Verdict | None = "context" if bigram - loss >= MINIMUM_GAIN else "none"
    reason = None
    if dependence > MAXIMUM_DEPENDENCE:
        gain = verdict = None
        reason = "an output depends on later tokens: the model sees what it is to foretell"
    return NextToken(loss, bigram, unigram, uniform, gain, verdict, reason)


# --- the figure ------------------------------------------------------------------------------------------


def loss_curves(runs: Sequence[RunView]) -> Figure:
    """The losses over training beside those of counts; a panel a run."""
    return plotting.panel_per_result(runs, _draw_losses, height=3.8, sharey=True)[0]


def _draw_losses(ax: Axes, run: RunView) -> str:
    """Draw the curves of a run and the lines of the baselines; returns the panel's title."""
    table, metrics = run.tables[TABLE], run.tables["metrics"]
    result, split = detect(table), recorded_split(table)
    for name, style in {"train": "--", split: "-"}.items():
        colour, words = plotting.SPLIT_COLOURS[name], {"train": "training"}.get(name, name)
        ax.plot(metrics["step"], metrics[f"{name}_loss"], style, color=colour, label=words)
    for name, shade in zip(BASELINES, ("#bbbbbb", "#888888", "#333333"), strict=True):
        ax.axhline(float(table[name].iloc[-1]), color=shade, linewidth=1.0, linestyle="-.", label=WORDS[name])
    ax.set_ylabel(loss_label([run]))
    plotting.step_axis(ax, metrics["step"].tolist())
    plotting.legend(ax)
    if result.gain is None:
        return f"{run.label}: {result.reason}"
    below = "below" if result.gain >= 0 else "above"
    return f"{run.label}: {result.loss:.2f} nats,\n{abs(result.gain):.2f} {below} the bigram model"
