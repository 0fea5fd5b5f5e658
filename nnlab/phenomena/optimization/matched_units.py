"""Matched units: how much of the barrier between two nets comes from the order of their hidden units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import Between, SweepPhenomenon, SweepView, phenomenon, refuse_too_many_lines
from nnlab.phenomena.optimization.barriers import (
    HIGH_BARRIER,
    LINE,
    barriers,
    mean_curves,
    read_lines,
    why_no_verdict,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAXIMUM_REMAINING = 1 / 3  # of the barrier, after the units are matched
MATCHED = ((0, "as they are", plotting.COLOURS[1]), (1, "units matched", plotting.COLOURS[0]))

Verdict = Literal["same up to order", "apart", "no barrier"]


class MatchedUnits(NamedTuple):
    """Barriers between nets of different first weights, means over the pairs of seeds; shares from 0 to 1.

    Attributes:
        barrier: Barrier of the training error, the units in the order in which they are.
        matched_barrier: The same with the units of one net matched to the other's.
        remaining: matched_barrier / barrier; null without a barrier.
        pairs: How many there are.
        verdict: `same up to order`, `apart` or `no barrier`, see `matched_units`; null where the nets learnt
            too little.
        reason: Why a number or the verdict is null.
    """

    barrier: float
    matched_barrier: float
    remaining: float | None
    pairs: int
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def matched_units(points: Annotated[int, Ge(3), Le(1001)] = 21) -> SweepPhenomenon:
    """Are nets of different first weights the same but for the order of their hidden units?

    The sweep has seeds alone, of one training set: give `data.split.seed` where seeds draw it. For each pair
    the training error is measured at points of the straight line between the weights (`between.csv`), as they
    are and with the hidden units of one net in the order in which its weights are nearest to the other's. The
    model is a chain of dense layers with elementwise activations.

    Verdicts:
        same up to order: The barrier is 0.15 or more, and a third or less of it remains once units are
            matched.
        apart: More of it remains.
        no barrier: It is less than 0.15 as they are.

    There is none where the nets have more than half of the training examples wrong that a guess has: between
    those that learnt nothing there is no barrier either.

    Args:
        points: Of each line, its two ends among them.

    Reference:
        Ainsworth et al. 2022, Git Re-Basin: merging models modulo permutation symmetries; Entezari et al.
        2021, The role of permutation invariance in linear mode connectivity of neural networks.
    """
    return SweepPhenomenon(
        result=MatchedUnits,
        detect=detect,
        figures={"matched_units": lambda sweeps: plotting.panel_per_result(sweeps, _draw, sharey=True)[0]},
        between=Between("seed", match=True, points=points),
    )


def detect(sweep: SweepView) -> MatchedUnits:
    """The detector's numbers. Raises InvalidValue where no line is drawn both ways."""
    lines = read_lines(sweep, "seed")
    by_line = barriers(lines, "seed")
    means, counts = (by_line.groupby("matched")["excess"].agg(how) for how in ("mean", "count"))
    if set(means.index) != {0, 1}:
        raise InvalidValue("the lines between the trials are not drawn both ways")
    barrier, matched = float(means[0]), float(means[1])
    numbers = MatchedUnits(
        barrier=barrier,
        matched_barrier=matched,
        remaining=matched / barrier if barrier > 0 else None,
        pairs=int(counts[0]),
        verdict="no barrier",
        reason=None if barrier > 0 else "there is no barrier",
    )
    if untold := why_no_verdict(sweep, lines):
        return numbers._replace(verdict=None, reason=untold)
    if barrier < HIGH_BARRIER:
        return numbers
    same = matched <= MAXIMUM_REMAINING * barrier
    return numbers._replace(verdict="same up to order" if same else "apart")


def _draw(ax: Axes, sweep: SweepView) -> str:
    """Draw the training error of each pair on its way, and the mean; returns the panel's title."""
    lines = read_lines(sweep, "seed")
    refuse_too_many_lines(lines.groupby(LINE).ngroups, "lines between trials")
    means = mean_curves(lines, "matched")
    for matched, label, colour in MATCHED:
        for _, line in lines[lines["matched"] == matched].groupby(LINE):
            ax.plot(line["share"], 100 * line["error"], color=colour, linewidth=0.6, alpha=0.5)
        ax.plot(means.index, 100 * means[matched], color=colour, linewidth=2, label=label)
    ax.set(xlabel="share of the way from one net to the other", ylabel="training error, %")
    plotting.legend(ax)
    return f"{sweep.label}: {_finding(detect(sweep))}"


def _finding(numbers: MatchedUnits) -> str:
    if numbers.verdict is None:
        return "the nets learnt too little to tell"
    if numbers.remaining is None:
        return "no barrier"
    return f"{100 * numbers.remaining:.0f} % of the barrier remains once units are matched"
