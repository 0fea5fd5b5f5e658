"""The model: a chain of layers set up for an input shape."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnlab.errors import ValueDoesNotFit
from nnlab.lazy import Array
from nnlab.nn.combinators import sequential
from nnlab.nn.layer import Layer, Output, Setup, Shape, Training, Variable
from nnlab.randomness import generator


class Model(NamedTuple):
    setup: Setup
    layer: Layer

    def init(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """First params and state: nested dicts of float32 arrays of the host, nothing compiled.

        An array depends on the seed and its path alone. Raises ValueDoesNotFit.
        """
        return _drawn(self.setup.tree("params"), seed), _drawn(self.setup.tree("state"), seed)

    def apply(self, params: Any, state: Any, x: Array, *, key: Array, train: bool | Training) -> Output:
        """`[B, ...]` to the outputs `[B, K]`."""
        return self.layer.apply(params, state, x, key=key, train=train)


def model(layer: Layer, input_shape: Shape) -> Model:
    """Set a layer up for inputs of a shape. Raises ValueDoesNotFit."""
    chain = sequential([layer])
    return Model(chain.setup(input_shape), chain)


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
    except ValueDoesNotFit as error:
        raise ValueDoesNotFit(f"{path[1:]}: {error}") from None
