"""Random numbers of the host, each stream named: the same (seed, words) give the same numbers."""

from __future__ import annotations

import zlib

import numpy as np


def name_hash(name: str) -> int:
    """A fixed 32-bit number for a name."""
    return zlib.crc32(name.encode())


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """The stream of these words: `generator(0, "order", 3)` orders the fourth epoch of seed 0."""
    numbers = [name_hash(word) if isinstance(word, str) else word for word in words]
    return np.random.default_rng([seed, *numbers])
