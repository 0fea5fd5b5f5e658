"""Layers made of layers.

A chain names its parts by type and number, `dense_1`, `sigmoid_1`, `dense_2`, ...; a part inside a block is
`residual_3/dense_1`. Chains inside chains (repeat, mlp) dissolve: their parts are numbered with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.activations import elementwise
from nnlab.nn.dense import dense
from nnlab.nn.layer import (
    ActivationLike,
    InitializerLike,
    Layer,
    LayerLike,
    Output,
    Setup,
    Shape,
    TrainUnlessFrozen,
    Tree,
    layer,
)
from nnlab.registry import Count
from nnlab.system.imports import Array, jax

MAX_LAYERS = 30_000  # of a chain


@layer
def sequential(layers: list[LayerLike]) -> Layer:
    """One layer after the other; in a file, a plain list of layers means this."""
    _check_count(layers)
    parts = [part for entry in layers for part in (entry.layers or (entry,))]
    seen: Counter[str] = Counter()
    named = {}
    for part in parts:
        seen[part.type] += 1
        named[f"{part.type}_{seen[part.type]}"] = part
    return chain(named)._replace(layers=tuple(parts))


def chain(named: Mapping[str, Layer], first: int = 0) -> Layer:
    """Layers one after the other, by their names. first: the place of the first one, where they are the end
    of a longer chain, whose random numbers they draw."""

    def setup(input_shape: Shape) -> Setup:
        shape, children = input_shape, {}
        for name, part in named.items():
            children[name] = setup_child(name, part, shape)
            shape = children[name].output_shape
        return Setup(shape, children=children)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        children = BoundChildren(named, params, state, key, train, first)
        for name in named:
            x = children(name, x)
        return children.output(x)

    return Layer(setup, apply)


@layer
def repeat(times: Annotated[int, Ge(1), Le(10_000)], layers: list[LayerLike]) -> Layer:
    """The same stack of layers `times` over, each with weights of its own."""
    _check_count(layers, times)
    return sequential(list(layers) * times)


@layer
def residual(layers: list[LayerLike], shortcut: list[LayerLike] | None = None) -> Layer:
    """y = s(x) + F(x), F being the layers: gradient passes on by s (He et al. 2015; lecture 001).

    shortcut: the layers of s, such as a conv2d of size 1 where F changes the shape; null is the identity,
    and F must then keep the shape. When F is zero, dy/dx is that of s.
    """
    branch = sequential(layers)
    named = {} if shortcut is None else {"shortcut": sequential(shortcut)}

    def setup(input_shape: Shape) -> Setup:
        inner = branch.setup(input_shape)
        beside = {name: setup_child(name, part, input_shape) for name, part in named.items()}
        passed = beside["shortcut"].output_shape if beside else input_shape
        if inner.output_shape != passed:
            raise InvalidValue(
                f"the layers of a residual make {list(inner.output_shape)} of {list(input_shape)}, and its "
                f"shortcut {list(passed)}; they must make the same"
                if beside
                else f"the layers of a residual must keep the shape, and make {list(inner.output_shape)} of "
                f"{list(input_shape)}; else give it a shortcut that makes the same of it"
            )
        return Setup(inner.output_shape, children={**inner.children, **beside})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        output = branch.apply(params, state, x, key=key, train=train)
        if not named:
            return output._replace(value=x + output.value)
        beside = BoundChildren(named, params, state, jax.random.fold_in(key, len(branch.layers)), train)
        passed = beside("shortcut", x)
        inside = {
            what: {**output.intermediates.get(what, {}), **beside.intermediates.get(what, {})}
            for what in {**output.intermediates, **beside.intermediates}
        }
        return Output(passed + output.value, {**output.state, **beside.new_state}, inside)

    return Layer(setup, apply)


@layer
def mlp(
    width: Count,
    depth: Annotated[int, Ge(0), Le(10_000)],
    activation: ActivationLike = "relu",
    outputs: Count = 10,
    kernel_init: InitializerLike = "he_normal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """Multilayer perceptron: `depth` hidden layers of `width` units, then a linear read-out of `outputs`.

    `[B, D] -> [B, outputs]`. The activation follows each hidden layer. With depth h and width w it has
    (D + 1) w + (h - 1)(w + 1) w + (w + 1) outputs parameters.
    """
    hidden = [dense(width, kernel_init=kernel_init, bias_init=bias_init), elementwise(activation)]
    read_out = dense(outputs, kernel_init=kernel_init, bias_init=bias_init)
    return sequential(hidden * depth + [read_out])


def _check_count(layers: Sequence[Layer], times: int = 1) -> None:
    """Chains in chains multiply; stop before the list of all their parts fills the memory."""
    count = times * sum(len(entry.layers) or 1 for entry in layers)
    if count > MAX_LAYERS:
        raise InvalidValue(f"comes to {count:,} layers; there can be at most {MAX_LAYERS:,}")


def setup_child(name: str, part: Layer, shape: Shape) -> Setup:
    """The setup of a part of a layer. Raises InvalidValue, which names the part."""
    try:
        return part.setup(shape)._replace(type=part.type)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None


class BoundChildren:
    """The children of a layer while it is applied: `children("dense_1", x)` is that one's value.

    Gathers each child's state and intermediate values under its name.
    """

    def __init__(
        self,
        named: Mapping[str, Layer],
        params: Tree,
        state: Tree,
        key: Array,
        train: bool | TrainUnlessFrozen,
        first: int = 0,
    ) -> None:
        self.named, self.params, self.state, self.train = named, params, state, train
        self.keys = {name: jax.random.fold_in(key, index) for index, name in enumerate(named, first)}
        self.new_state: dict[str, Any] = {}
        self.intermediates: dict[str, dict[str, Array]] = {"outputs": {}}

    def __call__(self, name: str, x: Array) -> Array:
        params, state = self.params.get(name, {}), self.state.get(name, {})
        train = self.train.for_child(name) if isinstance(self.train, TrainUnlessFrozen) else self.train
        output = self.named[name].apply(params, state, x, key=self.keys[name], train=train)
        if output.state:
            self.new_state[name] = output.state
        for what, values in output.intermediates.items():
            filed = {f"{name}/{path}" if path else name: value for path, value in values.items()}
            self.intermediates.setdefault(what, {}).update(filed)
        self.intermediates["outputs"][name] = output.value
        return output.value

    def output(self, value: Array) -> Output:
        """What the layer returns, `value` being its own."""
        return Output(value, self.new_state, self.intermediates)
