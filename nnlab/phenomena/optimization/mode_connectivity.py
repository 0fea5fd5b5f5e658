"""Linear mode connectivity: from when on the order of examples no longer decides where a training ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    Between,
    SweepPhenomenon,
    SweepView,
    phenomenon,
    refuse_non_numeric,
    sweep_column,
)
from nnlab.phenomena.optimization.barriers import (
    HIGH_BARRIER,
    NO_BARRIER,
    barriers,
    end_error,
    mean_curves,
    read_lines,
    why_no_verdict,
)

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP, ORDER = "data.order.from_step", "data.order.seed"

Verdict = Literal["becomes stable", "stable", "none"]


class ModeConnectivity(NamedTuple):
    """Barriers between twins by the step at which they part, means over the pairs; shares from 0 to 1.

    Attributes:
        barrier_at_start: Barrier of the training error between twins that part at the first of the steps.
        barrier_at_end: The same at the last of them.
        greatest_at_end: The greatest of all pairs there.
        stable_from: The first of the steps from which on all barriers are 0.02 or less; null where the last
            one is not.
        end_error: Training error of the trainings themselves, that of those that part last.
        verdict: `becomes stable`, `stable` or `none`, see `mode_connectivity`; null where the trainings
            learnt too little.
        reason: Why a number or the verdict is null.
    """

    barrier_at_start: float
    barrier_at_end: float
    greatest_at_end: float
    stable_from: int | None
    end_error: float
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def mode_connectivity(points: Annotated[int, Ge(3), Le(1001)] = 21) -> SweepPhenomenon:
    """From which step on do trainings that see the examples in different orders end in one linear region?

    The sweep runs along `data.order.from_step` and `data.order.seed`. Twins, which differ in the latter
    alone, share their first steps; at the end the training error is measured at points of the straight line
    between their weights (`between.csv`), and the barrier is how far it rises above that of the ends.

    Verdicts:
        becomes stable: The barrier of twins that part at the first of the steps is 0.15 or more, at the last
            0.02 or less.
        stable: It is 0.02 or less at all of them.
        none: Neither.

    There is none where the ends have more than half of the training examples wrong that a guess has: between
    nets that learnt nothing there is no barrier either.

    Args:
        points: Of each line, its two ends among them.

    Reference:
        Frankle et al. 2020, Linear mode connectivity and the lottery ticket hypothesis.
    """
    return SweepPhenomenon(
        result=ModeConnectivity,
        detect=lambda sweep: detect(sweep)[0],
        figures={"mode_connectivity": barrier_by_step},
        axis=STEP,
        other_axes=(ORDER,),
        between=Between(ORDER, points=points),
    )


def detect(sweep: SweepView) -> tuple[ModeConnectivity, pandas.DataFrame, pandas.DataFrame]:
    """The numbers, the points of all lines, and their barriers. Raises InvalidValue where fewer than two
    steps have twins."""
    column = sweep_column(sweep, STEP)
    lines = read_lines(sweep, ORDER)
    refuse_non_numeric(lines, (column,))
    by_line = barriers(lines, column)
    means = by_line.groupby(column)["excess"].mean()
    if len(means) < 2:
        raise InvalidValue(f"mode_connectivity compares two values of '{STEP}' or more that have twins")
    last = by_line[by_line[column] == means.index[-1]]
    greatest = by_line.groupby(column)["excess"].max()
    unstable = greatest.index[greatest > NO_BARRIER]
    stable = greatest.index[greatest.index > unstable[-1]] if len(unstable) else greatest.index
    numbers = ModeConnectivity(
        barrier_at_start=float(means.iloc[0]),
        barrier_at_end=float(means.iloc[-1]),
        greatest_at_end=float(last["excess"].max()),
        stable_from=int(stable[0]) if len(stable) else None,
        end_error=end_error(lines[lines[column] == means.index[-1]]),
        verdict="none",
        reason=None if len(stable) else f"twins that part at step {means.index[-1]:g} have a barrier",
    )
    if untold := why_no_verdict(sweep, lines):
        reasons = (untold, numbers.reason) if numbers.reason else (untold,)
        return numbers._replace(verdict=None, reason="; ".join(reasons)), lines, by_line
    if numbers.barrier_at_end <= NO_BARRIER and numbers.barrier_at_start >= HIGH_BARRIER:
        return numbers._replace(verdict="becomes stable"), lines, by_line
    return numbers._replace(verdict="stable" if means.max() <= NO_BARRIER else "none"), lines, by_line


def barrier_by_step(sweeps: Sequence[SweepView]) -> Figure:
    """The training error on the way, a colour for each step at which twins part, and the barrier by that
    step; a row of these two panels a sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, 3.6 * len(sweeps))
    for row, sweep in zip(axes, sweeps, strict=True):
        column = sweep_column(sweep, STEP)
        numbers, lines, by_line = detect(sweep)
        _draw_ways(row[0], mean_curves(lines, column))
        row[0].set_title(plotting.title(f"{sweep.label}: {_finding(numbers)}", across=2))
        _draw_barriers(row[1], by_line, column)
        row[1].set_title(plotting.title("Barrier of each pair, and their mean", across=2))
    plotting.legend_below(figure, axes[0, 0], title="step at which twins part")
    return figure


def _draw_ways(ax: Axes, curves: pandas.DataFrame) -> None:
    colours = plotting.sequential_colours(len(curves.columns))
    for (step, curve), colour in zip(curves.items(), colours, strict=True):
        ax.plot(curve.index, 100 * curve, color=colour, label=f"{step:,}")
    ax.set(xlabel="share of the way from one twin to the other", ylabel="training error, % (mean over pairs)")


def _draw_barriers(ax: Axes, by_line: pandas.DataFrame, column: str) -> None:
    means = by_line.groupby(column)["excess"].mean()
    places = means.index.searchsorted(by_line[column])
    ax.plot(places, 100 * by_line["excess"], "o", markersize=3, color=plotting.COLOURS[0])
    ax.plot(range(len(means)), 100 * means, color=plotting.COLOURS[0])
    ax.axhline(100 * NO_BARRIER, color="#555555", linestyle=":", linewidth=1.2)
    ax.set_xticks(range(len(means)), [f"{step:,}" for step in means.index])
    ax.set(xlabel="step at which twins part", ylabel="barrier, percentage points", ylim=(-1, None))


def _finding(numbers: ModeConnectivity) -> str:
    if numbers.verdict is None:
        return "the nets learnt too little to tell"
    if numbers.verdict == "stable":
        return "no barrier wherever twins part"
    if numbers.stable_from is None:
        return f"a barrier of {100 * numbers.barrier_at_end:.3g} points to the last"
    return f"no barrier between twins that part at step {numbers.stable_from:,} or later"
