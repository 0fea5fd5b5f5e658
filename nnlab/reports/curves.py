"""Curves over training as numbers for a page: which there are, and no more points than can be seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.text import SPLITS, name_in_words

LOG_STEP_RATIO = 8  # of the last gap between records to the first, from which on steps are logarithmic
RATE = "learning_rate"
LEAST_POINTS = 20  # of a curve, however many there are
DIGITS = 5  # of a number on the page

Columns = Mapping[str, np.ndarray]
"""A table as columns by name, `[rows]` each."""


class Source(NamedTuple):
    """A run whose curves are drawn.

    Attributes:
        label: The run in a few words.
        metrics: Its table `metrics`.
        name: What it is known by, where its curves are made again and again.
    """

    label: str
    metrics: Columns
    name: str = ""


class Line(NamedTuple):
    """One curve.

    Attributes:
        name: Of what, in words: a split, or the quantity itself.
        split: The number of the split in SPLITS, which is the curve's dash; solid where it is None.
        values: `[points]`.
    """

    name: str
    split: int | None
    values: list[float | None]


class Bundle(NamedTuple):
    """The curves of one run in one chart; they share their steps.

    Attributes:
        run: The number of the run among the sources.
        steps: `[points]`.
        lines: The curves.
    """

    run: int
    steps: list[int]
    lines: list[Line]


class Chart(NamedTuple):
    """Curves of one quantity.

    Attributes:
        title: The quantity in words, without a split: `loss`.
        is_log: Whether the values are spaced in the logarithm.
        bundles: Those of each run that has it.
    """

    title: str
    is_log: bool
    bundles: list[Bundle]


class Curves(NamedTuple):
    """The charts of one or more runs.

    Attributes:
        runs: The labels of the runs.
        charts: Which quantities there are.
        is_log_step: Whether steps are spaced in the logarithm.
        records: The most records that a run has.
        points: The most points that a curve has here.
    """

    runs: list[str]
    charts: list[Chart]
    is_log_step: bool
    records: int
    points: int

    @property
    def is_thinned(self) -> bool:
        """Whether some records are left out."""
        return self.points < self.records


class Known(NamedTuple):
    """A bundle as it was made before.

    Attributes:
        step: The column `step` that it was made of.
        most_points: How many points it might have.
        bundle: The bundle.
    """

    step: np.ndarray
    most_points: int
    bundle: Bundle


def curves_of(
    sources: Sequence[Source], most_values: int, known: dict[tuple[str, str], Known] | None = None
) -> Curves:
    """The charts of runs.

    Args:
        sources: The runs.
        most_values: How many numbers all charts may have together.
        known: The bundles that were made before, by the names of run and quantity. Those whose table has not
            grown are taken from here, and new ones put in.

    Returns:
        The charts, one for each quantity of the tables; of long tables, see `thinned`.
    """
    quantities, known = _quantities(sources), {} if known is None else known
    count = sum(len(columns) for _, columns in quantities)
    most_points = _few_sizes(most_values / max(1, count))
    charts: dict[str, list[Bundle]] = {}
    for (number, quantity), columns in quantities:
        source = sources[number]
        earlier, step = known.get((source.name, quantity)), source.metrics["step"]
        if earlier is None or earlier.step is not step or earlier.most_points != most_points:
            bundle = _bundle(source.metrics, columns, quantity, number, most_points)
        else:
            bundle = earlier.bundle if earlier.bundle.run == number else earlier.bundle._replace(run=number)
        if source.name:
            known[source.name, quantity] = Known(step, most_points, bundle)
        charts.setdefault(quantity, []).append(bundle)
    points = [len(bundle.steps) for bundles in charts.values() for bundle in bundles]
    return Curves(
        [source.label for source in sources],
        [
            Chart(name_in_words(quantity), quantity != "accuracy" and _is_wide(bundles), bundles)
            for quantity, bundles in charts.items()
        ],
        any(_is_log_spaced(source.metrics.get("step", np.zeros(0))) for source in sources),
        max((len(source.metrics.get("step", ())) for source in sources), default=0),
        max(points, default=0),
    )


def _few_sizes(points: float) -> int:
    """As many points or somewhat fewer, in steps of a factor of 1.4: with one more run, few curves change."""
    steps = math.floor(2 * math.log2(max(points, LEAST_POINTS) / LEAST_POINTS))
    return int(LEAST_POINTS * 2 ** (steps / 2))


def _bundle(metrics: Columns, columns: Sequence[str], quantity: str, number: int, most_points: int) -> Bundle:
    """The curves of one quantity of one run."""
    values = np.stack([metrics[column].astype(float) for column in columns])
    kept = thinned(values, most_points)
    lines = [
        Line(name_in_words(_split_of(column) or quantity), _split_number(column), rounded(row[kept]))
        for column, row in zip(columns, values, strict=True)
    ]
    return Bundle(number, [int(step) for step in metrics["step"][kept]], lines)


def _quantities(sources: Sequence[Source]) -> list[tuple[tuple[int, str], list[str]]]:
    """For each run and quantity its columns, quantities of one name one after the other."""
    found: dict[tuple[str, int], list[str]] = {}
    for number, source in enumerate(sources):
        for column, values in source.metrics.items():
            split = _split_of(column)
            if column in ("step", "epoch") or values.dtype.kind not in "fiu" or not len(values):
                continue
            quantity = column.removeprefix(f"{split}_") if split else column
            found.setdefault((quantity, number), []).append(column)
    names = list(dict.fromkeys(quantity for quantity, _ in found))
    if all(
        (source.metrics[RATE] == source.metrics[RATE][0]).all()
        for source in sources
        if RATE in source.metrics
    ):
        names = [name for name in names if name != RATE]  # it never changes, and stands in the config
    first = [name for name in ("loss", "accuracy") if name in names]
    last = [name for name in names if name not in first]
    return [
        ((number, name), found[name, number])
        for name in (*first, *last)
        for number in range(len(sources))
        if (name, number) in found
    ]


def _split_of(column: str) -> str | None:
    split = column.partition("_")[0]
    return split if split in SPLITS and "_" in column else None


def _split_number(column: str) -> int | None:
    split = _split_of(column)
    return None if split is None else SPLITS.index(split)


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """Which points of curves to keep, so that what is drawn looks as all of them would.

    Points that follow one another are grouped, and of each group the least and the greatest of every curve
    are kept, so that no peak is lost. Each kept point is a record as it was.

    Args:
        values: `[curves, points]`.
        most: How many points to keep at most; always the first and the last one are.

    Returns:
        The indices of the points that stay, ascending.
    """
    curves, count = values.shape
    if count <= most:
        return np.arange(count)
    groups = max(1, (most - 2) // (2 * curves))
    size = -(-count // groups)
    padded = np.pad(values, ((0, 0), (0, groups * size - count)), mode="edge")
    grouped = padded.reshape(curves, groups, size)
    is_finite = np.isfinite(grouped)
    starts = np.arange(groups) * size
    least = np.where(is_finite, grouped, np.inf).argmin(axis=2) + starts
    greatest = np.where(is_finite, grouped, -np.inf).argmax(axis=2) + starts
    kept = np.concatenate([least.ravel(), greatest.ravel(), [0, count - 1]])
    return np.unique(np.minimum(kept, count - 1))


def rounded(values: np.ndarray) -> list[float | None]:
    """Numbers of few digits, None where one is not finite."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]


def _is_wide(bundles: Sequence[Bundle]) -> bool:
    """Whether the values are positive and far apart, as figures have it."""
    lines = [line for bundle in bundles for line in bundle.lines]
    finite = [value for line in lines for value in line.values if value is not None]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > plotting.WIDE_RATIO


def _is_log_spaced(steps: np.ndarray) -> bool:
    gaps = [later - earlier for earlier, later in itertools.pairwise(steps.tolist())]
    return len(gaps) > 4 and gaps[-1] > LOG_STEP_RATIO * gaps[0]
