"""Which examples a phenomenon shows: their values and predictions in tables, their images in figures.

An image has the shape `[H, W, C]`. Inputs `[H, W]` have one channel; a signal `[L]` is an image of height 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import REPORTING_ORDER
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape
from nnlab.phenomena.base import RunView, SweepView, refuse_non_numeric
from nnlab.phenomena.probe import RowLabels
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import join_words

if TYPE_CHECKING:
    import pandas

BLOCK_EXAMPLES = 32  # evaluated at once; convolutions of more are slow on CPU
MAXIMUM_TABLE_VALUES = 1_000_000  # of all images in a table
MINIMUM_IMAGE_VALUES = 8  # an example of fewer is not drawn


def recorded_split(table: pandas.DataFrame) -> str:
    """The split that a table names in its last row. Raises InvalidValue."""
    split = table["split"].iloc[-1]
    if split not in REPORTING_ORDER:
        raise InvalidValue(f"a table names no split; there are {join_words(REPORTING_ORDER, 'and')}")
    return str(split)


def class_label(run: RunView, number: int, characters: int = 14) -> str:
    """What a figure calls a class.

    Args:
        run: The run.
        number: The number of the class.
        characters: To which its name is shortened.

    Returns:
        The name, where the run knows it and the figure's font can write it, else the number.
    """
    names = run.summary.get("class_names")
    name = names.get(str(number)) if isinstance(names, dict) else None
    if not isinstance(name, str) or not plotting.can_write(name):
        return str(number)
    short = name if len(name) <= characters else f"{name[: characters - 1]}…"
    return short.replace("$", r"\$")  # which would begin a formula


def read_test_predictions(sweep: SweepView, phenomenon: str) -> pandas.DataFrame:
    """The predictions of all complete trials for test examples, one row per output of an example.

    Args:
        sweep: A sweep with `record.predictions`.
        phenomenon: The name of what needs them.

    Returns:
        The table `predictions`, with the trial's axes and seed.

    Raises:
        InvalidValue: The table lacks a number, or has no test examples.
    """
    table = sweep.joined("predictions")
    refuse_non_numeric(table, ("example", "output", "target", "prediction"))
    table = table[table["split"] == "test"]
    if table.empty:
        raise InvalidValue(f"{phenomenon} needs test examples, and the data have none")
    return table


def map_in_blocks(function: Callable[[Array], Array], inputs: Array) -> Array:
    """Apply a function of a batch, `[N, ...]`, to blocks of examples, one after the other."""
    count, block = inputs.shape[0], min(BLOCK_EXAMPLES, inputs.shape[0])
    blocks = -(-count // block)
    padding = ((0, blocks * block - count), *((0, 0) for _ in inputs.shape[1:]))
    padded = jnp.pad(inputs, padding).reshape(blocks, block, *inputs.shape[1:])
    outputs = jax.lax.map(function, padded)
    return outputs.reshape(blocks * block, *outputs.shape[2:])[:count]


def image_shape(shape: Shape) -> tuple[int, int, int]:
    """H, W and C of inputs `[L]`, `[H, W]` or `[H, W, C]`. Raises InvalidValue."""
    if len(shape) == 1:
        return 1, shape[0], 1
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise InvalidValue(f"inputs of shape {list(shape)} are no images [H, W] or [H, W, C], nor signals [L]")


def product_rows(**columns: Sequence[str | int]) -> RowLabels:
    """The Cartesian product of the columns: one row per combination, the last column changing fastest."""
    rows = list(itertools.product(*columns.values()))
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def pixel_rows(shape: tuple[int, int, int], **columns: Sequence[str | int]) -> RowLabels:
    """One row for each value of some images.

    Args:
        shape: H, W and C of an image.
        columns: The labels of the images, such as example; there is one image per combination.

    Returns:
        These columns, then y, x and channel.

    Raises:
        InvalidValue: The values are too many for a table.
    """
    height, width, channels = shape
    count = height * width * channels * math.prod(len(values) for values in columns.values())
    if count > MAXIMUM_TABLE_VALUES:
        raise InvalidValue(
            f"would keep {count:,} values of pictures, of at most {MAXIMUM_TABLE_VALUES:,}; show fewer"
        )
    return product_rows(**columns, y=range(height), x=range(width), channel=range(channels))


def images_in(table: pandas.DataFrame, column: str) -> np.ndarray:
    """The images `[N, H, W, C]` in a column of a table with the rows of `pixel_rows`."""
    shape = [int(table[axis].max()) + 1 for axis in ("y", "x", "channel")]
    return table[column].to_numpy(float).reshape(-1, *shape)


def refuse_tiny_images(images: np.ndarray) -> None:
    """Refuse to draw images that have only a few values. Raises InvalidValue."""
    if images[0].size < MINIMUM_IMAGE_VALUES:
        raise InvalidValue(f"examples of {images[0].size} values are no pictures")


def displayed(image: np.ndarray) -> np.ndarray:
    """An image as `plotting.image` takes it: a signal `[W]`, grey `[H, W]`, or colours `[H, W, 3]`.

    Any other number of channels is averaged.
    """
    if image.shape[-1] == 3 and image.shape[0] > 1:
        return image
    return image.mean(-1)[0] if image.shape[0] == 1 else image.mean(-1)


def mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles `[N, h, w]`, or `[N, h, w, 3]` in colours, as one image, row by row.

    The gaps between them are NaN, or white between colours.
    """
    blank = 1.0 if tiles.ndim == 4 else np.nan
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1] + 1, tiles.shape[2] + 1
    image = np.full((rows * height - 1, columns * width - 1, *tiles.shape[3:]), blank)
    for number, tile in enumerate(tiles):
        y, x = number // columns * height, number % columns * width
        image[y : y + height - 1, x : x + width - 1] = tile
    return image


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest finite value; 0 and 1 where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
