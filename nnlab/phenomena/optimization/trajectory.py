"""The path of two weights on their loss surface: an elongated bowl makes gradient descent zigzag.

A linear unit of two weights under the squared error has the loss L(w) = c + b.w + w.H w / 2, exactly; so one
look at c, b and H is enough to draw it everywhere.

Sources: lectures 001 (correlated inputs make a "ravine"), 002 (momentum smooths updates), 004 (an elongated
bowl).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_too_many_lines
from nnlab.phenomena.probe import Probe, Snapshot, subtree
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLAT = 1e-6  # of the greatest curvature: below it a direction counts as one that the loss does not see
COUNTED = 1e-3  # of the longest move across the ravine: shorter ones may be rounding, and are no turns
WIDEST = 2.0  # times the start's distance from the minimum: a path that diverges is cut off there
CONTOURS = (-14, 4)  # above the minimum, the first start's loss above it times two to the power of these
FAINT = 1e-3  # of the greatest loss above the minimum: below it a start counts as being there
POINTS = 201
CROWDED, MOST_APART = 3, 24  # more paths in a panel, up to so many in all, get one each
COLUMNS, TITLE = 3, 36  # of those: panels in a row, characters in a line of a title
MARKS = "square: start, cross: minimum"


class Trajectory(NamedTuple):
    """Of the recorded steps; record each of them.

    length: of the path, in weights. straightness: distance from start to end / length; 1 is a straight line,
    null where nothing moved. turns: how often the way across the ravine, along the direction of greatest
    curvature, changes its sign from one move to the next; moves below a thousandth of the longest do not
    count. final_distance: from the last weights to the nearest ones of least loss. final_loss: training loss
    at the last record.
    """

    length: float
    straightness: float | None
    turns: int
    final_distance: float
    final_loss: float


class Surface(NamedTuple):
    """L(w) = loss + slope.w + w.curvature w / 2, w `[2]`."""

    loss: float
    slope: np.ndarray
    curvature: np.ndarray

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """`[..., 2]` to `[...]`."""
        return self.loss + weights @ self.slope + 0.5 * ((weights @ self.curvature) * weights).sum(-1)

    def nearest_minimum(self, weights: np.ndarray) -> np.ndarray:
        """Of the weights of least loss, the nearest: one step of Newton's method."""
        inverse = np.linalg.pinv(self.curvature, rcond=FLAT, hermitian=True)
        return weights - inverse @ (self.slope + self.curvature @ weights)


class Path(NamedTuple):
    """One training on its surface. weights: `[records, 2]`. title: of its panel."""

    label: str
    weights: np.ndarray
    surface: Surface
    title: str


@phenomenon
def trajectory() -> RunPhenomenon:
    """Straight to the minimum, or to and fro between the walls of a ravine? For a net of exactly two weights.

    That is one dense layer with a kernel of two values, use_bias: false and no activation, on data with
    values to regress; the loss surface is that of the squared error over the training examples.
    """
    surface = ("loss", "slope_1", "slope_2", "curvature_11", "curvature_12", "curvature_22")
    return RunPhenomenon(
        probes=(
            Probe("trajectory", _layer, ("w_1", "w_2"), _weights),
            Probe("surface", _layer, surface, _surface, record_at="start", evaluates_all_examples=True),
        ),
        result=Trajectory,
        detect=summarize,
        figures={"trajectory": lambda runs: draw([path(run, _title(runs)) for run in runs])},
        validate=_layer,
    )


def summarize(run: RunView) -> Trajectory:
    """The numbers of the tables `trajectory`, `surface` and `metrics`."""
    found = path(run)
    moves = np.diff(found.weights, axis=0)
    length = float(np.linalg.norm(moves, axis=1).sum())
    last = found.weights[-1]
    return Trajectory(
        length=length,
        straightness=float(np.linalg.norm(last - found.weights[0])) / length if length else None,
        turns=_turns(moves @ np.linalg.eigh(found.surface.curvature)[1][:, -1]),
        final_distance=float(np.linalg.norm(last - found.surface.nearest_minimum(last))),
        final_loss=float(run.tables["metrics"]["train_loss"].iloc[-1]),
    )


def path(run: RunView, title: str = "") -> Path:
    """The path of a run."""
    return Path(run.label, weights_of(run.tables["trajectory"]), surface_of(run.tables["surface"]), title)


def weights_of(table: pandas.DataFrame) -> np.ndarray:
    """`[records, 2]` of the table `trajectory`, up to where a training diverges."""
    weights = table[["w_1", "w_2"]].to_numpy(float)
    return weights[np.isfinite(weights).all(axis=1)]


def surface_of(table: pandas.DataFrame) -> Surface:
    """The surface in the table `surface`."""
    row = table.iloc[0]
    one, both, two = (float(row[f"curvature_{name}"]) for name in ("11", "12", "22"))
    slope = row[["slope_1", "slope_2"]].to_numpy(float)
    return Surface(float(row["loss"]), slope, np.array([[one, both], [both, two]]))


def _turns(moves: np.ndarray) -> int:
    """How often moves along a line change their direction."""
    long = moves[np.abs(moves) > COUNTED * np.abs(moves).max(initial=0.0)]
    return int((np.sign(long[1:]) != np.sign(long[:-1])).sum())


def _layer(setup: Setup, data: Data) -> dict[str, list[Any]]:
    """The one layer. Raises InvalidValue where there are others, more weights, or classes."""
    (name, first), *others = setup.leaves()
    kernel = first.params.get("kernel")
    if others or data.train.classes or len(first.params) != 1 or kernel is None or kernel.size != 2:
        raise InvalidValue(
            "trajectory is of two weights: one dense layer from 2 inputs to 1 output, use_bias: false, "
            "on data with values to regress; leave it out here"
        )
    return {"layer": [name]}


def _kernel(setup: Setup, params: Any) -> Array:
    ((name, _),) = setup.leaves()
    return subtree(params, name)["kernel"]


def _weights(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    kernel = _kernel(setup, snapshot.params).reshape(2)
    return kernel[:1], kernel[1:]


def _surface(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """Loss, slope and curvature at w = 0, each `[1]`."""
    train, shape = snapshot.examples["train"], _kernel(setup, snapshot.params).shape

    def loss(weights: Array) -> Array:
        return snapshot.loss.per_example(train.inputs @ weights.reshape(shape), train.targets).mean()

    origin = jnp.zeros(2, jnp.float32)
    slope, curvature = jax.grad(loss)(origin), jax.hessian(loss)(origin)
    found = (loss(origin), slope[0], slope[1], curvature[0, 0], curvature[0, 1], curvature[1, 1])
    return tuple(value[None] for value in found)


def draw(paths: Sequence[Path]) -> Figure:
    """Paths on contours of the loss: those of one surface (and one title) in one panel, or, where that is
    crowded, in a panel each, of the same extent."""
    refuse_too_many_lines(len(paths), "paths")
    shared: list[list[int]] = []
    for number, new in enumerate(paths):
        home = next((panel for panel in shared if _same_panel(paths[panel[0]], new)), None)
        if home is None:
            shared.append([number])
        else:
            home.append(number)
    if max(map(len, shared)) > CROWDED and len(paths) <= MOST_APART:
        return _draw_apart([[paths[number] for number in panel] for panel in shared])
    figure, axes = plotting.panels(1, len(shared), width=max(6.4, 4.6 * len(shared)), height=4.8)
    colours = plotting.colours(len(paths))
    for ax, panel in zip(axes[0], shared, strict=True):
        drawn = _draw_contours(ax, [paths[number] for number in panel])
        for number, weights in zip(panel, drawn, strict=True):
            _draw_path(ax, weights, colours[number])
        ax.set_title(paths[panel[0]].title)
    if len(paths) > 1:
        plotting.colour_legend(figure, [path.label for path in paths], MARKS)
    return figure


def _draw_apart(surfaces: Sequence[Sequence[Path]]) -> Figure:
    """A panel a path."""
    places = [(alike, number) for alike in surfaces for number in range(len(alike))]
    rows = math.ceil(len(places) / COLUMNS)
    figure, axes = plotting.panels(rows, COLUMNS, width=3.3 * COLUMNS, height=0.3 + 3.3 * rows)
    for ax, (alike, number) in zip(axes.flat, places, strict=False):
        _draw_path(ax, _draw_contours(ax, alike)[number], plotting.COLOURS[0])
        ax.set_title(textwrap.fill(alike[number].label, TITLE))
    for ax in axes.flat[len(places) :]:
        ax.remove()
    figure.suptitle(f"{', '.join(dict.fromkeys(alike[0].title for alike in surfaces))}; {MARKS}")
    return figure


def _draw_path(ax: Axes, weights: np.ndarray, colour: Any) -> None:
    ax.plot(*weights.T, "-o", color=colour, markersize=2, linewidth=0.9)
    ax.plot(*weights[0], "s", color="#000000", markerfacecolor="none", markersize=6)
    ax.set(xlabel="$w_1$", ylabel="$w_2$", aspect="equal")


def _title(runs: Sequence[RunView]) -> str:
    if len(runs) > 1:
        return "Paths on the loss surface"
    found = summarize(runs[0])
    straight = "" if found.straightness is None else f"; straightness {found.straightness:.2f}"
    return f"{runs[0].label}: {found.turns} turns{straight}"


def _same_panel(one: Path, other: Path) -> bool:
    ours, theirs = (
        [path.surface.loss, *path.surface.slope, *path.surface.curvature.flat] for path in (one, other)
    )
    return one.title == other.title and np.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def _draw_contours(ax: Axes, paths: Sequence[Path]) -> list[np.ndarray]:
    """Lines of equal loss around paths and minimum, and a cross there. What to draw of each path: its weights
    up to where it goes far off."""
    surface, start = paths[0].surface, paths[0].weights[0]
    centre = surface.nearest_minimum(start)
    reach = WIDEST * max(float(np.linalg.norm(path.weights[0] - centre)) for path in paths) or 1.0
    drawn = [_within(path.weights, centre, reach) for path in paths]
    seen = np.clip(np.concatenate([centre[None], *drawn]), centre - reach, centre + reach)
    edge = 0.15 * np.ptp(seen, axis=0).max() or 1.0
    sides = [np.linspace(one.min() - edge, one.max() + edge, POINTS) for one in seen.T]
    above = surface(np.stack(np.meshgrid(*sides), axis=-1)) - surface(centre)
    level = max(surface(start) - surface(centre), above.max() * FAINT)
    if level > 0:  # else the surface is a plane
        levels = level * 2.0 ** np.arange(*CONTOURS)
        ax.contour(*sides, above, levels=levels, colors="#999999", linewidths=0.5)
    ax.plot(*centre, "+", color="#000000", markersize=9)
    ax.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
    ax.grid(visible=False)
    return drawn


def _within(weights: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """The weights up to the first ones beyond reach."""
    beyond = np.linalg.norm(weights - centre, axis=1) > reach
    return weights[: beyond.argmax() + 1] if beyond.any() else weights
