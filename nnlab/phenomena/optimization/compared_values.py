"""The values that a comparison compares: their scores, each at its own best value of the tuned axis."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.document import parse_value
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepView,
    finished_trials,
    refuse_non_numeric,
    refuse_too_many_lines,
    sweep_column,
)
from nnlab.text import in_words, name_in_words, suggestion

if TYPE_CHECKING:
    import pandas

LABEL_CHARACTERS = 48  # of a value in words, at most
TRIAL_METRICS = ("final", "best", "selected")  # the parts of a trial's summary that are metrics


class ComparisonSettings(NamedTuple):
    """The arguments of `comparison`, where they are described."""

    along: str
    metric: str
    better: Literal["lower", "higher"]
    level: float | None
    tuned: str | None
    labels: Sequence[str] | None

    @property
    def sign(self) -> int:
        """What makes a score a cost, of which less is better; steps to a level always are one."""
        return -1 if self.better == "higher" and self.level is None else 1

    @property
    def score_name(self) -> str:
        """What is scored, in words: `validation loss`, `confusion: error`, `training loss ≤ 0.1`."""
        part, _, _ = self.metric.rpartition(".")
        words = name_in_words(self.metric)
        if self.level is not None:
            return f"{words} {'≤' if self.better == 'lower' else '≥'} {plotting.scientific(self.level)}"
        return words if part in ("", *TRIAL_METRICS) else f"{name_in_words(part)}: {words}"


class Contender(NamedTuple):
    """A value of the compared axis at its own best value of the tuned axis.

    Attributes:
        label: The value in words.
        at: The tuned value; 0 without a tuned axis, NaN without trials.
        at_edge: Whether that is the first or the last of the tuned values.
        cost: Median over the seeds of its scores times the sign, so that lower is better; infinite where
            they never reach the level.
        costs: Of each trial at every tuned value, in the columns at, trial, seed and cost.
    """

    label: str
    at: float
    at_edge: bool
    cost: float
    costs: pandas.DataFrame

    @property
    def chosen(self) -> pandas.DataFrame:
        """Its trials at its best tuned value."""
        return self.costs[self.costs["at"] == self.at]

    @property
    def has_score(self) -> bool:
        return math.isfinite(self.cost)


def find_contenders(sweep: SweepView, settings: ComparisonSettings) -> list[Contender]:
    """Every value of the compared axis, in its order. Raises InvalidValue."""
    import pandas

    column = sweep_column(sweep, settings.along)
    _, cells = pandas.factorize(sweep.trials[column], use_na_sentinel=False)
    trials = finished_trials(sweep)
    tuned = sweep_column(sweep, settings.tuned) if settings.tuned else None
    if tuned:
        refuse_non_numeric(trials, [tuned])
    at = trials[tuned].astype(float) if tuned else 0.0
    table = trials[["trial", "seed"]].assign(at=at, cost=_costs(sweep, trials, settings))
    labels = unique_labels(settings.labels or [value_in_words(cell, settings) for cell in cells], len(cells))
    masks = [trials[column].isna() if pandas.isna(cell) else trials[column] == cell for cell in cells]
    return [_contender(label, table[mask]) for label, mask in zip(labels, masks, strict=True)]


def _contender(label: str, costs: pandas.DataFrame) -> Contender:
    medians = costs.groupby("at")["cost"].median()
    if medians.empty:  # all its trials failed
        return Contender(label, math.nan, False, math.inf, costs)
    best = medians.index[medians == medians.min()]
    at = best[(len(best) - 1) // 2]
    return Contender(label, at, at in (medians.index[0], medians.index[-1]), float(medians[at]), costs)


def _costs(sweep: SweepView, trials: pandas.DataFrame, settings: ComparisonSettings) -> np.ndarray:
    """The score of each trial times the sign; infinite where it has none."""
    if settings.level is None:
        _refuse_unknown(trials, settings.metric, "the trials have no number")
        scores = trials[settings.metric].astype(float).where(trials["status"] == "complete")
        return (settings.sign * scores).fillna(np.inf).to_numpy(float)
    rows = sweep.joined("metrics")
    _refuse_unknown(rows, settings.metric, "metrics.csv has no column")
    side = -1 if settings.better == "higher" else 1
    reached = side * rows[settings.metric] <= side * settings.level
    first_steps = rows[reached].groupby("trial")["step"].min()
    return trials["trial"].map(first_steps).fillna(np.inf).to_numpy(float)


def _refuse_unknown(table: pandas.DataFrame, name: str, problem: str) -> None:
    """Refuse a column that the table does not have, or that holds text."""
    if name not in table:
        known = [str(column) for column in table if table[column].dtype.kind in "fiu"]
        raise InvalidValue(f"{problem} '{name}'{suggestion(name, known)}")
    refuse_non_numeric(table, [name])


def last_step(sweep: SweepView, settings: ComparisonSettings) -> float | None:
    """The last step of training, where scores are steps."""
    return None if settings.level is None else float(sweep.joined("metrics")["step"].max())


# --- values in words -------------------------------------------------------------------------------------


def unique_labels(labels: Sequence[str], count: int) -> Sequence[str]:
    """The labels of so many values. Raises InvalidValue where there are more, fewer, or two of one name."""
    refuse_too_many_lines(count, "values")
    if len(labels) != count:
        raise InvalidValue(f"{len(labels)} labels for {count} values of the axis", ("labels",))
    for place, label in enumerate(labels):
        if label in labels[:place]:
            raise InvalidValue(
                f"two values of the axis would both be called '{label}'; give each a label of its own",
                ("labels",),
            )
    return labels


def value_in_words(value: object, settings: ComparisonSettings) -> str:
    """A value of the axis, or its cell of trials.csv, in a few words without what is tuned in it.

    For example `sgd momentum 0.9`.
    """
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = parse_value(value, "trials.csv").tree
    if isinstance(value, Mapping):
        value = {key: inner for key, inner in value.items() if f"{settings.along}.{key}" != settings.tuned}
    return textwrap.shorten(in_words(value), LABEL_CHARACTERS, placeholder=" ...")
