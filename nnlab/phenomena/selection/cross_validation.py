"""K-fold cross-validation: how long to train, and what to expect of it on new examples, when each part of
the data has been held out once (lecture 002: the number of epochs that is best on average; Stone 1974)."""

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
    refuse_too_many_lines,
    sweep_column,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLD = "data.split.fold"

Metric = Literal["validation_loss", "validation_accuracy"]


class CrossValidation(NamedTuple):
    """Means over the folds, and over the seeds where there are several; _std: the standard deviation, of a
    sample.

    best_epoch: of each fold's first best record. score: the metric at each fold's own best record, which is
    too good for what is to be expected, the record having been chosen by it. chosen_score: at the record
    nearest to best_epoch, one number of epochs for all folds. last_score: at the end. at_end: how many are
    best at their last record, so that longer training should be tried.
    """

    folds: int
    best_epoch: float
    best_epoch_std: float
    score: float
    score_std: float
    chosen_score: float
    last_score: float
    at_end: int


class Curve(NamedTuple):
    """The metric of one trial at each record, epochs ascending; best: the number of its best record."""

    epochs: np.ndarray
    scores: np.ndarray
    best: int

    def near(self, epoch: float) -> float:
        """The score at the record nearest to an epoch, of two the earlier."""
        return float(self.scores[np.abs(self.epochs - epoch).argmin()])


@phenomenon
def cross_validation(metric: Metric = "validation_loss") -> SweepPhenomenon:
    """After how many epochs is a net best on held-out examples, on average over the folds?

    metric: a loss is best where it is lowest, an accuracy where it is highest. Along data.split.fold, whose
    values are all folds from 0 on, such as {range: [0, 10]}; each must come to its end.
    """
    return SweepPhenomenon(
        result=CrossValidation,
        detect=lambda sweep: detect(curves(sweep, metric), folds(sweep)),
        figures={"cross_validation": lambda sweeps: curves_by_fold(sweeps, metric)},
        axis=FOLD,
    )


def folds(sweep: SweepView) -> int:
    """How many folds there are. Raises InvalidValue where one is missing or has not come to its end."""
    table, column = sweep.table, sweep_column(sweep, FOLD)
    refuse_non_numeric(table, [column, "seed"])
    lost = table[column][table["status"] != "complete"]
    if len(lost):
        raise InvalidValue(f"fold {lost.iloc[0]:g} has not come to its end; a cross-validation needs all")
    count = table[column].nunique()
    if count < 2:
        raise InvalidValue(f"a cross-validation needs two folds or more; there are {count}")
    for _, own in table.groupby("seed"):
        missing = sorted(set(range(count)) - set(own[column]))
        if missing:
            raise InvalidValue(f"fold {missing[0]} is missing; a cross-validation needs all, from 0 on")
    return count


def curves(sweep: SweepView, metric: Metric) -> list[Curve]:
    """The curve of every complete trial. Raises InvalidValue."""
    rows = sweep.joined("metrics")
    refuse_non_numeric(rows, ["epoch", metric])
    found = []
    for _, own in rows.groupby("trial"):
        epochs, scores = own["epoch"].to_numpy(float), own[metric].to_numpy(float)
        best = scores.argmax() if metric == "validation_accuracy" else scores.argmin()
        found.append(Curve(epochs, scores, int(best)))
    return found


def detect(found: Sequence[Curve], folds: int) -> CrossValidation:
    """The detector's numbers, see CrossValidation."""
    epochs, scores = np.array([(c.epochs[c.best], c.scores[c.best]) for c in found]).T
    best_epoch = float(epochs.mean())
    return CrossValidation(
        folds=folds,
        best_epoch=best_epoch,
        best_epoch_std=float(epochs.std(ddof=1)),
        score=float(scores.mean()),
        score_std=float(scores.std(ddof=1)),
        chosen_score=float(np.mean([curve.near(best_epoch) for curve in found])),
        last_score=float(np.mean([curve.scores[-1] for curve in found])),
        at_end=sum(curve.best == len(curve.scores) - 1 for curve in found),
    )


# --- the figure ------------------------------------------------------------------------------------------


def curves_by_fold(sweeps: Sequence[SweepView], metric: Metric) -> Figure:
    """The metric over training, a thin line a fold, its best record as a dot; their mean as a thick one, the
    mean of the best epochs as a vertical one. One panel a sweep."""
    figure, axes = plotting.panels(1, len(sweeps), width=max(5.2, 4.2 * len(sweeps)), sharey=True)
    drawn: list[float] = []
    for ax, sweep in zip(axes[0], sweeps, strict=True):
        count, found = folds(sweep), curves(sweep, metric)
        refuse_too_many_lines(len(found), "trials")
        numbers = detect(found, count)
        _draw_curves(ax, found, numbers.best_epoch)
        finding = (
            f"{count} folds: best after {numbers.best_epoch:.3g} $\\pm$ {numbers.best_epoch_std:.2g} epochs, "
            f"{metric.rpartition('_')[2]} {plotting.scientific(numbers.chosen_score)}"
        )
        ax.set(title=f"{sweep.label}\n{finding}", xlabel="epoch")
        drawn += np.concatenate([curve.scores for curve in found]).tolist()
    plotting.log_if_wide(axes[0][0], drawn)
    axes[0][0].set_ylabel(metric.replace("_", " "))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_curves(ax: Axes, found: Sequence[Curve], best_epoch: float) -> None:
    for number, curve in enumerate(found):
        label = None if number else "each fold"
        ax.plot(curve.epochs, curve.scores, color=plotting.COLOURS[0], linewidth=0.7, alpha=0.5, label=label)
    best = [(curve.epochs[curve.best], curve.scores[curve.best]) for curve in found]
    ax.plot(*zip(*best, strict=True), "o", markersize=4, color=plotting.COLOURS[1], label="its best")
    shortest = min(curve.epochs[-1] for curve in found)
    epochs = np.unique(np.concatenate([curve.epochs for curve in found]))
    epochs = epochs[epochs <= shortest]
    total = sum(np.interp(epochs, curve.epochs, curve.scores) for curve in found)
    ax.plot(epochs, total / len(found), color=plotting.COLOURS[0], linewidth=2.5, label="mean")
    ax.axvline(best_epoch, color="#555555", linestyle=":", linewidth=1.2, label="mean of the best epochs")
