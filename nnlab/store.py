"""Run directories: tables as CSV, the config, the summary. Knows arrays and text, never models.

The order of writing makes a directory that is always readable: files are written beside and renamed, tables
grow by whole rows. Numbers are written as the shortest text that reads back to the same float32, so that
the same numbers are the same bytes; a NaN is an empty cell.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from nnlab.errors import STATUSES, NnlabError, UsageError


class RunDirectory:
    """A run's files. Creating the object touches nothing; `begin` makes the directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables: dict[str, TextIO] = {}

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return all((self.path / name).is_file() for name in ("config.yaml", "environment.json"))

    def begin(
        self, config: str, environment: Mapping[str, Any], facts: Mapping[str, Any] | None = None
    ) -> None:
        """Make the directory, empty of an earlier run's output, with its config, its environment, and in its
        summary what is known beforehand."""
        with _telling(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for old in (*self.path.glob("*.csv"), *self.path.glob("plots/*"), self.path / "summary.json"):
                old.unlink(missing_ok=True)
        self.write("config.yaml", config)
        self.write_json("environment.json", environment)
        self.write_json("summary.json", {"status": "running", **(facts or {})})

    def write(self, name: str, text: str) -> None:
        """Write a whole file, beside and then renamed."""
        target = self.path / name
        with _telling(target):
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            beside.write_text(text, encoding="utf-8", newline="\n")
            beside.replace(target)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.write(name, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def append(self, table: str, columns: Mapping[str, np.ndarray]) -> None:
        """Add rows to a table; the first call writes its header."""
        file = self.path / f"{table}.csv"
        with _telling(file):
            fresh = table not in self._tables
            if fresh:
                self._tables[table] = file.open("w", encoding="utf-8", newline="")
            writer = csv.writer(self._tables[table], lineterminator="\n")
            if fresh:
                writer.writerow(columns)
            writer.writerows(zip(*map(_cells, columns.values()), strict=True))
            self._tables[table].flush()

    def log(self, line: str) -> None:
        """Add a line to train.log."""
        with _telling(self.path / "train.log"), (self.path / "train.log").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self) -> None:
        for file in self._tables.values():
            with _telling(Path(file.name)):
                file.close()
        self._tables = {}

    def summary(self) -> dict[str, Any]:
        """summary.json; empty where there is none. Raises UsageError where it is damaged."""
        return read_summary(self.path) if (self.path / "summary.json").exists() else {}


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A whole table as CSV; a row's missing columns are empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def read_summary(directory: Path) -> dict[str, Any]:
    """A run's summary.json. Raises UsageError where it is not of its form."""
    file = directory / "summary.json"
    summary = read_json(file)
    if summary.get("status") not in STATUSES:
        raise UsageError(f"{file}: damaged: its status is none of {', '.join(STATUSES)}")
    for part in (
        () if "trials" in summary else ("final", "best")
    ):  # a search's best names a trial and its values
        numbers = summary.get(part, {})
        if not isinstance(numbers, dict) or any(isinstance(n, (str, list, dict)) for n in numbers.values()):
            raise UsageError(f"{file}: damaged: '{part}' holds no numbers by name")
    return summary


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises UsageError, naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; is '{path.parent}' a run directory?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: damaged: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: damaged: holds no JSON object")
    return content


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise NnlabError(f"{path}: cannot be written: {error.strerror or error}") from None


def _cells(column: np.ndarray) -> list[str]:
    """A column's cells. Doubles go through Python's own numbers, which is ten times as fast."""
    double = isinstance(column, np.ndarray) and column.dtype == np.float64
    return [_cell(value) for value in (column.tolist() if double else column)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else _number(value)
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


def _plain(value: Any) -> Any:
    """As JSON has it: NumPy's numbers plain, float32 by their shortest text, infinities and NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(str(value)) if math.isfinite(value) else None
    return value
