"""Activations f(z), elementwise on arrays of any shape; each is also a layer.

Sources: lecture 000 (step), 001 (sigmoid, ReLU, leaky ReLU), 004 (ELU); the rest at the function.
"""

from __future__ import annotations

from collections.abc import Callable

from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree
from nnlab.registry import NonNegative, adopter, register
from nnlab.system.imports import Array, jax, jnp

activation = register("activation")


@activation
def identity(z: Array, /) -> Array:
    """f(z) = z."""
    return z


@activation
def sigmoid(z: Array, /) -> Array:
    """f(z) = 1 / (1 + e^(-z)), in (0, 1); its slope f(1 - f) is 0.25 at most."""
    return jax.nn.sigmoid(z)


@activation
def tanh(z: Array, /) -> Array:
    """f(z) = tanh z, in (-1, 1); its slope 1 - f^2 is 1 at most."""
    return jnp.tanh(z)


@activation
def scaled_tanh(z: Array, /) -> Array:
    """f(z) = 1.7159 tanh(2 z / 3), so that f(1) = 1 and f(-1) = -1 (LeCun et al. 1989, 1998)."""
    return 1.7159 * jnp.tanh(z * (2 / 3))


@activation
def relu(z: Array, /) -> Array:
    """f(z) = max(0, z); the slope at 0 is taken as 0."""
    return jax.nn.relu(z)


@activation
def leaky_relu(z: Array, /, *, negative_slope: float = 0.01) -> Array:
    """f(z) = z for z >= 0, negative_slope * z below."""
    return jax.nn.leaky_relu(z, negative_slope)


@activation
def elu(z: Array, /, *, alpha: NonNegative = 1.0) -> Array:
    """f(z) = z for z >= 0, alpha (e^z - 1) below (Clevert et al. 2015)."""
    return jax.nn.elu(z, alpha)


@activation
def selu(z: Array, /) -> Array:
    """f(z) = 1.0507 * elu(z; alpha = 1.6733): keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return jax.nn.selu(z)


@activation
def gelu(z: Array, /, *, approximate: bool = False) -> Array:
    """f(z) = z Phi(z), Phi the normal distribution function (Hendrycks & Gimpel 2016).

    approximate: the tanh form of GPT-2.
    """
    return jax.nn.gelu(z, approximate=approximate)


@activation
def silu(z: Array, /) -> Array:
    """f(z) = z sigmoid(z), also called swish (Ramachandran et al. 2017)."""
    return jax.nn.silu(z)


@activation
def softplus(z: Array, /) -> Array:
    """f(z) = log(1 + e^z), a smooth ReLU."""
    return jax.nn.softplus(z)


@activation
def square(z: Array, /) -> Array:
    """f(z) = z^2, the activation that modular addition is solved with (Gromov 2023)."""
    return jnp.square(z)


@activation
def step(z: Array, /) -> Array:
    """Heaviside: 1 for z > 0, else 0; its slope is 0 everywhere, so no gradient passes.

    The threshold unit of Rosenblatt's perceptron; to train one, leave this out and give its z to the loss
    `perceptron`. Lecture 000 writes 1 for z >= 1, which contradicts its own 0 for z <= 0 between the two.
    """
    return jnp.where(z > 0, 1.0, 0.0).astype(z.dtype)


@activation
def sign(z: Array, /) -> Array:
    """-1, 0 or 1 by the sign of z; its slope is 0 everywhere."""
    return jnp.sign(z)


@adopter("layer")
def elementwise(function: Callable[[Array], Array]) -> Layer:
    """An activation as a layer; inside, its slope f'(z)."""

    def setup(input_shape: Shape) -> Setup:
        return Setup(input_shape, activation=function)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        z = jax.lax.stop_gradient(x)
        _, slope = jax.jvp(function, (z,), (jnp.ones_like(z),))
        return Output(function(x), intermediates={"slopes": {"": slope}})

    return Layer(setup, apply, type=getattr(function, "func", function).__name__)
