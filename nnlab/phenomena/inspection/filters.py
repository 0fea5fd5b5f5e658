"""Filters: what the first layer looks for, as pictures of its weights, at the start and at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import finite, mosaic, picture_shape, pictures, pixel_rows
from nnlab.phenomena.probe import Probe, Snapshot, subtree
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 8  # of filters


class Filters(NamedTuple):
    """Over the filters that are kept, see `filters`. smoothness, initial_smoothness: at the end and at the
    start; null where all weights are 0.
    """

    smoothness: float
    initial_smoothness: float


class FirstKernel(NamedTuple):
    """path: of its layer. shape: of one filter, H, W and C. filters: how many."""

    path: str
    shape: tuple[int, int, int]
    filters: int


@phenomenon
def filters(shown: Count = 64) -> RunPhenomenon:
    """The first kernel that sees the inputs, a picture a unit: of a convolution, or of dense after flatten.

    smoothness: sum of a b / sqrt(sum of a² sum of b²) over all pairs of weights a, b of a filter that lie
    beside or above each other, the mean over filters: about 0 for first weights drawn each by itself, 1 for
    a filter of equal weights. shown: so many filters, the first ones.
    """

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        found = first_kernel(setup, data.train.inputs.shape[1:])
        return pixel_rows(found.shape, layer=[found.path], filter=range(min(shown, found.filters)))

    def weights(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
        found = first_kernel(setup, snapshot.examples["train"].inputs.shape[1:])
        moments = (snapshot.initial_params, snapshot.params)
        kernels = (subtree(params, found.path)["kernel"] for params in moments)
        initial, final = (jnp.moveaxis(kernel, -1, 0)[:shown].reshape(-1) for kernel in kernels)
        return initial, final

    return RunPhenomenon(
        probes=(Probe("filters", rows, ("initial", "final"), weights, record_at="end"),),
        result=Filters,
        detect=lambda run: finite(summarize(run.tables["filters"])),
        figures={"filters": filter_pictures},
        validate=rows,
    )


def first_kernel(setup: Setup, inputs: Shape) -> FirstKernel:
    """The first kernel, and how its filters lie over the inputs. Raises InvalidValue."""
    picture = picture_shape(inputs)
    path, leaf = next((path, leaf) for path, leaf in setup.leaves() if "kernel" in leaf.params)
    kernel, outputs = leaf.params["kernel"].shape, leaf.output_shape
    if len(kernel) == 2 and kernel[0] == math.prod(inputs):
        shape = picture
    elif len(kernel) == 3 and len(outputs) == 2:  # of a signal
        shape = (1, kernel[0], kernel[1])
    elif len(kernel) > 2 and len(outputs) == 3:
        shape = (kernel[0], kernel[1], kernel[2] if len(kernel) == 4 else 1)
    else:
        raise InvalidValue(
            f"filters needs a first layer with a kernel over the inputs {list(inputs)}, and {path} has the "
            f"kernel {list(kernel)}; let it be a convolution, or dense (after flatten), or leave filters out"
        )
    if shape[0] * shape[1] == 1:
        raise InvalidValue(
            f"filters needs filters of more than one value, and {path} has kernels of 1; leave it out"
        )
    return FirstKernel(path, shape, kernel[-1])


def summarize(table: pandas.DataFrame) -> Filters:
    """The numbers of the table `filters`."""
    return Filters(*(smoothness(pictures(table, column)) for column in ("final", "initial")))


def smoothness(weights: np.ndarray) -> float:
    """Of filters `[N, H, W, C]`, see `filters`; NaN where all are 0."""
    beside, above = (weights[:, :, :-1], weights[:, :, 1:]), (weights[:, :-1], weights[:, 1:])
    first, second = (
        np.concatenate([part.reshape(len(weights), -1) for part in parts], axis=1)
        for parts in zip(beside, above, strict=True)
    )
    size = np.sqrt(np.square(first).sum(1) * np.square(second).sum(1))
    return float(((first * second).sum(1)[size > 0] / size[size > 0]).mean()) if (size > 0).any() else np.nan


def filter_pictures(runs: Sequence[RunView]) -> Figure:
    """The filters at the start and at the end; a row a run."""
    heights = [_height(pictures(run.tables["filters"], "final")) for run in runs]
    figure, axes = plotting.panels(len(runs), 2, width=7.0, height=sum(heights), height_ratios=heights)
    for row, run in zip(axes, runs, strict=True):
        table, found = run.tables["filters"], summarize(run.tables["filters"])
        moments = (("initial", "start", found.initial_smoothness), ("final", "end", found.smoothness))
        for ax, (column, when, size) in zip(row, moments, strict=True):
            _draw(ax, pictures(table, column))
            ax.set_title(f"{run.label}, at the {when}\nsmoothness {size:.2f}")
            words = f"filters 1 to {table['filter'].nunique()}, each between ±max |w|"
            ax.set(xlabel=words, xticks=[], yticks=[])
        row[0].set_ylabel(table["layer"].iloc[0])
    return figure


def _height(weights: np.ndarray) -> float:
    """Of a row of panels, in inches: the tiles of a panel 3.2 wide, and the words."""
    count, height, width, _ = weights.shape
    columns = min(COLUMNS, count)
    return 3.4 if height == 1 else 0.7 + 3.2 / columns * -(-count // columns) * height / width


def _draw(ax: Axes, weights: np.ndarray) -> None:
    """Filters as tiles, each scaled by its greatest weight; of three channels, in colours, zero being grey.
    Those of signals, a line each, below each other."""
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = weights / np.where(largest > 0, largest, 1.0)
    ax.grid(visible=False)
    colours, lines = weights.shape[-1] == 3, weights.shape[1] == 1
    tiles = (scaled + 1) / 2 if colours else scaled.mean(-1)
    drawn = tiles[:, 0] if lines else mosaic(tiles, min(COLUMNS, len(tiles)))
    ax.spines[:].set_visible(lines)
    ax.imshow(drawn, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_aspect("auto" if lines else "equal")
