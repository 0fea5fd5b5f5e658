"""Double descent: a test error that falls, rises up to where the data are fitted, and falls again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

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
PEAK_NUMBERS = ("first_peak_capacity", "first_peak_over_dip", "last_peak_capacity", "last_peak_over_dip")

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
        peaks: How many points stand out, each above the lowest points between it and the next.
        descents: How many falls stand out: one after each peak, and one before the first where there is one.
        first_peak_capacity: Capacity of the first of these peaks; null where none stands out.
        first_peak_over_dip: Its test metric, over the lowest one from there to the next peak or the end.
        last_peak_capacity: Capacity of the last of these peaks, which may be the first; null where none is.
        last_peak_over_dip: Its test metric, over the lowest one between it and the peak before, or the start.
        largest_rise: The largest share by which the curve rises anywhere above an earlier point, from 0.
        capacity: The axis of the curve.
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
    peaks: int
    descents: int
    first_peak_capacity: float | None
    first_peak_over_dip: float | None
    last_peak_capacity: float | None
    last_peak_over_dip: float | None
    largest_rise: float
    capacity: str
    verdict: Verdict
    reason: str | None = None


@phenomenon
def double_descent(
    capacity: str,
    metric: Metric | None = None,
    epsilon: NonNegative = 0.1,
    statistic: Statistic = "mean",
    best_over: str | None = None,
) -> SweepPhenomenon:
    """Does the test error peak where the training data are just fitted, and fall again beyond?

    A peak stands above the lowest points on both of its sides by at least 5 % of the classical minimum, and
    by more than twice the standard error over seeds (for medians: in three quarters of the seeds). There may
    be several: the numbers are those of the one that stands out most, and of the first and the last.

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
        best_over: Another axis of numbers, such as `solver.ridge`, of which the curve takes at each capacity
            the value with the lowest test metric over the seeds (as Nakkiran et al. 2020 do; no validation).

    Reference:
        Belkin et al. 2019; Nakkiran et al. 2019 (by width, epochs and examples) and 2020 (best penalty);
        d'Ascoli et al. 2020 (two peaks); Schaeffer et al. 2023; lectures 000 and 001.
    """

    def detect_in(sweep: SweepView) -> DoubleDescent:
        return detect(read_capacity_curve(sweep, capacity, metric, statistic), epsilon, statistic)

    def curves_by_capacity(sweeps: Sequence[SweepView]) -> Figure:
        detected = [_detect_as_recorded(sweep, capacity) or detect_in(sweep) for sweep in sweeps]
        return figures.curves_by_capacity(sweeps, detected)

    maps = {
        "epochs_by_capacity": lambda sweeps: figures.epochs_by_capacity(sweeps, capacity, metric),
        "fitted_functions": lambda sweeps: figures.fitted_functions(sweeps, capacity, detect_in(sweeps[0])),
    }
    return SweepPhenomenon(
        result=DoubleDescent,
        detect=detect_in,
        figures={"double_descent": curves_by_capacity} | ({} if best_over else maps),
        axis=capacity,
        other_axes=() if best_over is None else (best_over,),
    )


def _detect_as_recorded(sweep: SweepView, capacity: str) -> DoubleDescent | None:
    """What is detected in a sweep along another capacity, which its summary names; else None."""
    numbers = sweep.summary.get("double_descent")
    if not isinstance(numbers, dict) or numbers.get("capacity") in (None, capacity):
        return None
    curve = read_capacity_curve(sweep, numbers["capacity"], numbers["metric"], numbers["statistic"])
    return detect(curve, numbers["epsilon"], numbers["statistic"])


def detect(curve: CapacityCurve, epsilon: float, statistic: Statistic) -> DoubleDescent:
    """Find the threshold, the peak and the minima of a curve, see `DoubleDescent`."""
    capacities = curve.capacities
    train, test = curve.over_seeds(statistic)
    threshold = _threshold(train, epsilon, curve.counts_examples)
    lowest = int(np.nanargmin(test))
    unfitted = [] if threshold is not None else [f"no train {curve.metric} is {epsilon:g} or less"]
    descents = _find_descents(curve, test, statistic)
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
        capacity=curve.capacity,
        verdict="none",
        **descents,
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
        reason="; ".join([*unfitted, *([] if descents["peaks"] else ["no peak stands out"])]) or None,
    )


def _find_descents(curve: CapacityCurve, test: np.ndarray, statistic: Statistic) -> dict[str, Any]:
    """The numbers of all peaks that stand out, of the falls around them, and of the largest rise."""
    finite = np.flatnonzero(np.isfinite(test))
    test, seeds, capacities = test[finite], curve.test[:, finite], curve.capacities[finite]

    def rises(foot: int, top: int, lower: float) -> bool:
        return _rise_is_significant(seeds[:, top] - seeds[:, foot], lower, statistic)

    def peaks_between(first: int, last: int) -> list[int]:
        inner = _most_prominent_point(test[first : last + 1]) if last - first > 1 else None
        if inner is None:
            return []
        peak = first + inner
        feet = (first + int(test[first:peak].argmin()), peak + 1 + int(test[peak + 1 : last + 1].argmin()))
        lower = min(test[foot] for foot in feet)
        if not all(rises(foot, peak, lower) for foot in feet):
            return []
        return [*peaks_between(first, peak), peak, *peaks_between(peak, last)]

    peaks = peaks_between(0, len(test) - 1)
    bounds = [0, *peaks, len(test) - 1]
    foot = int(test[: bounds[1] + 1].argmin())
    numbers = {
        "peaks": len(peaks),
        "descents": len(peaks) + rises(foot, 0, test[foot]),
        "largest_rise": float((test / np.minimum.accumulate(test)).max() - 1.0),
    }
    if not peaks:
        return numbers | dict.fromkeys(PEAK_NUMBERS)
    first, last = peaks[0], peaks[-1]
    dips = test[first : bounds[2] + 1].min(), test[bounds[-3] : last].min()
    values = (capacities[first], test[first] / dips[0], capacities[last], test[last] / dips[1])
    return numbers | dict(zip(PEAK_NUMBERS, map(float, values), strict=True))


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
