"""Layers for sequences. `B` is the batch, `T` the positions, `D` the features, `H` the heads.

`read` names the one position that is read out (-1 is the last): a layer that has it returns `[B, D]`, and
computes for the other positions only what that one needs of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Lt

from nnlab.errors import InvalidValue
from nnlab.nn.activations import elementwise
from nnlab.nn.combinators import BoundChildren, sequential, setup_child
from nnlab.nn.dense import dense
from nnlab.nn.layer import ActivationLike, InitializerLike, Layer, Output, Setup, Shape, Tree, layer
from nnlab.nn.normalization import layer_norm
from nnlab.nn.regularization import dropout
from nnlab.registry import BelowOne, Count
from nnlab.system.imports import Array, jax

Position = Annotated[int, Ge(-(2**31)), Lt(2**31)]

ORDER = {  # of a transformer block's parts, by where it is normalized
    "pre": ("attention_norm", "attention", "attention_dropout", "mlp_norm", "mlp"),
    "post": ("attention", "attention_dropout", "attention_norm", "mlp", "mlp_norm"),
    "none": ("attention", "attention_dropout", "mlp"),
}


@layer
def attention(
    heads: Count,
    causal: bool = False,
    read: Position | None = None,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """Multi-head self-attention: softmax(q k^T / sqrt(D / H)) v in each head. `[B, T, D] -> [B, T, D]`.

    heads: H, which divides D. q, k and v are dense layers of the input, each head takes D / H features of
    them, and a dense layer mixes the heads' outputs; 4 D (D + 1) parameters. causal: a position attends to
    itself and earlier ones only. read: null, or the one position that is computed, `[B, T, D] -> [B, D]`.
    Vaswani et al. 2017.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 2:
            raise InvalidValue(f"attention takes sequences of vectors, [T, D], not {list(input_shape)}")
        length, units = input_shape
        if units % heads:
            raise InvalidValue(f"{heads} heads must divide the {units} features")
        place = resolve_position(read, length)
        asking = input_shape if place is None else (units,)
        heard = (_heard(place, causal, length), units)
        shapes = {"query": asking, "key": heard, "value": heard, "output": asking}
        parts = projections(units)
        return Setup(asking, children={n: setup_child(n, parts[n], shape) for n, shape in shapes.items()})

    def projections(units: int) -> dict[str, Layer]:
        one = dense(units, use_bias, kernel_init, bias_init)
        return dict.fromkeys(("query", "key", "value", "output"), one)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        examples, length, units = x.shape
        place = resolve_position(read, length)
        heard = x[:, : _heard(place, causal, length)]
        children = BoundChildren(projections(units), params, state, key, train)

        def by_head(values: Array) -> Array:
            return values.reshape(examples, -1, heads, units // heads)

        query = by_head(children("query", x if place is None else x[:, place]))
        mixed = jax.nn.dot_product_attention(
            query,
            by_head(children("key", heard)),
            by_head(children("value", heard)),
            is_causal=causal and place is None,  # one position hears no later ones as it is
        )
        shape = x.shape if place is None else (examples, units)
        return children.output(children("output", mixed.reshape(shape)))

    return Layer(setup, apply)


@layer
def transformer_block(
    heads: Count,
    hidden: Count | None = None,
    activation: ActivationLike = "gelu",
    norm: Literal["pre", "post", "none"] = "pre",
    causal: bool = False,
    read: Position | None = None,
    dropout_rate: BelowOne = 0.0,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """Attention, then an MLP of one hidden layer, each added to what comes in. `[B, T, D] -> [B, T, D]`.

    norm: `pre` is x + f(layer_norm(x)), which wants a layer_norm after the last block; `post` is
    layer_norm(x + f(x)), as in Vaswani et al. 2017; `none` leaves it out. hidden: units of the MLP; null is
    4 D. read: null, or the one position that is computed, `[B, T, D] -> [B, D]`. dropout_rate: of what
    either part adds. Without biases and norms 12 D^2 parameters.
    """

    def named(units: int) -> dict[str, Layer]:
        """The parts, in the order of the data."""
        wide, narrow = (
            dense(size, use_bias, kernel_init, bias_init) for size in (hidden or 4 * units, units)
        )
        dropping = [dropout(dropout_rate)] if dropout_rate else []
        there = {
            "attention": attention(heads, causal, read, use_bias, kernel_init, bias_init),
            "mlp": sequential([wide, elementwise(activation), narrow, *dropping]),
            "attention_norm": layer_norm(),
            "mlp_norm": layer_norm(),
        }
        if dropping:
            there["attention_dropout"] = dropping[0]
        return {name: there[name] for name in ORDER[norm] if name in there}

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 2:
            raise InvalidValue(
                f"transformer_block takes sequences of vectors, [T, D], not {list(input_shape)}"
            )
        shape: Shape = input_shape
        children = {}
        for name, part in named(input_shape[-1]).items():
            children[name] = setup_child(name, part, shape)
            shape = children[name].output_shape
        return Setup(shape, children=children)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        children = BoundChildren(named(x.shape[-1]), params, state, key, train)

        def normed(when: str, name: str, values: Array) -> Array:
            return children(name, values) if norm == when else values

        added = children("attention", normed("pre", "attention_norm", x))
        if dropout_rate:
            added = children("attention_dropout", added)
        place = resolve_position(read, x.shape[1])
        x = normed("post", "attention_norm", (x if place is None else x[:, place]) + added)
        x = normed("post", "mlp_norm", x + children("mlp", normed("pre", "mlp_norm", x)))
        return children.output(x)

    return Layer(setup, apply)


def resolve_position(read: int | None, length: int) -> int | None:
    """The position that is read out, counted from 0. Raises InvalidValue."""
    if read is None:
        return None
    if not -length <= read < length:
        raise InvalidValue(f"read: {read} is no position of a sequence of {length}; the last one is -1")
    return read % length


def _heard(place: int | None, causal: bool, length: int) -> int:
    """How many positions, from the first on, are attended to."""
    return length if place is None or not causal else place + 1
