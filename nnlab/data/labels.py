"""Class labels as they stand in a file: names, numbers or one-hot rows, numbered from 0.

Letters in shapes: N examples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nnlab.data.notation import is_number
from nnlab.errors import InvalidValue

MAXIMUM_CLASSES = 10_000
MAXIMUM_FRACTIONS = 20  # different numbers that are not whole, such as half stars, and still classes
MAXIMUM_SCATTERED = 100  # different whole numbers with gaps between them, and still classes
MINIMUM_SCATTERED = 10  # up to here labels are classes, however few examples there are
SHORTEST_WORD = 3  # letters; of shorter names, a and A may well be two classes


class NumberedLabels(NamedTuple):
    """Labels, numbered.

    Attributes:
        numbers: `[N]`, the class of each example, from 0 on.
        classes: How many classes there are.
        names: What the file calls them; empty where it calls them 0, 1, ... itself.
    """

    numbers: np.ndarray
    classes: int
    names: tuple[str, ...] = ()


def number_labels(labels: np.ndarray) -> NumberedLabels:
    """Number the different labels in sorted order.

    Args:
        labels: Numbers, truth values or text `[N]` or `[N, 1]`; or one-hot rows `[N, K]`, of which the column
            of the one is the class.

    Raises:
        InvalidValue: A label is none, the rows are not one-hot, or the labels seem to be values to regress.
    """
    labels = _decoded(labels) if labels.dtype.kind == "S" else labels
    numeric = labels.dtype.kind in "biuf"
    if numeric:
        _check_numbers(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        return _from_one_hot(labels)
    values, numbers = np.unique(labels, return_inverse=True)
    if numeric:
        _check_no_quantities(values, len(labels))
    else:
        _check_words(values.tolist(), len(labels), may_be_nan=labels.dtype.kind == "O")
    if len(values) > MAXIMUM_CLASSES:
        remedy = "; for values to regress give task: regression" if numeric else ""
        raise InvalidValue(
            f"the targets have {len(values):,} different values, and {MAXIMUM_CLASSES:,} is the most{remedy}"
        )
    counts_from_0 = numeric and np.array_equal(values, np.arange(len(values)))
    names = () if counts_from_0 else tuple(map(_name, values.tolist()))
    return NumberedLabels(numbers, len(values), names)


def _decoded(labels: np.ndarray) -> np.ndarray:
    """Labels that are stored as bytes, as text."""
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError:
        raise InvalidValue("the targets are bytes that are no text in UTF-8; save them as text") from None


def _name(value: object) -> str:
    """A label as the file has it; 3.0 is 3."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_numbers(labels: np.ndarray) -> None:
    wrong = ~np.isfinite(labels)
    if wrong.any():
        row, *_ = np.argwhere(wrong)[0]
        raise InvalidValue(
            f"the label of example {row} (counted from 0) is {labels[wrong][0]}, which is no class "
            f"({wrong.sum():,} such labels in all); leave these examples out"
        )


def _from_one_hot(labels: np.ndarray) -> NumberedLabels:
    """Labels of one-hot rows `[N, K]`."""
    shape = ", ".join(["N", *map(str, labels.shape[1:])])
    if labels.ndim != 2 or labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise InvalidValue(
            f"the targets are [{shape}], and no one-hot rows of 0 and 1; give labels [N], or for values to "
            "regress task: regression"
        )
    ones = labels.sum(axis=1, dtype=int)
    if (ones != 1).any():
        row = int((ones != 1).argmax())
        raise InvalidValue(
            f"the targets are [{shape}] of 0 and 1, and row {row} (counted from 0) holds {ones[row]} ones, "
            "not one; where an example may be of several classes, give task: regression and loss: "
            "binary_cross_entropy"
        )
    return NumberedLabels(labels.argmax(axis=1), labels.shape[1])


def _check_no_quantities(values: np.ndarray, examples: int) -> None:
    """Refuse numbers that seem to be measured: too many, too scattered or too rare for classes.

    Args:
        values: The different labels, sorted.
        examples: How many examples have them.
    """
    count, rare = len(values), 2 * len(values) > examples
    if (values == np.floor(values)).all():
        scattered = float(values[-1]) - float(values[0]) >= 2 * count
        measured = scattered and (count > MAXIMUM_SCATTERED or (rare and count > MINIMUM_SCATTERED))
    else:
        measured = rare or count > MAXIMUM_FRACTIONS
    if measured:
        shown = ", ".join(_name(value) for value in values[:3].tolist())
        raise InvalidValue(
            f"the targets of {examples:,} examples are {count:,} different numbers ({shown}, ...); for "
            "values to regress give task: regression (where they do name classes, write them as text)"
        )


def _check_words(words: list[str], examples: int, may_be_nan: bool) -> None:
    """Refuse text labels that mean none, are one but for spaces or capitals, or are too rare for classes.

    Args:
        words: The different labels.
        examples: How many examples have them.
        may_be_nan: Whether `nan` is a word, as in a table, where gaps are known by then.
    """
    gap = next(
        (word for word in words if not word.strip() or (word in ("nan", "NaN") and not may_be_nan)), None
    )
    if gap is not None:
        raise InvalidValue(f"a label is '{gap}', which is no class; leave such examples out")
    sign = next((word for word in words if not any(map(str.isalnum, word))), None)
    if sign is not None and 2 * sum(is_number(word, ".") for word in words) >= len(words):
        raise InvalidValue(
            f"a label is '{sign:.60}', and most are numbers; mend it or leave such examples out"
        )
    if 2 * len(words) > examples and len(words) > MINIMUM_SCATTERED:
        raise InvalidValue(
            f"the targets of {examples:,} examples are {len(words):,} different texts, such as "
            f"'{words[0]:.60}'; classes to learn have several examples each"
        )
    alike = words_alike(words)
    if alike is not None:
        first, second = alike
        raise InvalidValue(
            f"the labels '{first:.60}' and '{second:.60}' differ in spaces or capitals alone; write them "
            "alike"
        )


def words_alike(words: Sequence[str]) -> tuple[str, str] | None:
    """The first two words, in their order, that are one but for spaces or capitals; None without any."""
    seen: dict[str, str] = {}
    for word in words:
        letters = " ".join(word.split())
        first = seen.setdefault(letters.casefold() if len(letters) >= SHORTEST_WORD else letters, word)
        if first != word:
            return first, word
    return None
