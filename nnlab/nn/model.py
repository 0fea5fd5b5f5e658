"""The model: a chain of layers set up for an input shape."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nnlab.lazy import Array, jax, jnp
from nnlab.nn.combinators import sequential
from nnlab.nn.layer import Layer, Output, Setup, Shape, Variable
from nnlab.randomness import name_hash


class Model(NamedTuple):
    setup: Setup
    layer: Layer

    def init(self, key: Array) -> tuple[Any, Any]:
        """First params and state, float32. Each array's key comes from its path alone."""
        return _drawn(self.setup.tree("params"), key), _drawn(self.setup.tree("state"), key)

    def apply(self, params: Any, state: Any, x: Array, *, key: Array, train: bool) -> Output:
        """`[B, ...]` to the outputs `[B, K]`."""
        return self.layer.apply(params, state, x, key=key, train=train)


def model(layer: Layer, input_shape: Shape) -> Model:
    """Set a layer up for inputs of a shape. Raises ValueDoesNotFit."""
    chain = sequential([layer])
    return Model(chain.setup(input_shape), chain)


def _drawn(tree: dict[str, Any], key: Array) -> dict[str, Any]:
    """Draw every variable of a tree. Those drawn alike share one vmapped draw, which gives the same numbers
    and spares compiling each of a deep net's layers."""
    variables = dict(_flattened(tree))
    alike: dict[Variable, list[str]] = {}
    for path, variable in variables.items():
        alike.setdefault(variable, []).append(path)
    arrays: dict[str, Array] = {}
    for variable, paths in alike.items():
        hashes = np.array([name_hash(path) for path in paths], np.uint32)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(hashes)
        draw = functools.partial(_draw, variable)
        arrays |= dict(zip(paths, jax.vmap(draw)(keys), strict=True))
    return _nested(tree, arrays)


def _draw(variable: Variable, key: Array) -> Array:
    return variable.initializer(key, variable.shape, jnp.float32)


def _flattened(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Variable]]:
    for name, entry in tree.items():
        path = f"{prefix}/{name}"
        if isinstance(entry, Variable):
            yield path, entry
        else:
            yield from _flattened(entry, path)


def _nested(tree: dict[str, Any], arrays: dict[str, Array], prefix: str = "") -> dict[str, Any]:
    return {
        name: arrays[f"{prefix}/{name}"]
        if isinstance(entry, Variable)
        else _nested(entry, arrays, f"{prefix}/{name}")
        for name, entry in tree.items()
    }
