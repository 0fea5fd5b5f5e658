"""The loss around trained weights, along random directions as long as the weights themselves, filter by
filter, so that a net with weights twice as long does not look flatter for it.

Sources: Li, Xu, Taylor, Studer & Goldstein 2018, "Visualizing the Loss Landscape of Neural Nets"; lecture
001, "Loss landscape".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_too_many_lines
from nnlab.phenomena.examples import map_in_blocks
from nnlab.phenomena.probe import Batch, Probe, Snapshot
from nnlab.registry import Count, Positive
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOVED = ("kernel", "recurrent_kernel", "embedding")  # the arrays that are not left as they are
AT_ONCE = 4  # points of a grid, in the compiled program
LEVELS = 14  # contours
HIGHEST = (
    3.0  # times what a guess costs: above it contours and surface are cut off, for the low ground to be seen
)
Points = Annotated[int, Ge(5), Le(201)]


class LossLandscape(NamedTuple):
    """minimum: the training loss at the trained weights. low_share: of the points looked at, the share where
    the loss is below half of a guess's, that of outputs which are all 0: log K for K classes by
    cross-entropy; how wide the low ground is. curved_down: of the inner points, the share where the loss
    curves downward along a line of the grid, by more than a thousandth of the sharpest curve; 0 where it is
    convex. rise: mean loss on the rim, over the guess's. Both are null where a guess costs nothing
    (perceptron).
    """

    minimum: float
    low_share: float | None
    curved_down: float
    rise: float | None


@phenomenon
def loss_landscape(
    dimensions: Literal[1, 2] = 2, points: Points = 25, reach: Positive = 1.0, examples: Count = 1000
) -> RunPhenomenon:
    """How wide is the low ground around the trained weights, and is it convex?

    L(w + a d + b e), a and b from -reach to reach, `points` of each (with dimensions: 1, a alone). d and e
    are drawn from N(0, 1) and scaled filter by filter, d_k ||w_k|| / ||d_k||; 1 is the weights' own length.
    Biases and what normalizes stay. Of the first `examples` training examples, in evaluation mode, the
    running statistics of batch norm as they are. points: odd, so that the trained weights are one. Li et al.
    2018.
    """
    if points % 2 == 0:
        message = f"{points} points pass the trained weights over; take {points + 1}"
        raise InvalidValue(message, ("points",))

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        steps = [float(v) for v in np.linspace(-reach, reach, points)]
        second = steps if dimensions == 2 else [0.0]
        return {
            "along": [a for a in steps for _ in second],
            "across": [b for _ in steps for b in second],
        }

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        grid = rows(setup, None)  # type: ignore[arg-type]
        places = np.array([grid["along"], grid["across"]], np.float32).T
        plane = [direction(snapshot, number) for number in (0, 1)]
        found = losses(snapshot, snapshot.params, plane, jnp.asarray(places), examples)
        return found, jnp.broadcast_to(_guess(snapshot, setup, examples), found.shape)

    return RunPhenomenon(
        probes=(Probe("loss_landscape", rows, ("loss", "guess"), measure, record_at="end"),),
        result=LossLandscape,
        detect=lambda run: summarize(run.tables["loss_landscape"]),
        figures={"loss_landscape": draw_landscapes}
        | ({"loss_surface": draw_surfaces} if dimensions == 2 else {}),
    )


def direction(snapshot: Snapshot, number: int) -> Any:
    """A random direction as long as the weights, filter by filter; 0 for biases and what normalizes."""
    key = jax.random.fold_in(snapshot.key, number)
    paths, structure = jax.tree_util.tree_flatten_with_path(snapshot.params)
    found = [
        _like(jax.random.fold_in(key, i), leaf) if path[-1].key in MOVED else jnp.zeros_like(leaf)
        for i, (path, leaf) in enumerate(paths)
    ]
    return jax.tree_util.tree_unflatten(structure, found)


def _like(key: Array, kernel: Array) -> Array:
    """Normal numbers with each filter, `[..., k]`, as long as the kernel's."""
    drawn = jax.random.normal(key, kernel.shape)
    ratio = _lengths(kernel) / jnp.maximum(_lengths(drawn), 1e-30)
    return drawn * jnp.broadcast_to(ratio, drawn.shape)


def _lengths(kernel: Array) -> Array:
    """`[..., K]` to `[1, ..., K]`."""
    return jnp.sqrt(jnp.square(kernel).sum(range(kernel.ndim - 1), keepdims=True))


def losses(snapshot: Snapshot, centre: Any, plane: Sequence[Any], places: Array, examples: int) -> Array:
    """The mean training loss at centre + a d + b e for each row (a, b) of `places`, `[N]`."""
    train = snapshot.examples["train"]
    batch = Batch(train.inputs[:examples], train.targets[:examples])

    def loss(place: Array) -> Array:
        params = jax.tree.map(lambda w, d, e: w + place[0] * d + place[1] * e, centre, *plane)
        outputs = map_in_blocks(lambda inputs: snapshot.evaluate(params, inputs).value, batch.inputs)
        return snapshot.loss.per_example(outputs, batch.targets).mean()

    return jax.lax.map(loss, places, batch_size=AT_ONCE)


def _guess(snapshot: Snapshot, setup: Setup, examples: int) -> Array:
    """The mean loss of outputs that are all 0."""
    targets = snapshot.examples["train"].targets[:examples]
    outputs = jnp.zeros((targets.shape[0], *setup.output_shape), jnp.float32)
    return snapshot.loss.per_example(outputs, targets).mean()


def summarize(table: pandas.DataFrame) -> LossLandscape:
    """The numbers of the table `loss_landscape`."""
    _, _, grid = on_grid(table, "along", "across")
    guess = float(table["guess"].iloc[0])
    middle = grid[grid.shape[0] // 2, grid.shape[1] // 2]
    rim = [grid[0], grid[-1]] + ([grid[:, 0], grid[:, -1]] if grid.shape[1] > 1 else [])
    return LossLandscape(
        minimum=float(middle),
        low_share=float((grid < guess / 2).mean()) if guess > 0 else None,
        curved_down=_curved_down(grid),
        rise=float(np.concatenate(rim).mean()) / guess if guess > 0 else None,
    )


def _curved_down(grid: np.ndarray) -> float:
    """See `LossLandscape`."""
    found = []
    grid = np.minimum(grid, 1e30)  # what is infinite has no curvature
    for axis in range(2):
        if grid.shape[axis] > 2:
            second = np.diff(grid, 2, axis=axis)
            cut = slice(1, -1) if grid.shape[1 - axis] > 2 else slice(None)
            found.append(second[:, cut] if axis == 0 else second[cut])
    least = np.min(found, axis=0)
    return float((least < -1e-3 * np.max(np.abs(found))).mean())


def on_grid(table: pandas.DataFrame, x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values of the axes and the losses `[x, y]`; a NaN loss is an infinite one."""
    refuse_too_many_lines(max(table[x].nunique(), table[y].nunique()), "points")
    spread = table.pivot_table(index=x, columns=y, values="loss", aggfunc="first", dropna=False)
    values = spread.to_numpy(float)
    return spread.index.to_numpy(float), spread.columns.to_numpy(float), np.nan_to_num(values, nan=np.inf)


def draw_landscapes(runs: Sequence[RunView]) -> Figure:
    """Contours of the loss, a panel a run, all of one scale; of one direction, a line a run."""
    tables = [run.tables["loss_landscape"] for run in runs]
    if any(table["across"].nunique() == 1 for table in tables):
        return _draw_lines(runs)
    top = max(_top(run) for run in runs)
    if top <= 0:
        raise InvalidValue("the loss is 0 all around")
    bottom = min(max(min(float(table["loss"].min()) for table in tables), top / 300), top / 3)
    levels = np.geomspace(bottom, top, LEVELS)
    filled = []

    def draw(ax: Axes, run: RunView) -> str:
        x, y, grid = on_grid(run.tables["loss_landscape"], "along", "across")
        filled.append(plotting.contours(ax, x, y, grid, levels))
        ax.plot(0, 0, "k+", markersize=7)
        ax.set(xlabel="first direction", ylabel="second direction", aspect="equal")
        return f"{run.label}\n{_says(run)}"

    figure, axes = plotting.panel_per_result(
        runs, draw, panel_width=3.7, extra_width=0.6, minimum_width=4.4, height=3.9
    )
    figure.colorbar(filled[-1], ax=axes, label="training loss", format="%.2g", shrink=0.8)
    return figure


def _top(run: RunView) -> float:
    """The highest loss that is drawn: of what is there, or some times what a guess costs."""
    table = run.tables["loss_landscape"]
    found, guess = table["loss"], float(table["guess"].iloc[0])
    highest = float(found[np.isfinite(found)].max())
    return min(highest, HIGHEST * guess) if guess > 0 else highest


def _says(run: RunView) -> str:
    found = summarize(run.tables["loss_landscape"])
    low = "" if found.low_share is None else f"low ground {100 * found.low_share:.0f} %, "
    return f"{low}curved down {100 * found.curved_down:.0f} %"


def _draw_lines(runs: Sequence[RunView]) -> Figure:
    figure, axes = plotting.panels(1, 1, width=4.6, height=3.4)
    ax, drawn = axes[0][0], list[float]()
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table = run.tables["loss_landscape"]
        line = table[table["across"].abs() == table["across"].abs().min()]
        ax.plot(line["along"], line["loss"], color=colour, label=run.label)
        drawn += line["loss"].tolist()
    ax.set(
        xlabel="along a random direction, in lengths of the weights",
        ylabel="training loss",
        title=_says(runs[0]) if len(runs) == 1 else "Loss around the trained weights",
    )
    plotting.log_if_wide(ax, drawn)
    plotting.legend(ax)
    return figure


def draw_surfaces(runs: Sequence[RunView]) -> Figure:
    """The loss as a surface over the two directions, a panel a run, cut off where it is high."""
    top = max(_top(run) for run in runs)
    return plotting.surfaces(
        [
            (*on_grid(run.tables["loss_landscape"], "along", "across"), f"{run.label}\n{_says(run)}")
            for run in runs
        ],
        top,
        ("first direction", "second direction", "training loss"),
    )
