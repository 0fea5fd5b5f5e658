"""The dense layer, and one that goes back with the same weights."""

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


@layer
def tied_dense(
    units: Count,
    kernel_init: InitializerLike = "glorot_normal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """A bottleneck and its way back with the same weights, y = x W W^T + b.

    The kernel W is `[D, U]`, the bias b `[D]`: D U + D parameters.

    Shape:
        `[B, D] -> [B, D]`

    Args:
        units: U, the width of the bottleneck.
        kernel_init: Draws W.
        bias_init: Draws b.

    Reference:
        Elhage et al. 2022, Toy models of superposition, whose W is this one's transpose.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(
                f"tied_dense takes inputs of one axis, not {list(input_shape)}; put flatten before it"
            )
        params = {
            "kernel": Variable((input_shape[0], units), kernel_init),
            "bias": Variable(input_shape, bias_init),
        }
        return Setup(input_shape, params, workspace_values=units)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        y = (x @ params["kernel"]) @ params["kernel"].T
        return Output(y + jnp.broadcast_to(params["bias"], y.shape))

    return Layer(setup, apply)
