"""Confusion: which classes are taken for which, and which examples are wrong with the greatest confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_sparse_grid
from nnlab.phenomena.examples import (
    check_drawable,
    crossed,
    drawable,
    in_blocks,
    judged,
    picture_shape,
    pictures,
    pixel_rows,
    split_of,
)
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 200
MOST_COUNTED = 20  # classes whose counts are written into the cells
COLUMNS = 5  # of examples
MOST_SHOWN = 20


class Confusion(NamedTuple):
    """error: of the examples, the share that is wrong. worst_class, worst_class_error: the class of which
    the greatest share is wrong. most_confused_true, most_confused_predicted, most_confused_rate: of all pairs
    of classes, the greatest share of the one that is taken for the other. The classes are null where nothing
    is wrong.
    """

    error: float
    worst_class: int | None
    worst_class_error: float
    most_confused_true: int | None
    most_confused_predicted: int | None
    most_confused_rate: float


@phenomenon
def confusion(examples: Count = 20) -> RunPhenomenon:
    """How often each class is taken for each other, over the test examples (else validation, else train).

    The prediction is the class of the highest output; of a single output, class 1 where that is positive.
    Its probability is the softmax's, or the sigmoid's, which a loss other than a cross-entropy does not make
    one: there it only ranks. examples: so many wrong ones of the highest probability are kept as pictures.
    """

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        split = judged(data.splits)
        shown = range(1, min(examples, len(data.splits[split])) + 1)
        return pixel_rows(picture_shape(data.train.inputs.shape[1:]), split=[split], rank=shown)

    def worst(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        return _misclassified(snapshot, examples)

    def check(setup: Setup, data: Data) -> None:
        _pairs(setup, data)
        rows(setup, data)

    about = ("example", "true", "predicted", "probability", "value")
    return RunPhenomenon(
        probes=(
            Probe("confusion", _pairs, ("count",), _counts, record_at="end"),
            Probe("misclassified", rows, about, worst, record_at="end"),
        ),
        result=Confusion,
        detect=lambda run: summarize(run.tables["confusion"]),
        figures={"confusion_matrix": confusion_matrix, "misclassified": misclassified},
        validate=check,
    )


def summarize(table: pandas.DataFrame) -> Confusion:
    """The numbers of the table `confusion`."""
    counts = matrix(table)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    others = shares - np.diag(np.diag(shares))
    wrong, worst = others.sum(1), int(others.sum(1).argmax())
    true, predicted = (int(place) for place in np.unravel_index(others.argmax(), others.shape))
    any_wrong = others.any()
    return Confusion(
        error=float(1 - np.trace(counts) / counts.sum()),
        worst_class=worst if any_wrong else None,
        worst_class_error=float(wrong[worst]),
        most_confused_true=true if any_wrong else None,
        most_confused_predicted=predicted if any_wrong else None,
        most_confused_rate=float(others.max()),
    )


def matrix(table: pandas.DataFrame) -> np.ndarray:
    """Counts `[true, predicted]`."""
    refuse_sparse_grid(table, "true", "predicted")
    return table.pivot(index="true", columns="predicted", values="count").to_numpy(float)


def _pairs(setup: Setup, data: Data) -> dict[str, list[Any]]:
    """A row a pair of classes. Raises InvalidValue where there are none, or too many."""
    classes = data.train.classes
    if not classes:
        raise InvalidValue("confusion is of classes, and the targets are values; leave it out here")
    if classes > MOST_CLASSES:
        raise InvalidValue(f"confusion is of {MOST_CLASSES} classes at most, not {classes:,}; leave it out")
    return crossed(split=[judged(data.splits)], true=range(classes), predicted=range(classes))


def _predicted(snapshot: Snapshot) -> tuple[Array, Array, Array]:
    """Of each example of the split the true class, the predicted one and its probability, `[N]`."""
    inputs, true = snapshot.examples[judged(snapshot.examples)]
    outputs = in_blocks(snapshot.outputs, inputs)
    if outputs.shape[-1] == 1:  # the logit of class 1, that of class 0 being 0
        outputs = jnp.concatenate([jnp.zeros_like(outputs), outputs], -1)
    return true, outputs.argmax(-1).astype(true.dtype), jax.nn.softmax(outputs).max(-1)


def _counts(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    true, predicted, _ = _predicted(snapshot)
    classes = max(2, setup.output_shape[-1])
    return (jnp.bincount(true * classes + predicted, length=classes**2),)


def _misclassified(snapshot: Snapshot, examples: int) -> tuple[Array, ...]:
    """Index, classes, probability and values of those wrong with the highest probability, a row a value; NaN
    where fewer are wrong."""
    true, predicted, probability = _predicted(snapshot)
    wrong = predicted != true
    order = jnp.argsort(jnp.where(wrong, -probability, 1.0))[:examples]
    values = snapshot.examples[judged(snapshot.examples)].inputs[order]
    values = values.reshape(order.shape[0], -1)
    known = wrong[order]

    def repeated(column: Array) -> Array:
        column = jnp.where(known, column.astype(values.dtype), jnp.nan)
        return jnp.repeat(column, values.shape[1])

    of_each = (order, true[order], predicted[order], probability[order])
    shown = jnp.where(jnp.repeat(known, values.shape[1]), values.reshape(-1), jnp.nan)
    return (*map(repeated, of_each), shown)


def confusion_matrix(runs: Sequence[RunView]) -> Figure:
    """The share of each true class, a row, that is taken for each class, and how many; a panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(5.6, 4.6 * len(runs) + 0.6), height=4.8)
    for ax, run in zip(axes[0], runs, strict=True):
        table = run.tables["confusion"]
        counts = matrix(table)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        drawn = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(counts) <= MOST_COUNTED:
            _write_counts(ax, counts, shares)
        found, split = summarize(table), split_of(table)
        says = f"{100 * found.error:.3g} % of {counts.sum():,.0f} {split} examples are wrong"
        ax.set(title=f"{run.label}\n{says}", xlabel="predicted class", ylabel="true class")
        ax.grid(visible=False)
    figure.colorbar(drawn, ax=list(axes[0]), shrink=0.8).set_label("share of the true class")
    return figure


def _write_counts(ax: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    places = range(len(counts))
    ax.set(xticks=places, yticks=places)
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[true, predicted] > 0.5 else "black"
        words = f"{counts[true, predicted]:.0f}"
        ax.text(predicted, true, words, ha="center", va="center", color=colour, fontsize=7)


def misclassified(runs: Sequence[RunView]) -> Figure:
    """The examples that are wrong with the highest probability, of several runs a row each."""
    tables = [run.tables["misclassified"].dropna(subset=["example"]) for run in runs]
    if all(table.empty for table in tables):
        raise InvalidValue("no example is wrong")
    most = MOST_SHOWN if len(runs) == 1 else COLUMNS
    counts = [min(most, table["rank"].nunique()) for table in tables]
    heights = [max(1, -(-count // COLUMNS)) for count in counts]
    figure, axes = plotting.panels(sum(heights), COLUMNS, height=1.5 * sum(heights) + 0.3 * len(runs))
    figure.suptitle("\n".join(map(_headline, runs)))
    for ax in axes.flat:
        ax.set_axis_off()
    ends = np.cumsum(heights)
    for run, table, count, end, height in zip(runs, tables, counts, ends, heights, strict=True):
        if count:
            rows = axes[end - height : end]
            _draw_wrong(rows.flat, table, count)
            rows[0][0].set_ylabel(run.label if len(runs) > 1 else "")
    return figure


def _headline(run: RunView) -> str:
    table = run.tables["confusion"]
    found, split = summarize(table), split_of(table)
    return f"{run.label}: {100 * found.error:.3g} % of {table['count'].sum():,.0f} {split} examples wrong"


def _draw_wrong(places: Any, table: pandas.DataFrame, count: int) -> None:
    shown = pictures(table, "value")
    check_drawable(shown)
    about = table.drop_duplicates("rank").to_dict("records")
    for ax, picture, one in list(zip(places, shown, about, strict=False))[:count]:
        ax.set_axis_on()
        plotting.image(ax, drawable(picture))
        taken = f"{one['true']:.0f} taken for {one['predicted']:.0f}"
        ax.set_xlabel(f"{taken}, {100 * one['probability']:.0f} %", fontsize=8)
