"""Layers that give values another shape, or repeat them."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, layer
from nnlab.nn.windows import with_channels
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp

Factor = Annotated[int, Ge(1), Le(1000)]


@layer
def flatten() -> Layer:
    """Flattens all axes but the batch into one.

    Shape:
        `[B, ...] -> [B, D]`, D being the number of values of an example.
    """

    def setup(input_shape: Shape) -> Setup:
        return Setup((math.prod(input_shape),))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        return Output(x.reshape(x.shape[0], -1))

    return Layer(setup, apply)


@layer
def reshape(shape: list[Count]) -> Layer:
    """Gives each example another shape, with its values in the same order.

    Shape:
        `[B, ...] -> [B, *shape]`

    Args:
        shape: The new shape, without the batch axis. It must hold as many values as the inputs'.
    """

    def setup(input_shape: Shape) -> Setup:
        if math.prod(input_shape) != math.prod(shape):
            raise InvalidValue(
                f"{list(input_shape)} has {math.prod(input_shape)} values and {shape} {math.prod(shape)}"
            )
        return Setup(tuple(shape))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        return Output(x.reshape(x.shape[0], *shape))

    return Layer(setup, apply)


@layer
def upsample(factor: Factor = 2) -> Layer:
    """Enlarges images by repeating each pixel (nearest neighbour).

    Followed by a convolution, it is in a decoder what pooling is in an encoder.

    Shape:
        `[B, H, W, C] -> [B, factor H, factor W, C]`, or `[B, H, W] -> [B, factor H, factor W]`.

    Args:
        factor: How often each row and column is repeated, 1 to 1000.
    """

    def setup(input_shape: Shape) -> Setup:
        height, width, _ = with_channels("upsample", input_shape, 2)
        return Setup((factor * height, factor * width, *input_shape[2:]))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        examples, height, width = x.shape[:3]
        tiles = (examples, height, factor, width, factor, *x.shape[3:])
        spread = jnp.broadcast_to(jnp.expand_dims(x, (2, 4)), tiles)
        return Output(spread.reshape(examples, factor * height, factor * width, *x.shape[3:]))

    return Layer(setup, apply)
