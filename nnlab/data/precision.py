"""What rounding to float32 takes from inputs and targets: values that differ become one.

A column is a feature of the inputs, or one of the targets. How much it loses is judged by its bulk: the
narrowest interval with half of its different values, so that a value far from the others hides nothing.
Letters in shapes: N examples, D columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnlab.data.examples import Examples, as_float32
from nnlab.data.transforms import standardize
from nnlab.errors import InvalidValue

REFUSED_LOSS = 1e-3  # of the bulk's width; by then at most a few hundred of its values are told apart
NOTED_LOSS = 1e-5
MAXIMUM_NOTES = 3
SAMPLED_ROWS = 200  # from which columns are picked that may lose something
UNIT = 2.0**-24  # the largest relative rounding
SMALLEST = float(np.finfo(np.float32).tiny)  # what is below it in size, processors take for 0


class MergedValues(NamedTuple):
    """A column of which values that differ are one number in float32.

    Attributes:
        column: Its number, from 0.
        first: The smaller of two such values.
        second: The other one.
        loss: How far its bulk is rounded at most, as a share of the bulk's width.
    """

    column: int
    first: float
    second: float
    loss: float


def check_inputs(train: Examples, scaled: np.ndarray, normalized: bool) -> list[str]:
    """Refuse inputs that lose their differences.

    Args:
        train: The training examples, in the precision of their source.
        scaled: Their inputs, scaled in that precision.
        normalized: Whether they are, or only the same.

    Returns:
        What is worth knowing of smaller losses, a line each.

    Raises:
        InvalidValue: A feature loses more than REFUSED_LOSS.
    """
    merged = merged_values(scaled)
    titles = [_feature_title(train, each.column) + " after normalize" * normalized for each in merged]
    for each, title in zip(merged, titles, strict=True):
        if each.loss > REFUSED_LOSS:
            column = np.asarray(train.inputs).reshape(len(train), -1)[:, each.column]
            remedy = "normalize: standardize keeps them apart"
            if any(still.loss > REFUSED_LOSS for still in merged_values(standardize(column)(column))):
                remedy = "a value far from the others takes their precision; leave it out, or the feature"
            raise InvalidValue(f"{_words(each, title)}; {remedy}", ("normalize",) if normalized else ())
    return _notes(merged, titles)


def check_targets(train: Examples) -> list[str]:
    """Refuse values to regress that lose their differences. Returns and raises as `check_inputs`."""
    merged = [] if train.classes else merged_values(train.targets)
    titles = [f"target {each.column}" for each in merged]
    for each, title in zip(merged, titles, strict=True):
        if each.loss > REFUSED_LOSS:
            raise InvalidValue(f"{_words(each, title)}; subtract what they have in common, and scale them")
    return _notes(merged, titles)


def _notes(merged: list[MergedValues], titles: list[str]) -> list[str]:
    notes = [_words(each, title) for each, title in zip(merged, titles, strict=True)]
    left = len(notes) - MAXIMUM_NOTES
    return [*notes[:MAXIMUM_NOTES], *([f"{left:,} more lose differences to float32"] if left > 0 else [])]


def _words(merged: MergedValues, title: str) -> str:
    first, second = (int(v) if v.is_integer() else v for v in (merged.first, merged.second))
    return f"{title} loses differences to float32, in which {first} and {second} are one number"


def _feature_title(examples: Examples, column: int) -> str:
    """`column 'age'`, or `feature 3`."""
    if examples.feature_names:
        return f"column '{examples.feature_names[column]:.60}'"
    place = [int(i) for i in np.unravel_index(column, examples.inputs.shape[1:])]
    return f"feature {place[0] if len(place) == 1 else place}"


def merged_values(values: np.ndarray) -> list[MergedValues]:
    """The columns that lose something.

    Args:
        values: `[N, ...]`, which become float32.

    Returns:
        Those of a loss above NOTED_LOSS, and those of whole numbers however small it is.
    """
    if values.dtype == np.float32:
        return []
    columns = values.reshape(len(values), -1)
    sample = columns[:: -(-len(columns) // SAMPLED_ROWS)]
    rounded = (_rounded(columns) != columns).any(axis=0)
    merged = []
    for column in np.flatnonzero(rounded & _may_lose(sample)):
        found = _merged(int(column), np.unique(columns[:, column]))
        if found is not None:
            merged.append(found)
    return merged


def _may_lose(sample: np.ndarray) -> np.ndarray:
    """Whether each column may lose something, `[D]`, by some of its rows, with a margin."""
    values = np.sort(sample.T, axis=1)
    half = values.shape[1] // 2
    widths = (values[:, half:] - values[:, : values.shape[1] - half]).min(axis=1)
    largest = np.abs(values[:, [0, -1]]).max(axis=1)
    whole = (values == np.floor(values)).all(axis=1)
    return whole | (np.maximum(largest * UNIT, SMALLEST) > NOTED_LOSS / 10 * widths)


def _rounded(values: np.ndarray) -> np.ndarray:
    """The values as they are computed with, in float32."""
    rounded = as_float32(values)
    return np.where(np.abs(rounded) < SMALLEST, np.float32(0), rounded)


def _merged(column: int, values: np.ndarray) -> MergedValues | None:
    """What a column loses, by its different values in rising order; None if that is nothing to speak of."""
    rounded = _rounded(values)
    same = np.flatnonzero(rounded[1:] == rounded[:-1])
    if not same.size:
        return None
    half = len(values) // 2
    start = int((values[half:] - values[: len(values) - half]).argmin())
    bulk = values[start : start + half + 1]
    loss = float(np.abs(rounded[start : start + half + 1] - bulk).max() / (bulk[-1] - bulk[0]))
    if loss <= NOTED_LOSS and (values != np.floor(values)).any():
        return None
    return MergedValues(column, float(values[same[0]]), float(values[same[0] + 1]), loss)
