"""Trajectories of two weights on contours of their loss. In shapes, R stands for records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import refuse_too_many_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnlab.phenomena.optimization.trajectory import Surface

MAXIMUM_REACH = 2.0  # times the start's distance from the minimum: a diverging trajectory is cut off there
CONTOUR_EXPONENTS = (-14, 4)  # loss above the minimum: the first start's times 2 to the power of these
MINIMUM_START_SHARE = 1e-3  # of the greatest loss above the minimum: below it a start counts as being there
GRID_POINTS = 201  # along each weight
PATHS_PER_PANEL = 3  # with more in a panel, each gets a panel of its own
MAXIMUM_PANELS = 24  # of one trajectory each
PANELS_PER_ROW = 3
MARKS = "square: start, cross: minimum"


class LabelledTrajectory(NamedTuple):
    """A training to be drawn on its surface.

    Attributes:
        label: Its name in the legend.
        weights: `[R, 2]`.
        surface: Its loss.
        title: Of its panel.
    """

    label: str
    weights: np.ndarray
    surface: Surface
    title: str


def draw_trajectories(trajectories: Sequence[LabelledTrajectory]) -> Figure:
    """Trajectories on contours of the loss.

    Those of one surface and one title share a panel; where that is crowded, each gets a panel of its own, of
    the same extent.
    """
    if not trajectories:
        raise InvalidValue("no trial is complete")
    refuse_too_many_lines(len(trajectories), "paths")
    groups: list[list[int]] = []
    for number, trajectory in enumerate(trajectories):
        group = next((g for g in groups if _share_panel(trajectories[g[0]], trajectory)), None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
    if max(map(len, groups)) > PATHS_PER_PANEL and len(trajectories) <= MAXIMUM_PANELS:
        return _draw_apart([[trajectories[number] for number in group] for group in groups])
    colours = plotting.colours(len(trajectories))

    def draw(ax: Axes, group: Sequence[int]) -> str:
        shown = _draw_contours(ax, [trajectories[number] for number in group])
        for number, weights in zip(group, shown, strict=True):
            _draw_weights(ax, weights, colours[number])
        return trajectories[group[0]].title if len(titles) > 1 else ""

    titles = {trajectory.title for trajectory in trajectories}
    figure, _ = plotting.panel_per_result(groups, draw, height=4.2, compressed=True)
    if len(titles) == 1:
        plotting.figure_title(figure, *titles)
    if len(trajectories) > 1:
        plotting.colour_legend(figure, [trajectory.label for trajectory in trajectories], MARKS)
    return figure


def _share_panel(one: LabelledTrajectory, other: LabelledTrajectory) -> bool:
    first, second = ([t.surface.loss, *t.surface.slope, *t.surface.curvature.flat] for t in (one, other))
    return one.title == other.title and np.allclose(first, second, rtol=1e-3, atol=1e-5)


def _draw_apart(groups: Sequence[Sequence[LabelledTrajectory]]) -> Figure:
    """A panel for each trajectory."""
    places = [(group, number) for group in groups for number in range(len(group))]
    rows = math.ceil(len(places) / PANELS_PER_ROW)
    figure, axes = plotting.panels(rows, PANELS_PER_ROW, 0.4 + 2.6 * rows)
    for ax, (group, number) in zip(axes.flat, places, strict=False):
        _draw_weights(ax, _draw_contours(ax, group)[number], plotting.COLOURS[0])
        words = plotting.title(group[number].label, PANELS_PER_ROW, plotting.SMALL_SIZE)
        ax.set_title(words, fontsize=plotting.SMALL_SIZE)
        if not ax.get_subplotspec().is_first_col():
            ax.set_ylabel("")
    for ax in axes.flat[len(places) :]:
        ax.remove()
    plotting.figure_title(figure, f"{', '.join(dict.fromkeys(group[0].title for group in groups))}\n{MARKS}")
    return figure


def _draw_weights(ax: Axes, weights: np.ndarray, colour: plotting.Colour) -> None:
    ax.plot(*weights.T, "-o", color=colour, markersize=2, linewidth=0.9)
    ax.plot(*weights[0], "s", color="#000000", markerfacecolor="none", markersize=6)
    ax.set(xlabel="first weight", ylabel="second weight", aspect="equal")


def _draw_contours(ax: Axes, trajectories: Sequence[LabelledTrajectory]) -> list[np.ndarray]:
    """Lines of equal loss around trajectories and minimum, and a cross at the minimum.

    Returns:
        The weights to draw of each trajectory: those up to where it goes far off.
    """
    surface, start = trajectories[0].surface, trajectories[0].weights[0]
    centre = surface.nearest_minimum(start)
    reach = MAXIMUM_REACH * max(float(np.linalg.norm(t.weights[0] - centre)) for t in trajectories) or 1.0
    shown = [_within_reach(trajectory.weights, centre, reach) for trajectory in trajectories]
    points = np.clip(np.concatenate([centre[None], *shown]), centre - reach, centre + reach)
    margin = 0.15 * np.ptp(points, axis=0).max() or 1.0
    sides = [np.linspace(one.min() - margin, one.max() + margin, GRID_POINTS) for one in points.T]
    above = surface(np.stack(np.meshgrid(*sides), axis=-1)) - surface(centre)
    level = max(surface(start) - surface(centre), above.max() * MINIMUM_START_SHARE)
    if level > 0:  # else the surface is a plane
        levels = level * 2.0 ** np.arange(*CONTOUR_EXPONENTS)
        ax.contour(*sides, above, levels=levels, colors="#999999", linewidths=0.5)
    ax.plot(*centre, "+", color="#000000", markersize=9)
    ax.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
    ax.grid(visible=False)
    return shown


def _within_reach(weights: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """The weights up to the first ones beyond reach."""
    beyond = np.linalg.norm(weights - centre, axis=1) > reach
    return weights[: beyond.argmax() + 1] if beyond.any() else weights
