"""How long grokking takes, along an axis of a sweep: weight decay, the share of training examples, ...

Sources: Power et al. 2022 (figure 1, right: less data, later); Liu et al. 2022 (weight decay, initial scale).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

STEPS = {"memorisation_step": "99 % train", "generalisation_step": "95 % held out"}


class GrokkingDelay(NamedTuple):
    """Medians over the seeds at each point of the axis; a seed that never generalises, or diverges, counts as
    later than any. generalising_points: of the axis, at how many the median seed generalises.
    greatest_delay_ratio, least_delay_ratio: of the medians that there are. falls, rises: whether the median
    delay_ratio falls (rises) from each point to the next along the axis, and three points or more have one.
    speedup: median generalisation step at the first point over that at the last; 0 where the last never
    generalises, null where the first does not.
    """

    generalising_points: int
    greatest_delay_ratio: float | None
    least_delay_ratio: float | None
    falls: bool
    rises: bool
    speedup: float | None


@phenomenon
def grokking_delay(along: str) -> SweepPhenomenon:
    """Does generalisation come sooner after memorisation, the further one goes along an axis?

    along: the axis of the sweep. Each trial must be examined for `grokking`. Points at which the median seed
    never generalises may only stand together at one end of the axis: later than all others.
    """
    if along == "epochs":
        raise InvalidValue("'epochs' is no axis of a sweep; a trial has one delay", ("along",))

    def read(sweep: SweepView) -> GrokkingDelay:
        return detect(*(medians(sweep, along, name)[1] for name in ("delay_ratio", "generalisation_step")))

    return SweepPhenomenon(
        result=GrokkingDelay,
        detect=read,
        figures={"grokking_delay": lambda sweeps: delay_by_axis(sweeps, along)},
        axis=along,
        depends_on=("grokking",),
    )


def medians(sweep: SweepView, along: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The axis' points, ascending, and the seeds' median of a number of `grokking` at each; infinite where
    the median seed never comes to it. Raises InvalidValue."""
    trials, column = finished_trials(sweep), sweep_column(sweep, along)
    refuse_non_numeric(trials, [column])
    values, found = trials[column].to_numpy(float), number(trials, name)
    points = np.unique(values)
    return points, np.array([np.median(found[values == point]) for point in points])


def number(trials: pandas.DataFrame, name: str) -> np.ndarray:
    """A number of `grokking` of every trial; infinite where it never came to it, or diverged. Raises
    InvalidValue."""
    refuse_non_numeric(trials, [f"grokking.{name}"])
    return trials[f"grokking.{name}"].where(trials["status"] == "complete").fillna(np.inf).to_numpy(float)


def detect(ratios: np.ndarray, steps: np.ndarray) -> GrokkingDelay:
    """The detector's numbers of the medians at each point, see GrokkingDelay."""
    finite = ratios[np.isfinite(ratios)]
    return GrokkingDelay(
        generalising_points=int(np.isfinite(steps).sum()),
        greatest_delay_ratio=float(finite.max()) if finite.size else None,
        least_delay_ratio=float(finite.min()) if finite.size else None,
        falls=_falls(ratios),
        rises=_falls(ratios[::-1]),
        speedup=float(steps[0] / max(1.0, steps[-1])) if np.isfinite(steps[0]) else None,
    )


def _falls(values: np.ndarray) -> bool:
    """Whether each value is below the one before, those that are infinite all at the beginning."""
    finite = values[np.isfinite(values)]
    at_the_end = values[len(values) - len(finite) :]
    return len(finite) > 2 and bool(np.isfinite(at_the_end).all() and (np.diff(finite) < 0).all())


def delay_by_axis(sweeps: Sequence[SweepView], along: str) -> Figure:
    """Steps of memorisation and generalisation along the axis, and held-out accuracy over training at each
    of its points; two panels a sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, width=8.6, height=3.4 * len(sweeps))
    for row, sweep in zip(axes, sweeps, strict=True):
        _draw_steps(row[0], sweep, along)
        _draw_accuracies(row[1], sweep, along)
    return figure


def _draw_steps(ax: Any, sweep: SweepView, along: str) -> None:
    trials = finished_trials(sweep)
    values = trials[sweep_column(sweep, along)].to_numpy(float)
    for name, colour in zip(STEPS, (plotting.COLOURS[1], plotting.COLOURS[0]), strict=True):
        steps, (points, middle) = number(trials, name), medians(sweep, along, name)
        ax.plot(points, np.where(np.isfinite(middle), middle, np.nan), color=colour, label=STEPS[name])
        ax.plot(values, np.where(np.isfinite(steps), steps, np.nan), "o", markersize=3, color=colour)
    late = values[~np.isfinite(number(trials, "generalisation_step"))]
    if late.size:
        end = float(trials["final.step"].max())
        ax.plot(late, np.full(late.size, end), "^", color=plotting.COLOURS[0], markersize=5, mfc="none")
        ax.text(
            0.98, 0.98, "triangles: not by the end", transform=ax.transAxes, fontsize=7, ha="right", va="top"
        )
    ax.set(yscale="log", ylabel="step (log), median line", title=sweep.label)
    plotting.capacity_axis(ax, along)
    plotting.legend(ax, loc="best")


def _draw_accuracies(ax: Any, sweep: SweepView, along: str) -> None:
    rows, column = sweep.joined("metrics"), sweep_column(sweep, along)
    rows = plotting.past_start(rows)
    split = held_out_split(rows)
    points = np.unique(rows[column].to_numpy(float))
    refuse_too_many_lines(len(points), "points")
    refuse_sparse_grid(rows, "step", "seed")
    for point, colour in zip(points, plotting.graded(len(points)), strict=True):
        at_point = rows[rows[column] == point].pivot_table(
            index="step", columns="seed", values=f"{split}_accuracy"
        )
        ax.plot(at_point.index, 100 * at_point.median(axis=1), color=colour, label=f"{point:g}")
    ax.set(title="Held-out accuracy", ylabel=f"{split} accuracy, %, median", ylim=(-3, 103))
    plotting.log_step_axis(ax)
    plotting.legend(ax, title=along, loc="upper left", fontsize=7, title_fontsize=7)
