"""Panels, scales of axes and legends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.plotting.style import WIDTH, colours, title

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PANELS_ACROSS = 2  # side by side, of runs or sweeps; more come below
LEGEND_CHARACTERS, HANDLE_CHARACTERS = 110, 8  # as wide as the figure; what a line and a gap take of them
WIDE_RATIO = 30.0  # of the greatest to the least value, from which on an axis is logarithmic

Result = TypeVar("Result")


def panels(
    rows: int = 1,
    columns: int = 1,
    height: float = 4.0,
    *,
    sharex: bool = False,
    sharey: bool | Literal["row"] = False,
    height_ratios: Sequence[float] | None = None,
    compressed: bool = False,
) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of panels.

    Args:
        rows: How many rows of panels.
        columns: How many columns.
        height: Of the figure, in inches; its width is that of all figures.
        sharex: Whether the panels share their x axis.
        sharey: Whether they share their y axis, or those of a `row` do.
        height_ratios: The heights of the rows, in proportion; by default all alike.
        compressed: Whether panels that are narrower than their place, such as square ones, come together.

    Returns:
        The figure and its panels, `[rows, columns]`.
    """
    from matplotlib.figure import Figure

    layout: Literal["compressed", "constrained"] = "compressed" if compressed else "constrained"
    figure = Figure(figsize=(WIDTH, height), layout=layout, dpi=160)
    axes = figure.subplots(
        rows, columns, squeeze=False, sharex=sharex, sharey=sharey, height_ratios=height_ratios
    )
    return figure, axes


def panel_per_result(
    results: Sequence[Result],
    draw: Callable[[Axes, Result], str],
    *,
    across: int = PANELS_ACROSS,
    height: float = 4.0,
    sharey: bool = False,
    compressed: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each run or sweep, row by row.

    Args:
        results: Runs or sweeps.
        draw: Draws one of them into its panel, and returns the panel's title.
        across: How many panels are side by side at most.
        height: Height of a row, in inches.
        sharey: Whether the panels share their y axis; its label is left to the first of each row.
        compressed: See `panels`.

    Returns:
        The figure and its panels, in the order of the results.
    """
    across = min(across, len(results))
    rows = -(-len(results) // across)
    figure, grid = panels(rows, across, height * rows, sharey=sharey, compressed=compressed)
    for place, (ax, result) in enumerate(zip(grid.flat, results, strict=False)):
        ax.set_title(title(draw(ax, result), across))
        if sharey and place % across:
            ax.set_ylabel("")
    for ax in grid.flat[len(results) :]:
        ax.remove()
    return figure, list(grid.flat[: len(results)])


def figure_title(figure: Figure, words: str) -> None:
    """A title above all panels, at their left."""
    figure.suptitle(title(words), x=0.01, ha="left")


def refuse_blank(figure: Figure) -> None:
    """Refuse a figure in which no data can be seen. Raises InvalidValue."""
    if not any(_shows_data(ax) for ax in figure.axes):
        raise InvalidValue("there is nothing in it: too few records, or no number that its scales can show")


def _shows_data(axes: Axes) -> bool:
    """Whether a point, a line between two, a bar, a cell or a pixel can be seen in a panel."""
    from matplotlib.collections import PathCollection

    coloured = [artist.get_array() for artist in (*axes.images, *axes.collections)]
    points = [artist.get_offsets() for artist in axes.collections if isinstance(artist, PathCollection)]
    numbers = [_numbers(values) for values in (*coloured, *points) if values is not None]
    return (
        any(np.isfinite(values).any() for values in numbers)
        or any(_can_be_seen(line) for line in axes.lines)
        or bool(axes.patches)
    )


def _can_be_seen(line: Line2D) -> bool:
    """Whether a line has a marker at a point, or two points in a row; one across the whole panel has none."""
    axes = line.axes
    if axes is None or not all(line.get_transform().contains_branch_seperately(axes.transData)):
        return False
    x, y = (_numbers(values) for values in (line.get_xdata(orig=False), line.get_ydata(orig=False)))
    x, y = (
        np.where((values > 0) | (scale != "log"), values, np.nan)
        for values, scale in ((x, axes.get_xscale()), (y, axes.get_yscale()))
    )
    is_shown = np.isfinite(x + y)
    has_marker = line.get_marker() not in ("", " ", "None", "none", None)
    return bool(is_shown.any() if has_marker else (is_shown[1:] & is_shown[:-1]).any())


def _numbers(values: Any) -> np.ndarray:
    """Numbers as matplotlib holds them, masked ones as NaN."""
    return np.ma.asarray(values, float).filled(np.nan)


def log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """A log y axis where the finite values are positive and span more than a factor of 30."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > WIDE_RATIO:
        axes.set_yscale("log")


def log_axis(axes: Axes) -> None:
    """A log y axis of at least two decades, so that small differences look small."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if not 0 < low < high < math.inf:  # nothing to show
        return
    missing_decades = max(0.0, 2 - math.log10(high / low)) / 2
    axes.set_ylim(low * 10**-missing_decades, high * 10**missing_decades)


def step_axis(axes: Axes, steps: Sequence[float]) -> None:
    """The x axis as training steps: linear, or log from step 1 on where records are log-spaced."""
    distinct = sorted(set(steps))
    gaps = [b - a for a, b in itertools.pairwise(distinct)]
    if len(gaps) > 4 and gaps[-1] > 8 * gaps[0]:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("training step (log scale)")
    else:
        axes.set_xlabel("training step")


def log_step_axis(axes: Axes) -> None:
    """The x axis as training steps from 1 on, logarithmic."""
    axes.set_xscale("log")
    axes.set_xlabel("training step (log scale)")


def rows_after_start(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows after step 0, which are those that a log axis of steps can show.

    Raises:
        InvalidValue: They are of fewer than two steps, which make no curve.
    """
    rows = table[table["step"] > 0]
    if rows["step"].nunique() < 2:
        raise InvalidValue("a curve over the log of the step needs two records past step 0")
    return rows


def capacity_axis(axes: Axes, name: str) -> None:
    """The x axis as a capacity, of this name in words: logarithmic, unless it begins at 0."""
    starts = [float(np.min(np.asarray(line.get_xdata(orig=False)))) for line in axes.lines]
    low = min(starts, default=axes.get_xlim()[0])
    if low <= 0:
        axes.set_xlabel(name)
        return
    axes.set_xscale("log")
    axes.set_xlabel(f"{name} (log scale)")
    if not axes.get_xlim()[0] > 0:  # of lines without a finite value
        high = max(float(np.max(np.asarray(line.get_xdata(orig=False)))) for line in axes.lines)
        axes.set_xlim(low / 1.1, high * 1.1)
    plain_ticks(axes)


def integer_ticks(axis: Axis) -> None:
    """Ticks at whole numbers only, on a linear axis."""
    from matplotlib.ticker import MaxNLocator

    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def plain_ticks(axes: Axes) -> None:
    """Plain numbers (10, 100) on a log x axis, with some in between where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    if low > 0 and high / low < 1e4:
        subs = (1.0, 2.0, 5.0) if high / low < 100 else (1.0, 3.0) if high / low < 1000 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def legend(axes: Axes, **arguments: object) -> None:
    """A legend where there is more than one thing to tell apart."""
    _, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        axes.legend(**arguments)


def legend_below(figure: Figure, axes: Axes, columns: int | None = None, title: str | None = None) -> None:
    """The legend of one panel, below all panels.

    Args:
        figure: The figure.
        axes: The panel whose lines are listed.
        columns: Of the legend, at most; by default all lines are in one row.
        title: Of the legend.
    """
    handles, labels = axes.get_legend_handles_labels()
    ncols = min(_columns_for(labels), len(labels) if columns is None else columns)
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, title=title)


def colour_legend(
    figure: Figure, labels: Sequence[str], title: str, markers: Sequence[str] | None = None
) -> None:
    """Below all panels, which colour is whose.

    Args:
        figure: The figure.
        labels: Of the lines, in the order of `colours`.
        title: What the line styles mean.
        markers: Of the lines' points, where they have any.
    """
    from matplotlib.lines import Line2D

    looks = zip(colours(len(labels)), markers or [""] * len(labels), labels, strict=True)
    lines = [Line2D([], [], color=c, marker=m, markersize=4, label=text) for c, m, text in looks]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(2, _columns_for(labels)), title=title)


def _columns_for(labels: Sequence[str]) -> int:
    """How many labels of a legend there is room for side by side."""
    return max(
        1, min(len(labels), LEGEND_CHARACTERS // (max(map(len, labels), default=0) + HANDLE_CHARACTERS))
    )


def patch_legend(figure: Figure, colour_of: Mapping[str, str]) -> None:
    """Below the axes, what the colours of cells mean; colour_of: meaning -> colour."""
    from matplotlib.patches import Patch

    patches = [Patch(color=colour, label=label) for label, colour in colour_of.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
