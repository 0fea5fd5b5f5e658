"""The examples on the device: all splits in one array, in blocks that evaluation takes one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nnlab.data.examples import Examples
from nnlab.data.inputs import ByteInputs, Inputs, file_rows, in_memory
from nnlab.errors import UsageError
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

    def arrange(self, experiment: Experiment, as_bytes: bool = False, streamed: bool = False) -> DeviceData:
        """The examples of an experiment in this layout, arrays of the host.

        Args:
            experiment: The experiment.
            as_bytes: Whether inputs that are bytes stay so; else they become the numbers.
            streamed: Whether inputs are left out.
        """
        splits = experiment.data.splits
        train = experiment.data.train.inputs

        def filled(part_of: Callable[[Examples], np.ndarray]) -> PyTree:
            rows = []
            for name, (_, blocks, count) in self.spans.items():
                array = part_of(splits[name])
                fill = np.zeros((blocks * self.block_size - count, *array.shape[1:]), array.dtype)
                rows += [array, fill]
            return np.concatenate(rows)

        table: PyTree = train.table if as_bytes and isinstance(train, ByteInputs) else ()
        return DeviceData(
            () if streamed else filled(lambda examples: stored_values(examples.inputs, as_bytes)),
            filled(lambda examples: examples.targets),
            filled(lambda examples: np.ones(len(examples), bool)),
            table,
            () if experiment.plan.data.tasks is None else filled(tasks_of),
        )

    def read(self, experiment: Experiment, as_bytes: bool, first: int, count: int) -> np.ndarray:
        """The inputs of some blocks, `[count, size, ...]`, as they are stored; rows that fill up are any.

        Args:
            experiment: The experiment.
            as_bytes: Whether inputs that are bytes stay so.
            first: The first block.
            count: How many.
        """
        size = self.block_size
        shape = experiment.data.train.inputs.shape[1:]
        read = np.zeros((count * size, *shape), np.uint8 if as_bytes else np.float32)
        for name, (start, blocks, _) in self.spans.items():
            begin, end = max(first, start), min(first + count, start + blocks)
            if begin < end:
                inputs = experiment.data.splits[name].inputs[(begin - start) * size : (end - start) * size]
                place = (begin - first) * size
                read_stored(inputs, as_bytes, read[place : place + len(inputs)])
        return read.reshape(count, size, *shape)

    def by_block(self, data: DeviceData) -> DeviceData:
        """The rows by block, `[blocks, size, ...]`, without the table."""
        shape = (self.block_count, self.block_size)
        rows = data._replace(table=())
        return jax.tree.map(lambda array: array.reshape(*shape, *array.shape[1:]), rows)

    def unblocked(self, values: Array, split: str) -> Array:
        """The rows of a split's examples, `[N, ...]` of `[blocks, size, ...]`."""
        first, blocks, count = self.spans[split]
        return values[first : first + blocks].reshape(-1, *values.shape[2:])[:count]

    def examples(self, data: DeviceData) -> dict[str, Batch]:
        """All examples by split; none can be had where they are no part of the data."""
        if isinstance(data.inputs, tuple):
            return NotOnDevice()
        batches = {}
        for name, (first, _, count) in self.spans.items():
            rows = slice(first * self.block_size, first * self.block_size + count)
            batches[name] = Batch(data.numbers(data.inputs[rows]), data.targets[rows])
        return batches

    def batch(self, data: DeviceData, rows: Array, stored: Array | tuple[()]) -> Batch:
        """Some training examples.

        Args:
            data: The data.
            rows: Which, `[B]`; all of them where it is empty.
            stored: Their inputs as they are stored, where they are no part of the data.
        """
        if rows.shape[0] == 0:
            return self.examples(data)["train"]
        values = data.inputs[rows] if isinstance(stored, tuple) else stored
        return Batch(data.numbers(values), data.targets[rows])


class NotOnDevice(dict[str, Batch]):
    """In place of the examples by split, where they are streamed."""

    def __missing__(self, split: str) -> Batch:
        raise UsageError(
            "a phenomenon looks at examples, and they are streamed from a file that is too large for memory; "
            "leave it out, or give data.limit"
        )


def tasks_of(examples: Examples) -> np.ndarray:
    """The task of each example, `[N]`, in a sequence of them."""
    assert examples.tasks is not None  # noqa: S101 - then each has one
    return examples.tasks


def read_stored(inputs: Inputs, as_bytes: bool, values: np.ndarray) -> None:
    """Read `stored_values` of some inputs to an array."""
    rows = file_rows(inputs)
    if rows is not None and (as_bytes or not isinstance(inputs, ByteInputs)):
        rows.read_to(values)
    else:
        values[...] = stored_values(inputs, as_bytes)


def stored_values(inputs: Inputs, as_bytes: bool) -> np.ndarray:
    """What is put on the device of some inputs, read if need be: bytes, or the numbers."""
    values = in_memory(inputs)
    return np.asarray(values.codes if as_bytes and isinstance(values, ByteInputs) else values)
