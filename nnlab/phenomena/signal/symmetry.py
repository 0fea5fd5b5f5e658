"""Symmetry: units that start alike stay alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.layer_table import hidden_layers
from nnlab.phenomena.probe import Probe, Snapshot, layer_rows, measure_kernels
from nnlab.phenomena.signal.layer_curves import draw_layer_curves
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERDING_SPREAD = 1e-3  # below it the units of a layer count as one


class Symmetry(NamedTuple):
    """How different the hidden units are.

    Attributes:
        unit_spread: How far the incoming weights of a hidden layer's units lie from their mean, relative to
            their norm, in the layer where that is greatest, at step 0; 0 when all units are alike, about 1
            when they are random. A layer of one unit does not count.
        final_unit_spread: The same at the last record.
        herding: Whether final_unit_spread is below 0.001; null where that is not finite.
    """

    unit_spread: float
    final_unit_spread: float
    herding: bool | None


@phenomenon
def symmetry() -> RunPhenomenon:
    """Do hidden units stay alike, so that a wide layer acts as one unit?

    Units with the same incoming weights get the same gradient: ||K - mean of K over the units|| / ||K|| of a
    kernel K then remains 0.

    Reference:
        Lecture 001 (weights all zero or all the same, "herding").
    """
    return RunPhenomenon(
        probes=(Probe("layers", layer_rows, ("unit_spread",), _unit_spreads),),
        result=Symmetry,
        detect=lambda run: detect(run.tables["layers"]),
        figures={"unit_spread": unit_spread},
    )


def detect(layers: pandas.DataFrame) -> Symmetry:
    """The numbers of the table `layers`. Raises InvalidValue where no hidden layer has two units."""
    greatest = hidden_layers(layers).groupby("step")["unit_spread"].max()
    first, final = float(greatest.iloc[0]), float(greatest.iloc[-1])
    if math.isnan(first):
        raise InvalidValue("no hidden layer has two units that could differ")
    return Symmetry(first, final, final < HERDING_SPREAD if math.isfinite(final) else None)


def _unit_spreads(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """||K - mean of K over units|| / ||K|| of each kernel; 0 for one of zeros, NaN of a single unit and where
    there is none."""

    def spread(kernel: Array) -> Array:
        if kernel.shape[-1] == 1:
            return jnp.full((), jnp.nan)
        mean = jnp.broadcast_to(kernel.mean(-1, keepdims=True), kernel.shape)
        size = jnp.sqrt(jnp.square(kernel).sum())
        return jnp.sqrt(jnp.square(kernel - mean).sum()) / jnp.where(size > 0, size, 1.0)

    return (measure_kernels(setup, snapshot.params, spread),)


def unit_spread(runs: Sequence[RunView]) -> Figure:
    """How different the units of each hidden layer are, over training; one panel a run."""

    def draw(ax: Axes, run: RunView) -> str:
        draw_layer_curves(ax, hidden_layers(run.tables["layers"]), "unit_spread")
        ax.set(ylabel="spread of the units' weights\nover their norm", ylim=(-0.05, 1.1))
        plotting.legend(ax, ncols=2)
        numbers = detect(run.tables["layers"])
        outcome = {True: "units stay alike", False: "units differ", None: "diverged"}[numbers.herding]
        return f"{run.label}: {outcome}, spread {plotting.scientific(numbers.final_unit_spread)} at the end"

    return plotting.panel_per_result(runs, draw, height=3.6, sharey=True)[0]
