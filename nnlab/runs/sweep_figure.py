"""The figure of a sweep: its metric along one axis as curves, along two as a map, else as lines across all.

Each panel is one sweep; what marks and colours mean is in the legend below.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.runs.parallel_coordinates import draw_parallel
from nnlab.runs.sweep_dimensions import Dimension, colormap, colour_scale, dimensions_of
from nnlab.runs.sweep_points import (
    SweepPoints,
    metric_in_words,
    numbers_of,
    statistics_of_points,
    sweep_points,
)
from nnlab.text import name_in_words, setting_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnlab.runs.results import Sweep

MAXIMUM_CELLS_WITH_NUMBERS = 120
LIGHT = 1.6  # of the sum of red, green and blue, from which on words are black
AXIS_CHARACTERS, CATEGORY_CHARACTERS = 66, 18  # of all ticks of an axis below, of one at the left


def sweep_overview(sweeps: Sequence[Sweep]) -> Figure:
    """Draw what the points of sweeps came to, a panel for each.

    The number is that of `Sweep.points`. Along one axis there is a curve for each split, the mean over the
    seeds, and the range in which they lie; two axes make a map of means, three or more a line for each point
    across all of them, coloured by the mean.
    """
    count = max(len(dimensions_of(sweep, sweep_points(sweep))) for sweep in sweeps)
    figure, axes = plotting.panel_per_result(
        sweeps, _draw, across=1 if count > 2 else plotting.PANELS_ACROSS, height=4.0
    )
    legend_of = max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    if legend_of.get_legend_handles_labels()[1]:
        plotting.legend_below(figure, legend_of, columns=4)
    return figure


def _draw(ax: Axes, sweep: Sweep) -> str:
    """Draw the points of a sweep; returns the panel's title. Raises InvalidValue where there are none."""
    points = sweep_points(sweep)
    if points.metric is None or points.best is None:
        raise InvalidValue("no trial is complete")
    dimensions = dimensions_of(sweep, points)
    if not dimensions:
        _draw_trials(ax, sweep, points)
    elif len(dimensions) == 1:
        _draw_curves(ax, sweep, points, dimensions[0])
    elif len(dimensions) == 2:
        draw_plane = _draw_scatter if points.is_random else _draw_map
        draw_plane(ax, points, *dimensions)
    else:
        draw_parallel(ax, points, dimensions)
    return f"{sweep.label}: {_finding(points, dimensions)}"


def _finding(points: SweepPoints, dimensions: Sequence[Dimension]) -> str:
    """The best point in words: `best width 64: validation accuracy 0.931 ± 0.012`."""
    place = int(points.table["best"].to_numpy(bool).argmax())
    best = points.table.iloc[place]
    values = [f"{metric_in_words(metric)} {points.value(best, metric)}" for metric in points.metrics]
    where = [setting_in_words(d.name, d.words_at(place)) for d in dimensions]
    found = f"best {', '.join(where)}: " if where else ""
    found += ", ".join(values) + (f" (n = {best['count']})" if points.replicates else "")
    return found.replace(" ± ", "\xa0±\xa0")


def _curve_metrics(points: SweepPoints, known: Sequence[str]) -> list[str]:
    """The numbers that are drawn along one axis: of the training set, the selected, the reported."""
    assert points.metric is not None  # noqa: S101 - the caller sees to it
    record, _, name = points.metric.reported.partition(".")
    of_training = f"{record}.train_{name.partition('_')[2]}"
    is_of_split = name.partition("_")[0] in plotting.SPLIT_STYLES
    return list(
        dict.fromkeys([*([of_training] if is_of_split and of_training in known else []), *points.metrics])
    )


def _draw_trials(ax: Axes, sweep: Sweep, points: SweepPoints) -> None:
    """Sweeps of seeds alone: a dot for each trial, and the mean."""
    metrics = _curve_metrics(points, numbers_of(sweep.completed_trials, sweep.axes))
    for place, metric in enumerate(metrics):
        values = sweep.completed_trials[metric].to_numpy(float)
        colour = _colour_of(metric, place)
        ax.plot(np.full(len(values), place), values, "o", color=colour, alpha=0.5, markersize=5)
        ax.plot([place - 0.2, place + 0.2], [values.mean()] * 2, color=colour, linewidth=2)
    ax.set_xticks(range(len(metrics)), [metric_in_words(metric) for metric in metrics])
    ax.set_xlim(-0.6, len(metrics) - 0.4)
    ax.set(xlabel=f"{len(sweep.completed_trials)} trials, a dot each; line: mean", ylabel=_y_label(metrics))


def _colour_of(metric: str, place: int) -> str:
    """The colour of the split that a number is of; of another number, that of its place among those drawn."""
    return plotting.SPLIT_COLOURS.get(metric.partition(".")[2].partition("_")[0], plotting.COLOURS[place])


def _y_label(metrics: Sequence[str]) -> str:
    """What numbers of several splits have in common: `accuracy`."""
    words = {name_in_words(metric.partition(".")[2].partition("_")[2]) for metric in metrics}
    return words.pop() if len(words) == 1 and len(metrics) > 1 else metric_in_words(metrics[0])


# --- one axis ----------------------------------------------------------------------------------------------


def _draw_curves(ax: Axes, sweep: Sweep, points: SweepPoints, dimension: Dimension) -> None:
    metrics = _curve_metrics(points, numbers_of(sweep.completed_trials, sweep.axes))
    statistics = statistics_of_points(sweep.trials, points.axes, metrics)
    order, heights = np.argsort(dimension.places, kind="stable"), list[float]()
    x = dimension.places[order]
    joined = dimension.is_ordered and not points.is_random
    for place, metric in enumerate(metrics):
        mean, least, greatest = (
            statistics[f"{metric}.{what}"].to_numpy(float)[order] for what in ("mean", "min", "max")
        )
        line = plotting.SPLIT_STYLES.get(metric.partition(".")[2].partition("_")[0], "-")
        colour, label = _colour_of(metric, place), metric_in_words(metric)
        shift = 0.0 if dimension.is_ordered else 0.12 * (place - (len(metrics) - 1) / 2)
        style = line if joined else "none"
        ax.plot(x + shift, mean, linestyle=style, marker="o", markersize=4, color=colour, label=label)
        if points.replicates and joined:
            ax.fill_between(x, least, greatest, color=colour, alpha=0.15, linewidth=0)
        elif points.replicates:
            ax.vlines(x + shift, least, greatest, color=colour)
        heights += [*least.tolist(), *greatest.tolist()]
    if points.replicates:
        draw_key = ax.fill_between if joined else ax.vlines
        colour = "#cccccc" if joined else "#777777"
        draw_key([], [], [], color=colour, label="least to greatest of a point's trials")
    _mark_on_axis(ax, points, dimension)
    _label_x(ax, dimension)
    ax.set_ylabel(_y_label(metrics))
    plotting.log_if_wide(ax, heights)


def _mark_on_axis(ax: Axes, points: SweepPoints, dimension: Dimension) -> None:
    """Mark the best point, and those of which trials diverged."""
    best, diverged = points.table["best"].to_numpy(bool), points.table["diverged"].to_numpy(int)
    ax.axvline(dimension.places[best][0], color="#555555", linestyle="-.", linewidth=1.2, label="best")
    if not diverged.any():
        return
    x, counts = dimension.places[diverged > 0], diverged[diverged > 0]
    totals = points.table[["count", "diverged", "failed", "pruned", "missing"]].sum(axis=1)[diverged > 0]
    transform = ax.get_xaxis_transform()
    is_at_top = points.metric is not None and points.metric.direction == "maximize"  # away from bad points
    height, alignment = (0.96, "top") if is_at_top else (0.04, "bottom")
    ax.plot(x, np.full(len(x), height), "xk", transform=transform, label="diverged")
    if totals.max() > 1:
        for place, count, total in zip(x, counts, totals, strict=True):
            words = f"{count} of {total}"
            beside = height + (-0.03 if is_at_top else 0.03)
            ax.text(
                place,
                beside,
                words,
                transform=transform,
                ha="center",
                va=alignment,
                fontsize=plotting.SMALL_SIZE,
            )


def _label_x(ax: Axes, dimension: Dimension) -> None:
    ax.set_xlabel(f"{dimension.name} (log scale)" if dimension.is_log else dimension.name)
    if dimension.is_log:
        ax.set_xscale("log")
    ticks, words = dimension.ticks()
    if dimension.categories:
        _label_categories(ax, dimension)
        ax.set_xlim(-0.5, len(dimension.categories) - 0.5)
    elif len(np.unique(dimension.places)) == len(ticks):
        ax.set_xticks(ticks, words)
        ax.set_xticks([], minor=True)
    elif dimension.is_log:
        plotting.plain_ticks(ax)


def _label_categories(ax: Axes, dimension: Dimension) -> None:
    """Ticks at categories, their words broken into the width that there is for each."""
    ticks, words = dimension.ticks()
    width = max(7, AXIS_CHARACTERS // len(ticks))
    ax.set_xticks(ticks, [textwrap.fill(word, width) for word in words])


# --- two axes ----------------------------------------------------------------------------------------------


def _draw_map(ax: Axes, points: SweepPoints, first: Dimension, second: Dimension) -> None:
    """A cell for each point, the axis of more values across."""
    across, up = (d.in_categories() for d in sorted((first, second), key=lambda d: -len(np.unique(d.places))))
    columns, rows = across.places.astype(int), up.places.astype(int)
    shape = len(up.categories), len(across.categories)
    means = np.full(shape, np.nan)
    means[rows, columns] = points.means
    edges = [np.arange(count + 1) - 0.5 for count in (shape[1], shape[0])]
    is_small = means.size <= MAXIMUM_CELLS_WITH_NUMBERS
    mesh = ax.pcolormesh(*edges, means, cmap=colormap(points), norm=colour_scale(points))
    mesh.set(edgecolor="white" if is_small else "face", linewidth=0.5)
    ax.figure.colorbar(mesh, ax=ax, label=metric_in_words(points.metrics[0]))
    ax.set_facecolor("#d9d9d9")
    ax.grid(visible=False)
    ax.set_xlabel(across.name)
    ax.set_ylabel(up.name)
    _label_categories(ax, across)
    ticks, words = up.ticks()
    ax.set_yticks(ticks, [textwrap.fill(word, CATEGORY_CHARACTERS) for word in words])
    if is_small:
        _write_into_cells(ax, points, columns, rows, mesh.to_rgba(points.means))
    diverged = points.table["diverged"].to_numpy(int) > 0
    if diverged.any() and not is_small:
        ax.plot(columns[diverged], rows[diverged], "xk", markersize=3, label="diverged")
    best = points.table["best"].to_numpy(bool)
    left, bottom = columns[best][0] - 0.5, rows[best][0] - 0.5
    outline = [left, left + 1, left + 1, left, left], [bottom, bottom, bottom + 1, bottom + 1, bottom]
    ax.plot(*outline, color="black", linewidth=2, clip_on=False, label="best")


def _write_into_cells(
    ax: Axes, points: SweepPoints, columns: np.ndarray, rows: np.ndarray, colours: np.ndarray
) -> None:
    """Write the mean of each point into its cell, and how many of its trials came to nothing."""
    lost = points.table[["diverged", "failed", "missing"]].to_dict("records")
    for column, row, mean, colour, counts in zip(columns, rows, points.means, colours, lost, strict=True):
        lines = [] if np.isnan(mean) else [f"{mean:.3g}"]
        lines += [f"{count} {word}" for word, count in counts.items() if count]
        is_light = np.isnan(mean) or colour[:3].sum() > LIGHT
        ax.text(
            column,
            row,
            "\n".join(lines),
            ha="center",
            va="center",
            fontsize=plotting.SMALL_SIZE,
            color="black" if is_light else "white",
        )


def _draw_scatter(ax: Axes, points: SweepPoints, across: Dimension, up: Dimension) -> None:
    """A dot for each point that was drawn at random."""
    complete = np.isfinite(points.means)
    dots = ax.scatter(
        across.places[complete],
        up.places[complete],
        c=points.means[complete],
        cmap=colormap(points),
        norm=colour_scale(points),
        s=36,
        edgecolors="white",
        linewidths=0.5,
        zorder=3,
    )
    ax.figure.colorbar(dots, ax=ax, label=metric_in_words(points.metrics[0]))
    for word, mark, colour in (("pruned", ".", "#999999"), ("diverged", "x", "black")):
        marked = points.table[word].to_numpy(int) > 0
        if marked.any():
            ax.plot(across.places[marked], up.places[marked], mark, color=colour, label=word)
    best = points.table["best"].to_numpy(bool)
    ax.plot(
        across.places[best],
        up.places[best],
        "o",
        markersize=10,
        markerfacecolor="none",
        color="black",
        label="best",
    )
    _label_x(ax, across)
    ax.set_ylabel(f"{up.name} (log scale)" if up.is_log else up.name)
    if up.is_log:
        ax.set_yscale("log")
    if up.categories:
        ticks, words = up.ticks()
        ax.set_yticks(ticks, [textwrap.fill(word, CATEGORY_CHARACTERS) for word in words])
        ax.set_ylim(-0.5, len(up.categories) - 0.5)
