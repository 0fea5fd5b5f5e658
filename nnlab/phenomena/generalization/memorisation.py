"""Memorisation: a net learns labels by heart that say nothing, only later than those that do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    phenomenon,
    refuse_non_numeric,
    refuse_sparse_grid,
    refuse_too_many_lines,
    sweep_column,
)
from nnlab.phenomena.generalization.capacity_curve import reported_error_split
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_EPOCHS_RATIO = 3.0
MAXIMUM_TIMES_CHANCE = 1.5  # of the test accuracy

Verdict = Literal["memorisation", "none"]


class Memorisation(NamedTuple):
    """Medians over the seeds with the fewest and with the most random labels; accuracies from 0 to 1.

    Attributes:
        true_epochs: Epoch of the first record without a training error, with the fewest random labels; null
            where the median seed has none.
        random_epochs: The same with the most.
        epochs_ratio: random_epochs / true_epochs; null without either.
        true_test_accuracy: Last test accuracy (else validation) with the fewest random labels.
        random_train_accuracy: Last training accuracy with the most, of labels as they are trained on.
        random_test_accuracy: Last test accuracy with the most.
        chance: Accuracy of a guess, 1 / number of classes.
        verdict: `memorisation` or `none`, see `memorisation`.
        reason: Why numbers are null.
    """

    true_epochs: float | None
    random_epochs: float | None
    epochs_ratio: float | None
    true_test_accuracy: float
    random_train_accuracy: float
    random_test_accuracy: float
    chance: float
    verdict: Verdict
    reason: str | None = None


@phenomenon
def memorisation(along: str = "data.label_noise") -> SweepPhenomenon:
    """Does a net fit labels by heart that are drawn at random, and how much longer does it take?

    Verdicts:
        memorisation: With the most random labels all training examples come to be right, three times as many
            epochs or more after the start as with the fewest, and the test accuracy ends at 1.5 times chance
            at most.
        none: One of these is not so.

    Args:
        along: The axis of the sweep, the share of labels that are random; its values are numbers.

    Reference:
        Zhang et al. 2017, Understanding deep learning requires rethinking generalization.
    """
    return SweepPhenomenon(
        result=Memorisation,
        detect=lambda sweep: detect(sweep, along),
        figures={"memorisation": lambda sweeps: accuracies_by_noise(sweeps, along)},
        axis=along,
    )


def detect(sweep: SweepView, along: str) -> Memorisation:
    """The detector's numbers. Raises InvalidValue where the sweep has no two shares, or no classes."""
    trials, column = sweep.completed_trials, sweep_column(sweep, along)
    refuse_non_numeric(trials, (column, "classes", "final.train_accuracy"))
    split = reported_error_split(trials, "final.")
    shares = np.unique(trials[column].to_numpy(float))
    if len(shares) < 2:
        raise InvalidValue(
            f"memorisation compares two values of '{along}' or more that are trained to the end"
        )
    rows = sweep.joined("metrics")
    fewest, most = shares[0], shares[-1]
    true_epochs, random_epochs = (_median_epochs(rows[rows[column] == share]) for share in (fewest, most))
    medians = trials.groupby(column)[["final.train_accuracy", f"final.{split}_accuracy"]].median()
    chance = 1.0 / float(trials["classes"].iloc[0])
    never = [
        f"with {name_in_words(along)} {share:g} the median seed never has all training examples right"
        for share, epochs in ((fewest, true_epochs), (most, random_epochs))
        if epochs is None
    ]
    ratio = random_epochs / true_epochs if random_epochs and true_epochs else None
    numbers = Memorisation(
        true_epochs=true_epochs,
        random_epochs=random_epochs,
        epochs_ratio=ratio,
        true_test_accuracy=float(medians.loc[fewest].iloc[1]),
        random_train_accuracy=float(medians.loc[most].iloc[0]),
        random_test_accuracy=float(medians.loc[most].iloc[1]),
        chance=chance,
        verdict="none",
        reason="; ".join(never) or (None if ratio else "all are right before the first step"),
    )
    is_slower = ratio is not None and ratio >= MINIMUM_EPOCHS_RATIO
    is_chance = numbers.random_test_accuracy <= MAXIMUM_TIMES_CHANCE * chance
    return numbers._replace(verdict="memorisation") if is_slower and is_chance else numbers


def _median_epochs(rows: pandas.DataFrame) -> float | None:
    """The median over seeds of the first epoch with all training examples right; None where that is never."""
    firsts = rows[rows["train_accuracy"] >= 1.0].groupby("seed")["epoch"].min()
    epochs = firsts.reindex(rows["seed"].unique()).fillna(np.inf)
    median = float(np.median(epochs)) if len(epochs) else np.inf
    return median if np.isfinite(median) else None


def accuracies_by_noise(sweeps: Sequence[SweepView], along: str) -> Figure:
    """Training and test accuracy over epochs, medians over seeds, a colour a share; a row per sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, 3.3 * len(sweeps), sharey=True)
    for row, sweep in zip(axes, sweeps, strict=True):
        rows, column = sweep.joined("metrics"), sweep_column(sweep, along)
        refuse_sparse_grid(rows, "epoch", "seed")
        split = reported_error_split(rows)
        for ax, part in zip(row, ("train", split), strict=True):
            _draw_accuracies(ax, rows, column, part)
            ax.set(xlabel="epoch", ylim=(-3, 103), title=f"{name_in_words(part).capitalize()} accuracy")
        row[0].set_title(plotting.title(f"{sweep.label}: {_finding(detect(sweep, along))}", across=2))
        row[0].set_ylabel("accuracy, % (median over seeds)")
    plotting.legend_below(figure, axes[0][0], title=name_in_words(along))
    return figure


def _draw_accuracies(ax: Axes, rows: pandas.DataFrame, column: str, split: str) -> None:
    shares = np.unique(rows[column].to_numpy(float))
    refuse_too_many_lines(len(shares), "shares of labels")
    for share, colour in zip(shares, plotting.sequential_colours(len(shares)), strict=True):
        curve = rows[rows[column] == share].groupby("epoch")[f"{split}_accuracy"].median()
        ax.plot(curve.index, 100 * curve, color=colour, label=f"{share:g}")


def _finding(numbers: Memorisation) -> str:
    if numbers.verdict == "none" or numbers.epochs_ratio is None:
        return "no memorisation"
    slower = f"by heart after {numbers.random_epochs:g} epochs, {numbers.epochs_ratio:.1f} times as many"
    return f"random labels are {slower} as true ones"
