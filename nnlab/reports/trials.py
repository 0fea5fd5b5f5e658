"""The trials of a sweep as rows, and its points as lines across all axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab.config.experiment_keys import REASON
from nnlab.runs.results import Sweep
from nnlab.runs.sweep_dimensions import Dimension, colour_scale, dimensions_of
from nnlab.runs.sweep_points import SweepPoints, labels_of, metric_in_words
from nnlab.text import names_in_words, one_line, setting_in_words, short_value

if TYPE_CHECKING:
    import pandas

MAXIMUM_NUMBER_COLUMNS = 10
LEAST_DIMENSIONS = 3  # from which on points are lines across axes side by side
MAXIMUM_LINES = 400


class Cell(NamedTuple):
    """A cell of the table of trials.

    Attributes:
        text: What it shows.
        number: What it is sorted by, where it is a number.
    """

    text: str
    number: float | None = None

    @property
    def is_short(self) -> bool:
        """Whether the text has fewer digits than the number."""
        return self.number is not None and float(self.text) != self.number


class Trials(NamedTuple):
    """The trials of a sweep.

    Attributes:
        head: The columns' titles.
        keys: The columns' names, as trials.csv has them.
        rows: The cells of each trial.
        points: For each row the number of its point, which is a line of the parallel coordinates.
        left_out: How many trials have no row.
    """

    head: list[str]
    keys: list[str]
    rows: list[list[Cell]]
    points: list[int]
    left_out: int


class Axis(NamedTuple):
    """One of the axes that stand side by side.

    Attributes:
        name: What varies.
        ticks: Where it is labelled, from 0 to 1.
        words: The labels.
    """

    name: str
    ticks: list[float]
    words: list[str]


class PointLine(NamedTuple):
    """A point as a line across all axes.

    Attributes:
        point: Its number.
        heights: Where it meets each axis, from 0 to 1, the metric's the last.
        share: Of the way from the worst to the best mean, from 0 to 1.
        is_best: Whether it is the best point.
        words: Its values and its metric.
    """

    point: int
    heights: list[float]
    share: float
    is_best: bool
    words: str


class Parallel(NamedTuple):
    """Parallel coordinates.

    Attributes:
        axes: The axes, the last one that of the metric.
        lines: The points, the best one last.
        left_out: How many points have no line: without a mean, or beyond those that can be shown.
    """

    axes: list[Axis]
    lines: list[PointLine]
    left_out: int


def trials_of(sweep: Sweep, points: SweepPoints, most_rows: int) -> Trials:
    """The trials of a sweep in the order of trials.csv.

    Args:
        sweep: The sweep, finished or not.
        points: Its points.
        most_rows: How many trials to list; of more, those that are best by the sweep's metric.
    """
    table = sweep.trials.reset_index(drop=True)
    keys = [*(axis for axis in sweep.axes if axis in table), "seed", "status", *_numbers(sweep, points)]
    kept = _best_rows(table, points, most_rows)
    columns = [_cells(table.loc[kept, key].tolist(), key in sweep.axes) for key in keys]
    rows = [list(cells) for cells in zip(*columns, strict=True)] if len(kept) else []
    numbers = _point_numbers(table, points)
    return Trials(names_in_words(keys), keys, rows, [numbers[row] for row in kept], len(table) - len(kept))


def _numbers(sweep: Sweep, points: SweepPoints) -> list[str]:
    """The columns of numbers that matter most: the sweep's metrics, what is expected, what is detected."""
    parts = sweep.config.build()
    detected = [
        f"{phenomenon.name}.{field}" for phenomenon in parts.run_phenomena for field in phenomenon.fields
    ]
    finals = [name for name in map(str, sweep.trials) if name.startswith("final.") and name.endswith("_loss")]
    wanted = dict.fromkeys([*points.metrics, *parts.expect, *finals, *detected])
    known = [name for name in wanted if name in sweep.trials and not name.endswith(f".{REASON}")]
    return [name for name in known if name != "status"][:MAXIMUM_NUMBER_COLUMNS]


def _best_rows(table: pandas.DataFrame, points: SweepPoints, most: int) -> list[int]:
    if len(table) <= most or points.metric is None:
        return list(range(min(len(table), most)))
    costs = table[points.metric.selected_by].to_numpy(float)
    costs = costs if points.metric.direction == "minimize" else -costs
    order = np.argsort(np.where(np.isfinite(costs), costs, np.inf), kind="stable")
    return sorted(order[:most].tolist())


def _point_numbers(table: pandas.DataFrame, points: SweepPoints) -> list[int]:
    """The point of each trial, as `points.table` numbers them."""
    if not points.axes or not len(table):
        return [0] * len(table)
    return table.groupby(list(points.axes), sort=False, dropna=False).ngroup().tolist()


def _cells(values: Sequence[object], is_axis: bool) -> list[Cell]:
    """The cells of a column."""
    words = labels_of(values) if is_axis else [_word(value) for value in values]
    return [Cell(word, _number(value)) for word, value in zip(words, values, strict=True)]


def _word(value: object) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "-"
    return one_line(short_value(value))


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def parallel_of(sweep: Sweep, points: SweepPoints) -> Parallel | None:
    """The points of a sweep across its axes; None where fewer than three vary, or no trial is complete."""
    dimensions = dimensions_of(sweep, points) if points.best is not None else []
    if len(dimensions) < LEAST_DIMENSIONS or points.metric is None:
        return None
    means, is_large_good = points.means, points.metric.direction == "maximize"
    measured = np.flatnonzero(np.isfinite(means))
    metric, shares = _metric_axis(points, means[measured])
    better = means if is_large_good else -means
    is_best = points.table["best"].to_numpy(bool)
    order = measured[np.lexsort([better[measured], is_best[measured]])][-MAXIMUM_LINES:]
    heights = _rounded(np.stack([dimension.shares() for dimension in dimensions], axis=1))
    ends = dict(zip(measured.tolist(), _rounded(shares).tolist(), strict=True))
    lines = [
        PointLine(
            point,
            [*heights[point].tolist(), ends[point]],
            ends[point] if is_large_good else 1 - ends[point],
            bool(is_best[point]),
            _point_in_words(points, dimensions, point),
        )
        for point in order.tolist()
    ]
    return Parallel([*map(_axis, dimensions), metric], lines, len(means) - len(lines))


def _metric_axis(points: SweepPoints, means: np.ndarray) -> tuple[Axis, np.ndarray]:
    """The axis of the means, and where each of them is on it."""
    name = metric_in_words(points.metrics[0])
    if means.min() == means.max():
        return Axis(name, [0.5], [f"{means[0]:.4g}"]), np.full(len(means), 0.5)
    is_log = colour_scale(points) == "log"
    dimension = Dimension(name, means, (), is_ordered=True, is_log=is_log)
    return _axis(dimension), dimension.shares()


def _point_in_words(points: SweepPoints, dimensions: Sequence[Dimension], point: int) -> str:
    where = [setting_in_words(dimension.name, dimension.words_at(point)) for dimension in dimensions]
    return (
        f"{', '.join(where)}: {points.metrics[0]} {points.value(points.table.iloc[point], points.metrics[0])}"
    )


def _axis(dimension: Dimension) -> Axis:
    ticks, words = dimension.ticks()
    heights = _rounded(dimension.share_of(np.array(ticks))).tolist()
    return Axis(f"{dimension.name} (log)" if dimension.is_log else dimension.name, heights, list(words))


def _rounded(shares: np.ndarray) -> np.ndarray:
    """Shares of an axis from 0 to 1, to what can be seen."""
    return np.round(np.clip(np.nan_to_num(shares), 0, 1), 4)
