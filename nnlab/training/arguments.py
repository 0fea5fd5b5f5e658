"""What a compiled program takes beside its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nnlab.nn.layer import Tree
from nnlab.system.imports import Array


class DeviceData(NamedTuple):
    """The examples of all splits, the training examples first; `R` rows, those that fill up blocks included.

    Attributes:
        inputs: `[R, ...]`.
        targets: `[R, ...]`.
        real: `[R]`, false for the rows that fill up a block.
    """

    inputs: Array
    targets: Array
    real: Array


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
