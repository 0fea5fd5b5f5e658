"""Evaluation on examples that are streamed: some blocks at a time go to the device, the next ones being read
meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from nnlab.system.imports import Array, PyTree, jax
from nnlab.training.arguments import Arguments
from nnlab.training.blocks import EvalBlocks
from nnlab.training.lanes import Lanes
from nnlab.training.memory import STREAMED_BYTES
from nnlab.training.state import State

Evaluate = Callable[[Arguments, State, PyTree, np.int32], Array]


class StreamedBlocks:
    """The blocks of all splits, some at a time.

    Attributes:
        at_once: How many blocks go to the device together.
        starts: The first of each such group; the last group may begin with blocks of the one before.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.lanes, self.blocks = lanes, EvalBlocks.of(lanes.lead)
        self.count = self.blocks.block_count
        block_bytes = self.blocks.block_size * lanes.example_bytes
        self.at_once = min(self.count, max(1, STREAMED_BYTES // block_bytes))
        groups = -(-self.count // self.at_once)
        self.starts = [min(group * self.at_once, self.count - self.at_once) for group in range(groups)]

    def read(self, first: int) -> np.ndarray | Array:
        """The stored inputs of the blocks from `first` on, `[at_once, size, ...]`; of lanes whose data
        differ, with an axis in front."""
        lanes = self.lanes
        sources = lanes.experiments[:1] if lanes.shares_data else lanes.experiments
        parts = [self.blocks.read(each, lanes.as_bytes, first, self.at_once) for each in sources]
        return lanes.placement.put_early(parts[0] if lanes.shares_data else lanes.stack(parts))

    @functools.cached_property
    def example(self) -> jax.ShapeDtypeStruct:
        """The shape of what is read."""
        lanes = self.lanes
        shape = (self.at_once, self.blocks.block_size, *lanes.lead.data.train.inputs.shape[1:])
        if not lanes.shares_data:
            shape = (lanes.count + -lanes.count % lanes.placement.lane_multiple, *shape)
        return jax.ShapeDtypeStruct(shape, np.uint8 if lanes.as_bytes else np.float32)

    def example_of_all(self, sums: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        """The shape of the sums of all blocks, by that of the blocks of a group."""
        return jax.ShapeDtypeStruct((*sums.shape[:-2], self.count, sums.shape[-1]), sums.dtype)


class StreamedEvaluation:
    """Evaluates states on examples that are streamed.

    Args:
        lanes: The trainings.
        evaluate: The compiled sums of a group of blocks, see `Programs`.
    """

    def __init__(self, lanes: Lanes, evaluate: Evaluate) -> None:
        self.lanes, self.evaluate, self.blocks = lanes, evaluate, StreamedBlocks(lanes)
        self.reader = ThreadPoolExecutor(1, "evaluation")
        self.ahead: Future[np.ndarray | Array] = self.reader.submit(self.blocks.read, 0)
        self.last: np.ndarray | None = None

    def sums(self, state: State, anew: bool) -> np.ndarray:
        """The sums of all blocks, `[blocks, 2]` or `[blocks, 3]`, of lanes with an axis in front; see
        `Evaluator.block_sums`.

        Args:
            state: The state that is evaluated.
            anew: Whether they are asked for; else those of before will do.
        """
        if anew or self.last is None:
            self.last = self._evaluate(state)
        return self.last

    def _evaluate(self, state: State) -> np.ndarray:
        starts, parts = self.blocks.starts, []
        for number, first in enumerate(starts):
            inputs = self.ahead.result()
            self.ahead = self.reader.submit(self.blocks.read, starts[(number + 1) % len(starts)])
            sums = self.evaluate(self.lanes.arguments, state, inputs, np.int32(first))
            parts.append(jax.device_get(sums))  # before more is put on the device
        overlap = self.blocks.at_once * len(starts) - self.blocks.count
        parts[-1] = parts[-1][..., overlap:, :]
        return np.concatenate(parts, axis=-2)
