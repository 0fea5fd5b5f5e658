"""Transforms scale inputs: each maps the training inputs `[N, ...]` to a function of any inputs.

Statistics are of the training examples alone, so that nothing leaks in from validation and test
(lectures 001 and 002).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.registry import NonNegative, register

Scaling = Callable[[np.ndarray], np.ndarray]
Transform = Callable[[np.ndarray], Scaling]


@register("transform")
def standardize(train: np.ndarray, /, *, together: bool = False) -> Scaling:
    """Standardizes each feature, (x - mean) / std; a constant feature becomes 0.

    Args:
        together: Whether one mean and one std of all values are used, as suits pixels, whose differences mean
            something.
    """
    axes = None if together else 0
    exact = train.astype(np.float64)
    least = exact.min(axes)
    varies = exact.max(axes) > least  # the mean of equal values may be rounded, and their std above 0
    mean = np.where(varies, exact.mean(axes), least)
    std = np.where(varies, exact.std(axes), 1.0)
    std = np.where(std > 0, std, 1.0)
    return lambda inputs: (inputs - mean) / std


@register("transform")
def min_max(train: np.ndarray, /, *, low: float = 0.0, high: float = 1.0, together: bool = False) -> Scaling:
    """Scales each feature linearly, its training range to [low, high]; a constant feature becomes low.

    Args:
        low: The least value of the training inputs afterwards.
        high: Their greatest value; above low.
        together: Whether the range of all values is used, as suits pixels.

    Raises:
        InvalidValue: low is not below high.
    """
    axes = None if together else 0
    exact = train.astype(np.float64)
    least, span = exact.min(axes), np.ptp(exact, axes)
    span = np.where(span > 0, span, 1.0)
    if low >= high:
        raise InvalidValue(f"min_max: low {low:g} must lie below high {high:g}", ("normalize",))
    return lambda inputs: low + (high - low) * (inputs - least) / span


@register("transform")
def whiten(
    train: np.ndarray, /, *, method: Literal["pca", "zca"] = "pca", epsilon: NonNegative = 0.0
) -> Scaling:
    """Whitens the inputs to uncorrelated features of variance 1, V^T (x - mean) / sqrt(eigenvalue + epsilon).

    V and the eigenvalues are those of the covariance (divided by N) of the training inputs, which are
    flattened to D features. Directions in which the training inputs do not vary become 0.

    Args:
        method: `pca` leaves the features in the order of falling eigenvalues; `zca` rotates them back,
            V (...), which is the symmetric root of the inverse covariance and changes the inputs least.
        epsilon: Added to the eigenvalues, in squares of the inputs' units; 0 or more. It keeps small what
            hardly varies.

    Reference:
        Lecture 001, decorrelation.
    """
    from threadpoolctl import threadpool_limits

    exact = train.reshape(len(train), -1).astype(np.float64)
    mean = exact.mean(0)
    with threadpool_limits(1, user_api="blas"):  # the same numbers on any number of cores
        axes, deviations = _principal_axes(exact - mean)
    rounding = _rounding(exact, axes, np.finfo(train.dtype).eps / 2)
    varies = deviations > rounding + np.finfo(float).eps * max(exact.shape) * deviations.max()
    axes = axes[varies]
    weights = axes / np.sqrt(deviations[varies] ** 2 + epsilon)[:, None]
    constant_directions = exact.shape[1] - len(axes)

    def scale(inputs: np.ndarray) -> np.ndarray:
        with threadpool_limits(1, user_api="blas"):
            white = (inputs.reshape(len(inputs), -1) - mean) @ weights.T
            white = white @ axes if method == "zca" else np.pad(white, ((0, 0), (0, constant_directions)))
        return white.reshape(inputs.shape)

    return scale


def _principal_axes(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes `[R, D]` of centred rows `[N, D]`, and the standard deviation along each `[R]`, falling.

    Computed from the rows, not from their covariance, whose condition number is the square of theirs: by its
    eigenvectors, two features that differ by 1e-5 of their spread get a covariance that is 1e-5 off.
    """
    _, singular, axes = np.linalg.svd(np.linalg.qr(centred, mode="r"), full_matrices=False)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
    return axes * np.where(largest < 0, -1.0, 1.0), singular / np.sqrt(len(centred))  # LAPACK's signs vary


def _rounding(rows: np.ndarray, axes: np.ndarray, unit: float) -> np.ndarray:
    """How far inputs `[N, D]` that are rounded by a share `unit` may be moved along each axis `[R]`.

    Where features depend on each other, as a sum and its parts, they vary by that much instead of not at all.
    """
    return np.abs(axes) @ np.abs(rows).max(0) * unit
