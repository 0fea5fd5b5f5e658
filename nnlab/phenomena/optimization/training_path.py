"""The way of the weights through a training, in the plane in which most of it lies, and the loss there.

Letters in shapes: K points of the weight path, P weights of the model.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Tree
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon
from nnlab.phenomena.optimization.loss_landscape import GridPoints, losses_at, pivot_losses
from nnlab.phenomena.probe import WEIGHT_PATH_POINTS, Probe, RowLabels, Snapshot, WeightPath
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN_SHARE = 0.25  # of the path's extent, on each side of it
CONTOUR_LEVELS = 16
CONTOUR_QUANTILE = 0.9  # of the losses, where the contours end
PATH_COLUMNS = ("at_step", "first", "second", "off")


class TrainingPath(NamedTuple):
    """The path of the weights, and the loss along it.

    Attributes:
        explained_by_two: Share of the path's variance around its end that lies in the plane, 0 to 1.
        detour: Length of the path, from point to point, over the distance from its start to its end; 1 is a
            straight line, null where it ends where it starts.
        fall: Training loss at the first weights over that at the last, both projected into the plane; from 0,
            null where the last is 0.
        reason: Why numbers are null.
    """

    explained_by_two: float
    detour: float | None
    fall: float | None
    reason: str | None = None


class PathPlane(NamedTuple):
    """The plane of a path.

    Attributes:
        places: The points of the path in the plane, `[K, 2]`.
        off: Their distance from it, `[K]`.
        axes: Its two directions, trees of length 1.
        centre: The weights at (0, 0).
    """

    places: Array
    off: Array
    axes: tuple[Tree, Tree]
    centre: Tree


@phenomenon
def training_path(points: GridPoints = 25, examples: Count = 1000) -> RunPhenomenon:
    """Which way did the weights go, and down what slope?

    The path is that of the weights at up to 50 records, evenly spread, seen from those that come out of the
    training (the best, where a stop restores them); the plane is that of the two principal components of
    these differences. The loss is that in evaluation mode. The 50 copies of the weights are part of each
    checkpoint.

    Args:
        points: The loss is drawn at points x points places around the path; 5 to 201.
        examples: The loss is the mean over so many training examples, the first ones.

    Reference:
        Li, Xu, Taylor, Studer & Goldstein 2018, section 7. That two principal components explain most of a
        path proves little: they do of a random walk's too (Antognini & Sohl-Dickstein 2018).
    """

    def grid_rows(setup: Setup, data: Data) -> RowLabels:
        return {"row": [i for i in range(points) for _ in range(points)], "column": [*range(points)] * points}

    around = functools.partial(_losses_around, points=points, examples=examples)
    path_probe = functools.partial(Probe, record_at="end", needs_weight_path=True)
    return RunPhenomenon(
        probes=(
            path_probe("training_path", _point_rows, PATH_COLUMNS, _path),
            path_probe("path_landscape", grid_rows, ("first", "second", "loss"), around),
        ),
        result=TrainingPath,
        detect=detect,
        figures={"training_path": path_on_contours},
    )


# --- probes ----------------------------------------------------------------------------------------------


def _point_rows(setup: Setup, data: Data) -> RowLabels:
    return {"point": list(range(WEIGHT_PATH_POINTS + 1))}


def _weight_path(snapshot: Snapshot) -> WeightPath:
    assert snapshot.weight_path is not None  # noqa: S101 - the probes need it
    return snapshot.weight_path


def principal_plane(snapshot: Snapshot) -> PathPlane:
    """The principal plane of the weight path.

    It is computed from the inner products of the path's points, `[K, K]`, which take less memory than the
    covariance of all weights, `[P, P]`.
    """
    path = _weight_path(snapshot)
    end = path.weights[-1]
    offsets = path.weights - jnp.broadcast_to(end, path.weights.shape)
    offsets = jnp.where(jnp.broadcast_to(path.filled[:, None], offsets.shape), offsets, 0.0)
    values, vectors = jnp.linalg.eigh(offsets @ offsets.T)
    vectors = vectors[:, ::-1][:, :2]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], axis=0)
    vectors = vectors * jnp.broadcast_to(jnp.sign(largest), vectors.shape)  # eigenvectors' signs vary
    lengths = jnp.sqrt(jnp.maximum(values[::-1][:2], 1e-30))
    axes = (offsets.T @ vectors) / jnp.broadcast_to(lengths, (offsets.shape[1], 2))
    places = offsets @ axes
    off = jnp.sqrt(jnp.maximum(jnp.square(offsets).sum(1) - jnp.square(places).sum(1), 0.0))
    return PathPlane(places, off, (path.unravel(axes[:, 0]), path.unravel(axes[:, 1])), path.unravel(end))


def _path(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of the table `training_path`; NaN in rows without a point."""
    path, plane = _weight_path(snapshot), principal_plane(snapshot)
    columns = (path.steps.astype(jnp.float32), plane.places[:, 0], plane.places[:, 1], plane.off)
    return tuple(jnp.where(path.filled, column, jnp.nan) for column in columns)


def _losses_around(setup: Setup, snapshot: Snapshot, points: int, examples: int) -> tuple[Array, ...]:
    """The columns of the table `path_landscape`."""
    plane = principal_plane(snapshot)
    low, high = plane.places.min(0), plane.places.max(0)
    margin = MARGIN_SHARE * jnp.maximum(high - low, 0.1 * jnp.broadcast_to((high - low).max(), (2,)))
    low, high = low - margin, high + margin
    first, second = (jnp.linspace(low[i], high[i], points) for i in (0, 1))
    places = jnp.stack([jnp.repeat(first, points), jnp.tile(second, points)], axis=1)
    return places[:, 0], places[:, 1], losses_at(snapshot, plane.centre, plane.axes, places, examples)


# --- the detector ----------------------------------------------------------------------------------------


def detect(run: RunView) -> TrainingPath:
    """The numbers of the tables `training_path` and `path_landscape`. Raises InvalidValue where the weights
    do not move."""
    table = run.tables["training_path"].dropna().sort_values("at_step", kind="stable")
    points = table[["first", "second", "off"]].to_numpy(float)
    total = float(np.square(points).sum())
    if not total:
        raise InvalidValue("the weights do not move")
    straight = float(np.linalg.norm(points[0]))  # the end is at (0, 0), at no distance from the plane
    moves = np.diff(points, axis=0)
    length = float(np.linalg.norm(moves, axis=1).sum())  # turns outside the plane do not lengthen it
    grid = run.tables["path_landscape"]
    start, end = (_loss_near(grid, place) for place in (points[0], np.zeros(2)))
    reasons = [] if straight else ["the path ends where it starts"]
    reasons += [] if end > 0 else ["the last loss is 0"]
    return TrainingPath(
        explained_by_two=1 - float(np.square(points[:, 2]).sum()) / total,
        detour=length / straight if straight else None,
        fall=start / end if end > 0 else None,
        reason="; ".join(reasons) or None,
    )


def _loss_near(grid: pandas.DataFrame, place: np.ndarray) -> float:
    """The loss at the nearest point of the grid."""
    distances = np.square(grid["first"] - place[0]) + np.square(grid["second"] - place[1])
    return float(grid["loss"].iloc[int(distances.to_numpy().argmin())])


# --- the figure ------------------------------------------------------------------------------------------


def path_points(run: RunView) -> pandas.DataFrame:
    """The points of the path in the order of training. Raises InvalidValue where they are all the same."""
    table = run.tables["training_path"].dropna()
    if not table[["first", "second"]].abs().to_numpy().any():
        raise InvalidValue("a path needs two records of different weights")
    return table.sort_values("at_step", kind="stable")


def path_on_contours(runs: Sequence[RunView]) -> Figure:
    """The path over the contours of the loss, a panel a run."""
    return plotting.panel_per_result(runs, _draw_path, height=3.8)[0]


def _draw_path(ax: Axes, run: RunView) -> str:
    points, result = path_points(run), detect(run)
    x, y, losses = pivot_losses(run.tables["path_landscape"], "first", "second")
    finite = losses[np.isfinite(losses)]
    high = float(np.quantile(finite, CONTOUR_QUANTILE))
    if not 0 < finite.min() < high:
        raise InvalidValue("the loss is the same all over the plane")
    levels = np.geomspace(max(float(finite.min()), 1e-4 * high), high, CONTOUR_LEVELS)
    filled = plotting.contours(ax, x, y, losses, levels)
    ax.figure.colorbar(filled, ax=ax, label=loss_label([run], "training"), format="%.2g")
    ax.plot(points["first"], points["second"], ".-", color="white", markersize=4, linewidth=1.2)
    ax.plot(*points[["first", "second"]].iloc[0], "s", color="white", markersize=6)
    ax.plot(0, 0, "*", color="white", markersize=11)
    ax.set(xlabel="first principal component", ylabel="second principal component")
    percent = 100 * result.explained_by_two
    return f"{run.label}: {percent:.0f} % of the way, from square to star, lies in its plane"
