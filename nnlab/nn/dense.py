"""The plain layers. `B` is the batch, `D` and `U` are numbers of units."""

from __future__ import annotations

import math

from nnlab.errors import InvalidValue
from nnlab.nn.layer import InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import BelowOne, Count
from nnlab.system.imports import Array, jax, jnp


@layer
def dense(
    units: Count,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """y = x W + b: every output from every input. `[B, D] -> [B, U]`.

    units: U. The kernel W is `[D, U]`, the bias b `[U]`; D U + U parameters. Applied to the last axis where
    the input has more. The defaults are Keras's.
    """

    def setup(input_shape: Shape) -> Setup:
        if not input_shape:
            raise InvalidValue("dense needs inputs with at least one axis")
        params = {"kernel": Variable((input_shape[-1], units), kernel_init)}
        if use_bias:
            params["bias"] = Variable((units,), bias_init)
        return Setup((*input_shape[:-1], units), params)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        rows = x.reshape(-1, x.shape[-1])  # two axes: over more, XLA's CPU backend is slow at the gradient
        y = (rows @ params["kernel"]).reshape(*x.shape[:-1], units)
        return Output(y + jnp.broadcast_to(params["bias"], y.shape) if use_bias else y)

    return Layer(setup, apply)


@layer
def flatten() -> Layer:
    """All axes but the batch into one. `[B, ...] -> [B, D]`."""

    def setup(input_shape: Shape) -> Setup:
        return Setup((math.prod(input_shape),))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        return Output(x.reshape(x.shape[0], -1))

    return Layer(setup, apply)


@layer
def dropout(rate: BelowOne) -> Layer:
    """In training each value is 0 with probability `rate`, else divided by 1 - rate; in evaluation as it is.

    So the expected output equals the evaluation's (Hinton et al. 2012, in Srivastava's inverted form).
    Lecture 001 says to scale by the dropout probability; it is the keep probability, 1 - rate.
    """

    def setup(input_shape: Shape) -> Setup:
        return Setup(input_shape, random=True)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        if not train:
            return Output(x)
        kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
        return Output(jnp.where(kept, x / (1.0 - rate), jnp.zeros_like(x)))

    return Layer(setup, apply)
