"""The points of a sweep: what its trials came to over the seeds, and which point is best."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab.config.document import parse_value
from nnlab.config.split_roles import SweepMetric, search_metric, sweep_metric
from nnlab.config.sweep_keys import split_path
from nnlab.errors import RunStatus, UsageError
from nnlab.text import in_words, join_words, name_in_words, one_line, with_deviation

if TYPE_CHECKING:
    import pandas

    from nnlab.runs.results import Sweep

FOLD_AXIS = "data.split.fold"  # a fold is no choice: points are taken over the folds, as over the seeds
STATISTICS = ("mean", "std", "median", "min", "max", "count")  # over seeds; std is that of a sample
COUNTED = (RunStatus.DIVERGED, RunStatus.FAILED, RunStatus.PRUNED)
MISSING = "missing"  # of a trial that has not ended
MAXIMUM_ROWS, MAXIMUM_BEST_ROWS = 40, 20
LABEL_CHARACTERS = 32  # of a value in words, at most


class PointTable(NamedTuple):
    """The points of a sweep in words, for a terminal or a notebook.

    Attributes:
        title: What the numbers are, and what the best is chosen by.
        head: The titles of the columns.
        rows: The cells.
        right: The numbers of the columns that hold numbers.
        left_out: How many points have no row.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int]
    left_out: int


@dataclass(frozen=True, eq=False)
class SweepPoints:
    """The points of a sweep.

    Attributes:
        axes: The paths whose values make a point: those that vary, but for the fold of a cross-validation.
        metric: What the points are compared by; None where no trial has a number for that.
        table: A row for each point, see `Sweep.points`.
        replicates: What mean and deviation are taken over: `3 seeds`; empty where each point has one trial.
        is_random: Whether the points are drawn, so that their order says nothing.
    """

    axes: Sequence[str]
    metric: SweepMetric | None
    table: pandas.DataFrame
    replicates: str
    is_random: bool

    @property
    def metrics(self) -> list[str]:
        """The number that the best point is chosen by, and the one that is reported, if it is another."""
        if self.metric is None:
            return []
        return list(dict.fromkeys([self.metric.selected_by, self.metric.reported]))

    @property
    def best(self) -> pandas.Series | None:
        """The row of the best point; None where no trial is complete."""
        rows = self.table[self.table["best"]]
        return rows.iloc[0] if len(rows) else None

    @property
    def means(self) -> np.ndarray:
        """`[P]`, of the number that the best point is chosen by; NaN where no trial is complete."""
        if self.metric is None:
            return np.full(len(self.table), np.nan)
        return self.table[f"{self.metric.selected_by}.mean"].to_numpy(float)

    def value(self, point: pandas.Series, metric: str) -> str:
        """A metric at a point in words: `0.931 ± 0.012`; `-` where no trial is complete there."""
        mean = point[f"{metric}.mean"]
        return "-" if np.isnan(mean) else with_deviation(mean, point[f"{metric}.std"])

    def in_words(self) -> PointTable:
        """The points as a table of words.

        They are in the sweep's order, or the best first where they were drawn or are too many to be listed.
        """
        best_first = self.is_random or len(self.table) > MAXIMUM_ROWS
        shown = self.table
        if best_first and self.metric is not None:
            ascending = self.metric.direction == "minimize"
            column = f"{self.metric.selected_by}.mean"
            shown = shown.sort_values(["best", column], ascending=[False, ascending], kind="stable")
        shown = shown.head(MAXIMUM_BEST_ROWS if best_first else MAXIMUM_ROWS)
        words = ("diverged", "failed", "pruned", MISSING)
        counted = [word for word in words if self.table[word].any()]
        marked = len(self.table) > 1 and self.best is not None
        columns = [metric_in_words(metric).replace(" ", "\n", 1) for metric in self.metrics]
        head = [*short_names(self.axes), *columns]
        if self.replicates and (counted or self.table["count"].nunique() > 1):
            counted = ["count", *counted]
        head += ["trials" if word == "count" else word for word in counted] + ([""] if marked else [])
        labels = [labels_of(shown[axis].tolist()) for axis in self.axes]
        rows = [
            [
                *(column[number] for column in labels),
                *(self.value(row, metric) for metric in self.metrics),
                *(str(row[word]) for word in counted),
                *(["best" if row["best"] else ""] if marked else []),
            ]
            for number, (_, row) in enumerate(shown.iterrows())
        ]
        of_words = [number for number, axis in enumerate(self.axes) if shown[axis].dtype.kind not in "fiu"]
        right = [number for number in range(len(head)) if number not in of_words]
        return PointTable(self._title(), head, rows, right, len(self.table) - len(shown))

    def _title(self) -> str:
        means = f"mean ± std over {self.replicates}; " if self.replicates else ""
        if self.metric is None or self.best is None:
            return f"{means}no trial is complete, there is no best"
        if len(self.table) < 2:
            return means.removesuffix("; ")
        extreme = "smallest" if self.metric.direction == "minimize" else "largest"
        return f"{means}best: the {extreme} {self.metric.selected_by}"


def sweep_points(sweep: Sweep) -> SweepPoints:
    """The points of a sweep, finished or not. Raises UsageError where trials.csv lacks an axis."""
    import pandas

    check_axes(sweep)
    axes, parts = [axis for axis in sweep.axes if axis != FOLD_AXIS], sweep.config.build()
    complete = sweep.completed_trials
    measured = [name for name in numbers_of(complete, sweep.axes) if complete[name].notna().any()]
    search = parts.sweep.method if parts.sweep is not None else None
    chosen = parts.restoring_metric
    if search is not None:
        direction = search.direction or parts.direction_of(search.metric.partition(".")[2])
        metric = search_metric(search.metric, direction, measured)
    elif chosen is not None and not chosen.endswith("_loss"):
        metric = search_metric(f"selected.{chosen}", parts.direction_of(chosen), measured)
    else:
        metric = sweep_metric(measured, restores_best=chosen is not None)
    names = [] if metric is None else list(dict.fromkeys([metric.selected_by, metric.reported]))
    statistics = statistics_of_points(sweep.trials, axes, names)
    table = statistics[[*axes, *(f"{name}.{what}" for name in names for what in ("mean", "std"))]]
    counts = statistics[["complete", *map(str, COUNTED), MISSING]].rename(columns={"complete": "count"})
    table = pandas.concat([table, counts], axis=1)
    table["best"] = _is_best(table, metric)
    is_random = parts.sweep is not None and parts.sweep.random is not None
    return SweepPoints(axes, metric, table, _replicates(sweep), is_random)


def check_axes(sweep: Sweep) -> None:
    """Check that trials.csv has a column for every axis, or no rows yet. Raises UsageError."""
    missing = [axis for axis in sweep.axes if axis not in sweep.trials]
    if missing and len(sweep.trials):
        raise UsageError(f"{sweep.path / 'trials.csv'}: damaged: has no column '{one_line(missing[0])}'")


def numbers_of(trials: pandas.DataFrame, axes: Sequence[str]) -> list[str]:
    """The columns of trials.csv that hold numbers of a summary, such as `final.test_loss`."""
    names = [str(name) for name in trials]
    return [n for n in names if "." in n and n not in axes and trials[n].dtype.kind in "fiu"]


def statistics_of_points(
    trials: pandas.DataFrame, axes: Sequence[str], numbers: Sequence[str]
) -> pandas.DataFrame:
    """A row for each point, in the order of the trials.

    Args:
        trials: A row for each trial, as in trials.csv.
        axes: The columns whose values make a point.
        numbers: The columns to take statistics of, over the complete trials of a point.

    Returns:
        The axes; columns such as `final.test_loss.mean` for each number and statistic; and how many trials
        are complete, diverged, failed, pruned and missing.
    """
    import pandas

    trials = trials.reset_index(drop=True).reindex(columns=list(dict.fromkeys([*axes, *trials])))
    point = trials.groupby(list(axes), sort=False, dropna=False).ngroup() if axes else trials["seed"] * 0
    point = point.astype(int).rename("point")
    status = trials["status"]
    parts = [trials.loc[~point.duplicated(), list(axes)].reset_index(drop=True)]
    if numbers:
        complete = trials[list(numbers)].where(status == RunStatus.COMPLETE)
        statistics = complete.groupby(point).agg(list(STATISTICS))
        parts.append(statistics.set_axis(list(map(".".join, statistics.columns)), axis=1))
    words = [RunStatus.COMPLETE, *COUNTED]
    counts = pandas.DataFrame({str(word): status == word for word in words})
    counts[MISSING] = ~counts.any(axis=1)
    return pandas.concat([*parts, counts.groupby(point).sum()], axis=1)


def metric_in_words(metric: str) -> str:
    """`final.test_loss` as `test loss`."""
    return name_in_words(metric.partition(".")[2])


def short_names(axes: Sequence[str]) -> list[str]:
    """The axes' paths without what they can do without: `optimizer.learning_rate` as `learning_rate`."""
    return [", ".join(dict.fromkeys(_short(path, axis, axes) for path in split_path(axis))) for axis in axes]


def labels_of(values: Sequence[object]) -> list[str]:
    """Cells of an axis in trials.csv in a few words each: `sgd momentum 0.9`."""
    return [_label(value) for value in values]


def _label(value: object) -> str:
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = parse_value(value, "trials.csv").tree
    text, placeholder = in_words(value), " ..."
    shortened = textwrap.shorten(text, LABEL_CHARACTERS, placeholder=placeholder)
    if shortened != placeholder.strip():
        return shortened
    return f"{text[: LABEL_CHARACTERS // 3]}...{text[-LABEL_CHARACTERS // 2 :]}"  # one word, a path likely


def _short(path: str, axis: str, axes: Sequence[str]) -> str:
    others = [other for one in axes if one != axis for other in split_path(one)]
    parts = path.split(".")
    for start in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[start:])
        if not name[0].isdigit() and not any(f".{other}".endswith(f".{name}") for other in others):
            return name
    return path


def _is_best(table: pandas.DataFrame, metric: SweepMetric | None) -> list[bool]:
    """Marks the point with the best mean, the first of equals.

    One of which a trial diverged is best only where there is no other: its mean is that of the trials that
    came through.
    """
    marks = [False] * len(table)
    if metric is not None:
        means = table[f"{metric.selected_by}.mean"].to_numpy(float)
        costs = np.where(np.isfinite(means), means if metric.direction == "minimize" else -means, np.inf)
        unscathed = np.where(table["diverged"].to_numpy(int) > 0, np.inf, costs)
        chosen = unscathed if np.isfinite(unscathed).any() else costs
        if np.isfinite(chosen).any():
            marks[int(chosen.argmin())] = True
    return marks


def _replicates(sweep: Sweep) -> str:
    """What a point's trials differ in: `10 folds and 3 seeds`."""
    counts = {"seeds": sweep.trials["seed"].nunique()}
    if FOLD_AXIS in sweep.axes and FOLD_AXIS in sweep.trials:
        counts = {"folds": sweep.trials[FOLD_AXIS].nunique()} | counts
    return join_words([f"{count} {what}" for what, count in counts.items() if count > 1], "and")
