"""Rows of arrays that are too large for memory: they stay in their files, and are read where they are needed.

They are read by plain calls. Were a file mapped into memory, a row could bring in a megabyte of it, which
counts as memory of this process, and a file that is cut short meanwhile would end the process.

Letters in shapes: N rows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from nnlab.errors import DiskError, InvalidValue
from nnlab.system.memory import available_bytes
from nnlab.text import format_bytes

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# of the memory that is free: of what is loaded there are several copies, the last one on the device
LARGEST_SHARE = 1 / 8

Conversion = Callable[[np.ndarray], np.ndarray]


def is_too_large(size: int) -> bool:
    """Whether so many bytes of inputs are left in their file."""
    free = available_bytes()
    return free is not None and size > LARGEST_SHARE * free


@dataclass(frozen=True)
class ArrayFile:
    """An array `[M, ...]` in a file, row after row and not compressed.

    Attributes:
        path: The file.
        start: The byte at which the array begins.
        shape: Of the array.
        dtype: Of the array as it is in the file.
        state: Size and time of change of the file.
    """

    path: Path
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype
    state: tuple[int, int]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @classmethod
    def of(cls, path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype) -> ArrayFile:
        """The array at a place of a file as it is now. Raises OSError."""
        return cls(path, start, shape, dtype, _state(path.stat()))


@dataclass(frozen=True, eq=False)
class FileRows:
    """Rows `[N, ...]` of arrays in files; `read` gives them.

    Attributes:
        files: Of one shape of rows and one type.
        numbers: `[N]`, which file each row is in.
        rows: `[N]`, its row there.
        convert: What makes float32 inputs of rows as they are in the files; None leaves them as they are.
    """

    files: tuple[ArrayFile, ...]
    numbers: np.ndarray
    rows: np.ndarray
    convert: Conversion | None = None

    @classmethod
    def of(cls, file: ArrayFile) -> FileRows:
        """All rows of a file."""
        return cls((file,), np.zeros(file.shape[0], np.uint8), np.arange(file.shape[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array of them."""
        return (len(self), *self.files[0].shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """What they are once they are read."""
        return self.files[0].dtype.newbyteorder("=") if self.convert is None else np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, of the numbers of files and rows."""
        return self.numbers.nbytes + self.rows.nbytes

    @property
    def file_bytes(self) -> int:
        """Bytes that the rows take in their files."""
        return len(self) * self.files[0].row_bytes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: np.ndarray | slice) -> FileRows:
        return replace(self, numbers=self.numbers[chosen], rows=self.rows[chosen])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NoReturn:
        raise InvalidValue(
            f"needs all inputs at once, and {format_bytes(self.file_bytes)} of '{self.files[0].path}' stay "
            "there, as there is too little memory; leave it out, or give 'limit'"
        )

    def converted(self, convert: Conversion) -> FileRows:
        """The rows with one more conversion."""
        before = self.convert
        return replace(self, convert=convert if before is None else lambda rows: convert(before(rows)))

    def and_those_of(self, other: FileRows) -> FileRows:
        """These rows, and then those of others of the same conversion."""
        files = tuple(dict.fromkeys((*self.files, *other.files)))
        numbers = np.array([files.index(file) for file in other.files], np.uint8)
        return replace(
            self,
            files=files,
            numbers=np.concatenate([self.numbers, numbers[other.numbers]]),
            rows=np.concatenate([self.rows, other.rows]),
        )

    def read(self) -> np.ndarray:
        """The rows.

        Raises:
            DiskError: A file cannot be read, or has changed.
        """
        stored = self.files[0].dtype
        content = np.empty((len(self), self.files[0].row_bytes), np.uint8)
        self._read(content)
        values = content.view(stored).reshape(self.shape).astype(stored.newbyteorder("="), copy=False)
        return values if self.convert is None else self.convert(values)

    def read_to(self, values: np.ndarray) -> None:
        """Read the rows to an array of their shape and type. Raises DiskError."""
        if self.convert is None and self.files[0].dtype == self.dtype and values.flags.c_contiguous:
            self._read(values.reshape(len(self), -1).view(np.uint8))
        else:
            values[...] = self.read()

    def _read(self, content: np.ndarray) -> None:
        """Read the bytes of the rows, `[N, bytes of a row]`."""
        for number, file in enumerate(self.files):
            of_file = self.numbers == number
            if of_file.all():
                _read_rows(file, self.rows, content)
            elif of_file.any():
                part = np.empty((np.count_nonzero(of_file), file.row_bytes), np.uint8)
                _read_rows(file, self.rows[of_file], part)
                content[of_file] = part


def _read_rows(file: ArrayFile, rows: np.ndarray, content: np.ndarray) -> None:
    """Read some rows of a file to `content`, `[N, bytes of a row]`; those that follow one another at once.
    Raises DiskError."""
    size, view = file.row_bytes, content.reshape(-1).data
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    ends = np.append(starts[1:], len(rows))[: len(starts)]
    places = file.start + size * rows[starts]
    runs = zip(places.tolist(), (size * starts).tolist(), (size * ends).tolist(), strict=True)
    try:
        with file.path.open("rb", buffering=0) as stream:
            number = stream.fileno()
            if _state(os.fstat(number)) != file.state:
                raise DiskError(f"{file.path}: has changed since it was first read; start anew")
            for place, start, end in runs:
                while start < end:
                    count = os.preadv(number, (view[start:end],), place)
                    if not count:
                        raise DiskError(f"{file.path}: is cut short")
                    place, start = place + count, start + count
    except OSError as error:
        raise DiskError(f"{file.path}: cannot be read: {error.strerror or error}") from None


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
