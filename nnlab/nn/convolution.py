"""Convolutions, channels last.

`B` is the batch, `H` and `W` height and width of images, `L` the length of signals, `C` and `K` the numbers
of channels and filters.

A filter sees a window of F positions that moves by the stride S: W positions, with P added on either side,
become (W - F + 2P) / S + 1 (lecture 001). Dilation D spreads the positions of a window out; F then counts as
D (F - 1) + 1. An image `[H, W]` or a signal `[L]` counts as one channel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Initializer, InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system import device
from nnlab.system.imports import Array, jax, jnp

Channel = Annotated[int, Ge(0)]
PaddedPositions = Annotated[int, Ge(0), Le(10**6)]
Padding = Literal["valid", "same"] | PaddedPositions | list[PaddedPositions]
Size = Count | list[Count]


class Span(NamedTuple):
    """How windows lie along one axis.

    Attributes:
        windows: The number of windows.
        size: Positions in a window.
        stride: Positions from the start of one window to that of the next.
        dilation: Positions from one position of a window to the next.
        before: Positions of padding before the axis.
        after: Positions of padding after it.
    """

    windows: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int


SINGLE_WINDOW = Span(1, 1, 1, 1, 0, 0)  # along the axis that an image of a signal has in addition


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
        `[B, L, C] -> [B, L', K]` with L' = (L - F + 2P) / S + 1; `[B, L]` counts as one channel.

    Args:
        filters: K, the number of filters; a multiple of `groups`.
        size: F, the positions of a filter's window.
        stride: S, the positions from window to window.
        padding: `valid` adds none, `same` as much as makes L' = L / S, rounded up. Or P positions on either
            side, or [before, after], of zeros.
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
        `[B, H, W, C] -> [B, H', W', K]` with W' = (W - F + 2P) / S + 1, H' likewise; `[B, H, W]` counts as
        one channel.

    Args:
        filters: K, the number of filters; a multiple of `groups`.
        size: F, the side of a filter's window, or [height, width].
        stride: S, the positions from window to window, or [height, width].
        padding: `valid` adds none, `same` as much as makes W' = W / S, rounded up. Or P positions on every
            side, or [before, after] on both axes.
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
            sizes=_pair("size", size),
            strides=_pair("stride", stride),
            padding=padding,
            dilations=_pair("dilation", dilation),
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
        names = ("length",) if len(lengths) == 1 else ("height", "width")
        return [
            span(axis, length, size, stride, self.padding, dilation)
            for axis, length, size, stride, dilation in zip(
                names, lengths, self.sizes, self.strides, self.dilations, strict=True
            )
        ]

    def setup(self, input_shape: Shape) -> Setup:
        *lengths, channels = with_channels(self.name, input_shape, len(self.sizes))
        _check_channels(channels, self.groups, self.connections)
        kernel = Variable((*self.sizes, channels // self.groups, self.filters), self.kernel_init)
        if self.connections:
            counts = list(map(len, self.connections))
            draw = functools.partial(_draw_by_filter, self.kernel_init, counts)
            kernel = Variable((*self.sizes, sum(counts)), draw)
        params = {"kernel": kernel}
        output_shape = (*(axis.windows for axis in self.spans(lengths)), self.filters)
        if self.use_bias:
            bias_shape = output_shape if self.untied_bias else (self.filters,)
            params["bias"] = Variable(bias_shape, self.bias_init)
        window_values = math.prod(output_shape[:-1]) * math.prod(self.sizes) * channels  # copied on CPU
        return Setup(output_shape, params, workspace_values=window_values)

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


def span(axis: str, length: int, size: int, stride: int, padding: Padding, dilation: int = 1) -> Span:
    """The windows on an axis.

    Args:
        axis: Its name, for messages.
        length: Its positions.
        size: F, the positions of a window.
        stride: S, the positions from window to window.
        padding: As in `conv2d`.
        dilation: D, the distance between the positions of a window.

    Raises:
        InvalidValue: The windows do not fit; the message has the numbers of the formula and a padding that
            helps.
    """
    reach = dilation * (size - 1) + 1
    if padding == "same":
        count = -(-length // stride)
        added = max((count - 1) * stride + reach - length, 0)
        return Span(count, size, stride, dilation, added // 2, added - added // 2)
    before, after = (0, 0) if padding == "valid" else _pair("padding", padding, "[before, after]")
    steps = length - reach + before + after
    formula = f"{axis}: ({length} - {reach} + {before + after})/{stride} + 1 = {steps / stride + 1:g}"
    if steps < 0:
        raise InvalidValue(f"{formula}: the window is larger than the input; let size be smaller")
    if steps % stride:
        missing = stride - steps % stride
        pads = f"[{before + missing - missing // 2}, {after + missing // 2}]"
        raise InvalidValue(f"{formula}: stride {stride} does not divide; let padding be {pads} or same")
    return Span(steps // stride + 1, size, stride, dilation, before, after)


def windows(x: Array, spans: tuple[Span, Span], padding_value: float) -> Array:
    """The values in the windows of images, `[B, H, W, C] -> [F, F, C, H', W', B]`.

    The batch comes last, so that every copy is of long runs: on CPU a LeNet-5's step takes half the time that
    it takes with channels last, and a tenth of that of XLA's own convolution.

    Args:
        x: The images.
        spans: The windows along height and width.
        padding_value: The value of padding.
    """
    rows, columns = spans
    pads = [(0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)]
    x = x.transpose(3, 1, 2, 0)
    if any(before or after for before, after in pads):
        x = jnp.pad(x, pads, constant_values=padding_value)
    return _unfold(_unfold(x, 2, columns), 2, rows)


def _unfold(x: Array, axis: int, span: Span) -> Array:
    """The windows along one axis; the positions within a window come first, `[F, ..., W', ...]`."""
    reach = (span.windows - 1) * span.stride + 1
    starts = [span.dilation * position for position in range(span.size)]
    return jnp.stack([jax.lax.slice_in_dim(x, s, s + reach, span.stride, axis) for s in starts])


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


def with_channels(name: str, shape: Shape, axes: int) -> Shape:
    """The shape of an image or a signal, with the axis of channels.

    Args:
        name: The name of the layer, for messages.
        shape: With or without channels.
        axes: 2 for images, 1 for signals.

    Raises:
        InvalidValue: It is no such shape.
    """
    if len(shape) not in (axes, axes + 1):
        accepted = "signals, [L] or [L, C]" if axes == 1 else "images, [H, W] or [H, W, C]"
        raise InvalidValue(f"{name} takes {accepted}, not {list(shape)}; a reshape before it may help")
    return shape if len(shape) > axes else (*shape, 1)


def _pair(name: str, value: int | Sequence[int] | str, words: str = "[height, width]") -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise InvalidValue(f"{name} takes a number or {words}, not {list(value)}", (name,))
    return int(value[0]), int(value[1])


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
