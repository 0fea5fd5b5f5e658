"""The directions in which the points of a sweep differ, as figures lay them out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.sweep_keys import SweepDefinition
from nnlab.runs.sweep_points import SweepPoints, labels_of
from nnlab.text import label_in_words, names_in_words

if TYPE_CHECKING:
    import pandas

    from nnlab.runs.results import Sweep

LOG_RATIO = 5.0  # of the greatest to the least value, from which on numbers may be spaced in the logarithm
MAXIMUM_TICKS, MAXIMUM_CATEGORIES = 8, 12  # that are shown
LEAST_TICK_GAP = 0.07  # between two ticks, as a share of their axis


class Dimension(NamedTuple):
    """A direction in which `P` points differ.

    Attributes:
        name: The path in a few words, `learning rate`.
        places: `[P]`, where each point is: its number, or the position of its value among the categories.
        categories: The values in words where they are no numbers, or none that one axis can show.
        is_ordered: Whether the values are numbers.
        is_log: Whether they are spaced in the logarithm.
    """

    name: str
    places: np.ndarray
    categories: Sequence[str]
    is_ordered: bool
    is_log: bool

    def in_categories(self) -> Dimension:
        """The same with every value a category, numbers in ascending order."""
        if self.categories:
            return self
        values, codes = np.unique(self.places, return_inverse=True)
        words = [f"{value:.3g}" for value in values]
        words = words if len(set(words)) == len(words) else [f"{value:.6g}" for value in values]
        return self._replace(places=codes.astype(float), categories=words, is_log=False)

    def words_at(self, point: int) -> str:
        """The value of a point."""
        place = self.places[point]
        return self.categories[int(place)] if self.categories else f"{place:.4g}"

    def shares(self) -> np.ndarray:
        """`[P]`, where each point is between the first value, 0, and the last, 1."""
        return self.share_of(self.places)

    def share_of(self, values: np.ndarray) -> np.ndarray:
        """Where numbers of this direction are between its first value, 0, and its last, 1."""
        low, high = self.places.min(), self.places.max()
        if self.is_log:
            return np.log(values / low) / math.log(high / low)
        return (values - low) / (high - low)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Places of ticks and their words: the values themselves where there is room for them."""
        if self.categories:
            count = len(self.categories)
            shown = range(0, count, math.ceil(count / MAXIMUM_CATEGORIES))
            return [float(place) for place in shown], [self.categories[place] for place in shown]
        values = np.unique(self.places)
        if len(values) > MAXIMUM_TICKS or np.diff(self.share_of(values)).min() < LEAST_TICK_GAP:
            values = _round_numbers(values[0], values[-1], self.is_log)
        return values.tolist(), [f"{value:.4g}" for value in values]


def dimensions_of(sweep: Sweep, points: SweepPoints) -> list[Dimension]:
    """The directions in which the points differ, one for each axis that has several values.

    Axes that move together are one: that of the first one whose numbers all differ, or else of their values
    side by side.
    """
    definition = sweep.config.build().sweep
    if definition is None:
        return []
    together = [axis for axis in points.axes if axis in definition.zip]
    groups = [[axis] for axis in points.axes if axis not in together] + ([together] if together else [])
    names = dict(zip(points.axes, names_in_words(points.axes), strict=True))
    dimensions = [_dimension(points.table[group], names, definition) for group in groups]
    return [dimension for dimension in dimensions if len(np.unique(dimension.places)) > 1]


def _dimension(values: pandas.DataFrame, names: Mapping[str, str], definition: SweepDefinition) -> Dimension:
    """The direction of one axis, or of several that move together."""
    count = len(values.drop_duplicates())
    for axis in map(str, values):
        column = values[axis]
        if column.dtype.kind in "fiu" and column.notna().all() and column.nunique() == count:
            others = ", ".join(names[str(other)] for other in values if other != axis)
            name = f"{names[axis]} (with {others})" if others else names[axis]
            return _of_numbers(name, column.to_numpy(float), _spacing(definition, axis))
    columns = [[label_in_words(word) for word in labels_of(values[axis].tolist())] for axis in values]
    words = [", ".join(row) for row in zip(*columns, strict=True)]
    codes = values.groupby(list(values), sort=False, dropna=False).ngroup().to_numpy()
    first = [words[int(np.argmax(codes == code))] for code in range(count)]
    labels = [word if first.count(word) == 1 else f"{word} ({i + 1})" for i, word in enumerate(first)]
    name = ", ".join(names[str(axis)] for axis in values)
    return Dimension(name, codes.astype(float), labels, is_ordered=False, is_log=False)


def _spacing(definition: SweepDefinition, axis: str) -> str:
    """How the file spaces or draws an axis, such as `geomspace` or `uniform`; empty for a list of values."""
    drawn = definition.random.axes if definition.random is not None else {}
    values = {**definition.axes, **definition.zip, **drawn}[axis]
    return str(next(iter(values))) if isinstance(values, Mapping) else ""


def _of_numbers(name: str, places: np.ndarray, spacing: str) -> Dimension:
    dimension = Dimension(name, places, (), is_ordered=True, is_log=False)
    distinct = np.unique(places)
    positive = distinct[distinct > 0]
    is_listed = spacing in ("", "choice")
    is_log = _is_log_spaced(positive) if is_listed else spacing in ("geomspace", "logspace", "log_uniform")
    if not is_log or distinct[0] < 0:
        return dimension
    return dimension._replace(is_log=True) if distinct[0] > 0 else dimension.in_categories()


def _round_numbers(low: float, high: float, is_log: bool) -> np.ndarray:
    """Some round numbers from low to high: powers of ten on a logarithmic axis that spans two of them."""
    if is_log:
        powers = 10.0 ** np.arange(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        if len(powers) > 1:
            return powers
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= max(times for times in (1, 2, 5) if times * step <= (high - low) / 2)
    return step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)


def _is_log_spaced(values: np.ndarray) -> bool:
    """Whether ascending positive numbers lie more evenly in the logarithm: by where their median is."""
    if len(values) < 2 or values[-1] / values[0] < LOG_RATIO:
        return False
    low, middle, high = values[0], float(np.median(values)), values[-1]
    share, log_share = (middle - low) / (high - low), math.log(middle / low) / math.log(high / low)
    return abs(log_share - 0.5) < abs(share - 0.5)


def colormap(points: SweepPoints) -> str:
    """The colours of means: the better, the brighter."""
    return "viridis" if points.metric is not None and points.metric.direction == "maximize" else "viridis_r"


def colour_scale(points: SweepPoints) -> str:
    """How means become colours: `log` where they are positive and wide apart, else `linear`."""
    finite = points.means[np.isfinite(points.means)]
    is_wide = len(finite) > 0 and finite.min() > 0 and finite.max() / finite.min() > plotting.WIDE_RATIO
    return "log" if is_wide else "linear"
