"""Columns of a table as a network's inputs, words and other categories among them.

Categories are names, no statistics: they are taken over all rows, before any split, so that no part of the
data holds a value that has no code. `N` rows, `k` different values in a column.
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
Coding = Code | dict[str, Code | Values]

MOST_UNITS = 10_000  # that one_hot makes of a column
MOST = 2**28  # values that it makes of all rows, 1 GB


def coded(table: pandas.DataFrame, coding: Coding | None, path: str) -> np.ndarray:
    """The table's columns as inputs `[N, D]`, float32, in their order; `csv` says what `coding` means, and
    `path` is the file's. Raises InvalidValue."""
    import pandas

    named = coding if isinstance(coding, dict) else {}
    for name in named:
        if name not in table:
            near = (
                suggestion(name, table.columns) or f"; it has {join_words(list(table.columns[:20]), 'and')}"
            )
            raise InvalidValue(f"'{path}' has no input column '{name}'{near}", ("coding", name))
    parts = []
    for name in map(str, table.columns):
        column = table[name]
        if pandas.api.types.is_bool_dtype(column):
            column = column.astype(int)
        numeric = pandas.api.types.is_numeric_dtype(column)
        general = None if numeric or isinstance(coding, dict) else coding
        code = named.get(name, general)
        try:
            parts.append(_units(column if numeric else column.astype(str), numeric, code))
        except InvalidValue as error:
            at: KeyPath = ("path",) if coding is None else ("coding", name)
            raise InvalidValue(f"'{path}': column '{name}' {error}", at) from None
    return np.concatenate(parts, axis=1)


def _units(column: pandas.Series, numeric: bool, code: Code | Values | None) -> np.ndarray:
    """A column as `[N, units]`, float32."""
    if code is None and not numeric:
        raise InvalidValue("holds text; inputs must be numbers, or be given a 'coding' such as one_hot")
    if code is None:
        return as_float32(column.to_numpy(np.float64))[:, None]
    numbers, k = _numbered(column, numeric, code)
    if code == "one_hot":
        if k > MOST_UNITS or k * len(column) > MOST:
            raise InvalidValue(f"has {k:,} values, too many for a unit each; code it as binary or ordinal")
        return as_float32(numbers[:, None] == np.arange(k))
    if code == "binary":
        places = np.arange((k - 1).bit_length())[::-1]
        return as_float32(numbers[:, None] >> places & 1)
    return as_float32(numbers)[:, None]


def _numbered(column: pandas.Series, numeric: bool, code: Code | Values) -> tuple[np.ndarray, int]:
    """The number of each row's value `[N]`, from 0 on, and how many values there are: in the order in which
    they are listed, else sorted."""
    import pandas

    if column.nunique() < 2:
        raise InvalidValue(f"holds one value alone, '{column.iloc[0]!s:.60}'; leave it out")
    if not isinstance(code, list):
        numbers, values = pandas.factorize(column, sort=True)
        return numbers, len(values)
    words = [value for value in code if isinstance(value, str)]
    if numeric and words:
        raise InvalidValue(f"holds numbers alone, and its coding lists the text '{words[0]:.60}'")
    known = pandas.Index(code if numeric else [str(value) for value in code])
    if not known.is_unique:
        twice = known[known.duplicated()][0]
        raise InvalidValue(f"has '{twice!s:.60}' listed twice in its coding; once is enough")
    numbers = known.get_indexer(pandas.Index(column))
    if numbers.min() < 0:
        row = int(numbers.argmin())
        value = str(column.iloc[row])
        near = "" if numeric else suggestion(value, map(str, known))
        where = f"in {column.index.name} {column.index[row]}"
        raise InvalidValue(f"holds '{value:.60}' {where}, which its coding does not list{near}")
    return numbers, len(known)
