"""Data sets from tables: CSV and Parquet files. Neither can carry code."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnlab.data.datasets.local_files import blame_path, existing_path
from nnlab.data.encoding import Encoding, encode_columns
from nnlab.data.examples import Examples, Source, Task, examples_from_labels
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.text import suggestion

if TYPE_CHECKING:
    import pandas

PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@register("dataset", name="csv")
def csv_file(path: str, target: str, task: Task = "classification", coding: Encoding | None = None) -> Source:
    """A CSV file with a header row: one column is the target, the others are inputs.

    Inputs are `[N, D]`, the columns in their order. Of a column with k different values, `coding` makes
        one_hot: k inputs, 1 for the row's value and 0 for the others (lecture 002);
        binary: the ceil(log2 k) bits of the value's number, highest first;
        ordinal: the value's number, from 0 on, as one input.
    Values are numbered in sorted order. They are those of the whole file, whatever the split, since they are
    names, not statistics.

    Args:
        path: The file; a relative path starts at the working directory.
        target: The name of the target's column.
        task: `classification` numbers the target's different values, sorted; `regression` takes numbers.
        coding: How text becomes numbers: one code for every text column, or a mapping from columns (those of
            numbers too) each to its own code, or to a list of its values, which is ordinal with the numbers
            in this order. null allows no text.
    """

    def read(file: Path) -> pandas.DataFrame:
        import pandas

        try:
            table = pandas.read_csv(file, encoding="utf-8")
        except (ValueError, OSError, pandas.errors.ParserError) as error:
            raise InvalidValue(f"'{path}' is no CSV table: {error}", ("path",)) from None
        table.index = pandas.RangeIndex(2, len(table) + 2, name="line")
        return table

    return _from_table(read, path, target, task, coding)


@register("dataset")
def parquet(path: str, target: str, task: Task = "classification", coding: Encoding | None = None) -> Source:
    """A Parquet file: one column is the target, the others are inputs.

    Inputs are `[N, D]`, the columns in their order, without row labels that pandas wrote beside them. Needs
    PyArrow, the extra `parquet`.

    Args:
        path: The file; a relative path starts at the working directory.
        target: The name of the target's column.
        task: `classification` numbers the target's different values, sorted; `regression` takes numbers.
        coding: How text becomes numbers, as for `csv`.
    """

    def read(file: Path) -> pandas.DataFrame:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InvalidValue("parquet needs PyArrow: pip install 'nnlab[parquet]'") from None
        import pandas

        try:
            with file.open("rb") as stream:  # PyArrow would take a path for a folder of files, or an address
                columns = pyarrow.parquet.ParquetFile(stream).read()
            names = [name for name in columns.column_names if not PANDAS_INDEX.fullmatch(name)]
            table = columns.select(names).to_pandas(ignore_metadata=True)  # metadata may name any type
        except (ValueError, OSError, TypeError, KeyError, pyarrow.ArrowException) as error:
            reason = textwrap.shorten(str(error), 240, placeholder=" ...")
            raise InvalidValue(f"'{path}' is no Parquet table: {reason}", ("path",)) from None
        table.index = pandas.RangeIndex(1, len(table) + 1, name="row")
        return table

    return _from_table(read, path, target, task, coding)


def _from_table(
    read: Callable[[Path], pandas.DataFrame], path: str, target: str, task: Task, coding: Encoding | None
) -> Source:
    """The examples of a table. `read` returns one whose index numbers the rows as the file does."""

    def load(_: int) -> tuple[Examples, None]:
        import pandas

        table = read(existing_path(path))
        if target not in table:
            raise InvalidValue(
                f"'{path}' has no column '{target}'{suggestion(target, table.columns)}", ("target",)
            )
        _refuse_gaps(table, path)
        inputs = table.drop(columns=target)
        if inputs.shape[1] == 0:
            raise InvalidValue(f"'{path}' has no column beside the target", ("path",))
        if task == "regression" and not pandas.api.types.is_numeric_dtype(table[target]):
            raise InvalidValue(f"'{path}': column '{target}' holds text, no values to regress", ("target",))
        features = encode_columns(inputs, coding, path)
        return blame_path(examples_from_labels, features, table[target].to_numpy(), task), None

    return Source(load)


def _refuse_gaps(table: pandas.DataFrame, path: str) -> None:
    if table.empty:
        raise InvalidValue(f"'{path}' has no rows", ("path",))
    gaps = table.isna().to_numpy()
    if gaps.any():
        row, column = (int(i) for i in np.argwhere(gaps)[0])
        raise InvalidValue(
            f"'{path}' {table.index.name} {table.index[row]}, column '{table.columns[column]}': empty or NaN "
            f"({int(gaps.sum())} such cells in all; NA, None and null count as such); fill or drop them",
            ("path",),
        )
