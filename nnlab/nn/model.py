"""The model: a chain of layers set up for an input shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import chain, sequential
from nnlab.nn.layer import Layer, Output, Setup, Shape, TrainMode, Tree, Variable
from nnlab.system.imports import Array
from nnlab.system.random import generator


class Model(NamedTuple):
    """A layer set up for inputs of one shape.

    Attributes:
        setup: Its variables and shapes.
        layer: The chain of layers.
    """

    setup: Setup
    layer: Layer

    def init(self, seed: int) -> tuple[Tree, Tree]:
        """Initial params and state: nested dicts of float32 arrays on the host; nothing is compiled.

        An array depends on the seed and its own path only.

        Raises:
            InvalidValue: An initializer cannot draw an array of the shape that a layer needs.
        """
        params, state = self.setup.variables("params"), self.setup.variables("state")
        return _draw_tree(params, seed), _draw_tree(state, seed)

    def apply(self, params: Tree, state: Tree, x: Array, *, key: Array, train: TrainMode) -> Output:
        """The outputs `[B, K]` for inputs `[B, ...]`."""
        return self.layer.apply(params, state, x, key=key, train=train)

    def split_at(self, count: int) -> tuple[Model, Model]:
        """The first `count` layers of the chain, and the rest, which continues from their outputs."""
        layers = dict(zip(self.setup.children, self.layer.layers, strict=True))
        names, setups = list(layers), self.setup.children

        def part(selected: list[str], first: int, output_shape: Shape) -> Model:
            layer = chain({name: layers[name] for name in selected}, first)
            return Model(Setup(output_shape, children={name: setups[name] for name in selected}), layer)

        head = part(names[:count], 0, setups[names[count - 1]].output_shape)
        return head, part(names[count:], count, self.setup.output_shape)


def build_model(layer: Layer, input_shape: Shape) -> Model:
    """Set a layer up for inputs of a shape (without batch axis).

    Raises:
        InvalidValue: A layer does not take what it receives; the message names the layer.
    """
    root = sequential([layer])
    return Model(root.setup(input_shape), root)


def _draw_tree(tree: Tree, seed: int, prefix: str = "") -> Tree:
    """The arrays of a tree of Variables."""
    return {
        name: _draw(entry, seed, f"{prefix}/{name}")
        if isinstance(entry, Variable)
        else _draw_tree(entry, seed, f"{prefix}/{name}")
        for name, entry in tree.items()
    }


def _draw(variable: Variable, seed: int, path: str) -> np.ndarray:
    random = generator(seed, "first weights", path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # infinite weights show as a run that diverges
            return variable.initializer(random, variable.shape)
    except InvalidValue as error:
        raise InvalidValue(f"{path[1:]}: {error}") from None
