"""The examples on the device: all splits in one array, in blocks that evaluation takes one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nnlab.data.examples import Examples
from nnlab.data.inputs import ByteInputs
from nnlab.phenomena.probe import Batch
from nnlab.system import device
from nnlab.system.imports import Array, PyTree, jax
from nnlab.training.arguments import DeviceData
from nnlab.training.experiment import Experiment
from nnlab.training.memory import MAXIMUM_BLOCK_VALUES

# examples of a block, at most, for convolutions on CPU: with more, XLA copies the windows over and over, and
# an example takes up to ten times as long
CONVOLUTION_BLOCK_EXAMPLES = 32
BLOCK_COST_EXAMPLES = 64  # evaluating a block costs as much as evaluating this many more examples


class EvalBlocks(NamedTuple):
    """How the splits lie in one array: each is filled up to a whole number of blocks.

    Attributes:
        block_size: Examples of a block.
        spans: split -> (first block, number of blocks, number of examples).
    """

    block_size: int
    spans: Mapping[str, tuple[int, int, int]]

    @classmethod
    def of(cls, experiment: Experiment) -> EvalBlocks:
        """The cheapest blocks that fit into memory."""
        counts = {name: len(part) for name, part in experiment.data.splits.items()}
        setup = experiment.model.setup
        largest = max(1, MAXIMUM_BLOCK_VALUES // max(1, setup.values_per_example))
        if device.is_cpu() and any(leaf.workspace_values for _, leaf in setup.leaves()):
            largest = min(largest, CONVOLUTION_BLOCK_EXAMPLES)
        sizes = {min(largest, -(-count // parts)) for count in counts.values() for parts in range(1, 9)}

        def cost(size: int) -> int:
            return sum(-(-count // size) * (size + BLOCK_COST_EXAMPLES) for count in counts.values())

        size = min(sorted(sizes), key=cost)
        spans, first = {}, 0
        for name, count in counts.items():
            spans[name] = (first, -(-count // size), count)
            first += spans[name][1]
        return cls(size, spans)

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return sum(blocks for _, blocks, _ in self.spans.values())

    def arrange(self, experiment: Experiment, as_bytes: bool = False) -> DeviceData:
        """The examples of an experiment in this layout, arrays of the host.

        Args:
            experiment: The experiment.
            as_bytes: Whether inputs that are bytes stay so; else they become the numbers.
        """
        splits = experiment.data.splits
        train = experiment.data.train.inputs

        def stored(examples: Examples) -> np.ndarray:
            inputs = examples.inputs
            return inputs.codes if as_bytes and isinstance(inputs, ByteInputs) else np.asarray(inputs)

        def filled(part_of: Callable[[Examples], np.ndarray]) -> PyTree:
            rows = []
            for name, (_, blocks, count) in self.spans.items():
                array = part_of(splits[name])
                fill = np.zeros((blocks * self.block_size - count, *array.shape[1:]), array.dtype)
                rows += [array, fill]
            return np.concatenate(rows)

        table: PyTree = train.table if as_bytes and isinstance(train, ByteInputs) else ()
        return DeviceData(
            filled(stored),
            filled(lambda examples: examples.targets),
            filled(lambda examples: np.ones(len(examples), bool)),
            table,
        )

    def by_block(self, data: DeviceData) -> DeviceData:
        """The rows by block, `[blocks, size, ...]`, without the table."""
        shape = (self.block_count, self.block_size)
        rows = data._replace(table=())
        return jax.tree.map(lambda array: array.reshape(*shape, *array.shape[1:]), rows)

    def unblocked(self, values: Array, split: str) -> Array:
        """The rows of a split's examples, `[N, K]` of `[blocks, size, K]`."""
        first, blocks, count = self.spans[split]
        return values[first : first + blocks].reshape(-1, values.shape[-1])[:count]

    def examples(self, data: DeviceData) -> dict[str, Batch]:
        """All examples by split."""
        batches = {}
        for name, (first, _, count) in self.spans.items():
            rows = slice(first * self.block_size, first * self.block_size + count)
            batches[name] = Batch(data.numbers(data.inputs[rows]), data.targets[rows])
        return batches

    def batch(self, data: DeviceData, rows: Array) -> Batch:
        """The training examples at `rows`, `[B]`; all of them where `rows` is empty."""
        if rows.shape[0] == 0:
            return self.examples(data)["train"]
        return Batch(data.numbers(data.inputs[rows]), data.targets[rows])
