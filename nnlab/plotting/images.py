"""Images, grids of cells, contours and surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from nnlab.plotting.axes import PANELS_ACROSS, figure_title, panels
from nnlab.plotting.style import SMALL_SIZE, WIDTH, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d import Axes3D


def category_grid(axes: Axes, codes: np.ndarray, colours: Sequence[str]) -> None:
    """A grid of small squares, from the lower left on.

    Args:
        axes: Where to draw.
        codes: `[rows, columns]`, each an index into colours; NaN stays empty.
        colours: One for each code.
    """
    from matplotlib.colors import ListedColormap

    colormap = ListedColormap(list(colours))
    axes.imshow(codes, cmap=colormap, vmin=0, vmax=len(colours) - 1, origin="lower", interpolation="nearest")
    axes.grid(visible=False)


def image(axes: Axes, pixels: np.ndarray, limits: tuple[float, float] | None = None) -> None:
    """An image, or a signal as a line.

    Args:
        axes: Where to draw.
        pixels: `[H, W]` or `[H, W, 1]` for grey, `[H, W, 3]` for colour, `[L]` for a signal.
        limits: The values of black and white, or the ends of a signal's axis; by default the least and the
            greatest of the pixels.
    """
    finite = pixels[np.isfinite(pixels)]
    low, high = limits or ((float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0))
    high = high if high > low else low + 1.0
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(pixels.ndim == 1)
    if pixels.ndim == 1:
        axes.plot(pixels, linewidth=1.0)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    elif pixels.shape[2:] == (3,):
        axes.imshow(np.clip((pixels - low) / (high - low), 0.0, 1.0), interpolation="nearest")
    else:
        grey = pixels.reshape(pixels.shape[:2])
        axes.imshow(grey, cmap="gray", vmin=low, vmax=high, interpolation="nearest")


def image_grid(
    rows: Mapping[str, Sequence[np.ndarray]],
    captions: Sequence[str],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Rows of images, each with a label at its left and a caption above each column.

    Args:
        rows: Label -> images, see `image`.
        captions: One for each column.
        limits: See `image`.
    """
    side = min(1.0, (WIDTH - 0.7) / len(captions))
    figure, axes = panels(len(rows), len(captions), max(1.8, 0.8 + side * len(rows)))
    for row, (label, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(label)
        for ax, pixels in zip(row, images, strict=True):
            image(ax, pixels, limits)
    for ax, caption in zip(axes[0], captions, strict=True):
        ax.set_title(caption, loc="center", fontsize=SMALL_SIZE)
    return figure


def contours(
    axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, levels: np.ndarray
) -> QuadContourSet:
    """Filled contours, coloured by the logarithm of the level.

    Args:
        axes: Where to draw.
        x: `[X]`, ascending.
        y: `[Y]`, ascending.
        values: `[X, Y]`.
        levels: Ascending and positive; values beyond the first or the last take its colour.
    """
    from matplotlib.colors import LogNorm

    clipped = np.clip(values.T, levels[0], levels[-1])
    filled = axes.contourf(x, y, clipped, levels=levels, cmap="viridis", norm=LogNorm())
    axes.contour(x, y, clipped, levels=levels, colors="white", linewidths=0.4)
    axes.grid(visible=False)
    return filled


def surfaces(
    shown: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, str]], top: float, labels: Sequence[str]
) -> Figure:
    """Surfaces, row by row; what is above them is said once, in the title of the figure.

    Args:
        shown: For each surface x `[X]`, y `[Y]`, values `[X, Y]` and its title.
        top: Where the surfaces are cut off.
        labels: Of the three axes.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    across = min(PANELS_ACROSS, len(shown))
    rows = -(-len(shown) // across)
    figure = Figure(figsize=(WIDTH, 3.7 * rows + 0.4), layout="constrained", dpi=160)
    figure_title(figure, f"Height: {labels[2]}")
    for number, (x, y, values, words) in enumerate(shown, 1):
        axes = cast("Axes3D", figure.add_subplot(rows, across, number, projection="3d"))
        clipped = np.minimum(values.T, top)
        axes.plot_surface(*np.meshgrid(x, y), clipped, cmap="viridis", vmin=0, vmax=top, linewidth=0)
        axes.set(xlabel=labels[0], ylabel=labels[1], zlim=(0, top))
        axes.set_title(title(words, across), loc="left", y=0.98)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_major_locator(MaxNLocator(3))
        axes.view_init(32, -55)
        axes.set_box_aspect(None, zoom=0.85)  # else the axes' labels leave the figure
    return figure


def cell_edges(centres: np.ndarray) -> np.ndarray:
    """The borders of cells `[N + 1]` around ascending centres `[N]`, halfway between them."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])


def log_cell_edges(centres: np.ndarray) -> np.ndarray:
    """`cell_edges` on a logarithmic axis, or on a linear one where a centre is not positive."""
    return np.exp(cell_edges(np.log(centres))) if centres[0] > 0 else cell_edges(centres)
