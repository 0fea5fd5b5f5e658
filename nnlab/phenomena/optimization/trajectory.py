"""The trajectory of two weights on their loss surface: an elongated bowl makes gradient descent zigzag.

A linear unit of two weights under the squared error has the loss L(w) = c + b.w + w.H w / 2, exactly; so one
evaluation of c, b and H is enough to draw it everywhere. In shapes, R stands for records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Tree
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.optimization.trajectory_figure import LabelledTrajectory, draw_trajectories
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot, subtree
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FLAT_CURVATURE_SHARE = 1e-6  # of the greatest curvature: the loss does not depend on a flatter direction
MINIMUM_MOVE_SHARE = 1e-3  # of the longest move across the ravine: shorter ones may be rounding
SURFACE_COLUMNS = ("loss", "slope_1", "slope_2", "curvature_11", "curvature_12", "curvature_22")


class Trajectory(NamedTuple):
    """How directly two weights come to the minimum, over the recorded steps; record each of them.

    Attributes:
        length: Length of the trajectory, in weights; from 0.
        straightness: Distance from start to end over length; 1 is a straight line, null where nothing moved.
        turns: How often the way across the ravine, along the direction of greatest curvature, changes its
            sign from one move to the next; moves below a thousandth of the longest do not count.
            Null likewise.
        final_distance: From the last weights to the nearest ones of least loss; from 0.
        final_loss: Training loss at the last record.
        reason: Why numbers are null.
    """

    length: float
    straightness: float | None
    turns: int | None
    final_distance: float
    final_loss: float
    reason: str | None = None


class Surface(NamedTuple):
    """A quadratic loss, L(w) = loss + slope.w + w.curvature w / 2.

    Attributes:
        loss: At w = 0.
        slope: `[2]`.
        curvature: `[2, 2]`.
    """

    loss: float
    slope: np.ndarray
    curvature: np.ndarray

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """The loss at weights, `[..., 2]` to `[...]`."""
        return self.loss + weights @ self.slope + 0.5 * ((weights @ self.curvature) * weights).sum(-1)

    def nearest_minimum(self, weights: np.ndarray) -> np.ndarray:
        """Of the weights of least loss, the nearest: one step of Newton's method."""
        inverse = np.linalg.pinv(self.curvature, rcond=FLAT_CURVATURE_SHARE, hermitian=True)
        return weights - inverse @ (self.slope + self.curvature @ weights)


@phenomenon
def trajectory() -> RunPhenomenon:
    """Straight to the minimum, or to and fro between the walls of a ravine? For a net of exactly two weights.

    That is one dense layer with a kernel of two values, use_bias: false and no activation, on data with
    values to regress; the loss surface is that of the squared error over the training examples.

    Reference:
        Lectures 001 (correlated inputs make a "ravine"), 002 (momentum smooths updates) and 004 (an elongated
        bowl).
    """
    return RunPhenomenon(
        probes=(
            Probe("trajectory", _one_row, ("w_1", "w_2"), _weights),
            Probe(
                "surface",
                _one_row,
                SURFACE_COLUMNS,
                _surface,
                record_at="start",
                evaluates_all_examples=True,
            ),
        ),
        result=Trajectory,
        detect=detect,
        figures={"trajectory": _figure},
        validate=_one_row,
    )


# --- the detector ----------------------------------------------------------------------------------------


def detect(run: RunView) -> Trajectory:
    """The numbers of the tables `trajectory`, `surface` and `metrics`."""
    weights, surface = read_weights(run.tables["trajectory"]), read_surface(run.tables["surface"])
    moves = np.diff(weights, axis=0)
    length = float(np.linalg.norm(moves, axis=1).sum())
    end = weights[-1]
    steepest = np.linalg.eigh(surface.curvature)[1][:, -1]
    return Trajectory(
        length=length,
        straightness=float(np.linalg.norm(end - weights[0])) / length if length else None,
        turns=count_turns(moves @ steepest) if length else None,
        final_distance=float(np.linalg.norm(end - surface.nearest_minimum(end))),
        final_loss=float(run.tables["metrics"]["train_loss"].iloc[-1]),
        reason=None if length else "the weights do not move",
    )


def read_weights(table: pandas.DataFrame) -> np.ndarray:
    """The weights `[R, 2]` in the table `trajectory`, up to where training diverges. Raises
    InvalidValue where none is finite."""
    weights = table[["w_1", "w_2"]].to_numpy(float)
    finite = weights[np.isfinite(weights).all(axis=1)]
    if not len(finite):
        raise InvalidValue("no weights are finite")
    return finite


def read_surface(table: pandas.DataFrame) -> Surface:
    """The surface in the table `surface`."""
    row = table.iloc[0]
    one, both, two = (float(row[f"curvature_{name}"]) for name in ("11", "12", "22"))
    slope = row[["slope_1", "slope_2"]].to_numpy(float)
    return Surface(float(row["loss"]), slope, np.array([[one, both], [both, two]]))


def count_turns(moves: np.ndarray) -> int:
    """How often moves along a line, `[R - 1]`, change their direction."""
    long = moves[np.abs(moves) > MINIMUM_MOVE_SHARE * np.abs(moves).max(initial=0.0)]
    return int((np.sign(long[1:]) != np.sign(long[:-1])).sum())


# --- probes ----------------------------------------------------------------------------------------------


def _one_row(setup: Setup, data: Data) -> RowLabels:
    """The one layer. Raises InvalidValue where there are others, more weights, or classes."""
    (name, first), *others = setup.leaves()
    kernel = first.params.get("kernel")
    if others or data.train.classes or len(first.params) != 1 or kernel is None or kernel.size != 2:
        raise InvalidValue(
            "trajectory is of two weights: one dense layer from 2 inputs to 1 output, use_bias: false, "
            "on data with values to regress; leave it out here"
        )
    return {"layer": [name]}


def _kernel(setup: Setup, params: Tree) -> Array:
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
    values = (loss(origin), slope[0], slope[1], curvature[0, 0], curvature[0, 1], curvature[1, 1])
    return tuple(value[None] for value in values)


# --- the figure ------------------------------------------------------------------------------------------


def _figure(runs: Sequence[RunView]) -> Figure:
    """The trajectories of runs on contours of the loss."""
    title = _outcome(runs[0]) if len(runs) == 1 else "Paths on the loss surface"
    return draw_trajectories(
        [
            LabelledTrajectory(
                run.label,
                read_weights(run.tables["trajectory"]),
                read_surface(run.tables["surface"]),
                title,
            )
            for run in runs
        ]
    )


def _outcome(run: RunView) -> str:
    result = detect(run)
    if result.straightness is None:
        return f"{run.label}: {result.reason}"
    return f"{run.label}: {result.turns} turns, straightness {result.straightness:.2f} of 1"
