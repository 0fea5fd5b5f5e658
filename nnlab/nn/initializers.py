"""Initializers: draw a float32 array of a shape on the host, `initializer(random, shape)`.

fan_in and fan_out are the shape's last two axes (times the receptive field, where there is one): a dense
kernel is `[fan_in, fan_out]`. The scaled ones draw with standard deviation gain * sqrt(scale / fan), the
uniform ones from +-sqrt(3) times that. "Normal" is the plain normal distribution, as in the lectures and in
PyTorch; Keras and JAX cut it at two standard deviations and rescale.

Sources: Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998; lectures 001 and 004. Where they err:
lecture 001's He scale 2/sqrt(n) is `he_normal` with gain sqrt(2), and explodes; lecture 004's factor 4
belongs to the logistic function, not to tanh (Glorot's own remark): for it, `glorot_uniform` with gain 4.
"""

from __future__ import annotations

import math

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape
from nnlab.registry import NonNegative, Positive, register

initializer = register("initializer")


@initializer
def zeros(random: np.random.Generator, shape: Shape, /) -> np.ndarray:
    """All 0."""
    return np.zeros(shape, np.float32)


@initializer
def constant(random: np.random.Generator, shape: Shape, /, *, value: float) -> np.ndarray:
    """All `value`: units that start alike stay alike (lecture 001: herding)."""
    return np.full(shape, value, np.float32)


@initializer
def normal(
    random: np.random.Generator, shape: Shape, /, *, std: NonNegative = 0.01, mean: float = 0.0
) -> np.ndarray:
    """N(mean, std^2), whatever the layer's size."""
    drawn = random.standard_normal(shape, np.float32)
    drawn *= std
    drawn += mean
    return drawn


@initializer
def uniform(random: np.random.Generator, shape: Shape, /, *, limit: Positive = 0.05) -> np.ndarray:
    """U(-limit, limit), whatever the layer's size."""
    drawn = random.random(shape, np.float32)
    drawn *= 2.0
    drawn -= 1.0
    drawn *= limit
    return drawn


@initializer
def truncated_normal(
    random: np.random.Generator, shape: Shape, /, *, std: NonNegative = 0.01, mean: float = 0.0
) -> np.ndarray:
    """N(mean, std^2) drawn again beyond two `std`; the outcome's own deviation is 0.88 std."""
    drawn = random.standard_normal(shape, np.float32)
    while (beyond := np.abs(drawn) > 2.0).any():
        drawn[beyond] = random.standard_normal(np.count_nonzero(beyond), np.float32)
    drawn *= std
    drawn += mean
    return drawn


@initializer
def glorot_normal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """N(0, gain^2 * 2 / (fan_in + fan_out)), also called Xavier."""
    fan_in, fan_out = _fans(shape)
    return normal(random, shape, std=gain * math.sqrt(2 / (fan_in + fan_out)))


@initializer
def glorot_uniform(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """U(-r, r), r = gain * sqrt(6 / (fan_in + fan_out)), also called Xavier."""
    fan_in, fan_out = _fans(shape)
    return uniform(random, shape, limit=gain * math.sqrt(6 / (fan_in + fan_out)))


@initializer
def he_normal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """N(0, gain^2 * 2 / fan_in), also called Kaiming; made for ReLU."""
    fan_in, _ = _fans(shape)
    return normal(random, shape, std=gain * math.sqrt(2 / fan_in))


@initializer
def he_uniform(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """U(-r, r), r = gain * sqrt(6 / fan_in), also called Kaiming; made for ReLU."""
    fan_in, _ = _fans(shape)
    return uniform(random, shape, limit=gain * math.sqrt(6 / fan_in))


@initializer
def lecun_normal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """N(0, gain^2 / fan_in)."""
    fan_in, _ = _fans(shape)
    return normal(random, shape, std=gain * math.sqrt(1 / fan_in))


@initializer
def lecun_uniform(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """U(-r, r), r = gain * sqrt(3 / fan_in)."""
    fan_in, _ = _fans(shape)
    return uniform(random, shape, limit=gain * math.sqrt(3 / fan_in))


@initializer
def orthogonal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """gain times a random matrix with orthonormal rows or columns (Saxe et al. 2013)."""
    rows, columns = _fans(shape)[0], shape[-1]
    tall = random.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.copysign(gain, np.diag(r))  # uniform over all such matrices only with r's diagonal positive
    matrix = q if rows >= columns else q.T
    return matrix.reshape(shape).astype(np.float32, order="C")


def _fans(shape: Shape) -> tuple[int, int]:
    """fan_in and fan_out; the axes before the last two are the receptive field. Raises InvalidValue."""
    if len(shape) < 2:
        raise InvalidValue(
            f"the initializer needs at least two axes, and the shape is {list(shape)}; "
            "for a bias take zeros, constant, normal, truncated_normal or uniform"
        )
    receptive_field = math.prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field
