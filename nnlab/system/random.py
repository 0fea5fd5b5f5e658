"""Random numbers on the host, in named streams: the same seed and words give the same numbers."""

from __future__ import annotations

import zlib

import numpy as np


def name_hash(name: str) -> int:
    """The CRC-32 of a name, a fixed 32-bit number."""
    return zlib.crc32(name.encode())


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """The generator of a named stream: `generator(0, "order", 3)` orders the fourth epoch of seed 0.

    Args:
        seed: The run's seed, or another one.
        words: The name of the stream; different names give independent streams.
    """
    numbers = [name_hash(word) if isinstance(word, str) else word for word in words]
    return np.random.default_rng([seed, *numbers])
