"""Attention and transformer blocks.

`B` is the batch, `T` the positions of a sequence, `D` the features, `H` the heads.

`read` selects the one position whose output is wanted (-1 is the last). A layer with `read` returns `[B, D]`
and computes of the other positions only what that output depends on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Lt

from nnlab.errors import InvalidValue
from nnlab.nn.activations import elementwise
from nnlab.nn.combinators import BoundChildren, sequential, setup_chain, setup_child
from nnlab.nn.dense import dense
from nnlab.nn.layer import ActivationLike, InitializerLike, Layer, Output, Setup, Shape, Tree, layer
from nnlab.nn.normalization import layer_norm
from nnlab.nn.regularization import dropout
from nnlab.registry import BelowOne, Count
from nnlab.system.imports import Array, jax

Position = Annotated[int, Ge(-(2**31)), Lt(2**31)]

PARTS = {  # of a transformer block, by where it normalizes, in the order of the data
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
    """Multi-head self-attention, softmax(q k^T / sqrt(D / H)) v in each head.

    q, k and v are dense layers of the input; each head takes D / H features of them, and a dense layer mixes
    the heads' outputs. 4 D (D + 1) parameters.

    Shape:
        `[B, T, D] -> [B, T, D]`, or `[B, D]` with `read`.

    Args:
        heads: H, which must divide D.
        causal: Whether a position attends only to itself and earlier ones.
        read: The one position that is computed, from 0 or, counted from the end, from -1. null is all.
        use_bias: Whether the four dense layers have biases.
        kernel_init: Draws their kernels; the default is that of Keras.
        bias_init: Draws their biases.

    Reference:
        Vaswani et al. 2017, Attention is all you need.
    """

    def setup(input_shape: Shape) -> Setup:
        length, units = _check_sequence("attention", input_shape)
        if units % heads:
            raise InvalidValue(f"{heads} heads must divide the {units} features")
        position = resolve_position(read, length)
        query_shape = input_shape if position is None else (units,)
        key_shape = (_attended_length(position, causal, length), units)
        shapes = {"query": query_shape, "key": key_shape, "value": key_shape, "output": query_shape}
        layers = projections(units)
        children = {name: setup_child(name, layers[name], shape) for name, shape in shapes.items()}
        return Setup(query_shape, children=children)

    def projections(units: int) -> dict[str, Layer]:
        projection = dense(units, use_bias, kernel_init, bias_init)
        return dict.fromkeys(("query", "key", "value", "output"), projection)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        position = resolve_position(read, x.shape[1])
        attended = x[:, : _attended_length(position, causal, x.shape[1])]
        children = BoundChildren(projections(x.shape[-1]), params, state, key, train)
        query = children("query", x if position is None else x[:, position])
        mixed = jax.nn.dot_product_attention(
            _split_heads(query, heads),
            _split_heads(children("key", attended), heads),
            _split_heads(children("value", attended), heads),
            is_causal=causal and position is None,  # a single position is given no later ones anyway
        )
        return children.output(children("output", mixed.reshape(query.shape)))

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
    """A transformer block: attention, then an MLP with one hidden layer, each added to its input.

    Without biases and norms it has 12 D^2 parameters.

    Shape:
        `[B, T, D] -> [B, T, D]`, or `[B, D]` with `read`.

    Args:
        heads: H, the attention's heads; must divide D.
        hidden: Units of the MLP's hidden layer. null is 4 D, as in Vaswani et al. 2017.
        activation: Follows the MLP's hidden layer. The default is that of GPT-2 and BERT.
        norm: `pre` is x + f(layer_norm(x)), which needs a layer_norm after the last block; `post` is
            layer_norm(x + f(x)), as in Vaswani et al. 2017; `none` has no layer_norm.
        causal: Whether a position attends only to itself and earlier ones.
        read: The one position that is computed, from 0 or, counted from the end, from -1. null is all.
        dropout_rate: Of the dropout on what the attention and the MLP add, in [0, 1).
        use_bias: Whether the dense layers have biases.
        kernel_init: Draws the kernels; the default is that of Keras.
        bias_init: Draws the biases.

    Reference:
        Vaswani et al. 2017, Attention is all you need.
    """

    def parts(units: int) -> dict[str, Layer]:
        """The layers of the block by name, in the order of the data."""
        expand, contract = (
            dense(size, use_bias, kernel_init, bias_init) for size in (hidden or 4 * units, units)
        )
        drop = {"attention_dropout": dropout(dropout_rate)} if dropout_rate else {}
        layers = drop | {
            "attention": attention(heads, causal, read, use_bias, kernel_init, bias_init),
            "mlp": sequential([expand, elementwise(activation), contract, *drop.values()]),
            "attention_norm": layer_norm(),
            "mlp_norm": layer_norm(),
        }
        return {name: layers[name] for name in PARTS[norm] if name in layers}

    def setup(input_shape: Shape) -> Setup:
        _, units = _check_sequence("transformer_block", input_shape)
        return setup_chain(parts(units), input_shape)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        children = BoundChildren(parts(x.shape[-1]), params, state, key, train)
        return children.output(_apply_block(children, x, norm, resolve_position(read, x.shape[1])))

    return Layer(setup, apply)


def _apply_block(children: BoundChildren, x: Array, norm: str, position: int | None) -> Array:
    """The value of a transformer block. position: the only one to compute, None for all."""

    def normalize(when: str, name: str, values: Array) -> Array:
        return children(name, values) if norm == when else values

    added = children("attention", normalize("pre", "attention_norm", x))
    if "attention_dropout" in children.named:
        added = children("attention_dropout", added)
    x = normalize("post", "attention_norm", (x if position is None else x[:, position]) + added)
    return normalize("post", "mlp_norm", x + children("mlp", normalize("pre", "mlp_norm", x)))


def resolve_position(read: int | None, length: int) -> int | None:
    """The position that is read, counted from 0; None where all are.

    Raises:
        InvalidValue: The sequence has no such position.
    """
    if read is None:
        return None
    if not -length <= read < length:
        raise InvalidValue(f"read: {read} is no position of a sequence of {length}; the last one is -1")
    return read % length


def _check_sequence(name: str, shape: Shape) -> tuple[int, int]:
    """Length and features of sequences of vectors. Raises InvalidValue where the shape is no such."""
    if len(shape) != 2:
        raise InvalidValue(f"{name} takes sequences of vectors, [T, D], not {list(shape)}")
    return shape[0], shape[1]


def _split_heads(values: Array, heads: int) -> Array:
    """`[B, T, D]` or `[B, D]` to `[B, T, H, D / H]`, T being 1 for the latter."""
    return values.reshape(values.shape[0], -1, heads, values.shape[-1] // heads)


def _attended_length(position: int | None, causal: bool, length: int) -> int:
    """How many positions, from the first on, are attended to."""
    return length if position is None or not causal else position + 1
