"""Images of another size."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.examples import Examples
from nnlab.errors import InvalidValue

Side = Annotated[int, Ge(1), Le(4096)]  # pixels

MOST = 2**30  # values of all images together, 4 GB


def with_size(examples: Examples, size: int | None) -> Examples:
    """Examples with `resized` inputs."""
    return replace(examples, inputs=resized(examples.inputs, size))


def resized(images: np.ndarray, size: int | None) -> np.ndarray:
    """Square images `[N, size, size, ...]` of `[N, H, W, ...]`, by bilinear interpolation; null leaves them.

    A pixel's value is that of its centre: the new pixel i lies at (i + 1/2) H / size - 1/2 among the old
    ones, and beyond the outermost centres the image goes on as it is there. Nothing is averaged beforehand:
    where an image shrinks to less than half, pixels are passed over. Raises InvalidValue.
    """
    if size is None or images.shape[1:3] == (size, size):
        return images
    if images.ndim not in (3, 4):
        raise InvalidValue(f"is for images, and inputs have the shape {list(images.shape[1:])}", ("size",))
    refuse_too_many(len(images), (size, size, *images.shape[3:]), "size")
    for axis in (1, 2):
        images = _interpolated(images, axis, size)
    return images


def refuse_too_many(count: int, shape: tuple[int, ...], key: str) -> None:
    """Raises InvalidValue where so many images of this shape would fill the memory."""
    if count * math.prod(shape) > MOST:
        gigabytes = count * math.prod(shape) * 4 / 2**30
        raise InvalidValue(f"{count:,} images of {list(shape)} would take {gigabytes:,.1f} GB", (key,))


def _interpolated(images: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Value by value, no matrix product: the same numbers on any machine."""
    length = images.shape[axis]
    place = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0.0, length - 1.0)
    below = place.astype(int)
    weight = (place - below).astype(np.float32).reshape(-1, *(1,) * (images.ndim - axis - 1))
    found = np.take(images, np.minimum(below + 1, length - 1), axis)
    low = np.take(images, below, axis)
    found -= low
    found *= weight
    found += low
    return found
