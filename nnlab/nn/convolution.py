"""Convolutions, channels last.

`B` is the batch, `H` and `W` height and width of images, `L` the length of signals, `C` and `K` the numbers
of channels and filters.

Each filter sees a window, which moves over the image: `nnlab/nn/windows.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Initializer, InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
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
from nnlab.system import device
from nnlab.system.imports import Array, jax, jnp

Channel = Annotated[int, Ge(0)]


@layer
def conv1d(
    filters: Count,
    size: Count,
    stride: Count = 1,
    padding: Padding = "valid",
    dilation: Count = 1,
    groups: Count = 1,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """Convolution of signals, y_t = sum_i x_(S t + i) W_i + b.

    The kernel W is `[F, C / groups, K]`. A filter sees the channels of its group.

    Shape:
        `[B, L, C] -> [B, L', K]` with L' = floor((L - F + 2P) / S) + 1; `[B, L]` counts as one
        channel. Where S does not divide, the last positions are not seen, as in Keras and PyTorch.

    Args:
        filters: K, the number of filters; a multiple of `groups`.
        size: F, the positions of a filter's window.
        stride: S, the positions from window to window.
        padding: `valid` adds none. P adds P zeros on either side, as PyTorch does; [before, after] that many.
            `same` is TensorFlow's: as many as make L' = L / S, rounded up, one more after than before where
            they are odd.
        dilation: D, the distance between the positions of a window.
        groups: The number of groups of channels, in order; must divide C and K.
        use_bias: Whether b `[K]` is added.
        kernel_init: Draws W.
        bias_init: Draws b. All defaults are those of Keras.
    """
    return _layer(
        _Convolution(
            name="conv1d",
            filters=filters,
            sizes=(size,),
            strides=(stride,),
            padding=padding,
            dilations=(dilation,),
            groups=groups,
            use_bias=use_bias,
            kernel_init=kernel_init,
            bias_init=bias_init,
        )
    )


@layer
def conv2d(
    filters: Count,
    size: Size,
    stride: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: Count = 1,
    use_bias: bool = True,
    untied_bias: bool = False,
    connections: list[list[Channel]] | None = None,
    padding_value: float = 0.0,
    kernel_init: InitializerLike = "glorot_uniform",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """Convolution of images, y_rc = sum_ij x_(S r + i, S c + j) W_ij + b.

    The kernel W is `[F, F, C / groups, K]`. A filter sees the channels of its group, or those that
    `connections` names; the kernel is then `[F, F, N]` for the N connections, filter after filter, and each
    filter's weights are drawn by its own fan-in.

    Shape:
        `[B, H, W, C] -> [B, H', W', K]` with W' = floor((W - F + 2P) / S) + 1, H' likewise; `[B, H, W]`
        counts as one channel. Where S does not divide, the last rows and columns are not seen, as in Keras
        and PyTorch.

    Args:
        filters: K, the number of filters; a multiple of `groups`.
        size: F, the side of a filter's window, or [height, width].
        stride: S, the positions from window to window, or [height, width].
        padding: `valid` adds none. P adds P positions on every side, as PyTorch does; [before, after] that
            many on both axes. `same` is TensorFlow's: as many as make W' = W / S, rounded up, one more after
            than before where they are odd. With F = 3, S = 2 and an even W that is [0, 1], which is not what
            PyTorch's padding=1 does: for its weights, write 1.
        dilation: D, the distance between the positions of a window, or [height, width].
        groups: The number of groups of channels, in order; must divide C and K.
        use_bias: Whether b is added.
        untied_bias: b is `[H', W', K]`, for each position and filter (LeCun et al. 1989), not `[K]`. Needs
            use_bias.
        connections: For each filter the channels that it sees, counted from 0. null is all of its group.
        padding_value: The value of padding.
        kernel_init: Draws W.
        bias_init: Draws b. All defaults are those of Keras.
    """
    return _layer(
        _Convolution(
            name="conv2d",
            filters=filters,
            sizes=pair("size", size),
            strides=pair("stride", stride),
            padding=padding,
            dilations=pair("dilation", dilation),
            groups=groups,
            use_bias=use_bias,
            untied_bias=untied_bias,
            connections=connections,
            padding_value=padding_value,
            kernel_init=kernel_init,
            bias_init=bias_init,
        )
    )


class _Convolution(NamedTuple):
    """A convolution of signals or images: sizes, strides and dilations have an entry for each axis."""

    name: str
    filters: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Padding
    dilations: tuple[int, ...]
    groups: int
    use_bias: bool
    kernel_init: Initializer
    bias_init: Initializer
    untied_bias: bool = False
    connections: list[list[int]] | None = None
    padding_value: float = 0.0

    def spans(self, lengths: Sequence[int]) -> list[Span]:
        """The windows along each axis."""
        return lay_windows(lengths, self.sizes, self.strides, self.padding, self.dilations)

    def setup(self, input_shape: Shape) -> Setup:
        *lengths, channels = with_channels(self.name, input_shape, len(self.sizes))
        _check_channels(channels, self.groups, self.connections)
        kernel = Variable((*self.sizes, channels // self.groups, self.filters), self.kernel_init)
        if self.connections:
            counts = list(map(len, self.connections))
            draw = functools.partial(_draw_by_filter, self.kernel_init, counts)
            kernel = Variable((*self.sizes, sum(counts)), draw)
        params = {"kernel": kernel}
        spans = self.spans(lengths)
        output_shape = (*(axis.windows for axis in spans), self.filters)
        if self.use_bias:
            bias_shape = output_shape if self.untied_bias else (self.filters,)
            params["bias"] = Variable(bias_shape, self.bias_init)
        window_values = math.prod(output_shape[:-1]) * math.prod(self.sizes) * channels  # copied on CPU
        note = unseen_note(lengths, spans)
        return Setup(output_shape, params, workspace_values=window_values, note=note)

    def apply(self, params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        lengths = x.shape[1 : 1 + len(self.sizes)]
        spans = self.spans(lengths)
        kernel = params["kernel"]
        if self.connections:
            kernel = _dense_kernel(kernel, self.connections, math.prod(x.shape[1 + len(lengths) :]))
        if len(lengths) == 1:  # a signal is an image of one row
            images, kernel = x.reshape(x.shape[0], 1, x.shape[1], -1), kernel[None]
            rows, columns = SINGLE_WINDOW, spans[0]
        else:
            images, (rows, columns) = x.reshape(*x.shape[:3], -1), spans
        y = _convolve(images, kernel, params.get("bias"), (rows, columns), self.groups, self.padding_value)
        return Output(y[:, 0] if len(lengths) == 1 else y)


def _layer(convolution: _Convolution) -> Layer:
    """The layer of a convolution. Raises InvalidValue where its options contradict each other."""
    filters, groups = convolution.filters, convolution.groups
    if filters % groups:
        raise InvalidValue(f"{groups} groups must divide the {filters} filters", ("groups",))
    _check_connections(filters, groups, convolution.connections)
    if convolution.untied_bias and not convolution.use_bias:
        raise InvalidValue("untied_bias needs biases; leave use_bias out", ("untied_bias",))
    return Layer(convolution.setup, convolution.apply)


def _convolve(
    x: Array, kernel: Array, bias: Array | None, spans: tuple[Span, Span], groups: int, padding_value: float
) -> Array:
    """`[B, H, W, C]` and `[F, F, C / groups, K]` to `[B, H', W', K]`; bias: `[K]` or `[H', W', K]`."""
    if not device.is_cpu():
        y = _convolve_by_xla(x, kernel, spans, groups, padding_value)
        return y if bias is None else y + jnp.broadcast_to(bias, y.shape)
    filters, output_sides = kernel.shape[-1], (spans[0].windows, spans[1].windows)
    values = windows(x, spans, padding_value)
    by_group = values.reshape(*values.shape[:2], groups, -1, math.prod(values.shape[3:]))
    patches = by_group.swapaxes(1, 2).swapaxes(0, 1).reshape(groups, -1, by_group.shape[-1])
    by_group = kernel.reshape(*kernel.shape[:3], groups, -1)
    weights = jnp.moveaxis(by_group, 3, 0).reshape(groups, -1, filters // groups)
    if bias is not None and bias.ndim == 1:  # as one more weight: added by itself, its gradient is slow
        weights = jnp.concatenate([weights, bias.reshape(groups, 1, -1)], axis=1)
        patches = jnp.concatenate([patches, jnp.ones_like(patches[:, :1])], axis=1)
    y = weights.swapaxes(1, 2) @ patches  # `[groups, K / groups, H' W' B]`
    y = y.reshape(filters, *output_sides, x.shape[0]).transpose(3, 1, 2, 0)
    return y if bias is None or bias.ndim == 1 else y + jnp.broadcast_to(bias, y.shape)


def _convolve_by_xla(
    x: Array, kernel: Array, spans: tuple[Span, Span], groups: int, padding_value: float
) -> Array:
    pads = [(axis.before, axis.after) for axis in spans]
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=padding_value)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        [axis.stride for axis in spans],
        "VALID",
        rhs_dilation=[axis.dilation for axis in spans],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _dense_kernel(kernel: Array, connections: Sequence[Sequence[int]], channels: int) -> Array:
    """`[F, F, N]` to `[F, F, C, K]`, with 0 where a filter does not see a channel."""
    count = kernel.shape[-1]
    index = np.full((channels, len(connections)), count)  # `count` is the row of zeros
    pairs = [(channel, k) for k, connected in enumerate(connections) for channel in connected]
    index[tuple(np.array(pairs).T)] = np.arange(count)
    rows = jnp.pad(kernel.reshape(-1, count).T, ((0, 1), (0, 0)))  # rows are fast to gather and scatter
    return rows[index].transpose(2, 0, 1).reshape(*kernel.shape[:2], *index.shape)


def _draw_by_filter(
    initializer: Initializer, channel_counts: Sequence[int], random: np.random.Generator, shape: Shape
) -> np.ndarray:
    """`[F, F, N]`: each filter's weights are drawn as in a layer whose filters all see as many channels."""
    filters = len(channel_counts)
    weights = [initializer(random, (*shape[:2], count, filters))[..., 0] for count in channel_counts]
    return np.concatenate(weights, axis=-1)


def _check_connections(filters: int, groups: int, connections: list[list[int]] | None) -> None:
    if connections is None:
        return
    if groups != 1:
        raise InvalidValue("connections say what a filter sees; leave groups out", ("connections",))
    if len(connections) != filters:
        raise InvalidValue(
            f"there are {filters} filters, and connections of {len(connections)}", ("connections",)
        )
    for k, connected in enumerate(connections):
        if not connected or len(set(connected)) != len(connected):
            raise InvalidValue("each filter sees one channel or more, each once", ("connections", k))


def _check_channels(channels: int, groups: int, connections: list[list[int]] | None = None) -> None:
    if channels % groups:
        raise InvalidValue(f"{groups} groups must divide the {channels} channels")
    largest = max((channel for connected in connections or [] for channel in connected), default=-1)
    if largest >= channels:
        raise InvalidValue(
            f"connections: there is no channel {largest}; the {channels} there are count from 0"
        )
