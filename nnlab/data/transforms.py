"""Transforms scale inputs: each maps the training inputs `[N, ...]` to a function of any inputs.

Training inputs that stay in their file are read block by block, for statistics to which each block adds; what
needs all at once is refused where it asks for an array of them.

Statistics are of the training examples alone, so that nothing leaks in from validation and test
(lectures 001 and 002).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from nnlab.data.inputs import Inputs, blocks_of
from nnlab.errors import InvalidValue
from nnlab.registry import NonNegative, register

Scaling = Callable[[np.ndarray], np.ndarray]
Transform = Callable[[Inputs], Scaling]


@register("transform")
def standardize(train: Inputs, /, *, together: bool = False) -> Scaling:
    """Standardizes each feature, (x - mean) / std; a constant feature becomes 0.

    Args:
        together: Whether one mean and one std of all values are used, as suits pixels, whose differences mean
            something.
    """
    least, greatest = _range(train, together)
    varies = greatest > least  # the mean of equal values may be rounded, and their std above 0
    exact_mean = _mean(train, together)
    mean = np.where(varies, exact_mean, least)
    std = np.where(varies, np.sqrt(_mean(train, together, about=exact_mean)), 1.0)
    std = np.where(std > 0, std, 1.0)
    return lambda inputs: (inputs - mean) / std


@register("transform")
def min_max(train: Inputs, /, *, low: float = 0.0, high: float = 1.0, together: bool = False) -> Scaling:
    """Scales each feature linearly, its training range to [low, high]; a constant feature becomes low.

    Args:
        low: The least value of the training inputs afterwards.
        high: Their greatest value; above low.
        together: Whether the range of all values is used, as suits pixels.

    Raises:
        InvalidValue: low is not below high.
    """
    least, greatest = _range(train, together)
    span = greatest - least
    span = np.where(span > 0, span, 1.0)
    if low >= high:
        raise InvalidValue(f"min_max: low {low:g} must lie below high {high:g}", ("normalize",))
    return lambda inputs: low + (high - low) * (inputs - least) / span


@register("transform")
def binarize(train: Inputs, /, *, above: float = 0.5) -> Scaling:
    """Makes bits of the inputs: 1 where a value is greater than `above`, else 0.

    Args:
        above: The threshold, in the units of the inputs.
    """
    return lambda inputs: (inputs > above).astype(np.float32)


@register("transform")
def whiten(train: Inputs, /, *, method: Literal["pca", "zca"] = "pca", epsilon: NonNegative = 0.0) -> Scaling:
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

    values = np.asarray(train)
    exact = values.reshape(len(values), -1).astype(np.float64)
    mean = exact.mean(0)
    with threadpool_limits(1, user_api="blas"):  # the same numbers on any number of cores
        axes, deviations = _principal_axes(exact - mean)
    rounding = _rounding(exact, axes, np.finfo(values.dtype).eps / 2)
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


def _exact_blocks(inputs: Inputs) -> Iterator[np.ndarray]:
    """The inputs in float64, some at a time."""
    return (np.asarray(block, np.float64) for block in blocks_of(inputs))


def _range(inputs: Inputs, together: bool) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest value, of each feature or of all."""
    axes = None if together else 0
    ends = [(block.min(axes), block.max(axes)) for block in _exact_blocks(inputs)]
    least, greatest = zip(*ends, strict=True)
    return np.min(least, axis=0), np.max(greatest, axis=0)


def _mean(inputs: Inputs, together: bool, about: np.ndarray | None = None) -> np.ndarray:
    """The mean of the values, or of their squared distances from `about`, of each feature or of all.

    Of several features NumPy adds row to row, so that blocks give the same numbers. Of all values, or of one
    feature, it adds in pairs: an array is one block, and a file has the same numbers to rounding.
    """
    in_pairs = together or math.prod(inputs.shape[1:]) == 1
    whole = in_pairs and isinstance(inputs, np.ndarray)
    total = np.zeros(())
    for number, block in enumerate([np.asarray(inputs, np.float64)] if whole else _exact_blocks(inputs)):
        values = block if about is None else np.square(block - about)
        if not number or in_pairs:
            part = values.sum(None if together else 0)
            total = total + part if number else part
        else:
            total = np.concatenate([total[None], values]).sum(0)
    return total / (math.prod(inputs.shape) if together else len(inputs))


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
