"""A setting chosen by cross-validation, such as the number of hidden units, and how long to train with it.

At a value v of the axis let s_i(v) be the metric of fold i at the mean of that value's best epochs, the same
epoch for all of its folds. With `n` folds (times seeds, where there are several)

    score(v) = 1/n sum_i s_i(v)        error(v) = std_i s_i(v) / sqrt(n)

The value with the best score is chosen. The folds share training examples, so that the standard errors are
too small rather than too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    phenomenon,
    refuse_non_numeric,
    sweep_column,
)
from nnlab.phenomena.selection import cross_validation
from nnlab.phenomena.selection.cross_validation import FOLD, Metric, count_folds, learning_curve, score_label
from nnlab.text import name_in_words, with_deviation

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ChosenByFolds(NamedTuple):
    """The choice; scores are in the unit of the metric, a mean loss per example or a share from 0 to 1.

    Attributes:
        folds: Number of folds, 2 or more.
        chosen: The value of the axis with the best score; of equals the smallest.
        best_epoch: Mean epoch of the best records at that value.
        at_end: Number of its trials that are best at their last record, and should be trained for longer.
        chosen_score: The score of that value.
        chosen_error: Its standard error.
        worst: The value with the worst score; of equals the smallest.
        worst_score: The score of that value.
        gain: How much better the chosen value is than the worst, 0 or more.
        gain_error: Its standard error, from the differences on the same fold.
        smallest_within_error: The smallest value that is worse than the best by one chosen_error at most:
            where smaller is simpler, the choice of the one-standard-error rule.
        at_edge: Whether the chosen value is the smallest or the largest, so that more should be tried.
    """

    folds: int
    chosen: float
    best_epoch: float
    at_end: int
    chosen_score: float
    chosen_error: float
    worst: float
    worst_score: float
    gain: float
    gain_error: float
    smallest_within_error: float
    at_edge: bool


class FoldScores(NamedTuple):
    """The scores of `V` values of the axis on `T` trials each, a trial per fold and seed.

    Attributes:
        values: `[V]`, ascending.
        scores: `[V, T]`, in the same order of folds and seeds for all values.
        best_epochs: `[V]`, the mean of each value's best epochs.
        at_end: `[V]`, how many trials are best at their last record.
        folds: Number of folds.
    """

    values: np.ndarray
    scores: np.ndarray
    best_epochs: np.ndarray
    at_end: np.ndarray
    folds: int

    @property
    def means(self) -> np.ndarray:
        """The score of each value, `[V]`."""
        return self.scores.mean(1)

    @property
    def errors(self) -> np.ndarray:
        """The standard error of each score, `[V]`."""
        return _standard_error(self.scores)


@phenomenon
def chosen_by_folds(along: str, metric: Metric = "validation_loss") -> SweepPhenomenon:
    """Which value of a setting, such as a number of hidden units, is best on held-out examples?

    The sweep runs along `along` and along `data.split.fold`, whose values are all folds from 0 on, such as
    {range: [0, 5]}. Each trial must come to its end. `nnlab cross-validate` goes on and trains on all folds
    with the chosen value. Test examples choose nothing.

    Args:
        along: The axis whose value is chosen, such as `model.width`; its values are numbers.
        metric: `validation_loss`, which is best where it is lowest, or `validation_accuracy`, which is best
            where it is highest.

    Reference:
        Stone 1974; Breiman, Friedman, Olshen & Stone 1984, section 3.4.3 (the one-standard-error rule);
        lecture 002 (the number of hidden units is chosen on folds).
    """
    if along == FOLD:
        raise InvalidValue("the folds choose, they cannot be chosen from; name another axis", ("along",))
    return SweepPhenomenon(
        result=ChosenByFolds,
        detect=lambda sweep: detect(read_scores(sweep, along, metric), metric),
        figures={"chosen_by_folds": lambda sweeps: score_by_value(sweeps, along, metric)},
        axis=along,
        other_axes=(FOLD,),
    )


def detect(by_fold: FoldScores, metric: Metric) -> ChosenByFolds:
    """The detector's numbers, see ChosenByFolds."""
    sign = -1 if metric == "validation_accuracy" else 1
    costs = sign * by_fold.means
    chosen, worst = int(costs.argmin()), int(costs.argmax())
    gains = sign * (by_fold.scores[worst] - by_fold.scores[chosen])
    within = costs <= costs[chosen] + by_fold.errors[chosen]
    return ChosenByFolds(
        folds=by_fold.folds,
        chosen=float(by_fold.values[chosen]),
        best_epoch=float(by_fold.best_epochs[chosen]),
        at_end=int(by_fold.at_end[chosen]),
        chosen_score=float(by_fold.means[chosen]),
        chosen_error=float(by_fold.errors[chosen]),
        worst=float(by_fold.values[worst]),
        worst_score=float(by_fold.means[worst]),
        gain=float(gains.mean()),
        gain_error=float(_standard_error(gains)),
        smallest_within_error=float(by_fold.values[within.argmax()]),
        at_edge=chosen in (0, len(costs) - 1),
    )


def read_scores(sweep: SweepView, along: str, metric: Metric) -> FoldScores:
    """The scores of all values. Raises InvalidValue where a fold of one is missing, or a score not finite."""
    axis, fold = sweep_column(sweep, along), sweep_column(sweep, FOLD)
    values = _values_with_all_folds(sweep.trials, axis, fold)
    records = sweep.joined("metrics")
    scores, best_epochs, at_end = [], [], []
    for value in values:
        of_trial = records[records[axis] == value].groupby(["seed", fold])  # in the same order for all values
        curves = [learning_curve(rows, metric) for _, rows in of_trial]
        numbers = cross_validation.detect(curves, len(curves))
        scores.append([curve.score_near(numbers.best_epoch) for curve in curves])
        if not np.isfinite(scores[-1]).all():
            raise InvalidValue(f"at {axis} {value:g} the {name_in_words(metric)} is not finite")
        best_epochs.append(numbers.best_epoch)
        at_end.append(numbers.at_end)
    folds = sweep.trials[fold].nunique()
    return FoldScores(np.array(values), np.array(scores), np.array(best_epochs), np.array(at_end), folds)


def _values_with_all_folds(trials: pandas.DataFrame, axis: str, fold: str) -> list[float]:
    """The values of the axis, ascending. Raises InvalidValue where one lacks a fold that another has."""
    refuse_non_numeric(trials, [axis, fold, "seed"])
    values = sorted(trials[axis].dropna().unique().tolist())
    if len(values) < 2:
        raise InvalidValue(f"a choice needs two values of '{axis}' or more; there are {len(values)}")
    all_parts = set(zip(trials["seed"], trials[fold], strict=True))
    for value in values:
        of_value = trials[trials[axis] == value]
        try:
            count_folds(of_value, fold)
        except InvalidValue as error:
            raise InvalidValue(f"at {axis} {value:g}: {error}") from error
        missing = sorted(all_parts - set(zip(of_value["seed"], of_value[fold], strict=True)))
        if missing:
            seed, part = missing[0]
            raise InvalidValue(
                f"at {axis} {value:g}: fold {part:g} of seed {seed} is missing, others have it"
            )
    return values


def _standard_error(scores: np.ndarray) -> np.ndarray:
    """That of the mean over the last axis."""
    return scores.std(-1, ddof=1) / np.sqrt(scores.shape[-1])


def score_by_value(sweeps: Sequence[SweepView], along: str, metric: Metric) -> Figure:
    """Score and standard error along the axis, with the chosen value marked; one panel per sweep.

    A dotted line is one standard error worse than the chosen value.
    """

    def draw(ax: Axes, sweep: SweepView) -> str:
        by_fold = read_scores(sweep, along, metric)
        numbers = detect(by_fold, metric)
        _draw_scores(ax, by_fold, numbers)
        plotting.capacity_axis(ax, name_in_words(along))
        _draw_error(ax, numbers, metric)
        ax.set_ylabel(score_label(sweep, metric))
        return f"{sweep.label}: {_finding(numbers, along)}"

    figure, axes = plotting.panel_per_result(sweeps, draw, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def _draw_scores(ax: Axes, by_fold: FoldScores, numbers: ChosenByFolds) -> None:
    ax.errorbar(
        by_fold.values,
        by_fold.means,
        by_fold.errors,
        color=plotting.SPLIT_COLOURS["validation"],
        marker="o",
        markersize=4,
        capsize=3,
        label=f"mean of {numbers.folds} folds ± standard error",
    )
    chosen = numbers.chosen, numbers.chosen_score
    ax.plot(*chosen, "*", markersize=14, color=plotting.COLOURS[3], zorder=3, label="chosen")


def _draw_error(ax: Axes, numbers: ChosenByFolds, metric: Metric) -> None:
    worse = numbers.chosen_error if metric == "validation_loss" else -numbers.chosen_error
    bound = numbers.chosen_score + worse
    ax.axhline(bound, color="#555555", linestyle=":", linewidth=1.2, label="one standard error worse")


def _finding(numbers: ChosenByFolds, along: str) -> str:
    """What the title says: `width 32 is best by 5 folds, by 0.9 ± 0.1 against 2`."""
    gain = with_deviation(numbers.gain, numbers.gain_error)
    best = f"{name_in_words(along)} {numbers.chosen:g} is best by {numbers.folds} folds"
    edge = "; at an end, more values are to be tried" if numbers.at_edge else ""
    return f"{best}, better than {numbers.worst:g} by {gain}{edge}"
