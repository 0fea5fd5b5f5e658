"""Bias and variance of trained nets, and how much of the variance is of the first weights.

D training samples are drawn, and on each nets are trained from W first weights; `f_dw` is the function that
was learned. At a test example `x` with target `y`, averaged over examples and outputs:

    bias^2   = (mean_dw f_dw(x) - y)^2
    variance = mean_dw (f_dw(x) - mean_dw f_dw(x))^2
             = mean_d variance_w f_dw(x)  +  variance_d mean_w f_dw(x)

by the law of total variance. The first part is that of the first weights, the second that of the sample.
The mean over few first weights varies itself, by 1 / W of the first part; so that part is taken W / (W - 1)
times, as unbiased variances are, and the sample has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.examples import read_test_predictions
from nnlab.phenomena.generalization.bias_variance import CURVES
from nnlab.phenomena.generalization.capacity_curve import MINIMUM_POINTS
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_WIDEST_SHARE = 0.6  # of its peak, which the variance falls to at the largest capacity
MAXIMUM_BIAS_SHARE = 0.4  # of bias^2 at the smallest capacity, which it falls to
SOURCES = (  # column, label, line style, colour
    ("first_weights", "variance of the first weights", ":", plotting.COLOURS[4]),
    ("sample", "variance of the training sample", "-.", plotting.COLOURS[4]),
)

Verdict = Literal["rises and falls", "none"]


class VarianceSources(NamedTuple):
    """The decomposed test error of trained nets over capacity, in squared units of the targets.

    Attributes:
        variance_peak: Largest variance over all capacities, 0 or more.
        variance_peak_capacity: Its capacity, in the unit of the axis.
        variance_at_largest: Variance at the largest capacity, as a share of the peak, 0 to 1.
        lowest_bias: Lowest bias^2, as a share of that at the smallest capacity.
        first_weights_share_at_peak: Share of the variance, 0 to 1, that is of the first weights, at the peak.
        first_weights_share: The same at the largest capacity.
        decomposition_error: Largest |bias^2 + variance - risk| / risk over all capacities.
        verdict: `rises and falls` or `none`, see `variance_sources`.
    """

    variance_peak: float
    variance_peak_capacity: float
    variance_at_largest: float
    lowest_bias: float
    first_weights_share_at_peak: float
    first_weights_share: float
    decomposition_error: float
    verdict: Verdict


@phenomenon
def variance_sources(capacity: str, sample: str = "data.split.sample") -> SweepPhenomenon:
    """Does the variance of trained nets fall with capacity, and is it of the first weights or of the sample?

    The sweep runs through capacities, training samples and seeds: `data.split.sample` draws the sample,
    `seed` the first weights, and `data.split.seed` keeps the test set. It needs two samples and two seeds
    or more, `record.predictions`, and the loss squared_error.

    Verdicts:
        rises and falls: The variance peaks between the smallest and the largest capacity and falls to 0.6 of
            the peak or less at the largest; bias^2 falls to 0.4 or less of that at the smallest.
        none: One of these is not so.

    Args:
        capacity: The axis that the curves run along, such as `model.0.units`.
        sample: The axis that draws the training sample.

    Reference:
        Neal et al. 2018, A modern take on the bias-variance tradeoff in neural networks; lecture 000.
    """

    def draw(ax: Axes, sweep: SweepView) -> str:
        return _draw(ax, sweep, capacity, sample)

    def curves_by_capacity(sweeps: Sequence[SweepView]) -> Figure:
        figure, axes = plotting.panel_per_result(sweeps, draw, sharey=True)
        plotting.legend_below(figure, axes[0], columns=3)
        return figure

    return SweepPhenomenon(
        result=VarianceSources,
        detect=lambda sweep: detect(decompose(sweep, capacity, sample)),
        figures={"variance_sources": curves_by_capacity},
        axis=capacity,
        other_axes=(sample,),
        needs_predictions=True,
    )


def detect(curves: pandas.DataFrame) -> VarianceSources:
    """The detector's numbers, of the curves of `decompose`. Raises InvalidValue without variance."""
    if len(curves) < MINIMUM_POINTS:
        raise InvalidValue(f"a curve over capacity needs three points or more; there are {len(curves)}")
    variance, bias = curves["variance"].to_numpy(), curves["bias_squared"].to_numpy()
    peak = int(variance.argmax())
    if not variance[peak] > 0 or not bias[0] > 0:
        raise InvalidValue("there is no variance" if bias[0] > 0 else "there is no bias to fall")
    shares = (curves["first_weights"] / curves["variance"]).to_numpy()
    difference = (curves["bias_squared"] + curves["variance"] - curves["risk"]).abs()
    numbers = VarianceSources(
        variance_peak=float(variance[peak]),
        variance_peak_capacity=float(curves.index[peak]),
        variance_at_largest=float(variance[-1] / variance[peak]),
        lowest_bias=float(bias.min() / bias[0]),
        first_weights_share_at_peak=float(shares[peak]),
        first_weights_share=float(shares[-1]),
        decomposition_error=float((difference / curves["risk"]).max()),
        verdict="none",
    )
    is_inside = 0 < peak < len(curves) - 1
    falls = numbers.variance_at_largest <= MAXIMUM_WIDEST_SHARE and numbers.lowest_bias <= MAXIMUM_BIAS_SHARE
    return numbers._replace(verdict="rises and falls") if is_inside and falls else numbers


def decompose(sweep: SweepView, capacity: str, sample: str) -> pandas.DataFrame:
    """Decompose the test error at each capacity of a sweep.

    Returns:
        The columns bias_squared, variance, first_weights and sample, which are the parts of the variance, and
        risk, the mean test loss of the trials; one row per capacity, ascending.

    Raises:
        InvalidValue: There are no test predictions, fewer than two samples or seeds at a capacity, or the
            test set changes from run to run.
    """
    axis, draw = sweep_column(sweep, capacity), sweep_column(sweep, sample)
    refuse_non_numeric(sweep.completed_trials, (axis, draw, "seed", "final.test_loss"))
    table = read_test_predictions(sweep, "variance_sources")
    outputs = table.groupby([axis, "example", "output"])
    if (outputs["target"].min() < outputs["target"].max()).any():
        raise InvalidValue(
            "variance_sources needs one test set for all runs, and here it changes; give data.split.seed, "
            f"and vary {sample}"
        )
    trials = sweep.completed_trials.groupby([axis, draw])["seed"].nunique()
    if trials.groupby(level=0).size().min() < 2 or trials.min() < 2:
        raise InvalidValue("variance_sources needs two samples, and two seeds of each, at every capacity")
    by_sample = table.groupby([axis, "example", "output", draw])["prediction"]
    within = by_sample.var(ddof=0).groupby(level=0).mean()
    correction = 1 / (1 - 1 / trials.groupby(level=0).mean())
    bias = (outputs["prediction"].mean() - outputs["target"].first()) ** 2
    curves = outputs["prediction"].var(ddof=0).groupby(level=0).mean().to_frame("variance")
    first_weights = np.minimum(within * correction, curves["variance"])
    return curves.assign(
        bias_squared=bias.groupby(level=0).mean(),
        first_weights=first_weights,
        sample=curves["variance"] - first_weights,
        risk=sweep.completed_trials.groupby(axis)["final.test_loss"].mean(),
    )


def _draw(ax: Axes, sweep: SweepView, capacity: str, sample: str) -> str:
    """Draw bias^2, risk, variance and its parts by capacity; returns the panel's title."""
    curves = decompose(sweep, capacity, sample)
    for column, label, style, colour in (*CURVES, *SOURCES):
        positive = curves[column].where(curves[column] > 0)
        ax.plot(curves.index, positive, style, marker="o", markersize=3, color=colour, label=label)
    plotting.capacity_axis(ax, name_in_words(capacity))
    plotting.log_axis(ax)
    ax.set_ylabel("mean squared error of test examples")
    numbers = detect(curves)
    shape = "rises and falls" if numbers.verdict != "none" else "does not rise and fall"
    largest = f"at {name_in_words(capacity)} = {curves.index[-1]:g}"
    share = f"{100 * numbers.first_weights_share:.0f} % of it is of the first weights"
    return f"{sweep.label}: variance {shape}; {largest}, {share}"
