"""The model: a chain of layers set up for an input shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import chain, sequential
from nnlab.nn.initializers import is_given
from nnlab.nn.layer import Layer, Output, Setup, Shape, TrainMode, Tree, Variable
from nnlab.system.imports import Array, PyTree, jax
from nnlab.system.random import generator

KEEP_VALUES = ("flatten", "reshape")  # layers that hand on their inputs' values as they are
MAXIMUM_CHECKED_VALUES = 2**10  # of an array that is drawn only to see whether it can be


class Model(NamedTuple):
    """A layer set up for inputs of one shape.

    Attributes:
        setup: Its variables and shapes.
        layer: The chain of layers.
        compute: The type in which it computes, `float32` or `bfloat16`.
    """

    setup: Setup
    layer: Layer
    compute: str = "float32"

    def init(self, seed: int) -> tuple[Tree, Tree]:
        """Initial params and state: nested dicts of float32 arrays on the host; nothing is compiled.

        An array depends on the seed and its own path only.

        Raises:
            InvalidValue: An initializer cannot draw an array of the shape that a layer needs.
        """
        params, state = self.setup.variables("params"), self.setup.variables("state")
        return _draw_tree(params, seed), _draw_tree(state, seed)

    def check_initializers(self) -> None:
        """Draw what is small or given, so that an unfit shape is known before anything is written.

        Raises:
            InvalidValue: An initializer cannot draw an array of the shape that a layer needs.
        """
        for path, leaf in self.setup.leaves():
            for name, variable in {**leaf.params, **leaf.state}.items():
                if variable.size <= MAXIMUM_CHECKED_VALUES or is_given(variable.initializer):
                    _draw(variable, 0, f"/{path}/{name}")

    def apply(self, params: Tree, state: Tree, x: Array, *, key: Array, train: TrainMode) -> Output:
        """The outputs `[B, K]` for inputs `[B, ...]`; all that comes out is float32, and so are gradients."""
        if self.compute == "float32":
            return self.layer.apply(params, state, x, key=key, train=train)
        takes_tokens = any(leaf.vocabulary is not None for _, leaf in self.setup.leaves())
        inputs = x if takes_tokens else _cast(x, self.compute)  # tokens are numbers beyond 256, too
        output = self.layer.apply(_cast(params, self.compute), state, inputs, key=key, train=train)
        return _cast(output, "float32")

    def sample(self, params: Tree, state: Tree, key: Array, count: int) -> Array:
        """Draw examples, `[count, ...]` float32, like the inputs of the last layer.

        Raises:
            InvalidValue: The last layer draws none, or does not get the model's inputs.
        """
        draw = sampling(self.setup)
        if draw is None:
            raise InvalidValue("the model draws no examples; one that ends in a layer such as rbm does")
        ((name, _),) = list(self.setup.children.items())[-1:]
        weights = params[name] if self.compute == "float32" else _cast(params[name], self.compute)
        return _cast(draw(weights, state.get(name, {}), key, count), "float32")

    def split_at(self, count: int) -> tuple[Model, Model]:
        """The first `count` layers of the chain, and the rest, which continues from their outputs."""
        layers = dict(zip(self.setup.children, self.layer.layers, strict=True))
        names, setups = list(layers), self.setup.children

        def part(selected: list[str], first: int, output_shape: Shape) -> Model:
            layer = chain({name: layers[name] for name in selected}, first)
            setup = Setup(output_shape, children={name: setups[name] for name in selected})
            return Model(setup, layer, self.compute)

        head = part(names[:count], 0, setups[names[count - 1]].output_shape)
        return head, part(names[count:], count, self.setup.output_shape)


def build_model(layer: Layer, input_shape: Shape, compute: str = "float32") -> Model:
    """Set a layer up for inputs of a shape (without batch axis).

    Args:
        layer: The layer, most often a chain of many.
        input_shape: Of one example.
        compute: The type in which it is to compute.

    Raises:
        InvalidValue: A layer does not take what it receives; the message names the layer.
    """
    root = sequential([layer])
    return Model(root.setup(input_shape), root, compute)


def sampling(setup: Setup) -> Callable[[Tree, Tree, Array, int], Array] | None:
    """How a model draws examples like its inputs: as its last layer does, where nothing changes them before;
    None where it does not."""
    *before, last = setup.children.values() or [setup]
    return last.sample if all(layer.type in KEEP_VALUES for layer in before) else None


def _cast(tree: PyTree, name: str) -> PyTree:
    """A tree of arrays with another type."""
    return jax.tree.map(lambda array: array.astype(name), tree)


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
