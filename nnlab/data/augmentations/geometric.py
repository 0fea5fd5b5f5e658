"""Geometric augmentations: they change where the values of an image or signal are.

`fill` is what comes into view from beyond the border: a value (0 is the mean of standardized inputs), the
nearest pixel (`edge`), or what left on the other side (`wrap`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from nnlab.data.augment import (
    Augmentation,
    Augmented,
    Factor,
    Fill,
    Shape,
    augmentation,
    draw_factors,
    per_example,
)
from nnlab.errors import InvalidValue
from nnlab.registry import TRACED, Count, Fraction
from nnlab.system.imports import Array, jax, jnp

Pixels = Annotated[int, Ge(0), Le(10_000)]

BORDER_MODES = {"edge": "nearest", "wrap": "wrap"}  # in the words of jax.scipy.ndimage.map_coordinates


@augmentation
def shift(pixels: Pixels = 1, fill: Fill = 0.0) -> Augmentation:
    """Shifts images and signals by whole pixels, x'[i, j] = x[i + a, j + b].

    a and b are uniform in -pixels .. pixels. A signal is shifted along its one axis. With a value as fill
    this is also known as a random crop of the padded image: PyTorch's `RandomCrop(size, padding=p)` is
    `pixels: p`.

    Args:
        pixels: The largest shift, in pixels; less than the sides of the inputs.
        fill: What comes into view from beyond the border: a value, `edge` or `wrap`.

    Reference:
        Lecture 001, whose notebook shifts by a roll: `pixels: 1, fill: wrap`.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        shape, axes = inputs.shape[1:], len(_lengths(inputs))
        uniform = jax.random.uniform(key, (len(inputs), axes))
        starts = jnp.floor(uniform * (2 * pixels + 1)).astype(jnp.int32)

        def crop(padded: Array, start: Array) -> Array:
            return jax.lax.dynamic_slice(padded, [*start, *[0] * (len(shape) - axes)], shape)

        return Augmented(jax.vmap(crop)(_pad(inputs, pixels, fill), starts))

    def validate(shape: Shape) -> None:
        _check_shape("shift", shape)
        if pixels >= min(shape[:2]):
            message = f"{pixels} can move all of an input {list(shape)} out of sight"
            raise InvalidValue(message, ("pixels",))

    return Augmentation(apply, validate, values="own", fill=fill)


@augmentation
def crop(share: Annotated[float, Gt(0.0), Le(1.0), TRACED] = 0.8) -> Augmentation:
    """Crops a random part of the input and enlarges it to the input's size.

    The part has a share s of the area, uniform in [share, 1], and the input's proportions: its sides are
    sqrt(s) of the input's (a signal's length is s of it). It lies anywhere within. Between pixels, values are
    interpolated linearly. A crop of a padded image is `shift`.

    Args:
        share: The smallest share of the area, above 0 and up to 1.

    Reference:
        Szegedy et al. 2015, Going deeper with convolutions; PyTorch's `RandomResizedCrop` with
        `scale=(share, 1)` and `ratio=(1, 1)`.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        lengths = _lengths(inputs)
        uniform = jax.random.uniform(key, (len(inputs), 1 + len(lengths)))
        area = share + (1.0 - share) * uniform[:, 0]
        ratio = jnp.sqrt(area) if len(lengths) == 2 else area
        starts = [(1.0 - ratio) * length * uniform[:, 1 + axis] for axis, length in enumerate(lengths)]
        return Augmented(magnify(inputs, ratio, starts, "edge"))

    return Augmentation(apply, lambda shape: _check_shape("crop", shape), values="between")


@augmentation
def scale(factor: Annotated[Factor, TRACED] = 1.2, fill: Fill = 0.0) -> Augmentation:
    """Scales the input about its centre by a random factor f.

    log f is uniform in [-log factor, log factor]: the input is enlarged as often as it is shrunk, and then
    `fill` shows at the border. A signal is stretched in time; for its height see `contrast`. Between pixels,
    values are interpolated linearly.

    Args:
        factor: The largest f, 1 to 1000.
        fill: What comes into view from beyond the border: a value, `edge` or `wrap`.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        ratio = draw_factors(key, len(inputs), factor)
        starts = [(1.0 - ratio) * length / 2 for length in _lengths(inputs)]
        return Augmented(magnify(inputs, ratio, starts, fill))

    return Augmentation(apply, lambda shape: _check_shape("scale", shape), values="between", fill=fill)


@augmentation
def rotate(degrees: Annotated[float, Ge(0.0), Le(180.0), TRACED] = 10.0, fill: Fill = 0.0) -> Augmentation:
    """Rotates images about their centre by a random angle, uniform in [-degrees, degrees].

    Between pixels, values are interpolated linearly.

    Args:
        degrees: The largest angle, 0 to 180 degrees.
        fill: What comes into view from beyond the border: a value, `edge` or `wrap`.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        angles = jax.random.uniform(key, (len(inputs),), minval=-1.0) * degrees * (math.pi / 180)
        return Augmented(rotate_images(inputs, angles, fill))

    def validate(shape: Shape) -> None:
        _check_shape("rotate", shape, images_only=True)

    return Augmentation(apply, validate, values="between", fill=fill)


@augmentation
def flip(
    axis: Literal["horizontal", "vertical"] = "horizontal", probability: Annotated[Fraction, TRACED] = 0.5
) -> Augmentation:
    """Mirrors inputs at random.

    A signal that is flipped horizontally runs backwards.

    Args:
        axis: `horizontal` swaps left and right, `vertical` (images only) top and bottom.
        probability: Of a flip, in [0, 1].
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        array_axis = 1 if axis == "vertical" or inputs.ndim == 2 else 2
        flipped = per_example(jax.random.uniform(key, (len(inputs),)) < probability, inputs)
        return Augmented(jnp.where(flipped, jnp.flip(inputs, array_axis), inputs))

    def validate(shape: Shape) -> None:
        _check_shape(f"{axis} flip", shape, images_only=axis == "vertical")

    return Augmentation(apply, validate, values="own")


@augmentation
def cutout(size: Count = 8, fill: float = 0.0) -> Augmentation:
    """Overwrites a random square of an image, or a stretch of a signal.

    Its centre is uniform over the input, so that it may extend beyond the border.

    Args:
        size: The side of the square, in pixels, or the points of the stretch.
        fill: The value that it is overwritten with; 0 is the mean of standardized inputs.

    Reference:
        DeVries & Taylor 2017, Improved regularization of convolutional neural networks with cutout.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        lengths = _lengths(inputs)
        uniform = jax.random.uniform(key, (len(inputs), len(lengths)))
        hidden = jnp.ones((len(inputs), *[1] * len(lengths)), bool)
        for axis, length in enumerate(lengths):
            first = jnp.floor(uniform[:, axis] * length).astype(jnp.int32) - size // 2
            offset = jnp.arange(length)[None] - first[:, None]
            hidden = hidden & _along_axis((offset >= 0) & (offset < size), axis, len(lengths))
        hidden = hidden.reshape(*hidden.shape, *[1] * (inputs.ndim - hidden.ndim))
        return Augmented(jnp.where(hidden, fill, inputs))

    return Augmentation(apply, lambda shape: _check_shape("cutout", shape), values="own", fill=fill)


def _check_shape(name: str, shape: Shape, images_only: bool = False) -> None:
    """Refuse inputs that are neither images nor signals. Raises InvalidValue."""
    signals = "" if images_only else "signals [L] or "
    if len(shape) not in ((2, 3) if images_only else (1, 2, 3)):
        raise InvalidValue(f"{name} takes {signals}images [H, W] or [H, W, C]; the inputs are {list(shape)}")


def _lengths(inputs: Array) -> Shape:
    """The lengths of the spatial axes: a signal's one, an image's height and width."""
    return inputs.shape[1:3]


def _along_axis(values: Array, axis: int, axes: int) -> Array:
    """Values `[B, length]` along one of several spatial axes."""
    return values.reshape(len(values), *(-1 if number == axis else 1 for number in range(axes)))


def _pad(inputs: Array, pixels: int, fill: Fill) -> Array:
    """Inputs with pixels added before and after each spatial axis."""
    axes = len(_lengths(inputs))
    widths = [(pixels, pixels) if 1 <= axis <= axes else (0, 0) for axis in range(inputs.ndim)]
    if isinstance(fill, str):
        return jnp.pad(inputs, widths, mode=fill)
    return jnp.pad(inputs, widths, constant_values=fill)


def magnify(inputs: Array, ratio: Array, starts: Sequence[Array], fill: Fill) -> Array:
    """Enlarge a part of each input to the input's size.

    Args:
        inputs: `[B, ...]`.
        ratio: `[B]`, the sides of the parts as a ratio of the inputs' sides; above 1 the inputs shrink.
        starts: `[B]` for each spatial axis, where the parts begin, in pixels from the border.
        fill: What comes into view from beyond the border.
    """
    positions = []
    for axis, (length, start) in enumerate(zip(_lengths(inputs), starts, strict=True)):
        centres = np.arange(length, dtype=np.float32)[None] + 0.5
        along = start[:, None] + ratio[:, None] * centres - 0.5
        positions.append(_along_axis(along, axis, len(starts)))
    return _resample(inputs, jnp.broadcast_arrays(*positions), fill)


def rotate_images(images: Array, angles: Array, fill: Fill) -> Array:
    """Rotate images counterclockwise about their centre.

    Args:
        images: `[B, H, W]` or `[B, H, W, C]`.
        angles: `[B]`, in radians.
        fill: What comes into view from beyond the border.
    """
    centres = [(length - 1) / 2 for length in _lengths(images)]
    down, right = (
        np.arange(length, dtype=np.float32) - centre
        for length, centre in zip(_lengths(images), centres, strict=True)
    )
    down, right = down[None, :, None], right[None, None, :]
    cos, sin = jnp.cos(angles)[:, None, None], jnp.sin(angles)[:, None, None]
    return _resample(
        images, [centres[0] + cos * down + sin * right, centres[1] - sin * down + cos * right], fill
    )


def _resample(inputs: Array, positions: Sequence[Array], fill: Fill) -> Array:
    """The inputs at positions `[B, ...]` along each spatial axis, by linear interpolation."""
    mode, value = ("constant", fill) if not isinstance(fill, str) else (BORDER_MODES[fill], 0.0)

    def resample_one(example: Array, *at: Array) -> Array:
        if example.ndim > len(at):
            return jax.vmap(lambda channel: resample_one(channel, *at), in_axes=-1, out_axes=-1)(example)
        return jax.scipy.ndimage.map_coordinates(example, at, order=1, mode=mode, cval=value)

    return jax.vmap(resample_one)(inputs, *positions)
