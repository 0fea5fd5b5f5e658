"""Convolutions, channels last. `B` is the batch, `C` and `K` are numbers of channels and filters.

A filter looks through a window of F places that moves by the stride S: of W places, with P added on either
side, come (W - F + 2P) / S + 1 (lecture 001). Dilation D spreads a window's places out, F then counts as
D (F - 1) + 1. An image `[H, W]` or a signal `[L]` counts as one channel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.layer import InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system import device
from nnlab.system.imports import Array, jax, jnp

Channel = Annotated[int, Ge(0)]
Places = Annotated[int, Ge(0), Le(10**6)]
Padding = Literal["valid", "same"] | Places | list[Places]
Size = Count | list[Count]


class Span(NamedTuple):
    """How windows lie along an axis: `windows` of them, each of `size` places `dilation` apart, begun every
    `stride` places after `before` places of padding."""

    windows: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int


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
    """Convolution of signals, y_t = sum_i x_(S t + i) W_i + b. `[B, L, C] -> [B, L', K]`.

    filters: K. The kernel W is `[F, C / groups, K]`. All else is as in conv2d.
    """
    _check_groups(filters, groups)

    def columns(length: int) -> Span:
        return span("length", length, size, stride, padding, dilation)

    def setup(input_shape: Shape) -> Setup:
        length, channels = with_channels("conv1d", input_shape, 1)
        _check_channels(channels, groups)
        params = {"kernel": Variable((size, channels // groups, filters), kernel_init)}
        if use_bias:
            params["bias"] = Variable((filters,), bias_init)
        windows = columns(length).windows
        return Setup((windows, filters), params, workspace_values=windows * size * channels)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        x = x.reshape(x.shape[0], 1, x.shape[1], -1)
        spans = (Span(1, 1, 1, 1, 0, 0), columns(x.shape[2]))
        return Output(_convolved(x, params["kernel"][None], params.get("bias"), spans, groups, 0.0)[:, 0])

    return Layer(setup, apply)


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
    """Convolution of images, y_rc = sum_ij x_(S r + i, S c + j) W_ij + b. `[B, H, W, C] -> [B, H', W', K]`.

    filters: K. size, stride, dilation: a number or [height, width]. padding: `valid` is none, `same` as much
    as makes W' = W / S, rounded up; or P places, or [before, after], of `padding_value`. The kernel W is
    `[F, F, C / groups, K]`; filter k sees the channels of its group, of which there are `groups` in order.
    connections: for each filter the channels that it sees, from 0; the kernel is then `[F, F, N]` for the N
    connections, filter after filter, and a filter's weights are drawn by its own fan-in. untied_bias: a bias
    for each place and filter (LeCun et al. 1989). The defaults are Keras's.
    """
    sizes, strides, dilations = (
        _pair(name, value) for name, value in (("size", size), ("stride", stride), ("dilation", dilation))
    )
    _check_groups(filters, groups)
    _check_connections(filters, groups, connections)
    if untied_bias and not use_bias:
        raise InvalidValue("untied_bias needs biases; leave use_bias out", ("untied_bias",))

    def spans(height: int, width: int) -> tuple[Span, Span]:
        return (
            span("height", height, sizes[0], strides[0], padding, dilations[0]),
            span("width", width, sizes[1], strides[1], padding, dilations[1]),
        )

    def setup(input_shape: Shape) -> Setup:
        *places, channels = with_channels("conv2d", input_shape, 2)
        _check_channels(channels, groups, connections)
        kernel = Variable((*sizes, channels // groups, filters), kernel_init)
        if connections:
            draw = functools.partial(_by_filter, kernel_init, [len(seen) for seen in connections])
            kernel = Variable((*sizes, sum(map(len, connections))), draw)
        output_shape = (*(axis.windows for axis in spans(*places)), filters)
        seen = math.prod(output_shape[:2]) * math.prod(sizes) * channels  # by all windows, on CPU
        bias = {"bias": Variable(output_shape if untied_bias else (filters,), bias_init)} if use_bias else {}
        return Setup(output_shape, {"kernel": kernel, **bias}, workspace_values=seen)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        x = x.reshape(*x.shape[:3], -1)
        kernel = params["kernel"]
        if connections:
            kernel = _connected(kernel, connections, x.shape[-1])
        bias = params.get("bias")
        return Output(_convolved(x, kernel, bias, spans(*x.shape[1:3]), groups, padding_value))

    return Layer(setup, apply)


def span(axis: str, length: int, size: int, stride: int, padding: Padding, dilation: int = 1) -> Span:
    """The windows on an axis of `length` places. Raises InvalidValue with the formula's numbers."""
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
        more = stride - steps % stride
        pads = f"[{before + more - more // 2}, {after + more // 2}]"
        raise InvalidValue(f"{formula}: stride {stride} does not divide; let padding be {pads} or same")
    return Span(steps // stride + 1, size, stride, dilation, before, after)


def windows(x: Array, spans: tuple[Span, Span], outside: float) -> Array:
    """What the windows of an image see, `[B, H, W, C] -> [F, F, C, H', W', B]`; padding is `outside`.

    The batch comes last, so that every copy is of long runs: on CPU a LeNet-5's step takes half of what it
    takes with channels last, and a tenth of what XLA's own convolution takes.
    """
    rows, columns = spans
    pads = [(0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)]
    x = x.transpose(3, 1, 2, 0)
    if any(before or after for before, after in pads):
        x = jnp.pad(x, pads, constant_values=outside)
    return _unfolded(_unfolded(x, 2, columns), 2, rows)


def _unfolded(x: Array, axis: int, where: Span) -> Array:
    """The windows along one axis: their places come first, `[F, ..., W', ...]`."""
    reach = (where.windows - 1) * where.stride + 1
    starts = [where.dilation * place for place in range(where.size)]
    return jnp.stack([jax.lax.slice_in_dim(x, s, s + reach, where.stride, axis) for s in starts])


def _convolved(
    x: Array, kernel: Array, bias: Array | None, spans: tuple[Span, Span], groups: int, outside: float
) -> Array:
    """`[B, H, W, C]` and `[F, F, C / groups, K]` to `[B, H', W', K]`; bias: `[K]` or `[H', W', K]`."""
    if not device.is_cpu():
        y = _convolved_by_xla(x, kernel, spans, groups, outside)
        return y if bias is None else y + jnp.broadcast_to(bias, y.shape)
    filters, places = kernel.shape[-1], (spans[0].windows, spans[1].windows)
    seen = windows(x, spans, outside)
    by_group = seen.reshape(*seen.shape[:2], groups, -1, math.prod(seen.shape[3:]))
    patches = by_group.swapaxes(1, 2).swapaxes(0, 1).reshape(groups, -1, by_group.shape[-1])
    by_group = kernel.reshape(*kernel.shape[:3], groups, -1)
    weights = jnp.moveaxis(by_group, 3, 0).reshape(groups, -1, filters // groups)
    if bias is not None and bias.ndim == 1:  # as one more weight: summed by itself, its gradient is slow
        weights = jnp.concatenate([weights, bias.reshape(groups, 1, -1)], axis=1)
        patches = jnp.concatenate([patches, jnp.ones_like(patches[:, :1])], axis=1)
    y = weights.swapaxes(1, 2) @ patches  # `[groups, K / groups, H' W' B]`
    y = y.reshape(filters, *places, x.shape[0]).transpose(3, 1, 2, 0)
    return y if bias is None or bias.ndim == 1 else y + jnp.broadcast_to(bias, y.shape)


def _convolved_by_xla(
    x: Array, kernel: Array, spans: tuple[Span, Span], groups: int, outside: float
) -> Array:
    pads = [(axis.before, axis.after) for axis in spans]
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=outside)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        [axis.stride for axis in spans],
        "VALID",
        rhs_dilation=[axis.dilation for axis in spans],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _connected(kernel: Array, connections: Sequence[Sequence[int]], channels: int) -> Array:
    """`[F, F, N]` to `[F, F, C, K]`, 0 where a filter does not see a channel."""
    count = kernel.shape[-1]
    place = np.full((channels, len(connections)), count)
    pairs = [(channel, k) for k, seen in enumerate(connections) for channel in seen]
    place[tuple(np.array(pairs).T)] = np.arange(count)
    rows = jnp.pad(kernel.reshape(-1, count).T, ((0, 1), (0, 0)))  # whole rows: quick to gather and scatter
    return rows[place].transpose(2, 0, 1).reshape(*kernel.shape[:2], *place.shape)


def _by_filter(
    initializer: Callable[[np.random.Generator, Shape], np.ndarray],
    channels: Sequence[int],
    random: np.random.Generator,
    shape: Shape,
) -> np.ndarray:
    """`[F, F, N]`, each filter's weights drawn as those of a layer in which all see as many channels."""
    drawn = [initializer(random, (*shape[:2], seen, len(channels)))[..., 0] for seen in channels]
    return np.concatenate(drawn, axis=-1)


def with_channels(name: str, shape: Shape, places: int) -> Shape:
    """An image's or signal's shape with its channels. Raises InvalidValue."""
    if len(shape) not in (places, places + 1):
        taken = "signals, [L] or [L, C]" if places == 1 else "images, [H, W] or [H, W, C]"
        raise InvalidValue(f"{name} takes {taken}, not {list(shape)}; a reshape before it may help")
    return shape if len(shape) > places else (*shape, 1)


def _pair(name: str, value: int | Sequence[int] | str, words: str = "[height, width]") -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise InvalidValue(f"{name} takes a number or {words}, not {list(value)}", (name,))
    return int(value[0]), int(value[1])


def _check_groups(filters: int, groups: int) -> None:
    if filters % groups:
        raise InvalidValue(f"{groups} groups must divide the {filters} filters", ("groups",))


def _check_connections(filters: int, groups: int, connections: list[list[int]] | None) -> None:
    if connections is None:
        return
    if groups != 1:
        raise InvalidValue("connections say what a filter sees; leave groups out", ("connections",))
    if len(connections) != filters:
        raise InvalidValue(
            f"there are {filters} filters, and connections of {len(connections)}", ("connections",)
        )
    for k, seen in enumerate(connections):
        if not seen or len(set(seen)) != len(seen):
            raise InvalidValue("each filter sees one channel or more, each once", ("connections", k))


def _check_channels(channels: int, groups: int, connections: list[list[int]] | None = None) -> None:
    if channels % groups:
        raise InvalidValue(f"{groups} groups must divide the {channels} channels")
    beyond = max((channel for seen in connections or [] for channel in seen), default=-1)
    if beyond >= channels:
        raise InvalidValue(
            f"connections: there is no channel {beyond}; the {channels} there are count from 0"
        )
