"""K-fold cross-validation: how long to train, and what to expect on new examples.

Each part of the data, a fold, is held out once; the results are averaged over the folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    loss_label,
    phenomenon,
    refuse_non_numeric,
    refuse_too_many_lines,
    sweep_column,
)
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLD = "data.split.fold"

Metric = Literal["validation_loss", "validation_accuracy"]


class CrossValidation(NamedTuple):
    """Means over the folds, and over the seeds where there are several; standard deviations of a sample.

    Scores are in the unit of the metric, a mean loss per example or a share from 0 to 1.

    Attributes:
        folds: Number of folds, 2 or more.
        best_epoch: Mean epoch of each fold's best record (the first of equals).
        best_epoch_std: Its standard deviation.
        score: Mean of the metric at the best record of each fold. It is too optimistic, since the record was
            chosen by it.
        score_std: Its standard deviation.
        chosen_score: Mean of the metric at the record nearest to best_epoch, the same for all folds.
        last_score: Mean of the metric at the last record.
        at_end: Number of trials that are best at their last record, and should be trained for longer.
    """

    folds: int
    best_epoch: float
    best_epoch_std: float
    score: float
    score_std: float
    chosen_score: float
    last_score: float
    at_end: int


class LearningCurve(NamedTuple):
    """The metric of one trial over training; `R` records.

    Attributes:
        epochs: `[R]`, ascending.
        scores: `[R]`, the metric.
        best: The best record, from 0 to R - 1.
    """

    epochs: np.ndarray
    scores: np.ndarray
    best: int

    @property
    def best_point(self) -> tuple[float, float]:
        """Epoch and score of the best record."""
        return float(self.epochs[self.best]), float(self.scores[self.best])

    def score_near(self, epoch: float) -> float:
        """The score at the record nearest to an epoch; of two, the earlier."""
        return float(self.scores[np.abs(self.epochs - epoch).argmin()])


@phenomenon
def cross_validation(metric: Metric = "validation_loss") -> SweepPhenomenon:
    """After how many epochs is a net best on held-out examples, on average over the folds?

    The sweep runs along `data.split.fold`, whose values are all folds from 0 on, such as {range: [0, 10]}.
    Each trial must come to its end.

    Args:
        metric: `validation_loss`, which is best where it is lowest, or `validation_accuracy`, which is best
            where it is highest.

    Reference:
        Stone 1974; lecture 002 (the number of epochs that is best on average).
    """
    return SweepPhenomenon(
        result=CrossValidation,
        detect=lambda sweep: detect(*read_curves(sweep, metric)),
        figures={"cross_validation": lambda sweeps: curves_by_fold(sweeps, metric)},
        axis=FOLD,
    )


def read_curves(sweep: SweepView, metric: Metric) -> tuple[list[LearningCurve], int]:
    """The curve of every trial, and the number of folds. Raises InvalidValue where one is missing."""
    folds = count_folds(sweep.trials, sweep_column(sweep, FOLD))
    records = sweep.joined("metrics").groupby("trial")
    return [learning_curve(rows, metric) for _, rows in records], folds


def count_folds(trials: pandas.DataFrame, column: str) -> int:
    """The number of folds. Raises InvalidValue if one is missing or has not come to its end.

    Args:
        trials: A row per trial.
        column: That of the fold.
    """
    refuse_non_numeric(trials, [column, "seed"])
    unfinished = trials[column][trials["status"] != "complete"]
    if len(unfinished):
        raise InvalidValue(
            f"fold {unfinished.iloc[0]:g} has not come to its end; a cross-validation needs all"
        )
    count = trials[column].nunique()
    if count < 2:
        raise InvalidValue(f"a cross-validation needs two folds or more; there are {count}")
    for _, of_seed in trials.groupby("seed"):
        missing = sorted(set(range(count)) - set(of_seed[column]))
        if missing:
            raise InvalidValue(f"fold {missing[0]} is missing; a cross-validation needs all, from 0 on")
    return count


def learning_curve(records: pandas.DataFrame, metric: Metric) -> LearningCurve:
    """The curve of a trial with these records. Raises InvalidValue."""
    refuse_non_numeric(records, ["epoch", metric])
    epochs, scores = records["epoch"].to_numpy(float), records[metric].to_numpy(float)
    if len(scores) < 2:
        raise InvalidValue("a curve needs two records or more")
    best = scores.argmax() if metric == "validation_accuracy" else scores.argmin()
    return LearningCurve(epochs, scores, int(best))


def detect(curves: Sequence[LearningCurve], folds: int) -> CrossValidation:
    """The detector's numbers, see CrossValidation."""
    epochs, scores = np.array([curve.best_point for curve in curves]).T
    best_epoch = float(epochs.mean())
    return CrossValidation(
        folds=folds,
        best_epoch=best_epoch,
        best_epoch_std=float(epochs.std(ddof=1)),
        score=float(scores.mean()),
        score_std=float(scores.std(ddof=1)),
        chosen_score=float(np.mean([curve.score_near(best_epoch) for curve in curves])),
        last_score=float(np.mean([curve.scores[-1] for curve in curves])),
        at_end=sum(curve.best == len(curve.scores) - 1 for curve in curves),
    )


def curves_by_fold(sweeps: Sequence[SweepView], metric: Metric) -> Figure:
    """The metric over training, one panel per sweep.

    Each fold is a thin line with its best record as a dot; their mean is a thick line, and the mean of the
    best epochs a vertical one.
    """
    scores: list[float] = []

    def draw(ax: Axes, sweep: SweepView) -> str:
        curves, folds = read_curves(sweep, metric)
        refuse_too_many_lines(len(curves), "trials")
        numbers = detect(curves, folds)
        _draw_curves(ax, curves, numbers.best_epoch)
        ax.set(xlabel="epoch", ylabel=score_label(sweep, metric))
        scores.extend(np.concatenate([curve.scores for curve in curves]).tolist())
        return f"{sweep.label}: {_finding(numbers, metric)}"

    figure, axes = plotting.panel_per_result(sweeps, draw, sharey=True)
    plotting.log_if_wide(axes[0], scores)
    plotting.legend_below(figure, axes[0])
    return figure


def score_label(sweep: SweepView, metric: Metric) -> str:
    """What an axis of the metric is called."""
    return loss_label([sweep], "validation") if metric == "validation_loss" else name_in_words(metric)


def _finding(numbers: CrossValidation, metric: Metric) -> str:
    epochs = f"{numbers.best_epoch:.3g} ± {numbers.best_epoch_std:.2g} epochs"
    score = f"{name_in_words(metric)} {plotting.scientific(numbers.chosen_score)}"
    return f"best after {epochs}, {score}, by {numbers.folds} folds"


def _draw_curves(ax: Axes, curves: Sequence[LearningCurve], best_epoch: float) -> None:
    colour = plotting.SPLIT_COLOURS["validation"]
    for number, curve in enumerate(curves):
        label = None if number else "each fold"
        ax.plot(curve.epochs, curve.scores, color=colour, linewidth=0.7, alpha=0.5, label=label)
    best_epochs, best_scores = zip(*(curve.best_point for curve in curves), strict=True)
    ax.plot(best_epochs, best_scores, "o", markersize=4, color=plotting.COLOURS[3], label="its best")
    epochs = np.unique(np.concatenate([curve.epochs for curve in curves]))
    epochs = epochs[epochs <= min(curve.epochs[-1] for curve in curves)]  # while every trial goes on
    total = sum(np.interp(epochs, curve.epochs, curve.scores) for curve in curves)
    ax.plot(epochs, total / len(curves), color=colour, linewidth=2.5, label="mean")
    ax.axvline(best_epoch, color="#555555", linestyle=":", linewidth=1.2, label="mean of the best epochs")
