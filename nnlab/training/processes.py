"""Several processes that train one run together, on several hosts or on one: process 0 writes it.

Each has all weights and examples, and its devices take their part of every batch. What would differ between
them, because it comes from files or from wall-clock time, process 0 tells the others: where the training
begins, how long each chunk is, and that it ends before its time. All call `agree` at the same moments.
"""

from __future__ import annotations

import sys
from typing import TypeVar

import numpy as np

from nnlab.system.imports import jax

NOTHING_LEFT = -2  # in place of the step at which a training begins

Tree = TypeVar("Tree")


def are_several() -> bool:
    """Whether this process is one of several that train together."""
    return "jax" in sys.modules and jax.distributed.is_initialized()


def leads() -> bool:
    """Whether this process is the one that writes; a single one is."""
    return not are_several() or jax.process_index() == 0


def agree(tree: Tree) -> Tree:
    """What process 0 has, to the last bit; what the others have in its place says types and shapes."""
    return _told(tree) if are_several() else tree


def agree_at_the_end(tree: Tree) -> Tree:
    """`agree`, for the last time: the others leave first, or JAX would abort them when process 0 leaves."""
    if not are_several():
        return tree
    told = _told(tree)
    if not leads():
        jax.distributed.shutdown()
    return _told(told)


def is_of_lost_process(error: Exception) -> bool:
    """Whether an error says that another process has ended; JAX raises either, by what it was about to do."""
    return are_several() and isinstance(error, (jax.errors.JaxRuntimeError, ValueError))


def dismiss() -> None:
    """Let the other processes know that there is nothing left to train."""
    agree(np.int32(NOTHING_LEFT))


def _told(tree: Tree) -> Tree:
    from jax.experimental.multihost_utils import broadcast_one_to_all

    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    told = broadcast_one_to_all([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    arrays = [
        np.frombuffer(np.asarray(data, np.uint8).tobytes(), leaf.dtype).reshape(leaf.shape)
        for data, leaf in zip(told, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)
