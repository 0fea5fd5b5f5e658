"""Pooling, channels last: a window of places becomes one. `B` is the batch, `C` a number of channels.

Windows lie as those of a convolution do: of W places come (W - F + 2P) / S + 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.convolution import Padding, Span, span, windows, with_channels
from nnlab.nn.initializers import constant, zeros
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

Pool = Callable[[Array, tuple[Span, Span]], Array]  # of [B, H, W, C]


@layer
def max_pool(size: Count = 2, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """The greatest value of each window, `size` x `size`. `[B, H, W, C] -> [B, H', W', C]`; `[B, H, W]` too.

    stride: null is `size`, windows side by side. padding: as in conv2d; it is never the greatest. The
    gradient goes to the greatest value, of equal ones to the first, as in PyTorch.
    """
    return _pool("max_pool", 2, size, stride, padding, _greatest)


@layer
def average_pool(size: Count = 2, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """The mean of each window of `size` x `size`. `[B, H, W, C] -> [B, H', W', C]`; `[B, H, W]` too.

    stride: null is `size`, windows side by side. padding: as in conv2d; it does not count for the mean.
    """
    return _pool("average_pool", 2, size, stride, padding, _mean)


@layer
def max_pool1d(size: Count = 2, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """max_pool of signals. `[B, L, C] -> [B, L', C]`; `[B, L]` too."""
    return _pool("max_pool1d", 1, size, stride, padding, _greatest)


@layer
def average_pool1d(size: Count = 2, stride: Count | None = None, padding: Padding = "valid") -> Layer:
    """average_pool of signals. `[B, L, C] -> [B, L', C]`; `[B, L]` too."""
    return _pool("average_pool1d", 1, size, stride, padding, _mean)


@layer
def subsample(size: Count = 2) -> Layer:
    """y = a (sum of a window of `size` x `size`) + b. `[B, H, W, C] -> [B, H', W', C]`; `[B, H, W]` too.

    The coefficient a and the bias b are each channel's own, 2 C parameters; windows lie side by side. At
    first it is the mean, a = 1 / size^2 and b = 0. LeCun et al. 1998, layers S2 and S4, which end in a
    scaled_tanh.
    """

    def setup(input_shape: Shape) -> Setup:
        *places, channels = with_channels("subsample", input_shape, 2)
        coefficient = Variable((channels,), functools.partial(constant, value=1 / size**2))
        params = {"coefficient": coefficient, "bias": Variable((channels,), zeros)}
        counts = [axis.windows for axis in _spans(places, size, size, "valid")]
        return Setup((*counts, *input_shape[2:]), params)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        spans = _spans(x.shape[1:3], size, size, "valid")
        seen, axes = _seen(x.reshape(*x.shape[:3], -1), (spans[0], spans[1]), 0.0)
        sums = _channels_last(seen.sum(axes))
        coefficient, bias = (jnp.broadcast_to(params[n], sums.shape) for n in ("coefficient", "bias"))
        return Output((coefficient * sums + bias).reshape(*sums.shape[: x.ndim]))

    return Layer(setup, apply)


@layer
def global_average_pool() -> Layer:
    """The mean over all axes but batch and channels. `[B, ..., C] -> [B, C]`, of images and of sequences."""
    return _global("global_average_pool", lambda x: x.mean(1))


@layer
def global_max_pool() -> Layer:
    """The greatest value over all axes but batch and channels. `[B, ..., C] -> [B, C]`.

    The gradient goes to the greatest value, of equal ones to the first.
    """
    return _global("global_max_pool", lambda x: _first_greatest(x[:, :, None], (1, 2)))


def _pool(name: str, axes: int, size: int, stride: int | None, padding: Padding, pool: Pool) -> Layer:
    """A layer that pools images (2 axes) or signals (1)."""
    step = stride or size

    def setup(input_shape: Shape) -> Setup:
        *places, _ = with_channels(name, input_shape, axes)
        spans = _spans(places, size, step, padding)
        if any(max(axis.before, axis.after) >= size for axis in spans):
            raise InvalidValue(f"padding must be smaller than the size, {size}, or windows are empty")
        return Setup((*(axis.windows for axis in spans), *input_shape[axes:]))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        places = x.shape[1 : 1 + axes]
        spans = _spans(places, size, step, padding)
        image = x.reshape(x.shape[0], *(1,) * (2 - axes), *places, -1)
        both = (Span(1, 1, 1, 1, 0, 0), *spans)[-2:]
        shape = (x.shape[0], *(axis.windows for axis in spans), *x.shape[1 + axes :])
        return Output(pool(image, (both[0], both[1])).reshape(shape))

    return Layer(setup, apply)


def _spans(places: tuple[int, ...] | list[int], size: int, stride: int, padding: Padding) -> list[Span]:
    names = ("length",) if len(places) == 1 else ("height", "width")
    return [span(name, n, size, stride, padding) for name, n in zip(names, places, strict=True)]


def _greatest(x: Array, spans: tuple[Span, Span]) -> Array:
    return _channels_last(_first_greatest(*_seen(x, spans, -jnp.inf)))


def _mean(x: Array, spans: tuple[Span, Span]) -> Array:
    seen, axes = _seen(x, spans, 0.0)
    y = _channels_last(seen.sum(axes))
    rows, columns = (_covered(n, axis) for n, axis in zip(x.shape[1:3], spans, strict=True))
    shares = (1.0 / np.outer(rows, columns)).astype(np.float32)
    return y * jnp.broadcast_to(shares[None, :, :, None], y.shape)


def _seen(x: Array, spans: tuple[Span, Span], outside: float) -> tuple[Array, tuple[int, int]]:
    """What windows see, and the two axes that count a window's places; `[C, H', W', B]` are the others."""
    rows, columns = spans
    sides = (rows.windows * rows.size, columns.windows * columns.size)
    if sides == x.shape[1:3] and rows.size == rows.stride and columns.size == columns.stride:
        tiles = (x.shape[-1], rows.windows, rows.size, columns.windows, columns.size, x.shape[0])
        return x.transpose(3, 1, 2, 0).reshape(tiles), (2, 4)
    return windows(x, spans, outside), (0, 1)


def _covered(length: int, where: Span) -> np.ndarray:
    """How many places of each window are no padding, `[W']`."""
    start = where.stride * np.arange(where.windows) - where.before
    return np.minimum(start + where.size, length) - np.maximum(start, 0)


def _channels_last(y: Array) -> Array:
    """`[C, H, W, B] -> [B, H, W, C]`.

    The division, by 1 where y is a number, keeps XLA on CPU from working out the gradient anew for each
    place of a window: divisions it does not do twice. A LeNet-5's step takes a third less.
    """
    return (y / jnp.where(jnp.isnan(y), jnp.nan, 1.0)).transpose(3, 1, 2, 0)


def _first_greatest(seen: Array, axes: tuple[int, int]) -> Array:
    """The maximum over two axes; its gradient goes to the first of equal values.

    JAX's own shares it out among them.
    """

    @jax.custom_jvp
    def greatest(seen: Array) -> Array:
        return seen.max(axes)

    @greatest.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (seen,), (change,) = primals, tangents
        y = greatest(seen)
        down, across = (jax.lax.broadcasted_iota(jnp.float32, seen.shape, axis) for axis in axes)
        place = down * seen.shape[axes[1]] + across

        def spread(found: Array) -> Array:
            return jnp.broadcast_to(jnp.expand_dims(found, axes), seen.shape)

        first = jnp.where(seen == spread(y), place, jnp.inf).min(axes)
        return y, jnp.where(place == spread(first), change, 0.0).sum(axes)

    return greatest(seen)


def _global(name: str, pool: Callable[[Array], Array]) -> Layer:
    """A layer that pools `[B, places, C]`."""

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) < 2:
            raise InvalidValue(f"{name} takes inputs with channels, [..., C], not {list(input_shape)}")
        return Setup(input_shape[-1:])

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        return Output(pool(x.reshape(x.shape[0], -1, x.shape[-1])))

    return Layer(setup, apply)
