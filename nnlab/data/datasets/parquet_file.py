"""Reading of Parquet files by PyArrow: a column is of the type that the file declares, or refused."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnlab.data.datasets.header import PANDAS_INDEX, Choice
from nnlab.data.table import Cell, Column, Table, Text
from nnlab.errors import InvalidValue
from nnlab.text import join_words

if TYPE_CHECKING:
    import pyarrow

GAPS_AS_TEXT = ("nan", "NaN", "NaT", "<NA>")  # what pandas makes of gaps where a column is made text


def read_parquet(file: Path, path: str, choice: Choice) -> Table:
    """The chosen columns of a Parquet file.

    Args:
        file: The file.
        path: The file, as the experiment names it.
        choice: The columns.

    Raises:
        InvalidValue: PyArrow is missing, the file is no table, or one of these columns has a gap or is of
            another type than numbers, text and truth values.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidValue("parquet needs PyArrow: pip install 'nnlab[parquet]'") from None

    def no_table(error: Exception) -> InvalidValue:
        reason = textwrap.shorten(str(error), 240, placeholder=" ...")
        return InvalidValue(f"'{path}' is no Parquet table: {reason}", ("path",))

    unreadable = (ValueError, OSError, TypeError, KeyError, pyarrow.ArrowException)
    try:
        with file.open("rb") as stream:  # PyArrow would take a path for a folder of files, or an address
            arrow = pyarrow.parquet.ParquetFile(stream).read()
        labels = _row_labels(arrow)
    except unreadable as error:
        raise no_table(error) from None
    places = choice.places(arrow.column_names, f"'{path}'", labels)
    if arrow.num_rows == 0:
        raise InvalidValue(f"'{path}' has no rows", ("path",))
    arrays = {arrow.column_names[place]: arrow.column(place) for place in places}

    def cell(row: int, name: str) -> Cell:
        value = arrays[name][row].as_py()
        return Cell(f"row {row + 1}", "null" if value is None else str(value))

    for name, array in arrays.items():
        arrays[name] = array = _decoded(array)
        if not (_is_number(array.type) or _is_text(array.type)):
            remedy = "convert it" + ("" if name in choice.targets else f", or leave it out (drop: [{name}])")
            what = f"holds {array.type}, no numbers, text or truth values"
            raise InvalidValue(f"'{path}': column '{name}' {what}; {remedy}", ("path",))
    table = Table(path, {}, cell)
    gaps = {name: array.is_null(nan_is_null=True).to_numpy() for name, array in arrays.items()}
    table.check_cells(gaps, "is a gap; fill it, or leave out the row or the column")
    try:
        table.columns.update({name: _column(array) for name, array in arrays.items()})
    except unreadable as error:
        raise no_table(error) from None
    _check_columns(table, arrays)
    left_out = [f"'{name}'" for name in labels if choice.columns is None and not choice.names_column(name)]
    if left_out:
        table.notes.append(f"'{path}': {join_words(left_out, 'and')}, pandas' row labels, left out")
    return table


def _row_labels(arrow: pyarrow.Table) -> list[str]:
    """The names of the columns that pandas wrote as row labels, where they have names of their own."""
    written = (arrow.schema.pandas_metadata or {"index_columns": []})["index_columns"]
    return [name for name in written if isinstance(name, str) and not PANDAS_INDEX.fullmatch(name)]


def _check_columns(table: Table, arrays: Mapping[str, pyarrow.ChunkedArray]) -> None:
    """Refuse gaps as text, and decimals that float64 does not keep."""
    from pyarrow import types

    gaps = {name: _gaps_of(column) for name, column in table.columns.items()}
    table.check_cells(gaps, "is a gap that became text; fill it, or leave out the row or the column")
    for name, array in arrays.items():
        if types.is_decimal(array.type):
            _check_decimals_differ(table, name, array.to_pylist())


def _check_decimals_differ(table: Table, name: str, values: Sequence[Decimal]) -> None:
    """Refuse decimals that differ and are one number in float64."""
    exact: dict[float, Decimal] = {}
    for row, value in enumerate(values):
        if exact.setdefault(float(value), value) != value:
            what = "has more digits than float64 keeps; subtract an offset, or drop the column"
            raise table.refusal(row, name, what)


def _gaps_of(column: Column) -> np.ndarray:
    """Which rows of a column hold a gap as text, `[N]`."""
    if isinstance(column, Text):
        return column.rows_with([word in GAPS_AS_TEXT for word in column.words])
    return np.zeros(len(column), bool)


def _decoded(array: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """The array with values in the place of numbers of categories."""
    import pyarrow

    return array.cast(array.type.value_type) if pyarrow.types.is_dictionary(array.type) else array


def _is_number(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return (
        types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    )


def _is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _column(array: pyarrow.ChunkedArray) -> Column:
    """An array without gaps as a column."""
    import pyarrow

    if _is_text(array.type):
        coded = array.cast(pyarrow.large_string()).dictionary_encode().unify_dictionaries().combine_chunks()
        return Text(coded.dictionary.to_pylist(), coded.indices.to_numpy())
    if pyarrow.types.is_decimal(array.type):
        return np.array([float(value) for value in array.to_pylist()])
    return array.to_numpy()
