"""Data sets from tables: CSV and Parquet files. Neither can carry code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnlab.data.datasets.csv_file import MISSING, CsvFile
from nnlab.data.datasets.csv_rows import CsvRows
from nnlab.data.datasets.header import Choice, names_hint
from nnlab.data.datasets.local_files import blame_path, existing_file
from nnlab.data.datasets.parquet_file import read_parquet
from nnlab.data.encoding import Encoding, encode_columns
from nnlab.data.examples import Loaded, Source, Task, examples_from_labels
from nnlab.data.notation import Decimal
from nnlab.data.table import Table, Text
from nnlab.errors import InvalidValue
from nnlab.registry import register


@register("dataset", name="csv")
def csv_file(
    path: str,
    target: str | list[str],
    task: Task = "classification",
    coding: Encoding | None = None,
    separator: str = ",",
    decimal: Decimal = ".",
    missing: list[str] | None = None,
    columns: list[str] | None = None,
    drop: list[str] | None = None,
) -> Source:
    """A CSV file with a header row: one column is the target, the others are inputs.

    Inputs are `[N, D]`, the columns in their order. Of a column with k different values, `coding` makes
        one_hot: k inputs, 1 for the row's value and 0 for the others (lecture 002);
        binary: the ceil(log2 k) bits of the value's number, highest first;
        ordinal: the value's number, from 0 on, as one input.
    Values are numbered in sorted order. They are those of the whole file, whatever the split, since they are
    names, not statistics.

    Nothing is guessed. The file is UTF-8 (`.gz` is unpacked), blank lines are skipped, and every row has a
    cell for each name. A column is of one type, by all of its cells: numbers where each is one, truth values
    (0 and 1) where each is true or false, else text. Thousands separators, NaN and infinities are no numbers,
    nor are codes, digits that a number would not keep, such as 007 beside 7; digits that zeros make equally
    long, 007 beside 012, are numbers where no `coding` takes them. Text is refused where its cells, or its
    different cells, are at least half numbers, dates or other quantities, unless `coding` names the column or
    a cell is a code; and so is a gap. A first column without a name, of whole numbers or text, each once, is
    row labels and left out.

    Args:
        path: The file; a relative path starts at the working directory.
        target: The name of the target's column; a list of several makes values `[N, K]` for a regression.
        task: `classification` numbers the target's different values, sorted, and keeps them as names;
            `regression` takes numbers. Numbers that are many and not whole, or far apart, are no classes.
        coding: How text becomes numbers: one code for every text column, or a mapping from columns (those of
            numbers too) each to its own code, or to a list of its values, which is ordinal with the numbers
            in this order. null allows no text.
        separator: The character between two cells, or `tab`.
        decimal: The decimal mark of numbers.
        missing: The words, or numbers in quotes, that mean a gap, as an empty cell does. null is NA, N/A,
            n/a, #N/A, #NA, <NA>, NaN, nan, NULL, null and None.
        columns: The inputs, in this order. null is all columns but the target.
        drop: Columns to leave out.
    """
    mark = "\t" if separator == "tab" else separator
    if len(mark) != 1 or mark.isalnum() or mark in "\"'\r\n.+-_":
        raise InvalidValue(f"takes one character such as ; or tab, not '{separator}'", ("separator",))
    choice = Choice(path, target, columns, drop)
    words = MISSING if missing is None else frozenset(word.strip() for word in missing)

    def read(file: Path) -> Table:
        return CsvFile(CsvRows(file, path, mark), decimal, words).read(choice)

    return _source(read, choice, task, coding)


@register("dataset")
def parquet(
    path: str,
    target: str | list[str],
    task: Task = "classification",
    coding: Encoding | None = None,
    columns: list[str] | None = None,
    drop: list[str] | None = None,
) -> Source:
    """A Parquet file: one column is the target, the others are inputs.

    Inputs are `[N, D]`, the columns in their order, without row labels: what pandas wrote as such, and a
    first column without a name as for `csv`. A column is of the type that the file declares: numbers, among
    them decimals; truth values; text, also stored as categories. Gaps, times, lists and other types are
    refused. Needs PyArrow, the extra `parquet`.

    Args:
        path: The file; a relative path starts at the working directory.
        target: The name of the target's column; a list of several makes values `[N, K]` for a regression.
        task: `classification` numbers the target's different values, sorted, and keeps them as names;
            `regression` takes numbers. Numbers that are many and not whole, or far apart, are no classes.
        coding: How text becomes numbers, as for `csv`.
        columns: The inputs, in this order. null is all columns but the target.
        drop: Columns to leave out.
    """
    choice = Choice(path, target, columns, drop)
    return _source(lambda file: read_parquet(file, path, choice), choice, task, coding)


def _source(read: Callable[[Path], Table], choice: Choice, task: Task, coding: Encoding | None) -> Source:
    """The examples of the table that `read` finds in a file."""
    if task == "classification" and len(choice.targets) > 1:
        raise InvalidValue("names one column for a classification, several for a regression", ("target",))

    def load(_: int) -> Loaded:
        file = existing_file(choice.path)
        table = read(file)
        names = choice.inputs(table)
        for name in coding if isinstance(coding, dict) else ():
            if name not in names:
                raise InvalidValue(
                    f"'{choice.path}' has no input column '{name}'{names_hint(name, names)}", ("coding", name)
                )
        inputs, feature_names = encode_columns(table, names, coding)
        targets = choice.targets
        labels = _values(table, targets) if task == "regression" else _labels(table, targets[0])
        examples = blame_path(examples_from_labels, inputs, labels, task)
        return Loaded(replace(examples, feature_names=feature_names), notes=tuple(table.notes))

    return Source(load)


def _labels(table: Table, name: str) -> np.ndarray:
    """The cells of the target of a classification `[N]`."""
    column = table.columns[name]
    if not isinstance(column, Text):
        infinite = np.isinf(column)
        if infinite.any():
            raise table.refusal(int(infinite.argmax()), name, "is no class; mend it or remove the row")
        return column
    table.check_no_quantities(name, column, "label")
    table.check_words_differ(name, column)
    return np.array(column.words, object)[column.numbers]


def _values(table: Table, names: list[str]) -> np.ndarray:
    """The targets of a regression `[N, K]`."""
    values = []
    for name in names:
        column = table.columns[name]
        if not isinstance(column, Text):
            values.append(table.numbers(name, column))
            continue
        padded = table.padded_numbers(name, column)
        if padded is None:
            table.check_no_quantities(name, column, "value")
            raise table.refusal(0, name, "is text; a regression takes numbers", ("target",))
        values.append(padded)
    return np.stack(values, axis=1)
