"""Initializers: draw a float32 array of a given shape on the host, `initializer(random, shape)`.

fan_in and fan_out are the last two axes of the shape (times the receptive field, where there is one): a dense
kernel is `[fan_in, fan_out]`. The scaled initializers draw with standard deviation gain * sqrt(scale / fan),
the uniform ones from +-sqrt(3) times that. "Normal" is the plain normal distribution, as in the lectures and
in PyTorch; Keras and JAX truncate it at two standard deviations and rescale.

Sources: Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998; lectures 001 and 004. Where lectures err:
lecture 001's He scale 2/sqrt(n) is `he_normal` with gain sqrt(2), and explodes; lecture 004's factor 4
belongs to the logistic function, not to tanh (Glorot's own remark): for it, `glorot_uniform` with gain 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape
from nnlab.registry import NonNegative, Positive, register

initializer = register("initializer")


@initializer
def zeros(random: np.random.Generator, shape: Shape, /) -> np.ndarray:
    """All values are 0."""
    return np.zeros(shape, np.float32)


@initializer
def constant(random: np.random.Generator, shape: Shape, /, *, value: float) -> np.ndarray:
    """The same value everywhere.

    Units that start alike stay alike (lecture 001: herding).

    Args:
        value: The value.
    """
    return np.full(shape, value, np.float32)


@initializer
def given(
    random: np.random.Generator, shape: Shape, /, *, values: Sequence[float | Sequence[float]]
) -> np.ndarray:
    """The values that are given, for a net that is written down.

    Args:
        values: Numbers; of a dense kernel a list for each input, of a bias one list.

    Raises:
        InvalidValue: The array has another shape.
    """
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise InvalidValue("values are numbers in lists of equal length", ("values",)) from None
    if array.shape != tuple(shape):
        raise InvalidValue(f"values make {list(array.shape)}, and the array is {list(shape)}", ("values",))
    return array


def is_given(draw: object) -> bool:
    """Whether an initializer has its values from the file."""
    return getattr(draw, "func", None) is given


@initializer
def normal(
    random: np.random.Generator, shape: Shape, /, *, std: NonNegative = 0.01, mean: float = 0.0
) -> np.ndarray:
    """Normal values, N(mean, std^2), whatever the layer's size.

    Args:
        std: The standard deviation, 0 or more.
        mean: The mean.
    """
    values = random.standard_normal(shape, np.float32)
    values *= std
    values += mean
    return values


@initializer
def uniform(random: np.random.Generator, shape: Shape, /, *, limit: Positive = 0.05) -> np.ndarray:
    """Uniform values, U(-limit, limit), whatever the layer's size.

    Args:
        limit: The largest magnitude, above 0. The default is that of Keras.
    """
    values = random.random(shape, np.float32)
    values *= 2.0
    values -= 1.0
    values *= limit
    return values


@initializer
def truncated_normal(
    random: np.random.Generator, shape: Shape, /, *, std: NonNegative = 0.01, mean: float = 0.0
) -> np.ndarray:
    """Normal values N(mean, std^2) that are redrawn where they are further than 2 std from the mean.

    Args:
        std: The standard deviation before truncation, 0 or more; afterwards it is 0.88 std.
        mean: The mean.
    """
    values = random.standard_normal(shape, np.float32)
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = random.standard_normal(np.count_nonzero(outside), np.float32)
    values *= std
    values += mean
    return values


@initializer
def glorot_normal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """Glorot (Xavier) initialization, N(0, gain^2 * 2 / (fan_in + fan_out)).

    Args:
        gain: Factor on the standard deviation, above 0.

    Reference:
        Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks.
    """
    fan_in, fan_out = _fans(shape)
    return normal(random, shape, std=gain * math.sqrt(2 / (fan_in + fan_out)))


@initializer
def glorot_uniform(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """Glorot (Xavier) initialization, U(-r, r) with r = gain * sqrt(6 / (fan_in + fan_out)).

    Args:
        gain: Factor on the standard deviation, above 0. The logistic function wants 4 (Glorot's own remark;
            lecture 004 gives it for tanh).

    Reference:
        Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks.
    """
    fan_in, fan_out = _fans(shape)
    return uniform(random, shape, limit=gain * math.sqrt(6 / (fan_in + fan_out)))


@initializer
def he_normal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """He (Kaiming) initialization, N(0, gain^2 * 2 / fan_in).

    Made for ReLU.

    Args:
        gain: Factor on the standard deviation, above 0. Lecture 001's scale 2 / sqrt(n) is gain sqrt(2), and
            explodes.

    Reference:
        He et al. 2015, Delving deep into rectifiers.
    """
    fan_in, _ = _fans(shape)
    return normal(random, shape, std=gain * math.sqrt(2 / fan_in))


@initializer
def he_uniform(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """He (Kaiming) initialization, U(-r, r) with r = gain * sqrt(6 / fan_in).

    Made for ReLU.

    Args:
        gain: Factor on the standard deviation, above 0.

    Reference:
        He et al. 2015, Delving deep into rectifiers.
    """
    fan_in, _ = _fans(shape)
    return uniform(random, shape, limit=gain * math.sqrt(6 / fan_in))


@initializer
def lecun_normal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """LeCun initialization, N(0, gain^2 / fan_in).

    Args:
        gain: Factor on the standard deviation, above 0.

    Reference:
        LeCun et al. 1998, Efficient backprop.
    """
    fan_in, _ = _fans(shape)
    return normal(random, shape, std=gain * math.sqrt(1 / fan_in))


@initializer
def lecun_uniform(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """LeCun initialization, U(-r, r) with r = gain * sqrt(3 / fan_in).

    Args:
        gain: Factor on the standard deviation, above 0.

    Reference:
        LeCun et al. 1998, Efficient backprop.
    """
    fan_in, _ = _fans(shape)
    return uniform(random, shape, limit=gain * math.sqrt(3 / fan_in))


@initializer
def orthogonal(random: np.random.Generator, shape: Shape, /, *, gain: Positive = 1.0) -> np.ndarray:
    """A random matrix with orthonormal rows or columns, times gain.

    Args:
        gain: Factor on the matrix, above 0.

    Reference:
        Saxe et al. 2013, Exact solutions to the nonlinear dynamics of learning in deep linear networks.
    """
    rows, columns = _fans(shape)[0], shape[-1]
    q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.copysign(gain, np.diag(r))  # uniform over all such matrices only if r's diagonal is positive
    matrix = q if rows >= columns else q.T
    return matrix.reshape(shape).astype(np.float32, order="C")


def _fans(shape: Shape) -> tuple[int, int]:
    """fan_in and fan_out; the axes before the last two are the receptive field.

    Raises:
        InvalidValue: The shape has one axis only, as that of a bias.
    """
    if len(shape) < 2:
        raise InvalidValue(
            f"the initializer needs at least two axes, and the shape is {list(shape)}; "
            "for a bias take zeros, constant, normal, truncated_normal or uniform"
        )
    receptive_field = math.prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field
