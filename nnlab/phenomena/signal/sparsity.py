"""Sparsity: how many weights are next to zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import (
    Probe,
    RowLabels,
    Snapshot,
    layer_rows,
    measure_kernels,
    stages,
    subtree,
)
from nnlab.phenomena.signal.layer_curves import draw_layer_curves
from nnlab.registry import Positive
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_AXIS_SHARE = 0.1  # that the axis of the figure spans, so that small shares look small


class Sparsity(NamedTuple):
    """How many weights of all kernels together are next to zero, see `sparsity`.

    Attributes:
        initial_fraction: Share of weights next to zero at the first record; 0 to 1.
        final_fraction: The same at the last record; null where weights are no numbers any longer.
        largest_weight: Greatest |w| at the last record, from 0.
    """

    initial_fraction: float
    final_fraction: float | None
    largest_weight: float


@phenomenon
def sparsity(below: Positive = 1e-3) -> RunPhenomenon:
    """How many kernel weights are next to zero, in each layer and in all: many with L1, few with L2?

    Gradient steps rarely end at 0 itself: with L1 a weight swings around it by learning rate times strength,
    and `below` must be above that.

    Args:
        below: A weight w is next to zero where |w| < below; above 0.

    Reference:
        Lectures 001 and 004 (L1 makes weights zero, L2 small).
    """

    def fraction_by_layer(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        fractions = measure_kernels(setup, snapshot.params, lambda kernel: _fraction([kernel], below))
        return (fractions,)

    def fraction_of_all(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
        kernels = [subtree(snapshot.params, path)["kernel"] for path in _kernel_paths(setup)]
        largest = jnp.stack([jnp.abs(kernel).max() for kernel in kernels]).max()
        return _fraction(kernels, below)[None], largest[None]

    return RunPhenomenon(
        probes=(
            Probe("layers", layer_rows, ("near_zero_fraction",), fraction_by_layer),
            Probe("sparsity", _one_row, ("near_zero_fraction", "largest_weight"), fraction_of_all),
        ),
        result=Sparsity,
        detect=lambda run: detect(run.tables["sparsity"]),
        figures={"sparsity": lambda runs: sparsity_curves(runs, below)},
    )


def detect(table: pandas.DataFrame) -> Sparsity:
    """The numbers of the table `sparsity`."""
    first, last = table.iloc[0], table.iloc[-1]
    largest = float(last["largest_weight"])
    return Sparsity(
        initial_fraction=float(first["near_zero_fraction"]),
        final_fraction=None if math.isnan(largest) else float(last["near_zero_fraction"]),
        largest_weight=largest,
    )


def _kernel_paths(setup: Setup) -> list[str]:
    return [layer.path for layer in stages(setup) if layer.has_kernel]


def _one_row(setup: Setup, data: Data) -> RowLabels:
    """One row, named by the number of weights."""
    variables = setup.variables("params")
    return {"weights": [sum(subtree(variables, path)["kernel"].size for path in _kernel_paths(setup))]}


def _fraction(kernels: Sequence[Array], below: float) -> Array:
    """The share of all values that are next to zero, `[]`."""
    count = sum((jnp.abs(kernel) < below).sum() for kernel in kernels)
    return jnp.asarray(count, jnp.float32) / sum(kernel.size for kernel in kernels)


def sparsity_curves(runs: Sequence[RunView], below: float) -> Figure:
    """The share of weights next to zero over training: of each layer, or, of several runs, of all weights."""
    figure, ((ax,),) = plotting.panels()
    if len(runs) == 1:
        draw_layer_curves(ax, runs[0].tables["layers"], "near_zero_fraction", scale=100)
        _draw_curve(ax, runs[0], "all weights", plotting.COLOURS[1], "-")
    else:
        for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
            share = _percent(detect(run.tables["sparsity"]).final_fraction)
            _draw_curve(ax, run, f"{run.label}: {share}", colour, "-")
    plotting.step_axis(ax, runs[0].tables["sparsity"]["step"].tolist())
    ax.set(title=plotting.title(_title(runs)), ylabel=f"weights with |w| < {below:g}, %")
    highest = max(line.get_ydata().max() for line in ax.get_lines())
    ax.set_ylim(0, max(100 * MINIMUM_AXIS_SHARE, 1.05 * highest))
    plotting.legend(ax, ncols=2)
    return figure


def _draw_curve(ax: Axes, run: RunView, label: str, colour: plotting.Colour, style: str) -> None:
    table = run.tables["sparsity"]
    ax.plot(table["step"], 100 * table["near_zero_fraction"], color=colour, linestyle=style, label=label)


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.1f} %"


def _title(runs: Sequence[RunView]) -> str:
    if len(runs) > 1:
        return "Weights next to zero"
    result = detect(runs[0].tables["sparsity"])
    return (
        f"{runs[0].label}: {_percent(result.final_fraction)} of the weights end next to zero, "
        f"the largest is {plotting.scientific(result.largest_weight)}"
    )
