"""Pruning: how few weights a net can do with, and whether the smallest are those to go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Gt, Lt

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.generalization.capacity_curve import reported_error_split
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CRITERION = "prune.criterion"
ROUND_COLUMNS = ("round", "round_step", "weights_left")
MINIMUM_RATIO = 1.5

Verdict = Literal["magnitude", "none"]


class Pruning(NamedTuple):
    """Means over the seeds, after each round; shares of weights and accuracies from 0 to 1.

    A share is the smallest down to which the accuracy stays within the margin of the dense net's, between two
    rounds interpolated in its logarithm; that of the last round where it never leaves the margin.

    Attributes:
        dense_accuracy: Test accuracy (else validation) after the first round, of all weights.
        share_by_magnitude: The share where the smallest weights are pruned, round by round; null where the
            sweep has no such trials, and likewise the next two.
        share_in_one_shot: Where the smallest after the first round are pruned at once.
        share_at_random: Where weights are pruned at random.
        ratio: share_at_random / share_by_magnitude.
        verdict: `magnitude` or `none`, see `pruning`; null where the ratio is.
        reason: Why numbers are null.
    """

    dense_accuracy: float
    share_by_magnitude: float | None
    share_in_one_shot: float | None
    share_at_random: float | None
    ratio: float | None
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def pruning(margin: Annotated[float, Gt(0.0), Lt(1.0)] = 0.015) -> SweepPhenomenon:
    """How few weights does a net need to do as well as with all, and does it matter which?

    The sweep runs along `prune.criterion`, of experiments that `prune` round by round.

    Verdicts:
        magnitude: Pruned at random, a net needs 1.5 times as many weights or more as one whose smallest
            weights are pruned, to stay within the margin.
        none: It is not so.

    Args:
        margin: How much less than the dense net's the accuracy may be.

    Reference:
        Han et al. 2015, "Learning both weights and connections"; Frankle & Carbin 2019, figures 4 and 5.
    """
    return SweepPhenomenon(
        result=Pruning,
        detect=lambda sweep: detect(sweep, margin),
        figures={"accuracy_by_weights_left": lambda sweeps: accuracy_by_weights_left(sweeps, margin)},
        axis=CRITERION,
        numeric_axis=False,
    )


def read_rounds(sweep: SweepView, axis: str) -> tuple[pandas.DataFrame, str, str]:
    """The records of trials in rounds, the column of an axis of theirs, and that of the accuracy.

    Raises:
        InvalidValue: The trials are not pruned, or have no accuracy.
    """
    rows, column = sweep.joined("metrics"), sweep_column(sweep, axis)
    if rows.empty:
        raise InvalidValue("no trial is complete")
    if not set(ROUND_COLUMNS) <= set(rows):
        raise InvalidValue("the trials have one round of training, and nothing is pruned; give 'prune'")
    accuracy = f"{reported_error_split(rows)}_accuracy"
    refuse_non_numeric(rows, (*ROUND_COLUMNS, accuracy))
    shares = rows["weights_left"].to_numpy(float)
    if not ((shares > 0) & (shares <= 1)).all():
        raise InvalidValue("the shares of weights that are left are none")
    return rows, column, accuracy


def ends_of_rounds(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The last record of each round of each trial."""
    return rows.sort_values("step").groupby(["trial", "round"]).tail(1)


def detect(sweep: SweepView, margin: float) -> Pruning:
    """The detector's numbers. Raises InvalidValue where the trials are not pruned."""
    rows, column, accuracy = read_rounds(sweep, CRITERION)
    ends = ends_of_rounds(rows)
    dense = float(ends.loc[ends["round"] == 0, accuracy].mean())
    shares = {
        str(criterion): _smallest_share(part, accuracy, dense - margin)
        for criterion, part in ends.groupby(column)
    }
    by_magnitude, at_random = shares.get("magnitude"), shares.get("random")
    ratio = at_random / by_magnitude if at_random and by_magnitude else None
    lacking = [name for name in ("magnitude", "one_shot", "random") if name not in shares]
    words = f"no complete trial has {CRITERION} {' or '.join(lacking)}" if lacking else None
    verdict: Verdict | None = None
    if ratio is not None:
        verdict = "magnitude" if ratio >= MINIMUM_RATIO else "none"
    return Pruning(
        dense_accuracy=dense,
        share_by_magnitude=by_magnitude,
        share_in_one_shot=shares.get("one_shot"),
        share_at_random=at_random,
        ratio=ratio,
        verdict=verdict,
        reason=words,
    )


def _smallest_share(ends: pandas.DataFrame, accuracy: str, least: float) -> float:
    """The smallest share down to which the mean accuracy is no less."""
    means = ends.groupby("round")[["weights_left", accuracy]].mean().sort_index()
    shares, values = means["weights_left"].to_numpy(), means[accuracy].to_numpy()
    fails = np.flatnonzero(~(values >= least))
    if not fails.size or not fails[0]:
        return float(shares[0 if fails.size else -1])
    held, lost = fails[0] - 1, fails[0]
    part = (values[held] - least) / (values[held] - values[lost])
    return float(shares[held] * (shares[lost] / shares[held]) ** part)


def accuracy_by_weights_left(sweeps: Sequence[SweepView], margin: float) -> Figure:
    """The accuracy after each round over the weights that are left; a panel a sweep."""

    def draw(ax: Axes, sweep: SweepView) -> str:
        rows, column, accuracy = read_rounds(sweep, CRITERION)
        ends, numbers = ends_of_rounds(rows), detect(sweep, margin)
        criteria = ends[column].unique()
        for criterion, colour in zip(criteria, plotting.colours(len(criteria)), strict=True):
            words = name_in_words(str(criterion))
            draw_by_share(ax, ends[ends[column] == criterion], accuracy, words, colour)
        least = 100 * (numbers.dense_accuracy - margin)
        ax.axhline(least, color="#555555", linestyle=":", linewidth=1.2, label="dense net less the margin")
        share_axis(ax)
        ax.set_ylabel(f"{name_in_words(accuracy)}, % (mean and range)")
        return f"{sweep.label}: {_finding(numbers)}"

    figure, axes = plotting.panel_per_result(sweeps, draw, height=4.2, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def draw_by_share(ax: Axes, ends: pandas.DataFrame, accuracy: str, label: str, colour: str | tuple) -> None:
    """The mean accuracy after each round over the weights left, with the range over seeds."""
    by_round = ends.groupby("round")
    shares, values = (
        100 * by_round["weights_left"].mean(),
        100 * by_round[accuracy].agg(["mean", "min", "max"]),
    )
    ax.plot(shares, values["mean"], color=colour, label=label, marker="o", markersize=3)
    ax.vlines(shares, values["min"], values["max"], color=colour, linewidth=1.2)


def share_axis(ax: Axes) -> None:
    """The x axis as weights left in per cent, logarithmic, fewer to the right as one prunes."""
    ax.set_xscale("log")
    plotting.plain_ticks(ax)
    ax.invert_xaxis()
    ax.set_xlabel("weights left, % (log scale)")


def _finding(numbers: Pruning) -> str:
    shares = {
        "by magnitude": numbers.share_by_magnitude,
        "at random": numbers.share_at_random,
        "in one shot": numbers.share_in_one_shot,
    }
    found = [f"{100 * share:.2g} % {how}" for how, share in shares.items() if share is not None]
    return f"weights needed, {', '.join(found[:2])}"
