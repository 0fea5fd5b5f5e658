"""Bias and variance: how wrong a model is on average, and how much it depends on its training examples.

The seeds of a sweep stand for resampled training sets. `f_s` is the function that was learned with seed `s`.
At a test example `x` with target `y`, averaged over examples and outputs:

    bias^2   = (mean_s f_s(x) - y)^2
    variance = mean_s (f_s(x) - mean_s f_s(x))^2
    risk     = mean_s (f_s(x) - y)^2 = bias^2 + variance

Noise in `y` counts as bias^2. Everything that a seed draws adds to the variance: first weights and random
features as well as examples. The mean over S seeds is itself uncertain, which adds about variance / S to
bias^2, most of it at the interpolation threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.examples import read_test_predictions
from nnlab.phenomena.generalization.capacity_curve import MINIMUM_POINTS
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARP_PEAK_SHARE = 0.1  # of its peak, which the variance must fall below at both ends
CURVES = (  # column, label, line style, colour; the risk is the test error
    ("bias_squared", "bias²", "-", plotting.COLOURS[3]),
    ("variance", "variance", "--", plotting.COLOURS[4]),
    ("risk", "risk, their sum", "-", plotting.SPLIT_COLOURS["test"]),
)


class BiasVariance(NamedTuple):
    """The decomposed test error over capacity, in squared units of the targets.

    At the interpolation threshold the means are over heavy tails, so that the peak's height depends on the
    seeds.

    Attributes:
        variance_peak: Largest variance over all capacities, 0 or more.
        variance_peak_capacity: Its capacity, in the unit of the axis; null where the variance is 0.
        variance_peaks_sharply: Whether the variance at the smallest and at the largest capacity is below a
            tenth of the peak.
        bias_falls: Whether bias^2 is lower at the largest capacity than at the smallest.
        decomposition_error: Largest |bias^2 + variance - risk| / risk over all capacities, where the risk is
            the mean test loss of the trials; about 0 for the loss squared_error.
        reason: Why numbers are null.
    """

    variance_peak: float
    variance_peak_capacity: float | None
    variance_peaks_sharply: bool
    bias_falls: bool
    decomposition_error: float
    reason: str | None = None


@phenomenon
def bias_variance(capacity: str) -> SweepPhenomenon:
    """How do bias^2 and variance, the two parts of the test error, change with capacity?

    The variance may rise and then fall. The sweep needs two seeds or more, each with its own training set,
    the same test set for all of them, `record.predictions` and the loss squared_error.

    Args:
        capacity: The axis of the sweep that the curves run along, such as `model.0.units`.

    Reference:
        Geman et al. 1992; for wide models, Neal et al. 2018.
    """
    return SweepPhenomenon(
        result=BiasVariance,
        detect=lambda sweep: detect(sweep, capacity),
        figures={"bias_variance": lambda sweeps: decomposition_by_capacity(sweeps, capacity)},
        axis=capacity,
        needs_predictions=True,
    )


def detect(sweep: SweepView, capacity: str) -> BiasVariance:
    """The detector's numbers. Raises InvalidValue, see `decompose`."""
    curves = decompose(sweep, capacity)
    if len(curves) < MINIMUM_POINTS:
        raise InvalidValue(f"a curve over '{capacity}' needs three points or more; there are {len(curves)}")
    variance, bias = curves["variance"].to_numpy(), curves["bias_squared"].to_numpy()
    peak = int(variance.argmax())
    difference = (curves["bias_squared"] + curves["variance"] - curves["test_loss"]).abs()
    return BiasVariance(
        variance_peak=float(variance[peak]),
        variance_peak_capacity=curves.index[peak].item() if variance[peak] > 0 else None,
        variance_peaks_sharply=bool(max(variance[0], variance[-1]) < SHARP_PEAK_SHARE * variance[peak]),
        bias_falls=bool(bias[-1] < bias[0]),
        decomposition_error=float((difference / curves["test_loss"]).max()),
        reason=None if variance[peak] > 0 else "the variance is 0 at every capacity",
    )


def decompose(sweep: SweepView, capacity: str) -> pandas.DataFrame:
    """Decompose the test error at each capacity of a sweep.

    Returns:
        The columns bias_squared, variance, risk and test_loss; one row per capacity, ascending.

    Raises:
        InvalidValue: There are no test predictions or fewer than two seeds, or the test set changes with
            the seed.
    """
    axis = sweep_column(sweep, capacity)
    refuse_non_numeric(sweep.completed_trials, (axis, "final.test_loss"))
    table = read_test_predictions(sweep, "bias_variance")
    by_output = table.groupby([axis, "example", "output"])
    targets = by_output["target"]
    if (targets.min() < targets.max()).any():
        raise InvalidValue(
            "bias_variance needs one test set for all seeds, and here it changes with the seed; take data "
            "with test examples of their own, such as linear_teacher or wave"
        )
    if by_output["seed"].nunique().min() < 2:
        raise InvalidValue("bias_variance needs two seeds or more at every capacity")
    mean = by_output["prediction"].transform("mean")
    squares = table.assign(
        bias_squared=(mean - table["target"]) ** 2,
        variance=(table["prediction"] - mean) ** 2,
        risk=(table["prediction"] - table["target"]) ** 2,
    )
    curves = squares.groupby(axis)[["bias_squared", "variance", "risk"]].mean()
    return curves.assign(test_loss=sweep.completed_trials.groupby(axis)["final.test_loss"].mean())


def decomposition_by_capacity(sweeps: Sequence[SweepView], capacity: str) -> Figure:
    """Bias^2, variance and their sum, the risk, by capacity; one panel per sweep."""

    def draw(ax: Axes, sweep: SweepView) -> str:
        curves = decompose(sweep, capacity)
        for column, label, style, colour in CURVES:
            positive = curves[column].where(curves[column] > 0)
            ax.plot(curves.index, positive, style, marker="o", markersize=3, color=colour, label=label)
        plotting.capacity_axis(ax, name_in_words(capacity))
        plotting.log_axis(ax)
        ax.set_ylabel("mean squared error of test examples")
        return f"{sweep.label}: {_finding(detect(sweep, capacity), name_in_words(capacity))}"

    figure, axes = plotting.panel_per_result(sweeps, draw, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def _finding(numbers: BiasVariance, capacity: str) -> str:
    bias = "bias falls" if numbers.bias_falls else "bias does not fall"
    if not numbers.variance_peaks_sharply:
        return f"{bias}, variance has no sharp peak"
    height = plotting.scientific(numbers.variance_peak)
    return f"{bias}, variance peaks with {height} at {capacity} = {numbers.variance_peak_capacity:g}"
