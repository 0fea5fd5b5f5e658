"""What the phenomena that show examples share: which split they look at, and examples as pictures.

A picture is `[H, W, C]`: an image `[H, W]` has one channel, a signal `[L]` is a picture of height 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import join_words

if TYPE_CHECKING:
    import pandas

SPLITS = ("test", "validation", "train")
BLOCK = 32  # examples that are evaluated at once: of more, convolutions are slow on CPU, see steps.CONVOLVED
MOST_VALUES = 1_000_000  # of the pictures in one table
FEWEST_VALUES = 8  # of an example that is drawn


def judged(splits: Iterable[str]) -> str:
    """The split that is looked at: test, else validation, else train."""
    there = set(splits)
    return next(name for name in SPLITS if name in there)


def split_of(table: pandas.DataFrame) -> str:
    """The split that a table names in its last row. Raises InvalidValue."""
    split = table["split"].iloc[-1]
    if split not in SPLITS:
        raise InvalidValue(f"a table names no split; there are {join_words(SPLITS, 'and')}")
    return str(split)


def in_blocks(function: Callable[[Array], Array], inputs: Array) -> Array:
    """A function of a batch, `[N, ...]`, computed for some examples after the others."""
    count, block = inputs.shape[0], min(BLOCK, inputs.shape[0])
    blocks = -(-count // block)
    filling = ((0, blocks * block - count), *((0, 0) for _ in inputs.shape[1:]))
    filled = jnp.pad(inputs, filling).reshape(blocks, block, *inputs.shape[1:])
    found = jax.lax.map(function, filled)
    return found.reshape(blocks * block, *found.shape[2:])[:count]


def picture_shape(shape: Shape) -> tuple[int, int, int]:
    """H, W and C of inputs `[L]`, `[H, W]` or `[H, W, C]`. Raises InvalidValue."""
    if len(shape) == 1:
        return 1, shape[0], 1
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise InvalidValue(f"inputs of shape {list(shape)} are no images [H, W] or [H, W, C], nor signals [L]")


def crossed(**columns: Sequence[Any]) -> dict[str, list[Any]]:
    """A row for each choice of one value from each column, the last one changing fastest."""
    rows = list(itertools.product(*columns.values()))
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def pixel_rows(shape: tuple[int, int, int], **columns: Sequence[Any]) -> dict[str, list[Any]]:
    """A row for each value of some pictures, columns naming these, then y, x and channel. Raises
    InvalidValue where they are too many for a table."""
    height, width, channels = shape
    count = height * width * channels * int(np.prod([len(values) for values in columns.values()]))
    if count > MOST_VALUES:
        raise InvalidValue(f"would keep {count:,} values of pictures, of at most {MOST_VALUES:,}; show fewer")
    return crossed(**columns, y=range(height), x=range(width), channel=range(channels))


def pictures(table: pandas.DataFrame, column: str) -> np.ndarray:
    """The pictures `[N, H, W, C]` in a column of a table with rows as `pixel_rows` names them."""
    shape = [int(table[axis].max()) + 1 for axis in ("y", "x", "channel")]
    return table[column].to_numpy(float).reshape(-1, *shape)


def check_drawable(shown: np.ndarray) -> None:
    """Refuse to draw pictures of a few values. Raises InvalidValue."""
    if shown[0].size < FEWEST_VALUES:
        raise InvalidValue(f"examples of {shown[0].size} values are no pictures")


def drawable(picture: np.ndarray) -> np.ndarray:
    """A picture as `plotting.image` takes it: `[L]`, `[H, W]` or `[H, W, 3]`; the mean over channels where
    they are not three."""
    if picture.shape[-1] == 3 and picture.shape[0] > 1:
        return picture
    return picture.mean(-1)[0] if picture.shape[0] == 1 else picture.mean(-1)


def mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles `[N, h, w]` or, in colours, `[N, h, w, 3]`, as one image, row by row; white, or NaN, between."""
    blank = 1.0 if tiles.ndim == 4 else np.nan
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1] + 1, tiles.shape[2] + 1
    found = np.full((rows * height - 1, columns * width - 1, *tiles.shape[3:]), blank)
    for number, tile in enumerate(tiles):
        y, x = number // columns * height, number % columns * width
        found[y : y + height - 1, x : x + width - 1] = tile
    return found


def limits(shown: np.ndarray) -> tuple[float, float]:
    """The least and the greatest finite value; 0 and 1 where there is none."""
    values = shown[np.isfinite(shown)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


Result = TypeVar("Result", bound=NamedTuple)


def finite(result: Result) -> Result:
    """A detector's result with None in the place of numbers that are not finite."""
    return result._replace(
        **{
            name: None
            for name, value in result._asdict().items()
            if isinstance(value, float) and not np.isfinite(value)
        }
    )
