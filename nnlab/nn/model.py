"""The model: a chain of layers set up for an input shape."""

from __future__ import annotations

from typing import Any, NamedTuple

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


def _drawn(tree: dict[str, Any], key: Array, prefix: str = "") -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, entry in tree.items():
        path = f"{prefix}/{name}"
        if isinstance(entry, Variable):
            drawn[name] = entry.initializer(
                jax.random.fold_in(key, name_hash(path)), entry.shape, jnp.float32
            )
        else:
            drawn[name] = _drawn(entry, key, path)
    return drawn
