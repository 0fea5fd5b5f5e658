"""Python's cycle collector, told to run seldom."""

from __future__ import annotations

import gc

OBJECTS_BETWEEN_COLLECTIONS = 500_000  # importing JAX, pandas and matplotlib makes some 400,000


def collect_seldom() -> None:
    """Let the cycle collector of this process run seldom: hardly anything of a command is garbage in cycles,
    and the imports and the tracing of programs make so many objects that it took a tenth of the time."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
