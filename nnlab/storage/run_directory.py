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
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnlab.errors import RunStatus, UsageError
from nnlab.system import files
from nnlab.system.files import AppendOnlyFile, FileDigest

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run a text that begins so
LARGEST_JSON = 2**20  # bytes; what nnlab writes itself comes to a few thousand
MOST_VALUES = 5_000  # of a summary
MOST_DIGITS = 18  # of a whole number: more would not fit 64 bits
BESIDE = re.compile(r"\.[a-z_]+\.(yaml|json|csv)\.[0-9]+")  # left by a process that was killed
PATIENCE = 15.0  # seconds for the workers of a process that was killed to notice


class RunDirectory:
    """A run's files. Creating the object touches nothing; `begin` makes the directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tables: dict[str, AppendOnlyFile] = {}
        self._heads: dict[str, str] = {}  # their first lines

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return any((self.path / name).is_file() for name in ("config.yaml", "environment.json"))

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def begin(
        self,
        config: str,
        environment: Mapping[str, Any],
        facts: Mapping[str, Any] | None = None,
        tables: Mapping[str, FileDigest] | None = None,
    ) -> None:
        """Make the directory, with its config, its environment, and in its summary what is known beforehand.
        Of an earlier run's output only the tables that are named stay, cut to their positions; where none
        are, its checkpoints go too."""
        files.make_folder(self.path, linked=True)
        for folder in (self.path / "plots", self.checkpoints):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                what = "a symbolic link" if folder.is_symlink() else "no folder"
                raise UsageError(f"{folder}: is {what}; remove it, or name another --out")
        if (self.path / "summary.json").exists():  # it must not speak of what is about to go
            self.write_json("summary.json", {"status": "running"})
        kept = {f"{name}.csv" for name in tables or ()}
        beside = [place for place in self.path.glob(".*") if BESIDE.fullmatch(place.name)]
        for old in (*self.path.glob("*.csv"), *self.path.glob("plots/*"), *beside):
            if old.name not in kept:
                files.remove(old)
        if not tables:
            files.remove(self.checkpoints)
        for name, position in (tables or {}).items():
            file = self.path / f"{name}.csv"
            self._tables[name] = AppendOnlyFile(file, position)
            with file.open(encoding="utf-8", newline="") as lines:
                self._heads[name] = lines.readline()
        self.write("config.yaml", config)
        self.write_json("environment.json", environment)
        self.write_json("summary.json", {"status": "running", **(facts or {})})

    def write(self, name: str, text: str) -> None:
        """Write a whole file."""
        files.write_atomically(self.path / name, text.encode(errors="backslashreplace"))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.write(name, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def append(self, table: str, columns: Mapping[str, np.ndarray]) -> None:
        """Add rows to a table; the first ones bring its header."""
        head, rows = _csv([columns]), _csv(zip(*map(_cells, columns.values()), strict=True))
        if table not in self._tables:
            self._tables[table], self._heads[table] = AppendOnlyFile(self.path / f"{table}.csv"), head
            rows = head + rows
        if self._heads[table] != head:
            raise UsageError(f"{self.path / table}.csv: has other columns; --force trains anew")
        self._tables[table].append(rows.encode())

    def sync(self) -> dict[str, FileDigest]:
        """Bring the tables to the disk; where each of them ends."""
        return {name: file.sync() for name, file in self._tables.items()}

    def log(self, line: str) -> None:
        """Add a line to train.log."""
        files.append_line(self.path / "train.log", line)

    def close(self) -> None:
        tables, self._tables = self._tables, {}
        for file in tables.values():
            file.close()

    def summary(self) -> dict[str, Any]:
        """summary.json; empty where there is none. Raises UsageError where it is damaged."""
        return read_summary(self.path) if (self.path / "summary.json").exists() else {}

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Keep the directory to this process while it works on it; yields the lock's file descriptor, which
        workers inherit: as long as one of them lives, nobody else comes in. Raises UsageError, naming the
        holder."""
        files.make_folder(self.path, linked=True)
        with files.disk_errors(self.path / ".lock"):
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            until = time.monotonic() + PATIENCE
            while not _locked(lock, self.path):
                holder = os.pread(lock, 200, 0).decode(errors="replace").strip()
                if _is_alive(holder) or time.monotonic() > until:
                    raise UsageError(
                        f"{self.path}: another process is at work here ({holder or 'unknown'}); "
                        "wait for it, or name another --out"
                    )
                time.sleep(0.05)
            with files.disk_errors(self.path / ".lock"):
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"process {os.getpid()} on {platform.node()}".encode(), 0)
            yield lock
        finally:
            os.close(lock)


def _locked(lock: int, path: Path) -> bool:
    """Whether the lock could be had; no where another process has it."""
    import fcntl

    with files.disk_errors(path / ".lock"):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_alive(holder: str) -> bool:
    """Whether the process that a lock names runs; yes where that cannot be told."""
    words = holder.split()
    if len(words) != 4 or words[3] != platform.node() or not words[1].isdecimal():
        return bool(words)
    return Path(f"/proc/{words[1]}").exists() if Path("/proc/self").exists() else True


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A whole table as CSV; a row's missing columns are empty cells."""
    return _csv([columns, *([_cell(row.get(column)) for column in columns] for row in rows)])


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_summary(directory: Path) -> dict[str, Any]:
    """A run's summary.json: texts, numbers, and texts and numbers by name. Raises UsageError where it is not
    of its form."""
    file = directory / "summary.json"
    summary = read_json(file)
    if summary.get("status") not in list(RunStatus):
        raise UsageError(f"{file}: damaged: its status is none of {', '.join(RunStatus)}")
    swept = "trials" in summary  # a search's best names a trial and its values, of any form
    count = len(summary)
    for part, values in summary.items():
        inner = values.values() if isinstance(values, dict) else ()
        count += len(inner)
        if isinstance(values, list) or (
            any(isinstance(value, (list, dict)) for value in inner) and not (swept and part == "best")
        ):
            raise UsageError(f"{file}: damaged: {part[:80]!r} holds no numbers by name")
    for part in ("final",) if swept else ("final", "best"):
        numbers = summary.get(part, {})
        if not isinstance(numbers, dict) or any(isinstance(number, str) for number in numbers.values()):
            raise UsageError(f"{file}: damaged: '{part}' holds no numbers by name")
    if count > MOST_VALUES:
        raise UsageError(f"{file}: damaged: holds more than {MOST_VALUES:,} values")
    return summary


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises UsageError, naming the file."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"is larger than {LARGEST_JSON // 2**20} MiB")
        content = json.loads(files.read_regular_file(path).decode(), parse_int=_whole_number)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; is '{path.parent}' a run directory?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: damaged: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: damaged: holds no JSON object")
    return content


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _cells(column: np.ndarray) -> list[str]:
    """A column's cells. Doubles go through Python's own numbers, which is ten times as fast."""
    double = isinstance(column, np.ndarray) and column.dtype == np.float64
    return [_cell(value) for value in (column.tolist() if double else column)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else _number(value)
    if isinstance(value, str) and value.startswith(FORMULA):
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
