"""The loss around trained weights, along random directions as long as the weights themselves.

The directions are scaled filter by filter, so that a net with weights twice as long does not look flatter
for it. Letters in shapes: N points, X and Y points along the two directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Tree
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon, refuse_too_many_lines
from nnlab.phenomena.examples import map_in_blocks
from nnlab.phenomena.probe import Batch, Probe, RowLabels, Snapshot
from nnlab.registry import Count, Positive
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERTURBED_ARRAYS = ("kernel", "recurrent_kernel", "embedding")  # all others stay as they are
POINTS_PER_BATCH = 4  # that the compiled program evaluates together
CONTOUR_LEVELS = 14
DIRECTIONS = ("first direction", "second direction")  # in lengths of the weights
MAXIMUM_GUESSES = 3.0  # the loss of so many guesses is where figures end, so that the low ground is seen
CURVED_DOWN_SHARE = 1e-3  # of the sharpest curve: a curve that bends down by less may be rounding

GridPoints = Annotated[int, Ge(5), Le(201)]


class LossLandscape(NamedTuple):
    """The loss around trained weights.

    A guess is a model whose outputs are all 0; by cross-entropy its loss is log K for K classes.

    Attributes:
        minimum: Training loss at the trained weights, the middle of the grid.
        low_share: Share of the points whose loss is below half of a guess's: how wide the low ground is; 0 to
            1, null where a guess costs nothing (perceptron).
        curved_down: Share of the inner points at which the loss curves downward along a line of the grid, by
            more than a thousandth of the sharpest curve; 0 to 1, 0 where it is convex, null where it is flat.
        rise: Mean loss on the rim over a guess's; null where a guess costs nothing.
        reason: Why numbers are null.
    """

    minimum: float
    low_share: float | None
    curved_down: float | None
    rise: float | None
    reason: str | None = None


@phenomenon
def loss_landscape(
    dimensions: Literal[1, 2] = 2, points: GridPoints = 25, reach: Positive = 1.0, examples: Count = 1000
) -> RunPhenomenon:
    """How wide is the low ground around the trained weights, and is it convex?

    The loss L(w + a d + b e), a and b from -reach to reach, in evaluation mode, with the running statistics
    of batch norm as they are. The directions d and e are sampled from N(0, 1) and scaled filter by filter,
    d_k ||w_k|| / ||d_k||; 1 is the weights' own length. Biases and the parameters of normalization stay.

    Args:
        dimensions: 2 for both directions, 1 for a alone.
        points: Number of values of a, and of b; 5 to 201, odd, so that the trained weights are among them.
        reach: The largest a and b, in lengths of the weights; above 0.
        examples: The loss is the mean over so many training examples, the first ones.

    Reference:
        Li, Xu, Taylor, Studer & Goldstein 2018, "Visualizing the Loss Landscape of Neural Nets"; lecture 001,
        "Loss landscape".
    """
    if points % 2 == 0:
        message = f"{points} points pass the trained weights over; take {points + 1}"
        raise InvalidValue(message, ("points",))
    steps = [float(value) for value in np.linspace(-reach, reach, points)]
    second = steps if dimensions == 2 else [0.0]
    along = [a for a in steps for _ in second]
    across = [b for _ in steps for b in second]

    def rows(setup: Setup, data: Data) -> RowLabels:
        return {"along": along, "across": across}

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        places = np.array([along, across], np.float32).T
        plane = [random_direction(snapshot, number) for number in (0, 1)]
        losses = losses_at(snapshot, snapshot.params, plane, jnp.asarray(places), examples)
        return losses, jnp.broadcast_to(_guess_loss(snapshot, setup, examples), losses.shape)

    figures = {"loss_landscape": draw_landscapes} | (
        {"loss_surface": draw_surfaces} if dimensions == 2 else {}
    )
    return RunPhenomenon(
        probes=(Probe("loss_landscape", rows, ("loss", "guess"), measure, record_at="end"),),
        result=LossLandscape,
        detect=lambda run: detect(run.tables["loss_landscape"]),
        figures=figures,
    )


# --- the probe -------------------------------------------------------------------------------------------


def random_direction(snapshot: Snapshot, number: int) -> Tree:
    """A random direction, filter by filter as long as the weights; 0 for the arrays that stay.

    Args:
        snapshot: Its params and key make the direction.
        number: Different numbers give independent directions.
    """
    key = jax.random.fold_in(snapshot.key, number)
    paths, structure = jax.tree_util.tree_flatten_with_path(snapshot.params)
    arrays = [
        _filter_normalized(jax.random.fold_in(key, i), leaf)
        if path[-1].key in PERTURBED_ARRAYS
        else jnp.zeros_like(leaf)
        for i, (path, leaf) in enumerate(paths)
    ]
    return jax.tree_util.tree_unflatten(structure, arrays)


def _filter_normalized(key: Array, kernel: Array) -> Array:
    """Normal numbers in which each filter, `[..., k]`, is as long as the kernel's."""
    normal = jax.random.normal(key, kernel.shape)
    ratio = _filter_norms(kernel) / jnp.maximum(_filter_norms(normal), 1e-30)
    return normal * jnp.broadcast_to(ratio, normal.shape)


def _filter_norms(kernel: Array) -> Array:
    """`[..., K]` to `[1, ..., K]`."""
    return jnp.sqrt(jnp.square(kernel).sum(range(kernel.ndim - 1), keepdims=True))


def losses_at(snapshot: Snapshot, centre: Tree, plane: Sequence[Tree], places: Array, examples: int) -> Array:
    """The mean training loss at places in a plane of weights.

    Args:
        snapshot: Examples, model and loss.
        centre: The weights at (0, 0).
        plane: Its two directions d and e.
        places: (a, b) of each place, `[N, 2]`.
        examples: How many of the training examples, the first ones, are averaged over.

    Returns:
        The loss at centre + a d + b e, `[N]`.
    """
    train = snapshot.examples["train"]
    batch = Batch(train.inputs[:examples], train.targets[:examples])

    def loss(place: Array) -> Array:
        params = jax.tree.map(lambda w, d, e: w + place[0] * d + place[1] * e, centre, *plane)
        outputs = map_in_blocks(lambda inputs: snapshot.evaluate(params, inputs).value, batch.inputs)
        return snapshot.loss.per_example(outputs, batch.targets).mean()

    return jax.lax.map(loss, places, batch_size=POINTS_PER_BATCH)


def _guess_loss(snapshot: Snapshot, setup: Setup, examples: int) -> Array:
    """The mean loss of outputs that are all 0, `[]`."""
    targets = snapshot.examples["train"].targets[:examples]
    outputs = jnp.zeros((targets.shape[0], *setup.output_shape), jnp.float32)
    return snapshot.loss.per_example(outputs, targets).mean()


# --- the detector ----------------------------------------------------------------------------------------


def detect(table: pandas.DataFrame) -> LossLandscape:
    """The numbers of the table `loss_landscape`."""
    _, _, losses = pivot_losses(table, "along", "across")
    guess = float(table["guess"].iloc[0])
    middle = losses[losses.shape[0] // 2, losses.shape[1] // 2]
    rim = [losses[0], losses[-1]] + ([losses[:, 0], losses[:, -1]] if losses.shape[1] > 1 else [])
    curved_down = _curved_down(losses)
    reasons = [] if guess > 0 else ["a guess costs nothing"]
    reasons += [] if curved_down is not None else ["the loss is flat"]
    return LossLandscape(
        minimum=float(middle),
        low_share=float((losses < guess / 2).mean()) if guess > 0 else None,
        curved_down=curved_down,
        rise=float(np.concatenate(rim).mean()) / guess if guess > 0 else None,
        reason="; ".join(reasons) or None,
    )


def _curved_down(losses: np.ndarray) -> float | None:
    """`LossLandscape.curved_down` of losses `[X, Y]`."""
    losses = np.minimum(losses, 1e30)  # an infinite loss has no curvature
    curvatures = []
    for axis in range(2):
        if losses.shape[axis] > 2:
            second = np.diff(losses, 2, axis=axis)
            inner = slice(1, -1) if losses.shape[1 - axis] > 2 else slice(None)
            curvatures.append(second[:, inner] if axis == 0 else second[inner])
    least, sharpest = np.min(curvatures, axis=0), np.max(np.abs(curvatures))
    return float((least < -CURVED_DOWN_SHARE * sharpest).mean()) if sharpest > 0 else None


def pivot_losses(table: pandas.DataFrame, x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table's losses on the grid of two of its columns; a NaN loss counts as infinite.

    Returns:
        The values of x `[X]`, those of y `[Y]`, and the losses `[X, Y]`.
    """
    refuse_too_many_lines(max(table[x].nunique(), table[y].nunique()), "points")
    grid = table.pivot_table(index=x, columns=y, values="loss", aggfunc="first", dropna=False)
    losses = np.nan_to_num(grid.to_numpy(float), nan=np.inf)
    return grid.index.to_numpy(float), grid.columns.to_numpy(float), losses


# --- figures ---------------------------------------------------------------------------------------------


def draw_landscapes(runs: Sequence[RunView]) -> Figure:
    """Contours of the loss, a panel a run, all of one scale; of one direction, a line a run."""
    tables = [run.tables["loss_landscape"] for run in runs]
    if any(table["across"].nunique() == 1 for table in tables):
        return _draw_lines(runs)
    top = _top(tables)
    bottom = min(max(min(float(table["loss"].min()) for table in tables), top / 300), top / 3)
    levels = np.geomspace(bottom, top, CONTOUR_LEVELS)
    filled = []

    def draw(ax: Axes, run: RunView) -> str:
        x, y, losses = pivot_losses(run.tables["loss_landscape"], "along", "across")
        filled.append(plotting.contours(ax, x, y, losses, levels))
        ax.plot(0, 0, "k+", markersize=7)
        ax.set(xlabel=DIRECTIONS[0], ylabel=DIRECTIONS[1], aspect="equal")
        return f"{run.label}: {_outcome(run)}"

    figure, axes = plotting.panel_per_result(
        runs, draw, height=3.8 if len(runs) == 1 else 3.1, compressed=True
    )
    figure.colorbar(filled[-1], ax=axes, label=loss_label(runs, "training"), format="%.2g")
    return figure


def _top(tables: Sequence[pandas.DataFrame]) -> float:
    """The highest loss that is drawn: the greatest of the tables, or some times a guess's. Raises
    InvalidValue where none is above 0."""
    highest = [_highest(table["loss"], float(table["guess"].iloc[0])) for table in tables]
    top = float(np.nanmax([0.0, *highest]))
    if top <= 0:
        raise InvalidValue("the loss is 0, or not finite, all around")
    return top


def _highest(losses: pandas.Series, guess: float) -> float:
    highest = float(losses[np.isfinite(losses)].max())
    return min(highest, MAXIMUM_GUESSES * guess) if guess > 0 else highest


def _outcome(run: RunView) -> str:
    result = detect(run.tables["loss_landscape"])
    shares = {"low ground": result.low_share, "curved down": result.curved_down}
    known = [f"{100 * share:.0f} % {name}" for name, share in shares.items() if share is not None]
    return ", ".join(known) or str(result.reason)


def _draw_lines(runs: Sequence[RunView]) -> Figure:
    figure, ((ax,),) = plotting.panels(1, 1, 3.4)
    losses: list[float] = []
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table = run.tables["loss_landscape"]
        line = table[table["across"].abs() == table["across"].abs().min()]
        ax.plot(line["along"], line["loss"], color=colour, label=f"{run.label}: {_outcome(run)}")
        losses += line["loss"].tolist()
    words = f"{runs[0].label}: {_outcome(runs[0])}" if len(runs) == 1 else "Loss around the trained weights"
    xlabel = "along a random direction, in lengths of the weights"
    ax.set(title=plotting.title(words), xlabel=xlabel, ylabel=loss_label(runs, "training"))
    plotting.log_if_wide(ax, losses)
    plotting.legend(ax)
    return figure


def draw_surfaces(runs: Sequence[RunView]) -> Figure:
    """The loss as a surface over the two directions, a panel a run, cut off where it is high."""
    tables = [run.tables["loss_landscape"] for run in runs]
    surfaces = [
        (*pivot_losses(table, "along", "across"), f"{run.label}: {_outcome(run)}")
        for run, table in zip(runs, tables, strict=True)
    ]
    return plotting.surfaces(surfaces, _top(tables), (*DIRECTIONS, loss_label(runs, "training")))
