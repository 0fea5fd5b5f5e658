"""Encoding of a table's columns, with text and other categories among them, as a network's inputs.

Categories are names, not statistics: they are taken from all rows, before any split, so that no part of the
data has a value without a code. `N` is the number of rows, `k` that of different values in a column.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnlab.data.examples import as_float32
from nnlab.data.notation import is_code
from nnlab.data.table import Column, Table, Text
from nnlab.errors import InvalidValue, KeyPath
from nnlab.text import suggestion

Code = Literal["one_hot", "binary", "ordinal"]
Values = list[int | float | str]
Encoding = Code | dict[str, Code | Values]

MAXIMUM_ONE_HOT_INPUTS = 10_000  # from one column
MAXIMUM_ONE_HOT_VALUES = 2**28  # of a one-hot column in all rows, 1 GB


def encode_columns(
    table: Table, names: list[str], coding: Encoding | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns of a table as inputs.

    Args:
        table: The table.
        names: The columns, in the order of the inputs.
        coding: How text becomes numbers; see the dataset `csv`.

    Returns:
        `[N, D]`, float32 where all are codes, else float64; and of each input the name of its column.

    Raises:
        InvalidValue: A column does not suit its code, or has none and needs one.
    """
    parts = [_inputs_of(table, name, coding) for name in names]
    origins = [name for name, part in zip(names, parts, strict=True) for _ in range(part.shape[1])]
    return np.concatenate(parts, axis=1), tuple(origins)


def _inputs_of(table: Table, name: str, coding: Encoding | None) -> np.ndarray:
    """A column as inputs `[N, ...]`: by its own code, or, of text, by the general one."""
    column = table.columns[name]
    by_column, general = (coding, None) if isinstance(coding, dict) else ({}, coding)
    code = by_column.get(name)
    if code is None and isinstance(column, Text):
        padded = table.padded_numbers(name, column) if general is None else None
        if padded is not None:
            return padded[:, None]
        table.check_no_quantities(name, column, "input")
        code = general
        if code is not None and len(column.words) == len(column.numbers):
            table.notes.append(
                f"'{table.path}': column '{name}' has another word in every row; is it of use?"
            )
    at: KeyPath = ("path",) if coding is None else ("coding", name)
    try:
        return _encode_column(table, name, code, at)
    except _DoesNotSuit as error:
        raise InvalidValue(f"'{table.path}': column '{name}' {error}", at) from None


class _DoesNotSuit(Exception):  # noqa: N818 - read aloud at the raise site
    """A column does not suit its code."""


def _encode_column(table: Table, name: str, code: Code | Values | None, at: KeyPath) -> np.ndarray:
    """A column as inputs `[N, ...]`."""
    column = table.columns[name]
    if isinstance(column, Text):
        if code is None:
            kept = next(filter(is_code, column.words), None)
            why = "" if kept is None else f", as '{kept:.60}' has digits that a number would not keep"
            what = f"is text{why}; inputs must be numbers, or be given a 'coding' such as one_hot"
            raise table.refusal(0, name, what, at)
        if not isinstance(code, list):
            table.check_words_differ(name, column)
    elif code is None:
        return table.numbers(name, column)[:, None]
    numbers, k = _number_values(table, name, code)
    if code == "one_hot":
        if k > MAXIMUM_ONE_HOT_INPUTS or k * len(numbers) > MAXIMUM_ONE_HOT_VALUES:
            raise _DoesNotSuit(f"has {k:,} values, too many for a unit each; code it as binary or ordinal")
        return as_float32(numbers[:, None] == np.arange(k))
    if code == "binary":
        bit_positions = np.arange((k - 1).bit_length())[::-1]
        return as_float32(numbers[:, None] >> bit_positions & 1)
    return as_float32(numbers)[:, None]


def _number_values(table: Table, name: str, code: Code | Values) -> tuple[np.ndarray, int]:
    """The number of each row's value `[N]`, from 0 on, and how many values there are.

    Values are numbered in the order in which `code` lists them, else sorted.
    """
    values, row_values = _sorted_values(table.columns[name])
    if len(values) < 2:
        raise _DoesNotSuit(f"holds one value alone, '{values[0]!s:.60}'; leave it out")
    if not isinstance(code, list):
        return row_values, len(values)
    is_text = isinstance(values[0], str)
    text_values = [value for value in code if isinstance(value, str)]
    if text_values and not is_text:
        raise _DoesNotSuit(f"holds numbers alone, and its coding lists the text '{text_values[0]:.60}'")
    numbers: dict[int | float | str, int] = {}
    for value in [str(value) for value in code] if is_text else code:
        if value in numbers:
            raise _DoesNotSuit(f"has '{value!s:.60}' listed twice in its coding; once is enough")
        numbers[value] = len(numbers)
    row_numbers = np.array([numbers.get(value, -1) for value in values])[row_values]
    if row_numbers.min() < 0:
        cell = table.cell(int(row_numbers.argmin()), name)
        hint = suggestion(cell.text, map(str, numbers)) if is_text else ""
        raise _DoesNotSuit(f"holds '{cell.text:.60}' in {cell.place}, which its coding does not list{hint}")
    return row_numbers, len(numbers)


def _sorted_values(column: Column) -> tuple[list[int | float | str], np.ndarray]:
    """The different values of a column, sorted, and which of them each row has, `[N]`."""
    if isinstance(column, Text):
        order = sorted(range(len(column.words)), key=column.words.__getitem__)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return [column.words[number] for number in order], places[column.numbers]
    values, row_values = np.unique(column, return_inverse=True)
    return values.tolist(), row_values.reshape(-1)
