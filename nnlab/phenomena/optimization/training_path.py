"""The way of the weights through a training, in the plane in which most of it lies, and the loss there.

Sources: Li, Xu, Taylor, Studer & Goldstein 2018, section 7. That two principal components explain most of a
path proves little: they do of a random walk's too (Antognini & Sohl-Dickstein 2018).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.optimization.loss_landscape import Points, losses, on_grid
from nnlab.phenomena.probe import WEIGHT_PATH_POINTS, Probe, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MARGIN = 0.25  # of the path's extent, around it
LEVELS = 16  # contours
COLUMNS = ("at_step", "first", "second", "off")


class TrainingPath(NamedTuple):
    """explained_by_two: the share of the path's variance, around its end, that lies in the plane. detour: the
    length of the path, from point to point, over the distance from its start to its end; 1 is a straight
    line, null where nothing moved. fall: training loss at the first weights over that at the last, both
    projected into the plane.
    """

    explained_by_two: float | None
    detour: float | None
    fall: float


class Plane(NamedTuple):
    """places: `[K, 2]`, where the points of a path are in it; off: `[K]`, how far from it. axes: its two
    directions, trees of length 1. centre: the weights where it is (0, 0)."""

    places: Array
    off: Array
    axes: tuple[Any, Any]
    centre: Any


@phenomenon
def training_path(points: Points = 25, examples: Count = 1000) -> RunPhenomenon:
    """Which way did the weights go, and down what slope?

    The weights at up to 50 records, evenly spread, seen from those that come out of the training (the best,
    where a stop restores them); the plane is that of the two principal components of these differences. The
    loss is drawn at `points` x `points` places around the path, of the first `examples` training examples, in
    evaluation mode. The 50 copies of the weights are part of each checkpoint.
    """

    def grid(setup: Setup, data: Data) -> dict[str, list[Any]]:
        return {"row": [i for i in range(points) for _ in range(points)], "column": [*range(points)] * points}

    around = functools.partial(_losses_around, points=points, examples=examples)
    path_probe = functools.partial(Probe, record_at="end", needs_weight_path=True)
    return RunPhenomenon(
        probes=(
            path_probe("training_path", _points, COLUMNS, _path),
            path_probe("path_landscape", grid, ("first", "second", "loss"), around),
        ),
        result=TrainingPath,
        detect=summarize,
        figures={"training_path": draw},
    )


def _points(setup: Setup, data: Data) -> dict[str, list[Any]]:
    return {"point": list(range(WEIGHT_PATH_POINTS + 1))}


def plane(snapshot: Snapshot) -> Plane:
    """The principal plane of the weights' path; of the inner products of its K points, `[K, K]`, in place of
    the covariance of all weights."""
    path = snapshot.weight_path
    assert path is not None  # noqa: S101 - the probes ask for it
    last = path.weights[-1]
    moved = path.weights - jnp.broadcast_to(last, path.weights.shape)
    moved = jnp.where(jnp.broadcast_to(path.filled[:, None], moved.shape), moved, 0.0)
    values, vectors = jnp.linalg.eigh(moved @ moved.T)
    vectors = vectors[:, ::-1][:, :2]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], axis=0)
    vectors = vectors * jnp.broadcast_to(jnp.sign(largest), vectors.shape)  # eigenvectors' signs vary
    lengths = jnp.sqrt(jnp.maximum(values[::-1][:2], 1e-30))
    axes = (moved.T @ vectors) / jnp.broadcast_to(lengths, (moved.shape[1], 2))
    places = moved @ axes
    off = jnp.sqrt(jnp.maximum(jnp.square(moved).sum(1) - jnp.square(places).sum(1), 0.0))
    return Plane(places, off, (path.unravel(axes[:, 0]), path.unravel(axes[:, 1])), path.unravel(last))


def _path(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of the table `training_path`; NaN in rows that are no points."""
    path, found = snapshot.weight_path, plane(snapshot)
    assert path is not None  # noqa: S101
    columns = (path.steps.astype(jnp.float32), found.places[:, 0], found.places[:, 1], found.off)
    return tuple(jnp.where(path.filled, column, jnp.nan) for column in columns)


def _losses_around(setup: Setup, snapshot: Snapshot, points: int, examples: int) -> tuple[Array, ...]:
    """The columns of the table `path_landscape`."""
    found = plane(snapshot)
    low, high = found.places.min(0), found.places.max(0)
    room = MARGIN * jnp.maximum(high - low, 0.1 * jnp.broadcast_to((high - low).max(), (2,)))
    low, high = low - room, high + room
    first, second = (jnp.linspace(low[i], high[i], points) for i in (0, 1))
    places = jnp.stack([jnp.repeat(first, points), jnp.tile(second, points)], axis=1)
    return places[:, 0], places[:, 1], losses(snapshot, found.centre, found.axes, places, examples)


def points_of(run: RunView) -> pandas.DataFrame:
    """The points that the training came to. Raises InvalidValue."""
    table = run.tables["training_path"].dropna()
    if not table[["first", "second"]].abs().to_numpy().any():
        raise InvalidValue("a path needs two records of different weights")
    return table.sort_values("at_step", kind="stable")


def summarize(run: RunView) -> TrainingPath:
    """The numbers of the tables `training_path` and `path_landscape`."""
    table = run.tables["training_path"].dropna().sort_values("at_step", kind="stable")
    seen = table[["first", "second", "off"]].to_numpy(float)
    total = float(np.square(seen).sum())
    straight = float(np.linalg.norm(seen[0]))  # the end is where all differences are 0
    moves = np.diff(seen, axis=0)
    length = float(np.linalg.norm(moves, axis=1).sum())  # what turns off the plane makes it no longer
    grid = run.tables["path_landscape"]
    start, end = (_nearest(grid, place) for place in (seen[0], np.zeros(2)))
    return TrainingPath(
        explained_by_two=1 - float(np.square(seen[:, 2]).sum()) / total if total else None,
        detour=length / straight if straight else None,
        fall=start / end if end > 0 else float("inf"),
    )


def _nearest(grid: pandas.DataFrame, place: np.ndarray) -> float:
    """The loss at the nearest point that is looked at."""
    apart = np.square(grid["first"] - place[0]) + np.square(grid["second"] - place[1])
    return float(grid["loss"].iloc[int(apart.to_numpy().argmin())])


def draw(runs: Sequence[RunView]) -> Figure:
    """The path over the contours of the loss, a panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(5.0, 4.3 * len(runs)), height=3.9)
    for ax, run in zip(axes[0], runs, strict=True):
        points, found = points_of(run), summarize(run)
        x, y, grid = on_grid(run.tables["path_landscape"], "first", "second")
        there = grid[np.isfinite(grid)]
        high = float(np.quantile(there, 0.9))
        if not 0 < there.min() < high:
            raise InvalidValue("the loss is the same all over the plane")
        levels = np.geomspace(max(float(there.min()), 1e-4 * high), high, LEVELS)
        drawn = plotting.contours(ax, x, y, grid, levels)
        figure.colorbar(drawn, ax=ax, label="training loss", format="%.2g")
        ax.plot(points["first"], points["second"], ".-", color="white", markersize=4, linewidth=1.2)
        ax.plot(*points[["first", "second"]].iloc[0], "s", color="white", markersize=6)
        ax.plot(0, 0, "*", color="white", markersize=11)
        share = found.explained_by_two or 0.0
        ax.set(
            title=f"{run.label}\nsquare to star: {100 * share:.0f} % of the path lies in its plane",
            xlabel="first principal component",
            ylabel="second",
        )
    return figure
