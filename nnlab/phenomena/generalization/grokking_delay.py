"""How long grokking takes along an axis of a sweep, such as the weight decay."""

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
    refuse_sparse_grid,
    refuse_too_many_lines,
    sweep_column,
)
from nnlab.phenomena.generalization.grokking import held_out_split
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_TREND_POINTS = 3  # with a finite delay
STEP_CURVES = (  # a number of `grokking`, its label, its colour
    ("memorisation_step", "99 % of training right", plotting.SPLIT_COLOURS["train"]),
    ("generalisation_step", "95 % of held out right", plotting.SPLIT_COLOURS["validation"]),
)


class GrokkingDelay(NamedTuple):
    """Medians over the seeds at each point of the axis.

    A seed that never generalises, or diverges, counts as later than any other.

    Attributes:
        generalising_points: Number of points at which the median seed generalises.
        greatest_delay_ratio: Largest finite median of `grokking.delay_ratio`; null if there is none.
        least_delay_ratio: Smallest finite median of `grokking.delay_ratio`; null if there is none.
        falls: Whether the median delay_ratio falls from each point to the next along the axis, and is finite
            at three points or more; null of fewer points.
        rises: Whether it rises from each point to the next, likewise.
        speedup: Median generalisation step at the first point over that at the last; 0 if the last never
            generalises, null if the first does not.
        reason: Why numbers are null.
    """

    generalising_points: int
    greatest_delay_ratio: float | None
    least_delay_ratio: float | None
    falls: bool | None
    rises: bool | None
    speedup: float | None
    reason: str | None = None


@phenomenon
def grokking_delay(along: str) -> SweepPhenomenon:
    """Does generalisation follow memorisation sooner, the further one goes along an axis?

    The sweep must list `grokking` among its phenomena too. Points at which the median seed never generalises
    count as later than all others, so that a trend may have them at one end of the axis only.

    Args:
        along: The axis of the sweep; its values are numbers.

    Reference:
        Power et al. 2022 (figure 1, right: less data, later); Liu et al. 2022 (weight decay, initial scale).
    """
    if along == "epochs":
        raise InvalidValue("'epochs' is no axis of a sweep; a trial has one delay", ("along",))

    def detect_delay(sweep: SweepView) -> GrokkingDelay:
        _, ratios = medians_over_seeds(sweep, along, "delay_ratio")
        _, steps = medians_over_seeds(sweep, along, "generalisation_step")
        return detect(ratios, steps)

    return SweepPhenomenon(
        result=GrokkingDelay,
        detect=detect_delay,
        figures={
            "grokking_delay": lambda sweeps: delay_by_axis(sweeps, along, [detect_delay(s) for s in sweeps])
        },
        axis=along,
        depends_on=("grokking",),
    )


def medians_over_seeds(sweep: SweepView, along: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The points of an axis, ascending, and at each the median over seeds of a number of `grokking`.

    Returns:
        Points and medians, `[points]` each; a median is infinite if the median seed never gets there.

    Raises:
        InvalidValue: No trial is complete, or the axis or the number is missing.
    """
    trials, column = finished_trials(sweep), sweep_column(sweep, along)
    refuse_non_numeric(trials, [column])
    positions, values = trials[column].to_numpy(float), grokking_numbers(trials, name)
    points = np.unique(positions)
    return points, np.array([np.median(values[positions == point]) for point in points])


def grokking_numbers(trials: pandas.DataFrame, name: str) -> np.ndarray:
    """A number of `grokking` for every trial, `[trials]`; infinite if the trial never got there, or diverged.

    Raises InvalidValue if no trial has the number.
    """
    refuse_non_numeric(trials, [f"grokking.{name}"])
    return trials[f"grokking.{name}"].where(trials["status"] == "complete").fillna(np.inf).to_numpy(float)


def detect(ratios: np.ndarray, steps: np.ndarray) -> GrokkingDelay:
    """Compare the median delay ratios and generalisation steps, `[points]` each."""
    finite = ratios[np.isfinite(ratios)]
    has_trend = len(ratios) >= MINIMUM_TREND_POINTS
    reasons = [] if has_trend else [f"a trend needs {MINIMUM_TREND_POINTS} points or more"]
    if not finite.size:
        reasons.append("no median seed generalises")
    elif not np.isfinite(steps[0]):
        reasons.append("at the first point the median seed does not generalise")
    return GrokkingDelay(
        generalising_points=int(np.isfinite(steps).sum()),
        greatest_delay_ratio=float(finite.max()) if finite.size else None,
        least_delay_ratio=float(finite.min()) if finite.size else None,
        falls=_falls(ratios) if has_trend else None,
        rises=_falls(ratios[::-1]) if has_trend else None,
        speedup=float(steps[0] / max(1.0, steps[-1])) if np.isfinite(steps[0]) else None,
        reason="; ".join(reasons) or None,
    )


def _falls(values: np.ndarray) -> bool:
    """Whether each value is below the one before; infinite ones may stand at the beginning only."""
    finite = values[np.isfinite(values)]
    tail = values[len(values) - len(finite) :]
    has_trend = len(finite) >= MINIMUM_TREND_POINTS
    return has_trend and bool(np.isfinite(tail).all() and (np.diff(finite) < 0).all())


def delay_by_axis(sweeps: Sequence[SweepView], along: str, detected: Sequence[GrokkingDelay]) -> Figure:
    """Steps of memorisation and generalisation along the axis, and held-out accuracy over training.

    Each sweep has a row of these two panels.
    """
    figure, axes = plotting.panels(len(sweeps), 2, 3.4 * len(sweeps))
    for row, sweep, numbers in zip(axes, sweeps, detected, strict=True):
        _draw_steps(row[0], sweep, along)
        row[0].set_title(plotting.title(f"{sweep.label}: {_finding(numbers)}", across=2))
        _draw_accuracies(row[1], sweep, along)
    return figure


def _finding(numbers: GrokkingDelay) -> str:
    """The delay in words, as a multiple of the step of memorisation: `generalises 10 to 500 times later`."""
    if numbers.least_delay_ratio is None or numbers.greatest_delay_ratio is None:
        return "no point generalises"
    times = [f"{ratio:.3g}" for ratio in (numbers.greatest_delay_ratio, numbers.least_delay_ratio)]
    if numbers.falls or numbers.rises:
        first, last = times if numbers.falls else reversed(times)
        return f"the delay {'falls' if numbers.falls else 'rises'} from {first} to {last} times"
    return f"the delay is {times[1]} to {times[0]} times, without a trend"


def _draw_steps(ax: Axes, sweep: SweepView, along: str) -> None:
    trials = finished_trials(sweep)
    positions = trials[sweep_column(sweep, along)].to_numpy(float)
    for name, label, colour in STEP_CURVES:
        steps, (points, medians) = grokking_numbers(trials, name), medians_over_seeds(sweep, along, name)
        ax.plot(points, np.where(np.isfinite(medians), medians, np.nan), color=colour, label=label)
        ax.plot(positions, np.where(np.isfinite(steps), steps, np.nan), "o", markersize=3, color=colour)
    name, _, colour = STEP_CURVES[-1]
    never = positions[~np.isfinite(grokking_numbers(trials, name))]
    if never.size:
        last_step = float(trials["final.step"].max())
        heights, label = np.full(never.size, last_step), "not by the end"
        ax.plot(never, heights, "^", color=colour, markersize=5, mfc="none", label=label)
    ax.set(yscale="log", ylabel="training step (log scale), line: median")
    plotting.capacity_axis(ax, name_in_words(along))
    plotting.legend(ax, loc="best")


def _draw_accuracies(ax: Axes, sweep: SweepView, along: str) -> None:
    rows, column = plotting.rows_after_start(sweep.joined("metrics")), sweep_column(sweep, along)
    split = held_out_split(rows)
    points = np.unique(rows[column].to_numpy(float))
    refuse_too_many_lines(len(points), "points")
    refuse_sparse_grid(rows, "step", "seed")
    for point, colour in zip(points, plotting.sequential_colours(len(points)), strict=True):
        by_seed = rows[rows[column] == point].pivot_table(
            index="step", columns="seed", values=f"{split}_accuracy"
        )
        ax.plot(by_seed.index, 100 * by_seed.median(axis=1), color=colour, label=f"{point:g}")
    ax.set(title="Held-out accuracy, median over seeds", ylabel=f"{split} accuracy, %", ylim=(-3, 103))
    plotting.log_step_axis(ax)
    plotting.legend(ax, title=name_in_words(along), loc="upper left")
