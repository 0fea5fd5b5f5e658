"""Resizing of images."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.examples import Examples
from nnlab.errors import InvalidValue

Side = Annotated[int, Ge(1), Le(4096)]  # pixels

MAXIMUM_VALUES = 2**30  # of all images together, 4 GB


def resize_examples(examples: Examples, size: int | None) -> Examples:
    """Examples with inputs as `resize_images` makes them; bytes stay bytes where nothing is to be done."""
    if size is None or examples.inputs.shape[1:3] == (size, size):
        return examples
    return replace(examples, inputs=resize_images(np.asarray(examples.inputs), size))


def resize_images(images: np.ndarray, size: int | None) -> np.ndarray:
    """Resize images to squares by bilinear interpolation.

    A pixel's value is that of its centre: the new pixel i lies at (i + 1/2) H / size - 1/2 among the old
    ones, and beyond the outermost centres the image continues with their values. Nothing is averaged first:
    where an image shrinks to less than half, pixels are skipped.

    Args:
        images: `[N, H, W]` or `[N, H, W, C]`.
        size: The new side, in pixels. None leaves the images as they are.

    Returns:
        `[N, size, size]` or `[N, size, size, C]`.

    Raises:
        InvalidValue: The inputs are no images, or the result would not fit in memory.
    """
    if size is None or images.shape[1:3] == (size, size):
        return images
    if images.ndim not in (3, 4):
        raise InvalidValue(f"is for images, and inputs have the shape {list(images.shape[1:])}", ("size",))
    check_image_memory(len(images), (size, size, *images.shape[3:]), "size")
    for axis in (1, 2):
        images = _interpolate(images, axis, size)
    return images


def check_image_memory(count: int, shape: tuple[int, ...], key: str) -> None:
    """Refuse to make images that would not fit in memory.

    Args:
        count: How many images.
        shape: Of one.
        key: The YAML key that is to blame.

    Raises:
        InvalidValue: They would take more than 4 GB.
    """
    if count * math.prod(shape) > MAXIMUM_VALUES:
        gigabytes = count * math.prod(shape) * 4 / 2**30
        raise InvalidValue(f"{count:,} images of {list(shape)} would take {gigabytes:,.1f} GB", (key,))


def _interpolate(images: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Interpolate along one axis, elementwise: a matrix product has other numbers on other machines."""
    length = images.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0.0, length - 1.0)
    lower = position.astype(int)
    weight = (position - lower).astype(np.float32).reshape(-1, *(1,) * (images.ndim - axis - 1))
    values = np.take(images, np.minimum(lower + 1, length - 1), axis)
    lower_values = np.take(images, lower, axis)
    values -= lower_values
    values *= weight
    values += lower_values
    return values
