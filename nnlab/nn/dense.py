"""The dense layer."""

from __future__ import annotations

from nnlab.errors import InvalidValue
from nnlab.nn.layer import InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp


@layer
def dense(
    units: Count,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """A fully connected layer, y = x W + b.

    The kernel W is `[D, U]`, the bias b `[U]`: D U + U parameters. Inputs with more axes are mapped along
    the last one.

    Shape:
        `[B, ..., D] -> [B, ..., U]` for a batch of B examples.

    Args:
        units: U, the number of outputs.
        use_bias: Whether b is added.
        kernel_init: Draws W.
        bias_init: Draws b. All defaults are those of Keras.
    """

    def setup(input_shape: Shape) -> Setup:
        if not input_shape:
            raise InvalidValue("dense needs inputs with at least one axis")
        params = {"kernel": Variable((input_shape[-1], units), kernel_init)}
        if use_bias:
            params["bias"] = Variable((units,), bias_init)
        return Setup((*input_shape[:-1], units), params)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        rows = x.reshape(-1, x.shape[-1])  # with more than two axes XLA's gradient is slow on CPU
        y = (rows @ params["kernel"]).reshape(*x.shape[:-1], units)
        return Output(y + jnp.broadcast_to(params["bias"], y.shape) if use_bias else y)

    return Layer(setup, apply)
