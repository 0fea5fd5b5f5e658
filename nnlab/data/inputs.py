"""Inputs of examples. Bytes, as those of images, are kept so, and looked up in a table where they are read.

Letters in shapes: N examples; 256 values that a byte can have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

BYTE_VALUES = 256
BLOCK_BYTES = 2**24  # of float32 inputs that are made at once


@dataclass(frozen=True, eq=False)
class ByteInputs:
    """Inputs `[N, ...]` of which each is a byte and stands for a number; `np.asarray` gives the numbers.

    A table holds any scaling of single values without rounding anything anew, so that a run has the same
    bytes as with float32 inputs, which take four times the memory.

    Attributes:
        codes: `[N, ...]` uint8.
        table: The numbers that bytes stand for, float32: `[256]`, or `[256, ...]` where features differ.
    """

    codes: np.ndarray
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
        if self.table.ndim == 1:
            values = self.table[self.codes]
        else:
            features = self.table.reshape(BYTE_VALUES, -1), self.codes.reshape(len(self), -1)
            values = np.take_along_axis(*features, axis=0).reshape(self.shape)
        return values if dtype is None else values.astype(dtype, copy=False)


Inputs = np.ndarray | ByteInputs


def divided_by_255(codes: np.ndarray) -> ByteInputs:
    """Bytes `[N, ...]`, such as pixels, that stand for numbers from 0 to 1."""
    return ByteInputs(codes, np.arange(BYTE_VALUES, dtype=np.uint8) / np.float32(255))


def blocks_of(inputs: Inputs) -> Iterator[Inputs]:
    """The inputs in order, some at a time, so that their numbers take little memory."""
    size = max(1, BLOCK_BYTES // max(1, 4 * math.prod(inputs.shape[1:])))
    return (inputs[first : first + size] for first in range(0, len(inputs), size))


def concatenate_inputs(parts: Sequence[Inputs]) -> Inputs:
    """The inputs of several parts, one part after the other."""
    codes = [part.codes for part in parts if isinstance(part, ByteInputs)]
    first = parts[0]
    if isinstance(first, ByteInputs) and len(codes) == len(parts):
        return replace(first, codes=np.concatenate(codes))
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
    if scaled.nbytes > 3 * sum(part.codes.nbytes for part in parts):
        return None
    candidates = [replace(part, table=scaled) for part in parts]
    for part, candidate in zip(parts, candidates, strict=True):
        for block, same in zip(blocks_of(part), blocks_of(candidate), strict=True):
            if not np.array_equal(scale(np.asarray(block)), np.asarray(same), equal_nan=True):
                return None
    return candidates
