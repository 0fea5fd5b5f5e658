"""Parallel coordinates: the points of a sweep as lines across all of its axes, which stand side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab import plotting
from nnlab.runs.sweep_dimensions import Dimension, colormap, colour_scale
from nnlab.runs.sweep_points import SweepPoints, metric_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAXIMUM_LINES = 1_000
CATEGORY_CHARACTERS = 14  # of a line of a tick's words
COLOUR_OF = {"pruned": "#bbbbbb", "diverged": "#D55E00"}


def draw_parallel(ax: Axes, points: SweepPoints, dimensions: Sequence[Dimension]) -> None:
    """Draw a line for each point: its value on each axis, and at the end its metric on the colour bar.

    Args:
        ax: Where to draw.
        points: The points; of more than MAXIMUM_LINES the best are drawn.
        dimensions: The directions in which they differ, two or more.
    """
    heights = np.stack([dimension.shares() for dimension in dimensions], axis=1)
    means, places = points.means, np.arange(len(dimensions) + 1)
    finite = means[np.isfinite(means)]
    mappable = ax.scatter([], [], c=[], cmap=colormap(points), norm=colour_scale(points))
    mappable.set_clim(finite.min(), finite.max() if finite.max() > finite.min() else finite.min() + 1)
    for word, colour in COLOUR_OF.items():
        lost = np.flatnonzero((points.table[word].to_numpy(int) > 0) & ~np.isfinite(means))[:MAXIMUM_LINES]
        for number, point in enumerate(lost):
            label = None if number else word
            ax.plot(places[:-1], heights[point], "--", color=colour, linewidth=0.8, label=label)
    ends, colours = np.asarray(mappable.norm(means)), mappable.to_rgba(means)
    order = _worst_first(points)[-MAXIMUM_LINES:]
    for point in order:
        is_best = point == order[-1]
        line, colour = [*heights[point], ends[point]], colours[point]
        if is_best:
            ax.plot(places, line, color="black", linewidth=4.5, label="best", clip_on=False, zorder=3)
        width = 2.5 if is_best else 1.2
        ax.plot(
            places,
            line,
            color=colour,
            linewidth=width,
            alpha=1.0 if is_best else 0.75,
            clip_on=False,
            zorder=3,
        )
    ax.set(xlim=(0, places[-1]), ylim=(0, 1), yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    for place, dimension in enumerate(dimensions):
        ax.axvline(place, color="#555555", linewidth=0.8, zorder=2)
        ticks, words = dimension.ticks()
        for height, word in zip(dimension.share_of(np.array(ticks)), words, strict=True):
            lines = textwrap.wrap(word, CATEGORY_CHARACTERS)
            is_inner = len(lines) < 2 or 0 < height < 1
            ax.text(
                place - 0.04,
                height,
                "\n".join(lines),
                ha="right",
                va="center" if is_inner else "top" if height else "bottom",
                fontsize=plotting.SMALL_SIZE,
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
            )
    names = [f"{d.name}\n(log scale)" if d.is_log else d.name for d in dimensions]
    ax.set_xticks(places[:-1], names)
    ax.set_xlabel("a line for each point")
    ax.tick_params(axis="x", length=0, pad=12)
    ax.figure.colorbar(mappable, ax=ax, label=metric_in_words(points.metrics[0]), pad=0.0, fraction=0.05)


def _worst_first(points: SweepPoints) -> np.ndarray:
    """The complete points from the worst mean to the best, the best point last."""
    is_large_good = points.metric is not None and points.metric.direction == "maximize"
    scores = points.means if is_large_good else -points.means
    order = np.lexsort([scores, points.table["best"].to_numpy(bool)])
    return order[np.isfinite(points.means[order])]
