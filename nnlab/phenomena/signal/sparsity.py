"""Sparsity: how many weights are next to zero (lectures 001 and 004: L1 makes weights zero, L2 small)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, Snapshot, layer_rows, stages, subtree
from nnlab.phenomena.signal.incoming_norms import draw_by_layer, of_kernels
from nnlab.registry import Positive
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

LEAST_TOP = 0.1  # of the axis, so that few look few


class Sparsity(NamedTuple):
    """Over all kernels together, see `sparsity`. initial_fraction, final_fraction: of the weights, those next
    to zero, at the first and the last record. largest_weight: the greatest |w| at the last record.
    """

    initial_fraction: float
    final_fraction: float
    largest_weight: float


@phenomenon
def sparsity(below: Positive = 1e-3) -> RunPhenomenon:
    """The share of kernel weights w with |w| < below, in each layer and in all: of L1 many, of L2 few.

    Gradient steps rarely end at 0 itself: with L1 a weight swings about it by learning rate times strength,
    and `below` must be above that.
    """

    def by_layer(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        return (of_kernels(setup, snapshot.params, lambda kernel: _share([kernel], below)),)

    def of_all(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
        kernels = [subtree(snapshot.params, path)["kernel"] for path in _kernel_paths(setup)]
        largest = jnp.stack([jnp.abs(kernel).max() for kernel in kernels]).max()
        return _share(kernels, below)[None], largest[None]

    return RunPhenomenon(
        probes=(
            Probe("layers", layer_rows, ("near_zero_fraction",), by_layer),
            Probe("sparsity", _all_weights, ("near_zero_fraction", "largest_weight"), of_all),
        ),
        result=Sparsity,
        detect=lambda run: summarize(run.tables["sparsity"]),
        figures={"sparsity": lambda runs: sparsity_curves(runs, below)},
    )


def summarize(table: pandas.DataFrame) -> Sparsity:
    """The numbers of the table `sparsity`."""
    first, last = table.iloc[0], table.iloc[-1]
    fractions = float(first["near_zero_fraction"]), float(last["near_zero_fraction"])
    return Sparsity(*fractions, float(last["largest_weight"]))


def _kernel_paths(setup: Setup) -> list[str]:
    return [layer.path for layer in stages(setup) if layer.has_kernel]


def _all_weights(setup: Setup, data: Data) -> dict[str, list[Any]]:
    """One row, named by how many weights there are."""
    variables = setup.variables("params")
    return {"weights": [sum(subtree(variables, path)["kernel"].size for path in _kernel_paths(setup))]}


def _share(kernels: Sequence[Array], below: float) -> Array:
    """Of all values, the share of those next to zero."""
    count = sum((jnp.abs(kernel) < below).sum() for kernel in kernels)
    return jnp.asarray(count, jnp.float32) / sum(kernel.size for kernel in kernels)


def sparsity_curves(runs: Sequence[RunView], below: float) -> Figure:
    """The share of weights next to zero over training: of each layer, or, of several runs, of all weights."""
    figure, ((ax,),) = plotting.panels()
    if len(runs) == 1:
        draw_by_layer(ax, runs[0].tables["layers"], "near_zero_fraction")
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table, alone = run.tables["sparsity"], len(runs) == 1
        style = {"color": "#000000", "linestyle": "--"} if alone else {"color": colour}
        label = "all weights" if alone else f"{run.label}: {100 * summarize(table).final_fraction:.1f} %"
        ax.plot(table["step"], table["near_zero_fraction"], label=label, **style)
    plotting.step_axis(ax, runs[0].tables["sparsity"]["step"].tolist())
    ax.set(title=_title(runs), ylabel=f"share of weights with |w| < {below:g}")
    ax.set_ylim(0, max(LEAST_TOP, 1.05 * max(line.get_ydata().max() for line in ax.get_lines())))
    plotting.legend(ax, ncols=2)
    return figure


def _title(runs: Sequence[RunView]) -> str:
    if len(runs) > 1:
        return "Weights next to zero"
    found = summarize(runs[0].tables["sparsity"])
    return (
        f"{runs[0].label}: {100 * found.final_fraction:.1f} % of the weights end next to zero,\n"
        f"the largest is {plotting.scientific(found.largest_weight)}"
    )
