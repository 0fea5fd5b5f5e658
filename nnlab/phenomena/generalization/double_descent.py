"""Double descent: a test error that falls, rises up to where the data are fitted, and falls again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon
from nnlab.phenomena.generalization import double_descent_figures as figures
from nnlab.phenomena.generalization.capacity_curve import (
    CapacityCurve,
    Metric,
    Statistic,
    read_capacity_curve,
)
from nnlab.registry import NonNegative

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINIMUM_RISE_SHARE = 0.05  # of the classical minimum: a lower bump is no peak
MINIMUM_RISE_STANDARD_ERRORS = 2.0  # over seeds
RISING_QUANTILE = 0.25  # of the seeds' rises, which must be above 0 for a peak of medians

Verdict = Literal["double descent", "peak", "none"]


class DoubleDescent(NamedTuple):
    """The test curve over capacity: its threshold, its minima and its peak.

    Errors are shares from 0 to 1, losses means per example, capacities in the unit of the sweep's axis.

    Attributes:
        metric: `error` or `loss`, the metric of the curve.
        statistic: `mean` or `median`, over the seeds at each capacity.
        epsilon: The train metric at which the data count as fitted.
        threshold: Interpolation threshold, the first capacity whose train metric is epsilon or less (the
            last, for a number of examples); null if the data are never fitted.
        classical_minimum: Lowest test metric before the peak, or of the curve if it has no peak.
        classical_capacity: Its capacity.
        peak: Test metric of the inner point that rises highest above the lowest points on both of its sides;
            null if no point rises.
        peak_capacity: Its capacity.
        second_minimum: Lowest test metric beyond the peak; null without a peak.
        second_capacity: Its capacity.
        rise: peak - classical_minimum; 0 without a peak.
        prominence: The peak above the higher of the two minima; 0 without a peak.
        second_descent: classical_minimum - second_minimum, positive where the curve ends lower; null without
            a peak.
        peak_at_threshold: Whether there is a peak that stands out, at most one capacity of the sweep away
            from the threshold.
        verdict: `double descent`, `peak` or `none`, see `double_descent`.
        reason: Why numbers are null.
    """

    metric: Metric
    statistic: Statistic
    epsilon: float
    threshold: float | None
    classical_minimum: float
    classical_capacity: float
    peak: float | None
    peak_capacity: float | None
    second_minimum: float | None
    second_capacity: float | None
    rise: float
    prominence: float
    second_descent: float | None
    peak_at_threshold: bool
    verdict: Verdict
    reason: str | None = None


@phenomenon
def double_descent(
    capacity: str,
    metric: Metric | None = None,
    epsilon: NonNegative = 0.1,
    statistic: Statistic = "mean",
) -> SweepPhenomenon:
    """Does the test error peak where the training data are just fitted, and fall again beyond?

    A peak stands above the lowest points on both of its sides by at least 5 % of the classical minimum, and
    by more than twice the standard error over seeds (for medians: in three quarters of the seeds).

    Verdicts:
        double descent: The curve has a peak, and falls below its classical minimum beyond it.
        peak: The curve has a peak, and does not fall so far beyond it.
        none: The curve has no peak.

    Args:
        capacity: The axis that the curve runs along: a width or degree, a number of examples (an axis of
            `data`), or `epochs`, the records of each run.
        metric: `error` or `loss` of the test set (of the validation set where there is none); null is the
            error of a classification and the loss of everything else.
        epsilon: The train metric, 0 or more, at which the data count as fitted; 0.1 is the value of Nakkiran
            et al. With label noise, use the share of wrong labels.
        statistic: `mean` or `median` over the seeds at each capacity.

    Reference:
        Belkin et al. 2019; Nakkiran et al. 2019 (by width, epochs and examples); Schaeffer et al. 2023;
        lectures 000 and 001.
    """

    def detect_in(sweep: SweepView) -> DoubleDescent:
        return detect(read_capacity_curve(sweep, capacity, metric), epsilon, statistic)

    def curves_by_capacity(sweeps: Sequence[SweepView]) -> Figure:
        return figures.curves_by_capacity(sweeps, capacity, [detect_in(sweep) for sweep in sweeps])

    return SweepPhenomenon(
        result=DoubleDescent,
        detect=detect_in,
        figures={
            "double_descent": curves_by_capacity,
            "epochs_by_capacity": lambda sweeps: figures.epochs_by_capacity(sweeps, capacity, metric),
            "fitted_functions": lambda sweeps: figures.fitted_functions(
                sweeps, capacity, detect_in(sweeps[0])
            ),
        },
        axis=capacity,
    )


def detect(curve: CapacityCurve, epsilon: float, statistic: Statistic) -> DoubleDescent:
    """Find the threshold, the peak and the minima of a curve, see `DoubleDescent`."""
    capacities = curve.capacities
    train, test = curve.over_seeds(statistic)
    threshold = _threshold(train, epsilon, curve.counts_examples)
    lowest = int(np.nanargmin(test))
    unfitted = [] if threshold is not None else [f"no train {curve.metric} is {epsilon:g} or less"]
    without_peak = DoubleDescent(
        metric=curve.metric,
        statistic=statistic,
        epsilon=epsilon,
        threshold=None if threshold is None else float(capacities[threshold]),
        classical_minimum=float(test[lowest]),
        classical_capacity=float(capacities[lowest]),
        peak=None,
        peak_capacity=None,
        second_minimum=None,
        second_capacity=None,
        rise=0.0,
        prominence=0.0,
        second_descent=None,
        peak_at_threshold=False,
        verdict="none",
        reason="; ".join([*unfitted, "no inner point rises above both sides"]),
    )
    peak = _most_prominent_point(test)
    if peak is None:
        return without_peak
    left, right = int(np.nanargmin(test[:peak])), peak + 1 + int(np.nanargmin(test[peak + 1 :]))
    stands_out = all(
        _rise_is_significant(curve.test[:, peak] - curve.test[:, foot], test[left], statistic)
        for foot in (left, right)
    )
    second_descent = float(test[left] - test[right])
    verdict: Verdict = "none"
    if stands_out:
        verdict = "double descent" if second_descent > 0 else "peak"
    return without_peak._replace(
        classical_minimum=float(test[left]),
        classical_capacity=float(capacities[left]),
        peak=float(test[peak]),
        peak_capacity=float(capacities[peak]),
        second_minimum=float(test[right]),
        second_capacity=float(capacities[right]),
        rise=float(test[peak] - test[left]),
        prominence=float(test[peak] - max(test[left], test[right])),
        second_descent=second_descent,
        peak_at_threshold=stands_out and threshold is not None and abs(peak - threshold) <= 1,
        verdict=verdict,
        reason="; ".join(unfitted) or None,
    )


def _threshold(train: np.ndarray, epsilon: float, counts_examples: bool) -> int | None:
    """The index of the interpolation threshold among the capacities."""
    fitted = np.flatnonzero(train <= epsilon)
    if not fitted.size:
        return None
    return int(fitted[-1] if counts_examples else fitted[0])


def _most_prominent_point(values: np.ndarray) -> int | None:
    """The index of the inner point that rises highest above the lowest ones on both sides, if any rises."""
    heights = [
        values[i] - max(np.nanmin(values[:i]), np.nanmin(values[i + 1 :])) for i in range(1, len(values) - 1)
    ]
    highest = int(np.nanargmax(heights))
    return highest + 1 if heights[highest] > 0 else None


def _rise_is_significant(rises: np.ndarray, classical_minimum: float, statistic: Statistic) -> bool:
    """Whether the rises of the seeds exceed a bump, and what chance would produce."""
    rises = rises[np.isfinite(rises)]
    if not rises.size:
        return False
    minimum_rise = MINIMUM_RISE_SHARE * classical_minimum
    if statistic == "median":
        return bool(np.median(rises) >= minimum_rise and np.quantile(rises, RISING_QUANTILE) > 0)
    standard_error = rises.std(ddof=1) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
    beyond_chance = rises.mean() > MINIMUM_RISE_STANDARD_ERRORS * standard_error
    return bool(rises.mean() >= minimum_rise and beyond_chance)
