"""Lottery tickets: sparse nets that learn like the dense one they come from, and from its weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon
from nnlab.phenomena.optimization.pruning import draw_by_share, ends_of_rounds, read_rounds, share_axis
from nnlab.registry import Count
from nnlab.text import join_words, name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAST_ROUND = "prune.last_round"
KINDS = {"ticket": "ticket", "redrawn": "its mask, weights redrawn", "shuffled": "its mask shuffled"}
MAXIMUM_LOSS = 0.015  # of accuracy, against the dense net
MINIMUM_EARLY_ADVANTAGE = 0.05  # over the redrawn twin
MINIMUM_ADVANTAGE = 0.03  # over the shuffled twin

Verdict = Literal["ticket", "none"]


class LotteryTicket(NamedTuple):
    """Means over the seeds; accuracies are those of the test set (else validation), from 0 to 1.

    Attributes:
        weights_left: Share of weights, 0 to 1, in the last round.
        dense_accuracy: After the first round, with all weights.
        ticket_accuracy: After the last round.
        redrawn_accuracy: The same with the ticket's mask on newly drawn weights.
        shuffled_accuracy: The same with the ticket's weights and mask, its places shuffled.
        untrained_accuracy: Of the ticket before the first step of the last round: what its mask alone knows.
        early_step: Step of the round at which the next number is measured.
        early_advantage: Accuracy of the ticket less that of the redrawn twin, early in the last round.
        advantage: Accuracy of the ticket less that of the shuffled twin, after it.
        verdict: `ticket` or `none`, see `lottery_ticket`.
    """

    weights_left: float
    dense_accuracy: float
    ticket_accuracy: float
    redrawn_accuracy: float
    shuffled_accuracy: float
    untrained_accuracy: float
    early_step: int
    early_advantage: float
    advantage: float
    verdict: Verdict


@phenomenon
def lottery_ticket(early: Count = 200) -> SweepPhenomenon:
    """Does a pruned net learn as the dense one from its own first weights, and not from others?

    The sweep runs along `prune.last_round` with ticket, redrawn and shuffled, of experiments that `prune`.

    Verdicts:
        ticket: After the last round the ticket is at most 1.5 points of accuracy below the dense net and 3
            points or more above the same weights under a shuffled mask; early in it, 5 points or more above
            the same mask on new weights.
        none: One of these is not so.

    Args:
        early: The twins are compared at the last record up to this step of the round.

    Reference:
        Frankle & Carbin 2019, "The lottery ticket hypothesis", figures 3 and 4.
    """
    return SweepPhenomenon(
        result=LotteryTicket,
        detect=lambda sweep: detect(sweep, early),
        figures={"lottery_ticket": lambda sweeps: twins(sweeps, early)},
        axis=LAST_ROUND,
        numeric_axis=False,
    )


def detect(sweep: SweepView, early: int) -> LotteryTicket:
    """The detector's numbers. Raises InvalidValue where there is no ticket, or a twin is missing."""
    rows, column, accuracy = read_rounds(sweep, LAST_ROUND)
    lacking = [kind for kind in KINDS if kind not in set(rows[column])]
    if lacking:
        raise InvalidValue(f"no complete trial has {LAST_ROUND} {join_words(lacking, 'or')}")
    last = rows[rows["round"] == rows["round"].max()]
    if not last["round"].iloc[0]:
        raise InvalidValue("nothing is pruned in no round; let prune.rounds be 1 or more")
    early_rows = last[last["round_step"] <= early]
    if not (early_rows["round_step"] > last["round_step"].min()).any():
        raise InvalidValue(f"there is no record of the last round up to its step {early}; record more often")
    begin, step = int(last["round_step"].min()), int(early_rows["round_step"].max())
    ends = ends_of_rounds(rows)
    final, at_start, at_step = (
        part.groupby(column)[accuracy].mean()
        for part in (ends_of_rounds(last), *(last[last["round_step"] == one] for one in (begin, step)))
    )
    numbers = LotteryTicket(
        weights_left=float(last["weights_left"].mean()),
        dense_accuracy=float(ends.loc[ends["round"] == 0, accuracy].mean()),
        ticket_accuracy=float(final["ticket"]),
        redrawn_accuracy=float(final["redrawn"]),
        shuffled_accuracy=float(final["shuffled"]),
        untrained_accuracy=float(at_start["ticket"]),
        early_step=step,
        early_advantage=float(at_step["ticket"] - at_step["redrawn"]),
        advantage=float(final["ticket"] - final["shuffled"]),
        verdict="none",
    )
    learns = numbers.ticket_accuracy >= numbers.dense_accuracy - MAXIMUM_LOSS
    stands_out = numbers.early_advantage >= MINIMUM_EARLY_ADVANTAGE and numbers.advantage >= MINIMUM_ADVANTAGE
    return numbers._replace(verdict="ticket") if learns and stands_out else numbers


def twins(sweeps: Sequence[SweepView], early: int) -> Figure:
    """Learning curves of the last round's twins, and the accuracy by weights left; a row of both a sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, 3.6 * len(sweeps))
    for row, sweep in zip(axes, sweeps, strict=True):
        rows, column, accuracy = read_rounds(sweep, LAST_ROUND)
        numbers = detect(sweep, early)
        last = rows[rows["round"] == rows["round"].max()]
        _draw_curve(row[0], rows[rows["round"] == 0], accuracy, "dense net", "#555555")
        for kind, colour in zip(KINDS, plotting.colours(len(KINDS)), strict=True):
            of_kind = last[last[column] == kind]
            _draw_curve(row[0], of_kind, accuracy, KINDS[kind], colour)
            draw_by_share(row[1], ends_of_rounds(of_kind), accuracy, KINDS[kind], colour)
        ticket = ends_of_rounds(rows[rows[column] == "ticket"])
        draw_by_share(row[1], ticket, accuracy, "", plotting.colours(len(KINDS))[0])
        row[1].axhline(100 * numbers.dense_accuracy, color="#555555", linestyle=":", linewidth=1.2)
        share_axis(row[1])
        row[0].set(xlabel="step of the round", ylabel=f"{name_in_words(accuracy)}, % (mean and range)")
        row[1].set_ylabel("after each round, %")
        row[0].set_title(plotting.title(f"{sweep.label}: {_finding(numbers)}", across=2))
        ahead = f"{100 * numbers.advantage:.2g} points above the shuffled mask"
        row[1].set_title(plotting.title(f"The ticket ends {ahead}", across=2))
    plotting.legend_below(figure, axes[0, 0])
    return figure


def _draw_curve(ax: Axes, rows: pandas.DataFrame, accuracy: str, label: str, colour: str | tuple) -> None:
    values = 100 * rows.groupby("round_step")[accuracy].agg(["mean", "min", "max"])
    ax.plot(values.index, values["mean"], color=colour, label=label)
    ax.fill_between(values.index, values["min"], values["max"], color=colour, alpha=0.2, linewidth=0)


def _finding(numbers: LotteryTicket) -> str:
    left = f"in {100 * numbers.weights_left:.2g} % of the weights"
    return f"{'a' if numbers.verdict == 'ticket' else 'no'} winning ticket {left}"
