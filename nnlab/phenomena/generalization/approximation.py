"""Approximation: how the error falls along the size of a net, as a power of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    finished_trials,
    phenomenon,
    refuse_non_numeric,
    sweep_column,
)
from nnlab.registry import Positive
from nnlab.text import name_in_words, suggestion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_POINTS = 3
MINIMUM_FALL = 10.0  # from the first point to the last, of an error that falls
MAXIMUM_RISE = 3.0  # above the least error at a smaller size, of one that falls throughout: seeds scatter


class Approximation(NamedTuple):
    """Errors are medians over the seeds.

    Attributes:
        first_error: At the smallest size, 0 or more.
        last_error: At the largest.
        exponent: Slope of log error over log size, by least squares; below 0 where the error falls. Null
            where an error is 0.
        falls: Whether the error falls tenfold from the smallest size to the largest, and is nowhere above
            three times what a smaller size has.
        reached_at: The smallest size from which on all errors are at the level or below; null where that of
            the largest is above it.
        reason: Why numbers are null.
    """

    first_error: float
    last_error: float
    exponent: float | None
    falls: bool
    reached_at: float | None
    reason: str | None = None


class ErrorBySize(NamedTuple):
    """The error of every trial along a size; P sizes.

    Attributes:
        sizes: `[P]`, ascending, above 0.
        errors: `[P]`, medians over the seeds; infinite where the median seed diverges.
        trials: `[trials, 2]`, size and error of each.
    """

    sizes: np.ndarray
    errors: np.ndarray
    trials: np.ndarray


@phenomenon
def approximation(along: str, level: Positive, metric: str = "final.test_loss") -> SweepPhenomenon:
    """Does a net come as close as one likes to a function, once it is large enough?

    Take a function without noise, such as `wave`, so that the error has no floor.

    Args:
        along: The axis of the sweep that is the net's size, such as `model.0.units`, of numbers above 0.
        level: The error that is to be reached.
        metric: The error, a number of each trial's summary that is 0 where the function is met.

    Reference:
        Cybenko 1989; Hornik et al. 1989; for the rate, Barron 1993 (a squared error of 1 / size, whatever the
        dimension).
    """
    if along == "epochs":
        raise InvalidValue("'epochs' is no axis of a sweep", ("along",))
    return SweepPhenomenon(
        result=Approximation,
        detect=lambda sweep: detect(read_errors(sweep, along, metric), level),
        figures={"approximation": lambda sweeps: errors_by_size(sweeps, along, level, metric)},
        axis=along,
    )


def read_errors(sweep: SweepView, along: str, metric: str) -> ErrorBySize:
    """The errors of the finished trials. Raises InvalidValue where they make no curve."""
    trials, column = finished_trials(sweep), sweep_column(sweep, along)
    if metric not in trials:
        known = [str(name) for name in trials if trials[name].dtype.kind == "f"]
        raise InvalidValue(f"the trials have no number '{metric}'{suggestion(metric, known)}")
    refuse_non_numeric(trials, [column, metric])
    positions = trials[column].to_numpy(float)
    errors = trials[metric].where(trials["status"] == "complete").fillna(np.inf).to_numpy(float)
    sizes = np.unique(positions)
    if len(sizes) < MINIMUM_POINTS or sizes[0] <= 0:
        raise InvalidValue(f"a power of '{along}' needs {MINIMUM_POINTS} sizes or more, all above 0")
    medians = np.array([np.median(errors[positions == size]) for size in sizes])
    if not np.isfinite(medians).all():
        raise InvalidValue(f"at {along} = {sizes[~np.isfinite(medians)][0]:g} the median trial diverges")
    if medians.min() < 0:
        raise InvalidValue(f"'{metric}' is below 0, and no error")
    return ErrorBySize(sizes, medians, np.stack([positions, errors], axis=1))


def fit_power(curve: ErrorBySize) -> tuple[float, float]:
    """Factor and exponent of error = factor * size^exponent, by least squares of the logarithms."""
    exponent, offset = np.polyfit(np.log(curve.sizes), np.log(curve.errors), 1)
    return float(np.exp(offset)), float(exponent)


def detect(curve: ErrorBySize, level: float) -> Approximation:
    """The numbers of a curve."""
    errors = curve.errors
    above = np.flatnonzero(errors > level)
    first_below = above[-1] + 1 if above.size else 0
    is_reached = first_below < len(errors)
    has_power = bool(errors.min() > 0)
    reasons = [] if is_reached else [f"the error does not come to {level:g}"]
    if not has_power:
        reasons.append("an error of 0 has no logarithm")
    least_before = np.minimum.accumulate(errors)[:-1]
    falls = errors[-1] * MINIMUM_FALL <= errors[0] and (errors[1:] <= MAXIMUM_RISE * least_before).all()
    return Approximation(
        first_error=float(errors[0]),
        last_error=float(errors[-1]),
        exponent=fit_power(curve)[1] if has_power else None,
        falls=bool(falls and errors[0] > 0),
        reached_at=float(curve.sizes[first_below]) if is_reached else None,
        reason="; ".join(reasons) or None,
    )


def errors_by_size(sweeps: Sequence[SweepView], along: str, level: float, metric: str) -> Figure:
    """The error of each seed and their median by size, with its power and the level; one panel a sweep."""

    def draw(ax: Axes, sweep: SweepView) -> str:
        curve = read_errors(sweep, along, metric)
        numbers = detect(curve, level)
        colour, shown = plotting.SPLIT_COLOURS["test"], np.where(curve.errors > 0, curve.errors, np.nan)
        sizes, errors = curve.trials.T
        ax.plot(sizes, np.where(errors > 0, errors, np.nan), "o", markersize=3, alpha=0.6, color=colour)
        ax.plot(curve.sizes, shown, color=colour, label="median over seeds")
        if numbers.exponent is not None:
            factor, exponent = fit_power(curve)
            ax.plot(
                curve.sizes, factor * curve.sizes**exponent, "--", color=plotting.COLOURS[7], label="power"
            )
        plotting.log_axis(ax)
        plotting.capacity_axis(ax, name_in_words(along))
        ax.axhline(level, color="#555555", linestyle=":", linewidth=1.2, label="level")
        ax.set_ylabel(f"{name_in_words(metric)} (log scale)")
        return f"{sweep.label}: {_finding(numbers, name_in_words(along))}"

    figure, axes = plotting.panel_per_result(sweeps, draw, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def _finding(numbers: Approximation, size: str) -> str:
    if not numbers.falls:
        return f"the error does not fall, {plotting.scientific(numbers.last_error)} at the end"
    words = "the error falls"
    if numbers.exponent is not None:
        words += f" by the power {numbers.exponent:.2g} of {size}"
    if numbers.reached_at is not None:
        words += f", below the level from {numbers.reached_at:g} on"
    return words
