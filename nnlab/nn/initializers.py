"""Initializers: draw an array of a shape from a key, `initializer(key, shape, dtype)`.

fan_in and fan_out are the shape's last two axes (times the receptive field, where there is one): a dense
kernel is `[fan_in, fan_out]`. The scaled ones draw with standard deviation gain * sqrt(scale / fan), the
uniform ones from +-sqrt(3) times that. "Normal" is the plain normal distribution, as in the lectures and in
PyTorch; Keras and JAX cut it at two standard deviations and rescale.

Sources: Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998; lectures 001 and 004. Where they err:
lecture 001's He scale 2/sqrt(n) is `he_normal` with gain sqrt(2), and explodes; lecture 004's factor 4
belongs to the logistic function, not to tanh (Glorot's own remark): for it, `glorot_uniform` with gain 4.
"""

from __future__ import annotations

from typing import Literal

from nnlab.lazy import Array, jax, jnp
from nnlab.nn.layer import Shape
from nnlab.registry import NonNegative, Positive, register

initializer = register("initializer")


@initializer
def zeros(key: Array, shape: Shape, dtype: type, /) -> Array:
    """All 0."""
    return jnp.zeros(shape, dtype)


@initializer
def constant(key: Array, shape: Shape, dtype: type, /, *, value: float) -> Array:
    """All `value`: units that start alike stay alike (lecture 001: herding)."""
    return jnp.full(shape, value, dtype)


@initializer
def normal(key: Array, shape: Shape, dtype: type, /, *, std: NonNegative = 0.01, mean: float = 0.0) -> Array:
    """N(mean, std^2), whatever the layer's size."""
    return mean + jax.nn.initializers.normal(std)(key, shape, dtype)


@initializer
def uniform(key: Array, shape: Shape, dtype: type, /, *, limit: Positive = 0.05) -> Array:
    """U(-limit, limit), whatever the layer's size."""
    return jax.nn.initializers.uniform(2 * limit)(key, shape, dtype) - limit


@initializer
def truncated_normal(
    key: Array, shape: Shape, dtype: type, /, *, std: NonNegative = 0.01, mean: float = 0.0
) -> Array:
    """N(mean, std^2) drawn again beyond two `std`; the outcome's own deviation is 0.88 std."""
    return mean + jax.nn.initializers.truncated_normal(std)(key, shape, dtype)


@initializer
def glorot_normal(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """N(0, gain^2 * 2 / (fan_in + fan_out)), also called Xavier."""
    return _scaled(key, shape, dtype, 1.0, "fan_avg", "normal", gain)


@initializer
def glorot_uniform(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """U(-r, r), r = gain * sqrt(6 / (fan_in + fan_out)), also called Xavier."""
    return _scaled(key, shape, dtype, 1.0, "fan_avg", "uniform", gain)


@initializer
def he_normal(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """N(0, gain^2 * 2 / fan_in), also called Kaiming; made for ReLU."""
    return _scaled(key, shape, dtype, 2.0, "fan_in", "normal", gain)


@initializer
def he_uniform(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """U(-r, r), r = gain * sqrt(6 / fan_in), also called Kaiming; made for ReLU."""
    return _scaled(key, shape, dtype, 2.0, "fan_in", "uniform", gain)


@initializer
def lecun_normal(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """N(0, gain^2 / fan_in)."""
    return _scaled(key, shape, dtype, 1.0, "fan_in", "normal", gain)


@initializer
def lecun_uniform(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """U(-r, r), r = gain * sqrt(3 / fan_in)."""
    return _scaled(key, shape, dtype, 1.0, "fan_in", "uniform", gain)


@initializer
def orthogonal(key: Array, shape: Shape, dtype: type, /, *, gain: Positive = 1.0) -> Array:
    """gain times a random matrix with orthonormal rows or columns (Saxe et al. 2013)."""
    return jax.nn.initializers.orthogonal(gain)(key, shape, dtype)


def _scaled(
    key: Array,
    shape: Shape,
    dtype: type,
    scale: float,
    mode: Literal["fan_in", "fan_avg"],
    distribution: Literal["normal", "uniform"],
    gain: float,
) -> Array:
    return gain * jax.nn.initializers.variance_scaling(scale, mode, distribution)(key, shape, dtype)
