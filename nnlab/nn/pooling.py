"""Pooling, channels last: each window of positions becomes one.

`B` is the batch, `H` and `W` height and width of images, `L` the length of signals, `C` the number of
channels. Windows lie as those of a convolution do: W positions become floor((W - F + 2P) / S) + 1, for
windows of F positions, padding P and stride S.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.initializers import constant, zeros
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.nn.windows import (
    SINGLE_WINDOW,
    Padding,
    Size,
    Span,
    lay_windows,
    pair,
    unseen_note,
    windows,
    with_channels,
)
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

Pool = Callable[[Array, tuple[Span, Span]], Array]  # of [B, H, W, C]


@layer
def max_pool(size: Size = 2, stride: Size | None = None, padding: Padding = "valid") -> Layer:
    """Max pooling of images: the maximum of each window.

    The gradient goes to the maximum, or to the first of equal ones, as in PyTorch.

    Shape:
        `[B, H, W, C] -> [B, H', W', C]`, or `[B, H, W] -> [B, H', W']`, with W' = floor((W - F + 2P) / S) + 1
        and H' likewise.

    Args:
        size: F, the side of the windows, in pixels, or [height, width]; 2 is that of Keras.
        stride: S, the step from window to window, or [height, width]. null is `size`: windows side by side.
        padding: As in conv2d; smaller than `size`. Padding is never the maximum.
    """
    sizes = pair("size", size)
    strides = sizes if stride is None else pair("stride", stride)
    return _pool("max_pool", sizes, strides, padding, _max_over_windows)


@layer
def average_pool(size: Size = 2, stride: Size | None = None, padding: Padding = "valid") -> Layer:
    """Average pooling of images: the mean of each window.

    Shape:
        `[B, H, W, C] -> [B, H', W', C]`, or `[B, H, W] -> [B, H', W']`, with W' = floor((W - F + 2P) / S) + 1
        and H' likewise.

    Args:
        size: F, the side of the windows, in pixels, or [height, width]; 2 is that of Keras.
        stride: S, the step from window to window, or [height, width]. null is `size`: windows side by side.
        padding: As in conv2d; smaller than `size`. The mean leaves it out, as in TensorFlow and with
            PyTorch's count_include_pad=False.
    """
    sizes = pair("size", size)
    strides = sizes if stride is None else pair("stride", stride)
    return _pool("average_pool", sizes, strides, padding, _mean_over_windows)


@layer
def median_pool(size: Size = 3, stride: Size | None = None, padding: Padding = "valid") -> Layer:
    """Median pooling of images: the median of each window, of an even number the mean of the middle two.

    A few wrong pixels in a window do not matter to it, as they do to a mean or a maximum. The gradient goes
    to the one or two values in the middle.

    Shape:
        `[B, H, W, C] -> [B, H', W', C]`, or `[B, H, W] -> [B, H', W']`, with W' = floor((W - F + 2P) / S) + 1
        and H' likewise.

    Args:
        size: F, the side of the windows, in pixels, or [height, width].
        stride: S, the step from window to window, or [height, width]. null is `size`: windows side by side;
            1 with the padding `same` is the median filter.
        padding: As in conv2d; smaller than `size`. The median leaves it out.

    Reference:
        Tukey 1977 (running medians).
    """
    sizes = pair("size", size)
    strides = sizes if stride is None else pair("stride", stride)
    return _pool("median_pool", sizes, strides, padding, _median_over_windows)


@layer
def max_pool1d(size: Count = 2, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """Max pooling of signals: the maximum of each window.

    The gradient goes to the maximum, or to the first of equal ones, as in PyTorch.

    Shape:
        `[B, L, C] -> [B, L', C]`, or `[B, L] -> [B, L']`, with L' = floor((L - F + 2P) / S) + 1.

    Args:
        size: F, the length of the windows; 2 is that of Keras.
        stride: S, the step from window to window. null is `size`: windows side by side.
        padding: As in conv1d; smaller than `size`. Padding is never the maximum.
    """
    return _pool("max_pool1d", (size,), (stride or size,), padding, _max_over_windows)


@layer
def average_pool1d(size: Count = 2, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """Average pooling of signals: the mean of each window.

    Shape:
        `[B, L, C] -> [B, L', C]`, or `[B, L] -> [B, L']`, with L' = floor((L - F + 2P) / S) + 1.

    Args:
        size: F, the length of the windows; 2 is that of Keras.
        stride: S, the step from window to window. null is `size`: windows side by side.
        padding: As in conv1d; smaller than `size`. The mean leaves it out, as in TensorFlow and with
            PyTorch's count_include_pad=False.
    """
    return _pool("average_pool1d", (size,), (stride or size,), padding, _mean_over_windows)


@layer
def median_pool1d(size: Count = 3, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """Median pooling of signals: the median of each window, of an even number the mean of the middle two.

    The gradient goes to the one or two values in the middle.

    Shape:
        `[B, L, C] -> [B, L', C]`, or `[B, L] -> [B, L']`, with L' = floor((L - F + 2P) / S) + 1.

    Args:
        size: F, the length of the windows.
        stride: S, the step from window to window. null is `size`: windows side by side.
        padding: As in conv1d; smaller than `size`. The median leaves it out.
    """
    return _pool("median_pool1d", (size,), (stride or size,), padding, _median_over_windows)


@layer
def subsample(size: Count = 2) -> Layer:
    """Trained subsampling, y = a (sum of a window) + b.

    Each channel has its own coefficient a and bias b, 2 C parameters. They start as the mean, a = 1 / size^2
    and b = 0. Windows lie side by side.

    Shape:
        `[B, H, W, C] -> [B, H', W', C]`, or `[B, H, W] -> [B, H', W']`.

    Args:
        size: The side of the square windows, in pixels.

    Reference:
        LeCun et al. 1998, layers S2 and S4 of LeNet-5, which end in a scaled_tanh.
    """

    def setup(input_shape: Shape) -> Setup:
        *sides, channels = with_channels("subsample", input_shape, 2)
        coefficient = Variable((channels,), functools.partial(constant, value=1 / size**2))
        params = {"coefficient": coefficient, "bias": Variable((channels,), zeros)}
        spans = lay_windows(sides, (size, size), (size, size), "valid")
        note = unseen_note(sides, spans)
        return Setup((*(axis.windows for axis in spans), *input_shape[2:]), params, note=note)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        rows, columns = lay_windows(x.shape[1:3], (size, size), (size, size), "valid")
        values, axes = _window_values(x.reshape(*x.shape[:3], -1), (rows, columns), 0.0)
        sums = _channels_last(values.sum(axes))
        coefficient, bias = (jnp.broadcast_to(params[n], sums.shape) for n in ("coefficient", "bias"))
        return Output((coefficient * sums + bias).reshape(*sums.shape[: x.ndim]))

    return Layer(setup, apply)


@layer
def global_average_pool() -> Layer:
    """Global average pooling: the mean over all axes but batch and channels.

    Shape:
        `[B, ..., C] -> [B, C]`, for images and for sequences.
    """
    return _global("global_average_pool", lambda x: x.mean(1))


@layer
def global_max_pool() -> Layer:
    """Global max pooling: the maximum over all axes but batch and channels.

    The gradient goes to the maximum, or to the first of equal ones.

    Shape:
        `[B, ..., C] -> [B, C]`, for images and for sequences.
    """
    return _global("global_max_pool", lambda x: _max_of_first(x[:, :, None], (1, 2)))


def _pool(name: str, sizes: Sequence[int], strides: Sequence[int], padding: Padding, pool: Pool) -> Layer:
    """A layer that pools images or signals: sizes and strides have an entry for each axis."""
    axes = len(sizes)

    def setup(input_shape: Shape) -> Setup:
        *lengths, _ = with_channels(name, input_shape, axes)
        spans = lay_windows(lengths, sizes, strides, padding)
        if any(max(axis.before, axis.after) >= axis.size for axis in spans):
            size = min(axis.size for axis in spans)
            raise InvalidValue(f"padding must be smaller than the size, {size}, or windows are empty")
        output_shape = (*(axis.windows for axis in spans), *input_shape[axes:])
        return Setup(output_shape, note=unseen_note(lengths, spans))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        lengths = x.shape[1 : 1 + axes]
        spans = lay_windows(lengths, sizes, strides, padding)
        images = x.reshape(x.shape[0], *(1,) * (2 - axes), *lengths, -1)
        rows, columns = (SINGLE_WINDOW, *spans)[-2:]
        shape = (x.shape[0], *(axis.windows for axis in spans), *x.shape[1 + axes :])
        return Output(pool(images, (rows, columns)).reshape(shape))

    return Layer(setup, apply)


def _max_over_windows(x: Array, spans: tuple[Span, Span]) -> Array:
    return _channels_last(_max_of_first(*_window_values(x, spans, -jnp.inf)))


def _mean_over_windows(x: Array, spans: tuple[Span, Span]) -> Array:
    values, axes = _window_values(x, spans, 0.0)
    y = _channels_last(values.sum(axes))
    rows, columns = (_unpadded_counts(n, axis) for n, axis in zip(x.shape[1:3], spans, strict=True))
    weights = (1.0 / np.outer(rows, columns)).astype(np.float32)
    return y * jnp.broadcast_to(weights[None, :, :, None], y.shape).astype(y.dtype)


def _median_over_windows(x: Array, spans: tuple[Span, Span]) -> Array:
    values, axes = _window_values(x, spans, jnp.inf)  # padding comes last in the order
    values = jnp.moveaxis(values, axes, (0, 1))
    values = values.reshape(-1, *values.shape[2:])
    rows, columns = (_unpadded_counts(n, axis) for n, axis in zip(x.shape[1:3], spans, strict=True))
    counts = np.outer(rows, columns)  # [H', W']
    places = np.arange(len(values))[:, None, None]
    weights = ((places == (counts - 1) // 2) + (places == counts // 2).astype(np.float32)) / 2
    weights = jnp.asarray(weights[:, None, :, :, None], values.dtype)
    middle = jnp.where(weights > 0, weights * jnp.sort(values, axis=0), 0.0).sum(0)
    return _channels_last(jnp.where(jnp.isnan(values).any(0), jnp.nan, middle))  # NaN would come last, too


def _window_values(x: Array, spans: tuple[Span, Span], padding_value: float) -> tuple[Array, tuple[int, int]]:
    """The values in windows, and the two axes that run within a window; the others are `[C, H', W', B]`."""
    rows, columns = spans
    if all(axis.size == axis.stride and axis.before == axis.after == 0 for axis in spans):
        seen = x[:, : rows.windows * rows.size, : columns.windows * columns.size]
        tiles = (x.shape[-1], rows.windows, rows.size, columns.windows, columns.size, x.shape[0])
        return seen.transpose(3, 1, 2, 0).reshape(tiles), (2, 4)
    return windows(x, spans, padding_value), (0, 1)


def _unpadded_counts(length: int, axis: Span) -> np.ndarray:
    """How many positions of each window are not padding, `[W']`."""
    start = axis.stride * np.arange(axis.windows) - axis.before
    return np.minimum(start + axis.size, length) - np.maximum(start, 0)


def _channels_last(y: Array) -> Array:
    """`[C, H, W, B] -> [B, H, W, C]`.

    The division (by 1, unless y is NaN) keeps XLA on CPU from computing the gradient anew for each position
    of a window: divisions it does not repeat. A LeNet-5's step takes a third less time.
    """
    return (y / jnp.where(jnp.isnan(y), jnp.nan, 1.0)).transpose(3, 1, 2, 0)


def _max_of_first(values: Array, axes: tuple[int, int]) -> Array:
    """The maximum over two axes; its gradient goes to the first of equal values.

    The gradient of JAX's own maximum is divided among them.
    """

    @jax.custom_jvp
    def maximum(values: Array) -> Array:
        return values.max(axes)

    @maximum.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (values,), (change,) = primals, tangents
        y = maximum(values)
        row, column = (jax.lax.broadcasted_iota(jnp.float32, values.shape, axis) for axis in axes)
        index = row * values.shape[axes[1]] + column

        def spread(reduced: Array) -> Array:
            return jnp.broadcast_to(jnp.expand_dims(reduced, axes), values.shape)

        first = jnp.where(values == spread(y), index, jnp.inf).min(axes)
        return y, jnp.where(index == spread(first), change, 0.0).sum(axes)

    return maximum(values)


def _global(name: str, pool: Callable[[Array], Array]) -> Layer:
    """A layer that applies `pool` to `[B, positions, C]`."""

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) < 2:
            raise InvalidValue(f"{name} takes inputs with channels, [..., C], not {list(input_shape)}")
        return Setup(input_shape[-1:])

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        return Output(pool(x.reshape(x.shape[0], -1, x.shape[-1])))

    return Layer(setup, apply)
