"""Windows of convolution and pooling, channels last.

A window of F positions moves by the stride S: W positions, with P added on either side, become
floor((W - F + 2P) / S) + 1 (lecture 001), as in Keras and PyTorch. Where S does not divide, no window reaches
the last positions. Dilation D spreads the positions of a window out; F then counts as D (F - 1) + 1. An image
`[H, W]` or a signal `[L]` counts as one channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

PaddedPositions = Annotated[int, Ge(0), Le(10**6)]
Padding = Literal["valid", "same"] | PaddedPositions | list[PaddedPositions]

Size = Count | list[Count]
"""One number, or [height, width]."""


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

    @property
    def reach(self) -> int:
        """Positions from the first to the last one of a window."""
        return self.dilation * (self.size - 1) + 1

    def unseen(self, length: int) -> int:
        """The last positions that no window sees, beyond those that are skipped between any two."""
        seen = (self.windows - 1) * self.stride + self.reach - self.before
        return max(length - seen - max(self.stride - self.reach, 0), 0)


SINGLE_WINDOW = Span(1, 1, 1, 1, 0, 0)  # along the axis that an image of a signal has in addition


def lay_windows(
    lengths: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int] = (1, 1),
) -> list[Span]:
    """The windows along each axis of a signal or an image.

    Args:
        lengths: The positions of each axis: one axis, or height and width.
        sizes: F of each axis, the positions of a window.
        strides: S of each axis, the positions from window to window.
        padding: As in `conv2d`.
        dilations: D of each axis, the distance between the positions of a window.

    Raises:
        InvalidValue: A window is larger than its axis; the message has the numbers of the formula.
    """
    names = ("length",) if len(lengths) == 1 else ("height", "width")
    return [
        _span(*axis, padding)
        for axis in zip(names, lengths, sizes, strides, dilations[: len(names)], strict=True)
    ]


def _span(axis: str, length: int, size: int, stride: int, dilation: int, padding: Padding) -> Span:
    reach = dilation * (size - 1) + 1
    if padding == "same":
        count = -(-length // stride)
        added = max((count - 1) * stride + reach - length, 0)
        return Span(count, size, stride, dilation, added // 2, added - added // 2)
    before, after = (0, 0) if padding == "valid" else pair("padding", padding, "[before, after]")
    count = (length - reach + before + after) // stride + 1
    if count < 1:
        formula = f"floor(({length} - {reach} + {before + after})/{stride}) + 1 = {count}"
        raise InvalidValue(f"{axis}: {formula}: the window is larger than the input; let size be smaller")
    return Span(count, size, stride, dilation, before, after)


def unseen_note(lengths: Sequence[int], spans: Sequence[Span]) -> str:
    """What of a signal or an image no window sees, in words; empty where all is seen.

    Args:
        lengths: The positions of each axis.
        spans: The windows along each.
    """
    names = ("positions",) if len(lengths) == 1 else ("rows", "columns")
    axes_by_count: dict[str, list[str]] = {}
    for name, length, span in zip(names, lengths, spans, strict=True):
        if span.unseen(length):
            axes_by_count.setdefault(f"last {span.unseen(length)} of {length}", []).append(name)
    parts = [f"{count} {' and '.join(axes)}" for count, axes in axes_by_count.items()]
    return f"{', '.join(parts)} unseen" if parts else ""


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


def pair(name: str, value: int | Sequence[int] | str, words: str = "[height, width]") -> tuple[int, int]:
    """The two numbers that a key stands for: one number is both.

    Args:
        name: The key, for messages.
        value: As in the file.
        words: What the two numbers are, for messages.

    Raises:
        InvalidValue: It is a list of another length.
    """
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise InvalidValue(f"{name} takes a number or {words}, not {list(value)}", (name,))
    return int(value[0]), int(value[1])
