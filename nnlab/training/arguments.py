"""What a compiled program takes beside its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nnlab.nn.layer import Tree
from nnlab.system.imports import Array, PyTree, jnp

IN_BOUNDS = "promise_in_bounds"  # a byte always is, in a table of 256


class DeviceData(NamedTuple):
    """The examples of all splits, the training examples first; `R` rows, those that fill up blocks included.

    Attributes:
        inputs: `[R, ...]`, or bytes that stand for them; an empty tuple where they are streamed.
        targets: `[R, ...]`.
        real: `[R]`, false for the rows that fill up a block.
        table: The numbers that bytes stand for, see `ByteInputs`; an empty tuple where inputs are numbers.
        tasks: `[R]`, the task of each example in a sequence of them; else an empty tuple.
    """

    inputs: Array | tuple[()]
    targets: Array
    real: Array
    table: Array | tuple[()] = ()
    tasks: Array | tuple[()] = ()

    def numbers(self, inputs: PyTree) -> Array:
        """What some of the inputs, `[B, ...]`, stand for."""
        if isinstance(self.table, tuple):
            return inputs
        if self.table.ndim == 1:
            return self.table.at[inputs].get(mode=IN_BOUNDS)
        features = self.table.reshape(self.table.shape[0], -1), inputs.reshape(inputs.shape[0], -1)
        return jnp.take_along_axis(*features, axis=0, mode=IN_BOUNDS).reshape(inputs.shape)


class Arguments(NamedTuple):
    """What a program takes beside its state; of lanes, with an axis in front.

    Attributes:
        seed: Of the experiment.
        traced_values: Numbers of the config by path, such as the learning rate.
        initial_params: The weights of step 0.
        data: The examples, in the layout of `EvalBlocks`.
        class_weights: `[C]`, of a loss that weights the classes; else an empty tuple.
    """

    seed: Array
    traced_values: Mapping[str, Array]
    initial_params: Tree
    data: DeviceData
    class_weights: Array | tuple[()] = ()
