"""Confusion: which classes are taken for which, and which examples are wrong with the greatest confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_sparse_grid
from nnlab.phenomena.examples import (
    class_label,
    displayed,
    image_shape,
    images_in,
    map_in_blocks,
    pixel_rows,
    product_rows,
    recorded_split,
    refuse_tiny_images,
)
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_CLASSES = 200
MAXIMUM_LABELLED_CLASSES = 20  # up to here the counts are written into the cells
UPRIGHT_CHARACTERS = 3  # longer names of classes are slanted
IMAGES_PER_ROW = 5
IMAGE_LABEL_CHARACTERS = 10  # of the name of a class below an image
ONE_LINE_CHARACTERS = 3  # longer names of two classes are written below each other
MAXIMUM_IMAGES = 20  # of a single run; of several, a row each
MISCLASSIFIED_COLUMNS = ("example", "true", "predicted", "probability", "value")


class Confusion(NamedTuple):
    """The errors by class. Errors and rates are shares from 0 to 1, classes are numbered from 0.

    Attributes:
        error: Share of the examples that are wrong.
        worst_class: Class with the greatest share of wrong examples; null if none is wrong.
        worst_class_error: That share.
        most_confused_true: Class of which the greatest share is taken for one other class; null if no
            example is wrong.
        most_confused_predicted: The class that it is taken for; null likewise.
        most_confused_rate: That share of the true class.
        reason: Why numbers are null.
    """

    error: float
    worst_class: int | None
    worst_class_error: float
    most_confused_true: int | None
    most_confused_predicted: int | None
    most_confused_rate: float
    reason: str | None = None


@phenomenon
def confusion(examples: Count = 20) -> RunPhenomenon:
    """How often is each class taken for each other one, over the test examples (else validation, else train)?

    The prediction is the class with the highest output, or for a single output, class 1 if it is positive.
    Its probability is the softmax, or the sigmoid, of the outputs. If the loss is no cross-entropy, that
    only ranks the predictions.

    Args:
        examples: Number of wrong examples, those of the highest probability, that are kept as images.
    """

    def misclassified_rows(setup: Setup, data: Data) -> RowLabels:
        split = reported_split(data.splits)
        ranks = range(1, min(examples, len(data.splits[split])) + 1)
        return pixel_rows(image_shape(data.train.inputs.shape[1:]), split=[split], rank=ranks)

    def measure_misclassified(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        return _misclassified(snapshot, examples)

    def validate(setup: Setup, data: Data) -> None:
        _class_pairs(setup, data)
        misclassified_rows(setup, data)

    return RunPhenomenon(
        probes=(
            Probe("confusion", _class_pairs, ("count",), _pair_counts, record_at="end"),
            Probe(
                "misclassified",
                misclassified_rows,
                MISCLASSIFIED_COLUMNS,
                measure_misclassified,
                record_at="end",
            ),
        ),
        result=Confusion,
        class_fields=("worst_class", "most_confused_true", "most_confused_predicted"),
        detect=lambda run: detect(run.tables["confusion"]),
        figures={"confusion_matrix": confusion_matrices, "misclassified": misclassified_images},
        validate=validate,
    )


def detect(table: pandas.DataFrame) -> Confusion:
    """The numbers of the table `confusion`."""
    counts = confusion_matrix(table)
    rates = _class_rates(counts)
    confused = rates - np.diag(np.diag(rates))
    class_errors = confused.sum(1)
    worst_class = int(class_errors.argmax())
    true, predicted = (int(place) for place in np.unravel_index(confused.argmax(), confused.shape))
    any_wrong = confused.any()
    return Confusion(
        error=float(1 - np.trace(counts) / counts.sum()),
        worst_class=worst_class if any_wrong else None,
        worst_class_error=float(class_errors[worst_class]),
        most_confused_true=true if any_wrong else None,
        most_confused_predicted=predicted if any_wrong else None,
        most_confused_rate=float(confused.max()),
        reason=None if any_wrong else "no example is wrong",
    )


def confusion_matrix(table: pandas.DataFrame) -> np.ndarray:
    """Counts of examples, `[true, predicted]`."""
    refuse_sparse_grid(table, "true", "predicted")
    return table.pivot(index="true", columns="predicted", values="count").to_numpy(float)


def _class_rates(counts: np.ndarray) -> np.ndarray:
    """Shares of each true class, a row; 0 of a class without examples."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _class_pairs(setup: Setup, data: Data) -> RowLabels:
    """One row per pair of classes. Raises InvalidValue if there are no classes, or too many."""
    classes = data.train.classes
    if not classes:
        raise InvalidValue("confusion is of classes, and the targets are values; leave it out here")
    if data.train.positions:
        raise InvalidValue(
            "confusion is of one class an example; here is one at every position; leave it out"
        )
    if classes > MAXIMUM_CLASSES:
        raise InvalidValue(
            f"confusion is of {MAXIMUM_CLASSES} classes at most, not {classes:,}; leave it out"
        )
    split = reported_split(data.splits)
    rows = product_rows(split=[split], true=range(classes), predicted=range(classes))
    names = data.train.printed_class_names
    if not names:
        return rows
    pairs = product_rows(split=[split], true_name=names, predicted_name=names)
    return {**rows, **pairs}


def _predictions(snapshot: Snapshot) -> tuple[Array, Array, Array]:
    """True class, predicted class and its probability of each example, `[N]` each."""
    inputs, true = snapshot.examples[reported_split(snapshot.examples)]
    outputs = map_in_blocks(snapshot.outputs, inputs)
    if outputs.shape[-1] == 1:  # the logit of class 1, that of class 0 being 0
        outputs = jnp.concatenate([jnp.zeros_like(outputs), outputs], -1)
    return true, outputs.argmax(-1).astype(true.dtype), jax.nn.softmax(outputs).max(-1)


def _pair_counts(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    true, predicted, _ = _predictions(snapshot)
    classes = max(2, setup.output_shape[-1])
    return (jnp.bincount(true * classes + predicted, length=classes**2),)


def _misclassified(snapshot: Snapshot, examples: int) -> tuple[Array, ...]:
    """The columns MISCLASSIFIED_COLUMNS for the wrong examples of the highest probability.

    There is one row per value; rows are NaN where fewer examples are wrong.
    """
    true, predicted, probability = _predictions(snapshot)
    is_wrong = predicted != true
    order = jnp.argsort(jnp.where(is_wrong, -probability, 1.0))[:examples]
    values = snapshot.examples[reported_split(snapshot.examples)].inputs[order]
    values = values.reshape(order.shape[0], -1)
    is_filled = is_wrong[order]

    def repeat_by_value(column: Array) -> Array:
        column = jnp.where(is_filled, column.astype(values.dtype), jnp.nan)
        return jnp.repeat(column, values.shape[1])

    by_example = (order, true[order], predicted[order], probability[order])
    pixels = jnp.where(jnp.repeat(is_filled, values.shape[1]), values.reshape(-1), jnp.nan)
    return (*map(repeat_by_value, by_example), pixels)


def confusion_matrices(runs: Sequence[RunView]) -> Figure:
    """Counts, and shares of each true class (rows), by predicted class (columns); one panel per run."""
    figure, axes = plotting.panel_per_result(
        runs, _draw_matrix, height=5.0 if len(runs) == 1 else 3.8, compressed=True
    )
    figure.colorbar(axes[-1].images[0], ax=axes, label="share of the true class, %")
    return figure


def _draw_matrix(ax: Axes, run: RunView) -> str:
    """Draw the matrix of a run; returns the panel's title."""
    table = run.tables["confusion"]
    counts = confusion_matrix(table)
    rates = _class_rates(counts)
    ax.imshow(100 * rates, cmap="Blues", vmin=0, vmax=100)
    if len(counts) <= MAXIMUM_LABELLED_CLASSES:
        _write_counts(ax, counts, rates)
        _write_classes(ax, [class_label(run, number) for number in range(len(counts))])
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.grid(visible=False)
    return _headline(run)


def _write_counts(ax: Axes, counts: np.ndarray, rates: np.ndarray) -> None:
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        colour = "white" if rates[true, predicted] > 0.5 else "black"
        label = f"{counts[true, predicted]:.0f}"
        ax.text(predicted, true, label, ha="center", va="center", color=colour, fontsize=plotting.SMALL_SIZE)


def _write_classes(ax: Axes, labels: Sequence[str]) -> None:
    places = range(len(labels))
    slanted = max(map(len, labels)) > UPRIGHT_CHARACTERS
    ax.set_xticks(places, labels, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    ax.set_yticks(places, labels)


def misclassified_images(runs: Sequence[RunView]) -> Figure:
    """The examples that are wrong with the highest probability, of several runs a row each."""
    tables = [run.tables["misclassified"].dropna(subset=["example"]) for run in runs]
    if all(table.empty for table in tables):
        raise InvalidValue("no example is wrong")
    most = MAXIMUM_IMAGES if len(runs) == 1 else IMAGES_PER_ROW
    counts = [min(most, table["rank"].nunique()) for table in tables]
    heights = [max(1, -(-count // IMAGES_PER_ROW)) for count in counts]  # rows of images
    height = 1.5 * sum(heights) + 0.3 * len(runs)
    figure, axes = plotting.panels(sum(heights), IMAGES_PER_ROW, height)
    plotting.figure_title(figure, "\n".join(map(_headline, runs)))
    for ax in axes.flat:
        ax.set_axis_off()
    ends = np.cumsum(heights)
    for run, table, count, end, height in zip(runs, tables, counts, ends, heights, strict=True):
        if count:
            rows = axes[end - height : end]
            _draw_images(rows.flat, run, table, count)
            rows[0][0].set_ylabel(run.label if len(runs) > 1 else "")
    return figure


def _headline(run: RunView) -> str:
    table = run.tables["confusion"]
    error, count = f"{100 * detect(table).error:.3g} %", table["count"].sum()
    return f"{run.label}: {error} of {count:,.0f} {name_in_words(recorded_split(table))} examples are wrong"


def _draw_images(panels: Iterable[Axes], run: RunView, table: pandas.DataFrame, count: int) -> None:
    images = images_in(table, "value")
    refuse_tiny_images(images)
    examples = table.drop_duplicates("rank").to_dict("records")
    for ax, image, example in list(zip(panels, images, examples, strict=False))[:count]:
        ax.set_axis_on()
        plotting.image(ax, displayed(image))
        true, predicted = (
            class_label(run, int(example[column]), IMAGE_LABEL_CHARACTERS) for column in ("true", "predicted")
        )
        taken = ", taken for\n" if len(true + predicted) > ONE_LINE_CHARACTERS else " taken for "
        ax.set_xlabel(
            f"{true}{taken}{predicted}, {100 * example['probability']:.0f} %", fontsize=plotting.SMALL_SIZE
        )
