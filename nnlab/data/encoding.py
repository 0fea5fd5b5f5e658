"""Encoding of a table's columns, with text and other categories among them, as a network's inputs.

Categories are names, not statistics: they are taken from all rows, before any split, so that no part of the
data has a value without a code. `N` is the number of rows, `k` that of different values in a column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from nnlab.data.examples import as_float32
from nnlab.errors import InvalidValue, KeyPath
from nnlab.text import join_words, suggestion

if TYPE_CHECKING:
    import pandas

Code = Literal["one_hot", "binary", "ordinal"]
Values = list[int | float | str]
Encoding = Code | dict[str, Code | Values]

MAXIMUM_ONE_HOT_INPUTS = 10_000  # from one column
MAXIMUM_ONE_HOT_VALUES = 2**28  # of a one-hot column in all rows, 1 GB


def encode_columns(table: pandas.DataFrame, coding: Encoding | None, path: str) -> np.ndarray:
    """The columns of a table as inputs.

    Args:
        table: The columns, in their order, with an index that numbers the rows as the file does.
        coding: How text becomes numbers; see the dataset `csv`.
        path: The file, for messages.

    Returns:
        `[N, D]`, float64 where a column is taken as it is, else float32.

    Raises:
        InvalidValue: A column does not suit its code, or the table lacks a column that `coding` names.
    """
    import pandas

    by_column = coding if isinstance(coding, dict) else {}
    for name in by_column:
        if name not in table:
            hint = (
                suggestion(name, table.columns) or f"; it has {join_words(list(table.columns[:20]), 'and')}"
            )
            raise InvalidValue(f"'{path}' has no input column '{name}'{hint}", ("coding", name))
    parts = []
    for name in map(str, table.columns):
        column = table[name]
        if pandas.api.types.is_bool_dtype(column):
            column = column.astype(int)
        numeric = pandas.api.types.is_numeric_dtype(column)
        default = None if numeric or isinstance(coding, dict) else coding
        code = by_column.get(name, default)
        try:
            parts.append(_encode_column(column if numeric else column.astype(str), numeric, code))
        except InvalidValue as error:
            at: KeyPath = ("path",) if coding is None else ("coding", name)
            raise InvalidValue(f"'{path}': column '{name}' {error}", at) from None
    return np.concatenate(parts, axis=1)


def _encode_column(column: pandas.Series, numeric: bool, code: Code | Values | None) -> np.ndarray:
    """A column as inputs `[N, ...]`."""
    if code is None and not numeric:
        raise InvalidValue("holds text; inputs must be numbers, or be given a 'coding' such as one_hot")
    if code is None:
        return column.to_numpy(np.float64)[:, None]
    numbers, k = _number_values(column, numeric, code)
    if code == "one_hot":
        if k > MAXIMUM_ONE_HOT_INPUTS or k * len(column) > MAXIMUM_ONE_HOT_VALUES:
            raise InvalidValue(f"has {k:,} values, too many for a unit each; code it as binary or ordinal")
        return as_float32(numbers[:, None] == np.arange(k))
    if code == "binary":
        bit_positions = np.arange((k - 1).bit_length())[::-1]
        return as_float32(numbers[:, None] >> bit_positions & 1)
    return as_float32(numbers)[:, None]


def _number_values(column: pandas.Series, numeric: bool, code: Code | Values) -> tuple[np.ndarray, int]:
    """The number of each row's value `[N]`, from 0 on, and how many values there are.

    Values are numbered in the order in which `code` lists them, else sorted.
    """
    import pandas

    if column.nunique() < 2:
        raise InvalidValue(f"holds one value alone, '{column.iloc[0]!s:.60}'; leave it out")
    if not isinstance(code, list):
        numbers, values = pandas.factorize(column, sort=True)
        return numbers, len(values)
    text_values = [value for value in code if isinstance(value, str)]
    if numeric and text_values:
        raise InvalidValue(f"holds numbers alone, and its coding lists the text '{text_values[0]:.60}'")
    listed = pandas.Index(code if numeric else [str(value) for value in code])
    if not listed.is_unique:
        twice = listed[listed.duplicated()][0]
        raise InvalidValue(f"has '{twice!s:.60}' listed twice in its coding; once is enough")
    numbers = listed.get_indexer(pandas.Index(column))
    if numbers.min() < 0:
        row = int(numbers.argmin())
        value = str(column.iloc[row])
        hint = "" if numeric else suggestion(value, map(str, listed))
        where = f"in {column.index.name} {column.index[row]}"
        raise InvalidValue(f"holds '{value:.60}' {where}, which its coding does not list{hint}")
    return numbers, len(listed)
