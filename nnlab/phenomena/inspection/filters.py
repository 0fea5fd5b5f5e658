"""Filters: what the first layer looks for, as images of its weights, at the start and at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import image_shape, images_in, mosaic, pixel_rows
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot, subtree
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp
from nnlab.text import join_words, name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILTERS_PER_ROW = 8


class Filters(NamedTuple):
    """The smoothness of the filters that are kept, from -1 to 1, see `filters`.

    Attributes:
        smoothness: At the end; null if all weights are 0.
        initial_smoothness: At the start; null if all weights are 0.
        reason: Why numbers are null.
    """

    smoothness: float | None
    initial_smoothness: float | None
    reason: str | None = None


class FirstKernel(NamedTuple):
    """The first kernel of a model.

    Attributes:
        path: The path of its layer.
        shape: H, W and C of one filter.
        filters: Number of filters.
    """

    path: str
    shape: tuple[int, int, int]
    filters: int


@phenomenon
def filters(shown: Count = 64) -> RunPhenomenon:
    """How smooth are the filters of the first kernel, of a convolution, or of dense after flatten?

    The figure shows each filter as an image. Smoothness is sum of a b / sqrt(sum of a² sum of b²) over all
    pairs of weights a, b of a filter that are horizontal or vertical neighbours, averaged over filters:
    about 0 for independent random weights, 1 for a filter of equal weights.

    Args:
        shown: Number of filters, the first ones, that are kept.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        kernel = first_kernel(setup, data.train.inputs.shape[1:])
        return pixel_rows(kernel.shape, layer=[kernel.path], filter=range(min(shown, kernel.filters)))

    def weights(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
        path = first_kernel(setup, snapshot.examples["train"].inputs.shape[1:]).path
        kernels = (subtree(params, path)["kernel"] for params in (snapshot.initial_params, snapshot.params))
        initial, final = (jnp.moveaxis(kernel, -1, 0)[:shown].reshape(-1) for kernel in kernels)
        return initial, final

    return RunPhenomenon(
        probes=(Probe("filters", rows, ("initial", "final"), weights, record_at="end"),),
        result=Filters,
        detect=lambda run: detect(run.tables["filters"]),
        figures={"filters": filter_images},
        validate=rows,
    )


def first_kernel(setup: Setup, inputs: Shape) -> FirstKernel:
    """The first kernel, and how its filters lie over the inputs. Raises InvalidValue."""
    image = image_shape(inputs)
    path, leaf = next((path, leaf) for path, leaf in setup.leaves() if "kernel" in leaf.params)
    kernel, outputs = leaf.params["kernel"].shape, leaf.output_shape
    if len(kernel) == 2 and kernel[0] == math.prod(inputs):
        shape = image
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


def detect(table: pandas.DataFrame) -> Filters:
    """The numbers of the table `filters`."""
    final, initial = (smoothness(images_in(table, column)) for column in ("final", "initial"))
    moments = [moment for moment, value in (("start", initial), ("end", final)) if value is None]
    zero = f"all weights are 0 at the {join_words(moments, 'and the')}" if moments else None
    return Filters(final, initial, zero)


def smoothness(weights: np.ndarray) -> float | None:
    """The smoothness of filters `[N, H, W, C]`, see `filters`; None if all are 0."""
    beside, above = (weights[:, :, :-1], weights[:, :, 1:]), (weights[:, :-1], weights[:, 1:])
    first, second = (
        np.concatenate([part.reshape(len(weights), -1) for part in parts], axis=1)
        for parts in zip(beside, above, strict=True)
    )
    size = np.sqrt(np.square(first).sum(1) * np.square(second).sum(1))
    if not (size > 0).any():
        return None
    mean = float(((first * second).sum(1)[size > 0] / size[size > 0]).mean())
    return mean if math.isfinite(mean) else None


def filter_images(runs: Sequence[RunView]) -> Figure:
    """The filters at the start and at the end; one row per run."""
    if not any(run.tables["filters"][["initial", "final"]].to_numpy().any() for run in runs):
        raise InvalidValue("all weights are 0")
    heights = [_row_height(images_in(run.tables["filters"], "final")) for run in runs]
    figure, axes = plotting.panels(len(runs), 2, sum(heights), height_ratios=heights)
    for row, run in zip(axes, runs, strict=True):
        table = run.tables["filters"]
        for ax, (column, moment) in zip(row, (("initial", "start"), ("final", "end")), strict=True):
            weights = images_in(table, column)
            _draw_filters(ax, weights)
            smooth = smoothness(weights)
            words = f"{run.label}, at the {moment}" + ("" if smooth is None else f"\nsmoothness {smooth:.2f}")
            ax.set_title(plotting.title(words, across=2))
            label = f"filters 1 to {table['filter'].nunique()}, red: positive, blue: negative"
            ax.set(xlabel=label, xticks=[], yticks=[])
        row[0].set_ylabel(name_in_words(table["layer"].iloc[0]))
    return figure


def _row_height(weights: np.ndarray) -> float:
    """The height of a row of panels, in inches: tiles in a panel of width 3.2, and the title."""
    count, height, width, _ = weights.shape
    columns = min(FILTERS_PER_ROW, count)
    return 3.4 if height == 1 else 0.7 + 3.2 / columns * -(-count // columns) * height / width


def _draw_filters(ax: Axes, weights: np.ndarray) -> None:
    """Draw filters as tiles, each scaled by its greatest weight.

    Filters of three channels are drawn in colours, where grey is zero; filters of signals as lines, one below
    the other.
    """
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = weights / np.where(largest > 0, largest, 1.0)
    ax.grid(visible=False)
    in_colour, is_signal = weights.shape[-1] == 3, weights.shape[1] == 1
    tiles = (scaled + 1) / 2 if in_colour else scaled.mean(-1)
    image = tiles[:, 0] if is_signal else mosaic(tiles, min(FILTERS_PER_ROW, len(tiles)))
    ax.spines[:].set_visible(is_signal)
    ax.imshow(image, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_aspect("auto" if is_signal else "equal")
