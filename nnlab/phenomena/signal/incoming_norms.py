"""Incoming norms: how long the incoming weight vector of a unit becomes, which max-norm bounds.

Sources: lectures 000 and 004 (max-norm regularization); Srebro & Shraibman 2005; Hinton et al. 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nnlab import plotting
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_too_many_lines
from nnlab.phenomena.probe import Probe, Snapshot, layer_rows, stages, subtree
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class IncomingNorms(NamedTuple):
    """The greatest length of a unit's incoming weight vector over all layers. initial_largest: of the first
    weights, which no constraint has seen. largest: over all records after step 0; null where there are none.
    final_largest: at the last record.
    """

    initial_largest: float
    largest: float
    final_largest: float


@phenomenon
def incoming_norms() -> RunPhenomenon:
    """The greatest length of a unit's incoming weight vector in each layer: with max_norm, none is above it.

    ||K[..., j]|| over all axes of a kernel but the last, j a unit; the largest of them. Biases do not count.
    """
    return RunPhenomenon(
        probes=(Probe("layers", layer_rows, ("incoming_norm",), _incoming_norm),),
        result=IncomingNorms,
        detect=lambda run: summarize(run.tables["layers"]),
        figures={"incoming_norms": norm_curves},
    )


def summarize(layers: pandas.DataFrame) -> IncomingNorms:
    """The numbers of the table `layers`."""
    greatest = layers.groupby("step")["incoming_norm"].max()
    return IncomingNorms(
        initial_largest=float(greatest.iloc[0]),
        largest=float(greatest[greatest.index > 0].max()),
        final_largest=float(greatest.iloc[-1]),
    )


def of_kernels(setup: Setup, params: Any, measure: Callable[[Array], Array]) -> Array:
    """What a function finds of the kernel of each layer with parameters, `[layers]`; NaN where there is
    none."""
    found = [
        measure(subtree(params, layer.path)["kernel"]) if layer.has_kernel else jnp.full((), jnp.nan)
        for layer in stages(setup)
    ]
    return jnp.stack(found)


def _incoming_norm(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    def longest(kernel: Array) -> Array:
        return jnp.sqrt(jnp.square(kernel.reshape(-1, kernel.shape[-1])).sum(0)).max()

    return (of_kernels(setup, snapshot.params, longest),)


def draw_by_layer(ax: Axes, layers: pandas.DataFrame, column: str) -> None:
    """A column of the table `layers` over training, a line a layer with a kernel."""
    rows = layers[layers["fan_in"].notna()]
    names = rows["layer"].drop_duplicates()
    refuse_too_many_lines(len(names), "layers")
    for name, colour in zip(names, plotting.colours(len(names)), strict=True):
        part = rows[rows["layer"] == name]
        ax.plot(part["step"], part[column], color=colour, label=name)
    plotting.step_axis(ax, rows["step"].tolist())


def norm_curves(runs: Sequence[RunView]) -> Figure:
    """The longest incoming weight vector of each layer, over training; one panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 3.6 * len(runs)), sharey=True)
    for ax, run in zip(axes[0], runs, strict=True):
        draw_by_layer(ax, run.tables["layers"], "incoming_norm")
        final = plotting.scientific(summarize(run.tables["layers"]).final_largest)
        ax.set(title=f"{run.label}: {final} at the end", ylabel="longest incoming weight vector")
        plotting.legend(ax, ncols=2)
    axes[0][0].set_ylim(0, None)
    return figure
