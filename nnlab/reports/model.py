"""The weights of a run by layer, for a page."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from nnlab.errors import UsageError
from nnlab.runs.results import Run

MAXIMUM_LAYERS = 200  # that are listed


class Weights(NamedTuple):
    """The weights of one layer.

    Attributes:
        layer: Its name.
        arrays: Its arrays with their shapes, in words.
        size: How many numbers they are.
    """

    layer: str
    arrays: str
    size: int


def weights_of(run: Run) -> list[Weights]:
    """The arrays of a run by layer; none where it keeps no weights, or damaged ones."""
    try:
        arrays = run.weights()
    except UsageError:
        return []
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path, array in sorted(arrays.items(), key=_by_number):
        layer, _, name = path.rpartition("/")
        layers.setdefault(layer, {})[name] = array
    return [
        Weights(
            layer,
            ", ".join(f"{name} {list(array.shape)}" for name, array in inner.items()),
            sum(array.size for array in inner.values()),
        )
        for layer, inner in list(layers.items())[:MAXIMUM_LAYERS]
    ]


def _by_number(item: tuple[str, np.ndarray]) -> list[tuple[int, str]]:
    """Sorts dense_2 before dense_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", item[0])]
