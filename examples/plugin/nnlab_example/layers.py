"""Maxout units."""

from __future__ import annotations

from nnlab.nn.layer import InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp


@layer
def maxout(
    units: Count,
    pieces: Count = 2,
    kernel_init: InitializerLike = "he_normal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """The largest of several linear functions. `[B, D] -> [B, U]`.

    y_u = max over k of (x W + b)_uk: each unit learns a convex activation of its own, piecewise linear.

    Args:
        units: U, the number of outputs.
        pieces: K, how many linear functions each output chooses from.
        kernel_init: Draws W, `[D, U K]`.
        bias_init: Draws b, `[U K]`.

    Reference:
        Goodfellow et al. 2013, "Maxout networks".
    """

    def setup(input_shape: Shape) -> Setup:
        width = units * pieces
        params = {
            "kernel": Variable((input_shape[-1], width), kernel_init),
            "bias": Variable((width,), bias_init),
        }
        return Setup((*input_shape[:-1], units), params)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        values = x @ params["kernel"]
        values += jnp.broadcast_to(params["bias"], values.shape)
        return Output(values.reshape(*x.shape[:-1], units, pieces).max(-1))

    return Layer(setup, apply)
