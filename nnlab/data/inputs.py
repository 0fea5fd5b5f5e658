"""Inputs of examples. Bytes, as those of images, are kept so, and looked up in a table where they are read.

Letters in shapes: N examples; 256 values that a byte can have.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nnlab.data.file_rows import FileRows

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

BYTE_VALUES = 256
BLOCK_BYTES = 2**22  # of float32 inputs that are made at once


@dataclass(frozen=True, eq=False)
class ByteInputs:
    """Inputs `[N, ...]` of which each is a byte and stands for a number; `np.asarray` gives the numbers.

    A table holds any scaling of single values without rounding anything anew, so that a run has the same
    bytes as with float32 inputs, which take four times the memory.

    Attributes:
        codes: `[N, ...]` uint8, or rows of a file.
        table: The numbers that bytes stand for, float32: `[256]`, or `[256, ...]` where features differ.
    """

    codes: np.ndarray | FileRows
    table: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """As the numbers have it."""
        return self.codes.shape

    @property
    def dtype(self) -> np.dtype:
        """That of the numbers."""
        return self.table.dtype

    @property
    def nbytes(self) -> int:
        """Bytes in memory, without the table, which several splits have in common."""
        return self.codes.nbytes

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, chosen: np.ndarray | slice) -> ByteInputs:
        return replace(self, codes=self.codes[chosen])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        codes = np.asarray(self.codes)
        if self.table.ndim == 1:
            values = self.table[codes]
        else:
            features = self.table.reshape(BYTE_VALUES, -1), codes.reshape(len(self), -1)
            values = np.take_along_axis(*features, axis=0).reshape(self.shape)
        return values if dtype is None else values.astype(dtype, copy=False)


Inputs = np.ndarray | ByteInputs | FileRows


def in_memory(inputs: Inputs) -> np.ndarray | ByteInputs:
    """The inputs, read from their file where they are not in memory yet; meant for some of them."""
    if isinstance(inputs, FileRows):
        return inputs.read()
    if isinstance(inputs, ByteInputs) and isinstance(inputs.codes, FileRows):
        return replace(inputs, codes=inputs.codes.read())
    return inputs


def file_rows(inputs: Inputs) -> FileRows | None:
    """The rows of a file that inputs are; None where they are in memory."""
    stored = inputs.codes if isinstance(inputs, ByteInputs) else inputs
    return stored if isinstance(stored, FileRows) else None


def divided_by_255(codes: np.ndarray | FileRows) -> ByteInputs:
    """Bytes `[N, ...]`, such as pixels, that stand for numbers from 0 to 1."""
    return ByteInputs(codes, np.arange(BYTE_VALUES, dtype=np.uint8) / np.float32(255))


def blocks_of(inputs: Inputs) -> Iterator[np.ndarray | ByteInputs]:
    """The inputs in order, some at a time, in memory; their numbers take little of it."""
    size = max(1, BLOCK_BYTES // max(1, 4 * math.prod(inputs.shape[1:])))
    return (in_memory(inputs[first : first + size]) for first in range(0, len(inputs), size))


def concatenate_inputs(parts: Sequence[Inputs]) -> Inputs:
    """The inputs of several parts, one part after the other."""
    codes = [part.codes for part in parts if isinstance(part, ByteInputs)]
    first = parts[0]
    if isinstance(first, ByteInputs) and len(codes) == len(parts):
        return replace(first, codes=_concatenated(codes))
    return _concatenated(parts)


def _concatenated(parts: Sequence[Inputs]) -> np.ndarray | FileRows:
    rows = [part for part in parts if isinstance(part, FileRows)]
    if len(rows) == len(parts):
        return functools.reduce(FileRows.and_those_of, rows)
    return np.concatenate([np.asarray(part) for part in parts])


def scale_bytes(
    parts: Sequence[ByteInputs], scale: Callable[[np.ndarray], np.ndarray]
) -> list[ByteInputs] | None:
    """The same bytes with a table of their scaled numbers.

    Args:
        parts: Of one table.
        scale: Numbers `[N, ...]` -> float32 numbers of that shape.

    Returns:
        None where there is no such table, as `scale` mixes features, or where it would take more than it
        saves.
    """
    shape, table = parts[0].shape[1:], parts[0].table
    of_features = table.reshape(BYTE_VALUES, *(table.shape[1:] or (1,) * len(shape)))
    scaled = scale(np.broadcast_to(of_features, (BYTE_VALUES, *shape)))
    of_one = scaled.reshape(BYTE_VALUES, -1)[:, 0]
    if (scaled == of_one.reshape(BYTE_VALUES, *(1,) * len(shape))).all():
        scaled = of_one.copy()
    if scaled.nbytes > 3 * sum(map(math.prod, (part.shape for part in parts))):
        return None
    for block in itertools.chain.from_iterable(blocks_of(part.codes) for part in parts):
        before, after = (np.asarray(ByteInputs(np.asarray(block), each)) for each in (table, scaled))
        if not np.array_equal(scale(before), after, equal_nan=True):
            return None
    return [replace(part, table=scaled) for part in parts]
