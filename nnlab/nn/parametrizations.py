"""Layers that decide how much of features a wide net learns: two parametrizations, and centred outputs."""

from __future__ import annotations

import functools
from typing import Literal

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import sequential
from nnlab.nn.initializers import normal, zeros
from nnlab.nn.layer import Layer, LayerLike, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count, Positive
from nnlab.system.imports import Array, jax, jnp

EXPONENTS = {"ntk": -0.5, "mean_field": -1.0}  # of the number of inputs


@layer
def scaled_dense(
    units: Count,
    parametrization: Literal["ntk", "mean_field"] = "ntk",
    gain: Positive = 1.0,
    use_bias: bool = True,
) -> Layer:
    """A fully connected layer whose weights are of order 1 at any width, y = gain D^-a x W + b.

    W `[D, U]` is drawn from N(0, 1), b `[U]` is 0. With a = 1/2, the NTK parametrization, the first outputs
    are those of a dense layer under lecun_normal, and gradients are smaller by D^-1/2: at a given learning
    rate the outputs learn as fast at any width, and the wider the net the less each weight moves. With a = 1
    for the read-out, mean field, the outputs of wide nets begin near 0, and at a learning rate in proportion
    to the width each weight moves as far at any width.

    Shape:
        `[B, D] -> [B, U]`

    Args:
        units: U, the number of outputs.
        parametrization: `ntk`, a = 1/2, or `mean_field`, a = 1.
        gain: Multiplies the sum; sqrt(2) suits relu.
        use_bias: Whether b is added.

    Reference:
        Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural
        networks"; Mei, Montanari & Nguyen 2018, "A mean field view of the landscape of two-layer neural
        networks".
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(
                f"scaled_dense takes inputs of one axis, not {list(input_shape)}; put flatten before it"
            )
        params = {"kernel": Variable((input_shape[0], units), functools.partial(normal, std=1.0))}
        return Setup((units,), params | ({"bias": Variable((units,), zeros)} if use_bias else {}))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        y = (gain * x.shape[-1] ** EXPONENTS[parametrization]) * (x @ params["kernel"])
        return Output(y + jnp.broadcast_to(params["bias"], y.shape) if use_bias else y)

    return Layer(setup, apply)


@layer
def centred(layers: list[LayerLike], scale: Positive = 1.0) -> Layer:
    """What layers have learnt, y = scale (f(x; w) - f(x; w0)), w0 being their first weights.

    The outputs begin at 0, so that nothing of the first function is in the way, and a large scale makes small
    moves of the weights suffice: the net learns as a linear model of its weights would, without learning
    features. The gradient grows with the scale, too: a learning rate in proportion to 1 / scale^2 makes the
    outputs move as fast. The first weights are kept beside the weights, as state.

    Args:
        layers: Those of f; layers that carry state along, such as batch_norm, cannot be among them.
        scale: Multiplies the outputs.

    Reference:
        Chizat, Oyallon & Bach 2019, "On lazy training in differentiable programming", whose alpha is the
        scale; there f(x; w0) = 0 by a doubled model.
    """
    branch = sequential(layers)

    def setup(input_shape: Shape) -> Setup:
        return _with_first_weights(branch.setup(input_shape))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        first_weights = jax.tree.map(lambda first, now: first.astype(now.dtype), state, params)
        now = branch.apply(params, {}, x, key=key, train=train)
        first = branch.apply(first_weights, {}, x, key=key, train=train)
        return Output(scale * (now.value - first.value), state, now.intermediates)

    return Layer(setup, apply)


def _with_first_weights(setup: Setup, path: str = "") -> Setup:
    """A setup whose state is drawn as its params are: an array depends on the seed and its path alone."""
    if setup.state:
        raise InvalidValue(f"centred takes no layer that carries state along, as {path} does")
    children = {
        name: _with_first_weights(child, f"{path}/{name}" if path else name)
        for name, child in setup.children.items()
    }
    return setup._replace(state=dict(setup.params), children=children)
