"""Drawing: the one module that imports matplotlib. Figures fit a paper's column and survive grey print."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.system import files

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

FORMATS = ("png", "svg", "pdf")

# Okabe & Ito's palette, told apart by colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")

_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.5,
    "svg.hashsalt": "nnlab",
    "savefig.facecolor": "white",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The house style, for everything drawn and saved inside."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        yield


def panels(rows: int = 1, columns: int = 1, width: float = 6.4, height: float = 4.0, **shared: Any) -> Any:
    """A figure and its axes `[rows][columns]`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=160)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def panel_per_result(
    results: Sequence[T],
    draw: Callable[[Axes, T], str],
    *,
    panel_width: float = 4.2,
    extra_width: float = 0.0,
    minimum_width: float = 6.4,
    height: float = 4.0,
    **shared: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each run or sweep, side by side.

    Args:
        results: Runs or sweeps.
        draw: Draws one of them into its panel, and returns the panel's title.
        panel_width: Width for each panel, in inches.
        extra_width: Width for what stands beside all of them, such as a colour bar, in inches.
        minimum_width: Least width of the figure, in inches.
        height: Height of the figure, in inches.
        shared: Further arguments of `matplotlib.figure.Figure.subplots`, such as sharey.

    Returns:
        The figure and its panels, in the order of the results.
    """
    width = max(minimum_width, panel_width * len(results) + extra_width)
    figure, axes = panels(1, len(results), width=width, height=height, **shared)
    for ax, result in zip(axes[0], results, strict=True):
        ax.set_title(draw(ax, result))
    return figure, list(axes[0])


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the path's suffix is the format. The same figure gives the same
    bytes."""
    stamp = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    form, drawn = path.suffix[1:], io.BytesIO()
    figure.savefig(drawn, format=form, metadata=stamp[form])
    files.make_folder(path.parent, linked=True)
    files.write_atomically(path, drawn.getvalue())


def colours(count: int) -> list[Any]:
    """Colours for `count` ordered lines, dark to light beyond the palette's size."""
    return list(COLOURS[:count]) if count <= len(COLOURS) else graded(count)


def graded(count: int) -> list[Any]:
    """Colours from dark to light, for lines in an order."""
    import matplotlib

    return [matplotlib.colormaps["viridis"](i / max(1, count - 1) * 0.92) for i in range(count)]


def log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """A log y axis where what is finite is positive and spans more than a factor 30."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > 30:
        axes.set_yscale("log")


def log_axis(axes: Axes) -> None:
    """A log y axis of at least two decades, so that small differences look small."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    short = max(0.0, 2 - math.log10(high / low)) / 2
    axes.set_ylim(low * 10**-short, high * 10**short)


def step_axis(axes: Axes, steps: Sequence[float]) -> None:
    """The x axis as training steps: linear, or log from step 1 on where records are log-spaced."""
    distinct = sorted(set(steps))
    gaps = [b - a for a, b in itertools.pairwise(distinct)]
    if len(gaps) > 4 and gaps[-1] > 8 * gaps[0]:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("training step (log)")
    else:
        axes.set_xlabel("training step")


def past_start(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows that a log axis of steps can show, those after step 0. Raises InvalidValue where they make
    no curve."""
    rows = table[table["step"] > 0]
    if rows["step"].nunique() < 2:
        raise InvalidValue("a curve over the log of the step needs two records past step 0")
    return rows


def log_step_axis(axes: Axes) -> None:
    """The x axis as training steps from 1 on, logarithmic."""
    axes.set_xscale("log")
    axes.set_xlabel("training step (log)")


def legend(axes: Axes, **arguments: Any) -> None:
    """A legend where there is something to tell apart."""
    _, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        axes.legend(**arguments)


def colour_legend(figure: Figure, labels: Sequence[str], title: str) -> None:
    """Below the axes, what each colour stands for; title: what the line styles do."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=c, label=text) for c, text in zip(colours(len(labels)), labels, strict=True)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, title=title)


def coded_cells(axes: Axes, codes: np.ndarray, colours: Sequence[str]) -> None:
    """A table of small squares, from the lower left; the cell's code is its colour's number, NaN is none."""
    from matplotlib.colors import ListedColormap

    shown = ListedColormap(list(colours))
    axes.imshow(codes, cmap=shown, vmin=0, vmax=len(colours) - 1, origin="lower", interpolation="nearest")
    axes.grid(visible=False)


def image(axes: Axes, pixels: np.ndarray, limits: tuple[float, float] | None = None) -> None:
    """A picture: grey for `[H, W]` or `[H, W, 1]`, in colour for `[H, W, 3]`; a signal `[L]` as a line.

    limits: the values of black and white, of a line its lowest and highest; else the picture's own.
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


def gallery(
    pictures: Mapping[str, Sequence[np.ndarray]],
    columns: Sequence[str],
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Rows of pictures by their captions, with a caption above each column; see `image`."""
    side = min(1.0, 9.0 / len(columns))
    width, height = 1.0 + side * len(columns), 0.7 + side * len(pictures)
    figure, axes = panels(len(pictures), len(columns), width=max(4.0, width), height=max(1.8, height))
    for row, (caption, shown) in zip(axes, pictures.items(), strict=True):
        row[0].set_ylabel(caption)
        for ax, pixels in zip(row, shown, strict=True):
            image(ax, pixels, limits)
    for ax, caption in zip(axes[0], columns, strict=True):
        ax.set_title(caption, loc="center", fontsize=9.0)
    return figure


def contours(axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, levels: np.ndarray) -> Any:
    """Filled contours of values `[x, y]`; what lies above the highest level has its colour."""
    from matplotlib.colors import LogNorm

    shown = np.clip(values.T, levels[0], levels[-1])
    drawn = axes.contourf(x, y, shown, levels=levels, cmap="viridis", norm=LogNorm())
    axes.contour(x, y, shown, levels=levels, colors="white", linewidths=0.4)
    axes.grid(visible=False)
    return drawn


def surfaces(
    panels: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, str]], top: float, labels: Sequence[str]
) -> Figure:
    """Values `[x, y]` as surfaces, each with a title; cut off at `top`. labels: of the three axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.8, 4.1 * len(panels)), 3.9), layout="constrained", dpi=160)
    for number, (x, y, values, title) in enumerate(panels, 1):
        axes: Any = figure.add_subplot(1, len(panels), number, projection="3d")
        shown = np.minimum(values.T, top)
        axes.plot_surface(*np.meshgrid(x, y), shown, cmap="viridis", vmin=0, vmax=top, linewidth=0)
        axes.set(title=title, xlabel=labels[0], ylabel=labels[1], zlim=(0, top))
        axes.set_zlabel(labels[2])
        axes.view_init(32, -55)
        axes.set_box_aspect(None, zoom=0.85)  # else the last axis's label leaves the figure
    return figure


def patch_legend(figure: Figure, colours: Mapping[str, str]) -> None:
    """Below the axes, what the colour of a cell stands for; colours: by those words."""
    from matplotlib.patches import Patch

    patches = [Patch(color=colour, label=label) for label, colour in colours.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))


def spread_over(count: int, at_most: int) -> Iterator[int]:
    """At most so many of 0 .. count - 1, evenly spread, first and last among them."""
    picked = min(count, at_most)
    return (round(i * (count - 1) / max(1, picked - 1)) for i in range(picked))


def scientific(value: float) -> str:
    """A number for a title: 0.37, 1.5, 830, 7 x 10^-13."""
    if not math.isfinite(value) or value == 0 or 9.5e-3 <= abs(value) < 999:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return rf"{mantissa}$\times$10$^{{{int(exponent)}}}$"


def capacity_axis(axes: Axes, name: str) -> None:
    """The x axis as a capacity: logarithmic, unless it begins at 0."""
    drawn = [float(np.min(np.asarray(line.get_xdata(orig=False)))) for line in axes.lines]
    low = min(drawn, default=axes.get_xlim()[0])
    if low <= 0:
        axes.set_xlabel(name)
        return
    axes.set_xscale("log")
    axes.set_xlabel(f"{name} (log)")
    plain_ticks(axes)


def plain_ticks(axes: Axes) -> None:
    """Plain numbers (10, 100) on a log x axis, a few of those between where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    if low > 0 and high / low < 1e4:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 300 else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def edges(centres: np.ndarray) -> np.ndarray:
    """The borders of cells around ascending centres, halfway in the logarithm where all are positive."""
    positive = centres[0] > 0
    places = np.log(centres) if positive else centres
    inner = (places[1:] + places[:-1]) / 2
    found = np.concatenate([[2 * places[0] - inner[0]], inner, [2 * places[-1] - inner[-1]]])
    return np.exp(found) if positive else found
