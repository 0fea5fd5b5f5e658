"""Layers made of layers.

A chain names its parts by type and number: `dense_1`, `sigmoid_1`, `dense_2`, ... A part inside a block is
`residual_3/dense_1`. A chain inside a chain (repeat, mlp) dissolves: its parts are numbered with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

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
    TrainMode,
    TrainUnlessFrozen,
    Tree,
    layer,
)
from nnlab.registry import Count
from nnlab.system.imports import Array, jax

MAXIMUM_LAYERS = 30_000  # in one chain
RECURRENT = ("bidirectional", "gru", "lstm", "simple_rnn")
OF_SIGNALS = {
    "conv2d": "conv1d",
    "max_pool": "max_pool1d",
    "average_pool": "average_pool1d",
    "median_pool": "median_pool1d",
}


@layer
def sequential(layers: list[LayerLike]) -> Layer:
    """A chain of layers, each applied to the output of the one before.

    In a file, a plain list of layers means this.

    Args:
        layers: The layers, in the order of the data; 30,000 at most.
    """
    _check_count(layers)
    parts = [part for entry in layers for part in (entry.layers or (entry,))]
    counts: Counter[str] = Counter()
    named = {}
    for part in parts:
        counts[part.type] += 1
        named[f"{part.type}_{counts[part.type]}"] = part
    return chain(named)._replace(layers=tuple(parts))


def chain(named: Mapping[str, Layer], first: int = 0) -> Layer:
    """A chain of named layers.

    Args:
        named: The layers by name, in the order of the data.
        first: Index of the first one, where they are the end of a longer chain. Their random keys are those
            that they have in it.
    """

    def setup(input_shape: Shape) -> Setup:
        return setup_chain(named, input_shape)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        children = BoundChildren(named, params, state, key, train, first)
        for name in named:
            x = children(name, x)
        return children.output(x)

    return Layer(setup, apply)


@layer
def repeat(times: Annotated[int, Ge(1), Le(10_000)], layers: list[LayerLike]) -> Layer:
    """A stack of layers, repeated `times` times, each copy with its own weights.

    Args:
        times: The number of copies, 1 to 10,000.
        layers: The layers of one copy; 30,000 layers at most in all copies.
    """
    _check_count(layers, times)
    return sequential(list(layers) * times)


@layer
def residual(layers: list[LayerLike], shortcut: list[LayerLike] | None = None) -> Layer:
    """A residual block, y = s(x) + F(x), where F is the layers and s the shortcut.

    Gradients flow back through s: where F is zero, dy/dx is that of s.

    Args:
        layers: The layers of F, which must make the same shape as s.
        shortcut: The layers of s, such as a conv2d of size 1 where F changes the shape. null is the
            identity, and F must then keep the shape.

    Reference:
        He et al. 2015, Deep residual learning for image recognition; lecture 001.
    """
    branch = sequential(layers)
    named = {} if shortcut is None else {"shortcut": sequential(shortcut)}

    def setup(input_shape: Shape) -> Setup:
        inner = branch.setup(input_shape)
        shortcuts = {name: setup_child(name, part, input_shape) for name, part in named.items()}
        shortcut_shape = shortcuts["shortcut"].output_shape if shortcuts else input_shape
        if inner.output_shape != shortcut_shape:
            raise InvalidValue(
                f"the layers of a residual make {list(inner.output_shape)} of {list(input_shape)}, and its "
                f"shortcut {list(shortcut_shape)}; they must make the same"
                if shortcuts
                else f"the layers of a residual must keep the shape, and make {list(inner.output_shape)} of "
                f"{list(input_shape)}; else give it a shortcut that makes the same of it"
            )
        return Setup(inner.output_shape, children={**inner.children, **shortcuts})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        output = branch.apply(params, state, x, key=key, train=train)
        if not named:
            return output._replace(value=x + output.value)
        shortcut_key = jax.random.fold_in(key, len(branch.layers))
        children = BoundChildren(named, params, state, shortcut_key, train)
        shortcut_value = children("shortcut", x)
        intermediates = {
            what: {**output.intermediates.get(what, {}), **children.intermediates.get(what, {})}
            for what in {**output.intermediates, **children.intermediates}
        }
        return Output(shortcut_value + output.value, {**output.state, **children.new_state}, intermediates)

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
    """A multilayer perceptron: dense hidden layers, then a linear read-out.

    With depth h, width w and K outputs it has (D + 1) w + (h - 1)(w + 1) w + (w + 1) K parameters.

    Shape:
        `[B, D] -> [B, K]`

    Args:
        width: w, the units of each hidden layer.
        depth: h, the number of hidden layers, 0 to 10,000.
        activation: Follows each hidden layer.
        outputs: K, the units of the read-out.
        kernel_init: Draws the kernels; the default suits relu (He et al. 2015).
        bias_init: Draws the biases.
    """
    hidden = [dense(width, kernel_init=kernel_init, bias_init=bias_init), elementwise(activation)]
    read_out = dense(outputs, kernel_init=kernel_init, bias_init=bias_init)
    return sequential(hidden * depth + [read_out])


def _check_count(layers: Sequence[Layer], times: int = 1) -> None:
    """Refuse too many layers before their list fills the memory: chains in chains multiply."""
    count = times * sum(len(entry.layers) or 1 for entry in layers)
    if count > MAXIMUM_LAYERS:
        raise InvalidValue(f"comes to {count:,} layers; there can be at most {MAXIMUM_LAYERS:,}")


def setup_child(name: str, part: Layer, shape: Shape) -> Setup:
    """The setup of a layer inside another one.

    Args:
        name: Of the layer, inside the other.
        part: The layer.
        shape: Of its inputs.

    Raises:
        InvalidValue: The child does not take inputs of this shape; the message names the child.
    """
    try:
        return part.setup(shape)._replace(type=part.type)
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error}") from None


def setup_chain(named: Mapping[str, Layer], input_shape: Shape) -> Setup:
    """The setup of layers that are each applied to the output of the one before.

    Raises:
        InvalidValue: A layer does not take what it receives; the message names the layer.
    """
    shape = input_shape
    children: dict[str, Setup] = {}
    maker = ""  # the last layer that made values of another shape
    for name, part in named.items():
        if maker:
            _check_axes(name, part.type, maker, children[maker].type, shape)
        child = children[name] = setup_child(name, part, shape)
        if child.output_shape != shape or child.type in (*RECURRENT, *OF_SIGNALS.values()):
            maker = name
        shape = child.output_shape
    return Setup(shape, children=children)


def _check_axes(name: str, layer_type: str, maker: str, maker_type: str, shape: Shape) -> None:
    """Refuse to take a signal's channels for columns, or a state for a sequence, which have as many axes."""
    of_signals = OF_SIGNALS.get(layer_type)
    if of_signals and maker_type in OF_SIGNALS.values() and len(shape) == 2:
        raise InvalidValue(
            f"{name}: takes images, and {maker} makes signals of {shape[1]} channels; let it be {of_signals}"
        )
    takes_sequences = layer_type in (*RECURRENT, *OF_SIGNALS.values())
    if takes_sequences and maker_type in RECURRENT and len(shape) == 1:
        raise InvalidValue(
            f"{name}: takes sequences, and {maker} gives its last state alone; let {maker} have read: null"
        )


class BoundChildren:
    """The layers inside a layer, bound to their params, state and keys: `children("dense_1", x)` applies one.

    Attributes:
        new_state: The new state of each child that was applied, by name.
        intermediates: The intermediate values of the children, by their paths.
    """

    def __init__(
        self,
        named: Mapping[str, Layer],
        params: Tree,
        state: Tree,
        key: Array,
        train: TrainMode,
        first: int = 0,
    ) -> None:
        """Bind the children of a layer to its own arguments.

        first: Index of the first child's key.
        """
        self.named, self.params, self.state, self.train = named, params, state, train
        self.keys = {name: jax.random.fold_in(key, index) for index, name in enumerate(named, first)}
        self.new_state: dict[str, Tree] = {}
        self.intermediates: dict[str, dict[str, Array]] = {"outputs": {}}

    def __call__(self, name: str, x: Array) -> Array:
        params, state = self.params.get(name, {}), self.state.get(name, {})
        train = self.train.for_child(name) if isinstance(self.train, TrainUnlessFrozen) else self.train
        output = self.named[name].apply(params, state, x, key=self.keys[name], train=train)
        if output.state:
            self.new_state[name] = output.state
        for what, values in output.intermediates.items():
            by_path = {f"{name}/{path}" if path else name: value for path, value in values.items()}
            self.intermediates.setdefault(what, {}).update(by_path)
        self.intermediates["outputs"][name] = output.value
        return output.value

    def output(self, value: Array) -> Output:
        """What the layer around the children returns, given its own value."""
        return Output(value, self.new_state, self.intermediates)
