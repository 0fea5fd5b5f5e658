"""The model: a chain of layers set up for an input shape."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import chain, sequential
from nnlab.nn.layer import Layer, Output, Setup, Shape, TrainUnlessFrozen, Tree, Variable
from nnlab.system.imports import Array
from nnlab.system.random import generator


class Model(NamedTuple):
    """A layer set up for inputs of a shape."""

    setup: Setup
    layer: Layer

    def init(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """First params and state: nested dicts of float32 arrays of the host, nothing compiled.

        An array depends on the seed and its path alone. Raises InvalidValue.
        """
        return _drawn(self.setup.variables("params"), seed), _drawn(self.setup.variables("state"), seed)

    def apply(
        self, params: Tree, state: Tree, x: Array, *, key: Array, train: bool | TrainUnlessFrozen
    ) -> Output:
        """`[B, ...]` to the outputs `[B, K]`."""
        return self.layer.apply(params, state, x, key=key, train=train)

    def split_at(self, place: int) -> tuple[Model, Model]:
        """Its first layers, so many of its chain, and the rest, which goes on from their outputs."""
        named = dict(zip(self.setup.children, self.layer.layers, strict=True))
        names = list(named)
        children = self.setup.children
        shape = children[names[place - 1]].output_shape
        parts = []
        for some, first, out in ((names[:place], 0, shape), (names[place:], place, self.setup.output_shape)):
            layer = chain({name: named[name] for name in some}, first)
            parts.append(Model(Setup(out, children={name: children[name] for name in some}), layer))
        return parts[0], parts[1]


def build_model(layer: Layer, input_shape: Shape) -> Model:
    """Set a layer up for inputs of a shape. Raises InvalidValue."""
    whole = sequential([layer])
    return Model(whole.setup(input_shape), whole)


def _drawn(tree: dict[str, Any], seed: int, prefix: str = "") -> dict[str, Any]:
    """The arrays of a tree of Variables."""
    paths = {name: f"{prefix}/{name}" for name in tree}
    return {
        name: _draw(entry, seed, paths[name])
        if isinstance(entry, Variable)
        else _drawn(entry, seed, paths[name])
        for name, entry in tree.items()
    }


def _draw(variable: Variable, seed: int, path: str) -> np.ndarray:
    random = generator(seed, "first weights", path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the run itself says that it diverged
            return variable.initializer(random, variable.shape)
    except InvalidValue as error:
        raise InvalidValue(f"{path[1:]}: {error}") from None
