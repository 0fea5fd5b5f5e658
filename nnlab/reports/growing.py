"""Tables that grow while they are read: each look reads only what has been added."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAXIMUM_READ_BYTES = 2**24  # at one look; what is beyond comes at the next


class GrowingTable:
    """A CSV file that a run appends to.

    Attributes:
        file: The file; it may not exist yet.
        columns: What has been read so far, by name. Numbers are float64, with NaN where there is none.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.columns: dict[str, np.ndarray] = {}
        self._inode, self._bytes = 0, 0

    def grow(self) -> bool:
        """Read what has been added since the last look, up to its last line break; whether there is anything.

        A file that was replaced or cut is read from its beginning.
        """
        try:
            file = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return False
            if status.st_ino != self._inode or status.st_size < self._bytes:
                self.columns, self._inode, self._bytes = {}, status.st_ino, 0
            added = os.pread(file, MAXIMUM_READ_BYTES, self._bytes)
        finally:
            os.close(file)
        complete = added[: added.rfind(b"\n") + 1]
        if complete:
            self._bytes += len(complete)
            self._append(list(csv.reader(complete.decode(errors="replace").splitlines())))
        return bool(complete)

    def _append(self, rows: list[list[str]]) -> None:
        if rows and not self.columns:
            names, *rows = rows
            self.columns = {name: np.zeros(0) for name in names}
        complete = [row for row in rows if len(row) == len(self.columns)]
        for number, (name, earlier) in enumerate(self.columns.items()):
            later = _column([row[number] for row in complete])
            self.columns[name] = np.concatenate([earlier, later]) if len(earlier) else later


def _column(cells: Sequence[str]) -> np.ndarray:
    """The cells as numbers, or as words where they are none."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells], dtype=float)
    except ValueError:
        return np.array(cells, dtype=object)
