"""How much memory a run needs, estimated from shapes before anything is allocated.

The factors were measured on CPU, as peaks of resident memory; `make torture` compares estimate and peak.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from nnlab.nn.layer import Setup
from nnlab.text import format_bytes

FLOAT_BYTES = 4
MAXIMUM_BLOCK_VALUES = 2**24  # of all layers together, for the examples that are evaluated at once
STREAMED_BYTES = 2**24  # of inputs that go to the device at once, where they are streamed
JAX_BYTES = 150e6  # of importing it
COMPILING_BYTES = 230e6  # of a first program
COMPILING_BYTES_PER_LAYER = 3e6


class Footprint(NamedTuple):
    """What the memory of a training depends on.

    Attributes:
        setup: The model's.
        slots: Arrays of the size of the weights that the optimizer keeps, and that pruning goes back to.
        batch_size: Examples of a step.
        examples: Of all splits.
        data_bytes: Of all examples.
        records_layers: Whether the table `layers` is recorded.
        evaluates_all_examples: Whether a probe computes the outputs for all examples at once.
        path_points: How many times a probe has the weights kept.
    """

    setup: Setup
    slots: int
    batch_size: int
    examples: int
    data_bytes: int
    records_layers: bool
    evaluates_all_examples: bool
    path_points: int = 0

    @property
    def array_bytes(self) -> int:
        """Bytes of weights, examples and values on the device, at their peak.

        Of the weights there are the first, the present and the best ones, gradients and changes, the
        optimizer's, and, while a checkpoint is written, the largest of its files twice.
        """
        copies = max(6 + 2.4 * self.slots, (8.4 if self.records_layers else 6) + self.slots)
        weights = (copies + 2 * self.path_points) * self.setup.count("params") + self.setup.count("state")
        values = self.setup.values_per_example
        block = min(MAXIMUM_BLOCK_VALUES, values * self.examples)
        at_once = 2 * values * self.examples if self.evaluates_all_examples else 0
        floats = weights + values * self.batch_size + block + at_once
        return int(FLOAT_BYTES * floats) + 2 * self.data_bytes

    @property
    def additional_bytes(self) -> int:
        """Bytes that this process will need at its peak beyond those it has."""
        compiling = COMPILING_BYTES + COMPILING_BYTES_PER_LAYER * sum(1 for _ in self.setup.leaves())
        return int((0 if "jax" in sys.modules else JAX_BYTES) + compiling) + self.array_bytes


def largest_layers(setup: Setup, count: int = 3) -> str:
    """The layers with the most parameters, in words.

    Args:
        setup: The model's.
        count: How many to name.
    """
    sized = sorted(setup.leaves(), key=lambda entry: -entry[1].count("params"))[:count]
    return ", ".join(
        f"{path} ({format_bytes(FLOAT_BYTES * leaf.count('params'))})" for path, leaf in sized if leaf.params
    )
