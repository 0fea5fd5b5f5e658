"""Bias and variance of a classification: the parts of its error, after Kohavi and Wolpert.

The seeds of a sweep stand for resampled training sets. At a test example `x` let `p(y)` be the share of the
seeds that answer with class y, and `t(y)` be 1 for its label and 0 else. Averaged over the examples:

    bias^2   = 1/2 sum_y (t(y) - p(y))^2
    variance = 1/2 (1 - sum_y p(y)^2)
    error    = 1 - p(label) = bias^2 + variance

A third part, the noise 1/2 (1 - sum_y t(y)^2), is 0 where each example has one label: what no answer could
get right counts as bias^2, as in the tables of Kohavi and Wolpert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    phenomenon,
    refuse_non_numeric,
    sweep_column,
)
from nnlab.phenomena.examples import read_test_predictions
from nnlab.phenomena.generalization.capacity_curve import MINIMUM_POINTS
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = (  # column, label, line style, colour
    ("bias_squared", "bias²", "-", plotting.COLOURS[3]),
    ("variance", "variance", "--", plotting.COLOURS[4]),
    ("error", "error, their sum", "-", plotting.SPLIT_COLOURS["test"]),
)


class ZeroOneBiasVariance(NamedTuple):
    """The parts of the test error, a share from 0 to 1, along the axis.

    Attributes:
        first_bias: bias^2 at the smallest value of the axis.
        last_bias: bias^2 at the largest.
        first_variance: The variance at the smallest value.
        last_variance: The variance at the largest.
        greatest_variance: The largest over all values, at most 1/2.
        greatest_variance_at: The value of the axis where that is; null where the variance is 0.
        decomposition_error: Largest |bias^2 + variance - error| over all values, where the error is one less
            the mean test accuracy of the trials; about 0.
        reason: Why numbers are null.
    """

    first_bias: float
    last_bias: float
    first_variance: float
    last_variance: float
    greatest_variance: float
    greatest_variance_at: float | None
    decomposition_error: float
    reason: str | None = None


@phenomenon
def zero_one_bias_variance(along: str) -> SweepPhenomenon:
    """How do bias^2 and variance, the two parts of the share of wrong answers, change along an axis?

    The sweep needs a classification with one output a class, two seeds or more at every value, the same test
    set for all of them, and `record.predictions`.

    Args:
        along: The axis of the sweep that the curves run along, such as `model.width`; its values are numbers.

    Reference:
        Kohavi & Wolpert 1996, named in lecture 000.
    """
    return SweepPhenomenon(
        result=ZeroOneBiasVariance,
        detect=lambda sweep: detect(sweep, along),
        figures={"zero_one_bias_variance": lambda sweeps: parts_by_axis(sweeps, along)},
        axis=along,
        needs_predictions=True,
    )


def detect(sweep: SweepView, along: str) -> ZeroOneBiasVariance:
    """The detector's numbers. Raises InvalidValue, see `decompose`."""
    curves = decompose(sweep, along)
    if len(curves) < MINIMUM_POINTS:
        raise InvalidValue(f"a curve over '{along}' needs three points or more; there are {len(curves)}")
    bias, variance = curves["bias_squared"].to_numpy(), curves["variance"].to_numpy()
    peak = int(variance.argmax())
    difference = (curves["bias_squared"] + curves["variance"] - curves["test_error"]).abs()
    return ZeroOneBiasVariance(
        first_bias=float(bias[0]),
        last_bias=float(bias[-1]),
        first_variance=float(variance[0]),
        last_variance=float(variance[-1]),
        greatest_variance=float(variance[peak]),
        greatest_variance_at=float(curves.index[peak]) if variance[peak] > 0 else None,
        decomposition_error=float(difference.max()),
        reason=None if variance[peak] > 0 else "all seeds give the same answers everywhere",
    )


def decompose(sweep: SweepView, along: str) -> pandas.DataFrame:
    """The parts of the error at each value of an axis.

    Returns:
        The columns bias_squared, variance, error and test_error, the trials' own; a row per value, ascending.

    Raises:
        InvalidValue: There are no test predictions of classes or fewer than two seeds, or the test set
            changes with the seed.
    """
    name, axis = "zero_one_bias_variance", sweep_column(sweep, along)
    accuracy = "final.test_accuracy"
    if accuracy not in sweep.completed_trials:
        raise InvalidValue(f"{name} is of a classification, and the trials have no test accuracy")
    refuse_non_numeric(sweep.completed_trials, (axis, accuracy))
    table = read_test_predictions(sweep, name)
    if table["output"].nunique() < 2:
        raise InvalidValue(f"{name} needs an output for each class; take the loss cross_entropy")
    if (table.groupby([axis, "example", "output"])["target"].nunique() > 1).any():
        raise InvalidValue(
            f"{name} needs one test set for all seeds, and here it changes with the seed; give data.split one"
        )
    rows: dict[float, tuple[float, float, float]] = {}
    for value in table[axis].unique().tolist():
        trials = table[table[axis] == value]
        seeds = trials["seed"].nunique()
        if seeds < 2:
            raise InvalidValue(f"{name} needs two seeds or more at every value; at {value:g} there is one")
        rows[value] = _parts(trials, seeds)
    curves = _frame(rows)
    error = 1 - sweep.completed_trials.groupby(axis)[accuracy].mean()
    return curves.assign(test_error=error)


def _parts(trials: pandas.DataFrame, seeds: int) -> tuple[float, float, float]:
    """bias^2, variance and error of the trials at one value."""
    outputs = trials.pivot(index=["seed", "example"], columns="output", values="prediction")
    targets = trials.pivot(index=["seed", "example"], columns="output", values="target")
    classes = outputs.shape[1]
    shape = (seeds, -1, classes)
    answers = outputs.to_numpy(float).reshape(shape).argmax(-1)
    labels = targets.to_numpy(float).reshape(shape)[0].argmax(-1)
    shares = (answers[..., None] == np.arange(classes)).mean(0)  # p(y), [examples, classes]
    truth = labels[:, None] == np.arange(classes)
    bias = 0.5 * np.square(truth - shares).sum(1).mean()
    variance = 0.5 * (1 - np.square(shares).sum(1)).mean()
    return float(bias), float(variance), float((1 - shares[truth]).mean())


def _frame(rows: dict[float, tuple[float, float, float]]) -> pandas.DataFrame:
    import pandas

    columns = [column for column, *_ in CURVES]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=columns).sort_index()


def parts_by_axis(sweeps: Sequence[SweepView], along: str) -> Figure:
    """Bias^2, variance and their sum, the error, along the axis; one panel a sweep."""

    def draw(ax: Axes, sweep: SweepView) -> str:
        curves = decompose(sweep, along)
        for column, label, style, colour in CURVES:
            ax.plot(
                curves.index, 100 * curves[column], style, marker="o", markersize=3, color=colour, label=label
            )
        plotting.capacity_axis(ax, name_in_words(along))
        ax.set_ylabel("test examples, %")
        return f"{sweep.label}: {_finding(detect(sweep, along))}"

    figure, axes = plotting.panel_per_result(sweeps, draw, sharey=True)
    axes[0].set_ylim(0, None)
    plotting.legend_below(figure, axes[0])
    return figure


def _finding(numbers: ZeroOneBiasVariance) -> str:
    bias, variance = (
        f"{100 * first:.2g} to {100 * last:.2g} %"
        for first, last in (
            (numbers.first_bias, numbers.last_bias),
            (numbers.first_variance, numbers.last_variance),
        )
    )
    return f"bias² goes from {bias}, the variance from {variance}"
