"""What a process no longer needs: cycles of objects, looked for seldom, and freed memory, given back."""

from __future__ import annotations

import gc

OBJECTS_BETWEEN_COLLECTIONS = 500_000  # importing JAX, pandas and matplotlib makes some 400,000


def collect_seldom() -> None:
    """Let the cycle collector of this process run seldom: hardly anything of a command is garbage in cycles,
    and the imports and the tracing of programs make so many objects that it took a tenth of the time."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


def return_freed_memory() -> None:
    """Give the system the memory back that was freed, where the C library can do so (glibc).

    Compiling a program takes and frees some 100 MB, which malloc would keep.
    """
    import ctypes  # calls this one function, with a constant

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
