"""Tables as CSV files: cells written so that the same numbers are the same bytes, and tables read back.

A number is written as the shortest text that reads back to the same value in its own precision; a NaN is an
empty cell. What is read may come from elsewhere or be damaged, so its form is checked.
"""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnlab.errors import InvalidValue, UsageError
from nnlab.system import files
from nnlab.text import one_line

if TYPE_CHECKING:
    import pandas

Columns = Mapping[str, np.ndarray]
"""A part of a table: the columns by name, each with a value for every row."""

NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?")  # which a spreadsheet only shows
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run a text that begins so
NAME_COLUMNS = ("class_name", "true_name", "predicted_name", "row")  # a class may be called 7
MAXIMUM_TABLE_BYTES = 2**32
MAXIMUM_CELL_CHARACTERS = 1_000  # of a table of names and numbers
MAXIMUM_STEP = 2**53


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A complete table as CSV; a row's missing columns are empty cells."""
    return csv_text([columns, *([_cell(row.get(column)) for column in columns] for row in rows)])


def header_and_rows(columns: Columns) -> tuple[str, str]:
    """The header line of these columns, and the lines of their rows."""
    return csv_text([columns]), csv_text(zip(*map(_cells, columns.values()), strict=True))


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """Rows of cells as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cells(column: np.ndarray) -> list[str]:
    """A column's cells. Doubles go through Python's own numbers, which is ten times as fast."""
    double = isinstance(column, np.ndarray) and column.dtype == np.float64
    return [_cell(value) for value in (column.tolist() if double else column)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else _number(value)
    if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) and not NEGATIVE_NUMBER.fullmatch(value):
        return f"'{value}"
    return str(value)


def _number(value: float | np.floating) -> str:
    """Shortest text that reads back to the value in its own precision; `inf` and `-inf` as such."""
    if isinstance(value, np.floating) and math.isfinite(value):
        shortest = (
            np.format_float_scientific
            if value != 0 and not 1e-4 <= abs(value) < 1e16
            else np.format_float_positional
        )
        return shortest(value, unique=True, trim="0")
    mantissa, e, exponent = repr(float(value)).partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else mantissa + e + exponent


def read_table(file: Path) -> pandas.DataFrame:
    """Read a table of a run, without a last line that is still being written.

    Returns:
        The table; in all but `timing`, whose rows are chunks and not records, the steps rise, and each step
        has as many rows as the others, the last one perhaps fewer.

    Raises:
        UsageError: The file is damaged: a column mixes numbers and words, or its steps are not of that form.
    """
    table = read_csv(file)
    if len(table):
        problem = _wrong_columns(table, file.stem == "metrics")
        if not problem and "step" in table and file.stem != "timing":
            problem = _wrong_steps(table["step"].to_numpy())
        if problem:
            raise UsageError(f"{file}: damaged: {one_line(problem)}")
    return table


def read_tables(directory: Path) -> dict[str, pandas.DataFrame]:
    """Read every table of a run directory, by name. Raises UsageError where one is damaged."""
    return {file.stem: read_table(file) for file in sorted(directory.glob("*.csv"))}


def joined_table(sweep: Path, name: str, trials: pandas.DataFrame) -> pandas.DataFrame:
    """A table of a sweep's trials, one below the other, or one of the sweep itself, a row of it of a trial.

    Args:
        sweep: The sweep's directory.
        name: The table's.
        trials: The trials that count, a row each; all of its columns are added to their rows.

    Raises:
        InvalidValue: There are no trials, or no such table.
        UsageError: A table is damaged.
    """
    import pandas

    if trials.empty:
        raise InvalidValue("no trial is complete")
    if (sweep / f"{name}.csv").exists():
        return read_table(sweep / f"{name}.csv").merge(trials, on="trial")
    parts = []
    for row in trials.to_dict("records"):
        file = sweep / "trials" / row["trial"] / f"{name}.csv"
        if not file.exists():
            raise InvalidValue(f"the trials have no table '{name}'")
        parts.append(read_table(file).assign(**{str(n): value for n, value in row.items()}))
    return pandas.concat(parts, ignore_index=True)


def read_trials(file: Path) -> pandas.DataFrame:
    """Read the trials.csv of a sweep; it has no rows where the sweep has only just begun.

    Raises:
        UsageError: The file is damaged: a column is missing, a measured one holds words, or a trial's name
            is not that of a folder or occurs twice.
    """
    import pandas

    columns = ["trial", "seed", "status", "reason"]
    if not file.exists():
        return pandas.DataFrame(columns=columns)
    table = read_csv(file)
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(f"{file}: damaged: has no column '{missing[0]}'")
    measured = [name for name in table if str(name).startswith(("final.", "best.")) or name == "seed"]
    wordy = [one_line(str(name)) for name in measured if len(table) and table[name].dtype.kind not in "fiu"]
    if wordy:
        raise UsageError(f"{file}: damaged: '{wordy[0]}' holds what is no number")
    named = all(isinstance(name, str) and Path(name).name == name != ".." for name in table["trial"])
    if not named or table["trial"].duplicated().any():
        raise UsageError(f"{file}: damaged: 'trial' holds what is no name of a folder, or one twice")
    return table


def read_csv(file: Path) -> pandas.DataFrame:
    """Read a CSV file up to its last line break. Raises UsageError where it cannot be read as one."""
    import pandas
    from pandas.errors import ParserError, ParserWarning

    try:
        if file.stat().st_size > MAXIMUM_TABLE_BYTES:
            raise ValueError(f"is larger than {MAXIMUM_TABLE_BYTES // 2**30} GiB")
        content = files.read_regular_file(file)
        complete_lines = io.BytesIO(content[: content.rfind(b"\n") + 1])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # rows that are longer than the header
            return pandas.read_csv(complete_lines, index_col=False, low_memory=False)
    except (OSError, ValueError, OverflowError, ParserError, ParserWarning) as error:
        raise UsageError(f"{file}: damaged: {one_line(str(error))}") from None


def _wrong_columns(table: pandas.DataFrame, numbers_only: bool) -> str:
    """What is wrong with the columns: one that holds words holds no numbers, unless they are names of classes
    or rows of a source. Empty where nothing is."""
    for name, column in table.items():
        if column.dtype.kind in "fiu":
            continue
        is_name = str(name).endswith(NAME_COLUMNS)
        if numbers_only or (_has_numbers(column) and not is_name):
            return f"'{name}' holds what is no number"
        if column.astype(str).str.len().max() > MAXIMUM_CELL_CHARACTERS:
            return f"'{name}' holds more than {MAXIMUM_CELL_CHARACTERS:,} characters in a cell"
    return ""


def _has_numbers(words: pandas.Series) -> bool:
    import pandas

    try:
        return bool(pandas.to_numeric(words, errors="coerce").notna().any())
    except OverflowError:  # of hundreds of digits
        return True


def _wrong_steps(steps: np.ndarray) -> str:
    """What is wrong with the steps of a table's rows. Empty where nothing is."""
    if steps.dtype.kind not in "iu" or steps.min() < 0 or steps.max() > MAXIMUM_STEP:
        return "'step' holds what is no step"
    gaps = np.diff(steps.astype(np.int64), prepend=-1, append=-1)
    if (gaps[:-1] < 0).any():
        return "its steps do not rise"
    rows = np.diff(np.flatnonzero(gaps))
    return "has not as many rows at each step" if (rows[:-1] != rows[:1]).any() or rows[-1] > rows[0] else ""
