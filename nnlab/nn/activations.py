"""Activations f(z), elementwise on arrays of any shape; each is also a layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nnlab.nn.layer import Activation, Layer, Output, Setup, Shape, Tree
from nnlab.registry import NonNegative, adopter, register
from nnlab.system.imports import Array, jax, jnp

activation = register("activation")

FAR = 1e6  # an activation that still rises or falls beyond has no greatest or least value


@activation
def identity(z: Array, /) -> Array:
    """The identity, f(z) = z."""
    return z


@activation
def sigmoid(z: Array, /) -> Array:
    """The logistic function, f(z) = 1 / (1 + e^(-z)).

    Values are in (0, 1); the slope f (1 - f) is 0.25 at most.

    Reference:
        Lecture 001.
    """
    return jax.nn.sigmoid(z)


@activation
def tanh(z: Array, /) -> Array:
    """The hyperbolic tangent, f(z) = tanh z.

    Values are in (-1, 1); the slope 1 - f^2 is 1 at most.
    """
    return jnp.tanh(z)


@activation
def scaled_tanh(z: Array, /) -> Array:
    """A scaled tanh, f(z) = 1.7159 tanh(2 z / 3), with f(1) = 1 and f(-1) = -1.

    Reference:
        LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition; LeCun et al. 1998.
    """
    return 1.7159 * jnp.tanh(z * (2 / 3))


@activation
def relu(z: Array, /) -> Array:
    """The rectified linear unit, f(z) = max(0, z).

    The slope at 0 is taken as 0.

    Reference:
        Lecture 001.
    """
    return jax.nn.relu(z)


@activation
def leaky_relu(z: Array, /, *, negative_slope: float = 0.01) -> Array:
    """A leaky ReLU: f(z) = z for z >= 0, negative_slope * z below.

    Args:
        negative_slope: The slope for z < 0. The default is that of PyTorch and JAX.

    Reference:
        Lecture 001.
    """
    return jax.nn.leaky_relu(z, negative_slope)


@activation
def elu(z: Array, /, *, alpha: NonNegative = 1.0) -> Array:
    """The exponential linear unit: f(z) = z for z >= 0, alpha (e^z - 1) below.

    Args:
        alpha: f tends to -alpha for z far below 0; 0 or more. The default is the paper's.

    Reference:
        Clevert et al. 2015, Fast and accurate deep network learning by exponential linear units; lecture 004.
    """
    return jax.nn.elu(z, alpha)


@activation
def selu(z: Array, /) -> Array:
    """A scaled ELU, f(z) = 1.0507 * elu(z; alpha = 1.6733).

    It preserves mean 0 and variance 1 from layer to layer, with lecun_normal kernels.

    Reference:
        Klambauer et al. 2017, Self-normalizing neural networks.
    """
    return jax.nn.selu(z)


@activation
def gelu(z: Array, /, *, approximate: bool = False) -> Array:
    """The Gaussian error linear unit, f(z) = z Phi(z), where Phi is the normal distribution function.

    Args:
        approximate: Whether Phi is approximated by a tanh, as in GPT-2.

    Reference:
        Hendrycks & Gimpel 2016, Gaussian error linear units.
    """
    return jax.nn.gelu(z, approximate=approximate)


@activation
def silu(z: Array, /) -> Array:
    """The sigmoid linear unit, f(z) = z sigmoid(z), also called swish.

    Reference:
        Ramachandran et al. 2017, Searching for activation functions.
    """
    return jax.nn.silu(z)


@activation
def softplus(z: Array, /) -> Array:
    """A smooth ReLU, f(z) = log(1 + e^z)."""
    return jax.nn.softplus(z)


@activation
def square(z: Array, /) -> Array:
    """The square, f(z) = z^2.

    With it, two layers can solve modular addition in closed form.

    Reference:
        Gromov 2023, Grokking modular arithmetic.
    """
    return jnp.square(z)


@activation
def step(z: Array, /) -> Array:
    """The Heaviside step: 1 for z > 0, else 0.

    Its slope is 0 everywhere, so no gradient passes. It is the threshold unit of Rosenblatt's perceptron; to
    train one, leave this out and give z to the loss `perceptron`.

    Reference:
        Lecture 000, which writes 1 for z >= 1; that contradicts its own 0 for z <= 0 between the two.
    """
    return jnp.where(z > 0, 1.0, 0.0).astype(z.dtype)


@activation
def sign(z: Array, /) -> Array:
    """The sign of z: -1, 0 or 1; its slope is 0 everywhere."""
    return jnp.sign(z)


@adopter("layer")
def elementwise(function: Activation) -> Layer:
    """An activation as a layer; its intermediate value `inputs` is z."""

    def setup(input_shape: Shape) -> Setup:
        return Setup(input_shape, activation=function)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        return Output(function(x), intermediates={"inputs": {"": x}})

    return Layer(setup, apply, type=getattr(function, "func", function).__name__)


SLOPES: dict[Activation, Callable[[Array], Array]] = {
    relu: lambda value: (value > 0).astype(value.dtype),
    sigmoid: lambda value: value * (1.0 - value),
    tanh: lambda value: (1.0 + value) * (1.0 - value),
}
"""f'(z) from f(z), of activations that deep nets have most: it is cheaper than from z."""


def slope(function: Activation, z: Array, values: Array) -> Array:
    """The slope f'(z) of an activation.

    Args:
        function: f.
        z: Its inputs.
        values: f(z).
    """
    by_value = SLOPES.get(getattr(function, "func", function))
    if by_value is not None:
        return by_value(values)
    return jax.jvp(function, (z,), (jnp.ones_like(z),))[1]


def output_range(function: Activation) -> tuple[float, float]:
    """The least and the greatest value of an activation; -inf and inf where it has none.

    It is measured, for any activation that a plug-in may bring.
    """
    z = _probes()
    values = np.asarray(function(jnp.asarray(z)))
    near, all_values = values[np.abs(z) <= FAR], values[~np.isnan(values)]
    low, high = float(np.min(all_values)), float(np.max(all_values))
    return (
        low if low > np.nanmin(near) - 1 else -math.inf,
        high if high < np.nanmax(near) + 1 else math.inf,
    )


def is_flat(function: Activation) -> bool:
    """Whether an activation's slope is 0 everywhere, measured likewise."""
    z = jnp.asarray(_probes())
    _, slopes = jax.jvp(function, (z,), (jnp.ones_like(z),))
    return not np.asarray(slopes).any()


def _probes() -> np.ndarray:
    """z from -FAR^2 to FAR^2, `[B, 1]`."""
    beyond_zero = np.geomspace(1e-3, FAR**2, 301)
    return np.concatenate([-beyond_zero[::-1], [0.0], beyond_zero]).astype(np.float32)[:, None]
