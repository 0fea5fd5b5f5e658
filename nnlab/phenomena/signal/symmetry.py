"""Symmetry: units that start alike stay alike (lecture 001: weights all zero or all the same, "herding")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_too_many_lines
from nnlab.phenomena.probe import Probe, Snapshot, layer_rows, stages, subtree
from nnlab.phenomena.signal.gradient_flow import hidden_layers
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

ALIKE = 1e-3


class Symmetry(NamedTuple):
    """unit_spread: how far the incoming weights of a hidden layer's units lie from their mean, relative to
    their norm, at step 0; the layer where it is greatest. 0 when all units are alike, about 1 when random.
    final_unit_spread: the same at the last record. herding: final_unit_spread is below 0.001.
    """

    unit_spread: float
    final_unit_spread: float
    herding: bool


@phenomenon
def symmetry() -> RunPhenomenon:
    """Hidden units with the same incoming weights get the same gradient: a wide layer acts as one unit."""
    return RunPhenomenon(
        probes=(Probe("layers", layer_rows, ("unit_spread",), _unit_spread),),
        result=Symmetry,
        detect=lambda run: summarize(run.tables["layers"]),
        figures={"unit_spread": unit_spread},
    )


def summarize(layers: pandas.DataFrame) -> Symmetry:
    """The detector's numbers from the table `layers`."""
    greatest = hidden_layers(layers).groupby("step")["unit_spread"].max()
    final = float(greatest.iloc[-1])
    return Symmetry(float(greatest.iloc[0]), final, final < ALIKE)


def _unit_spread(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """||K - mean of K over units|| / ||K|| of each kernel; 0 for one of zeros, NaN where there is none."""
    found = []
    for layer in stages(setup):
        if not layer.has_kernel:
            found.append(jnp.full((), jnp.nan))
            continue
        kernel = subtree(snapshot.params, layer.path)["kernel"]
        mean = jnp.broadcast_to(kernel.mean(-1, keepdims=True), kernel.shape)
        size = jnp.sqrt(jnp.square(kernel).sum())
        found.append(jnp.sqrt(jnp.square(kernel - mean).sum()) / jnp.where(size > 0, size, 1.0))
    return (jnp.stack(found),)


def unit_spread(runs: Sequence[RunView]) -> Figure:
    """How different the units of each hidden layer are, over training; one panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 3.6 * len(runs)), sharey=True)
    for ax, run in zip(axes[0], runs, strict=True):
        hidden = hidden_layers(run.tables["layers"])
        names = hidden["layer"].drop_duplicates()
        refuse_too_many_lines(len(names), "layers")
        for (_, rows), name, colour in zip(
            hidden.groupby("index"), names, plotting.colours(len(names)), strict=True
        ):
            ax.plot(rows["step"], rows["unit_spread"], color=colour, label=name)
        found = summarize(run.tables["layers"])
        says = "units stay alike" if found.herding else "units differ"
        ax.set(
            title=f"{run.label}: {says}",
            ylabel="spread of the units' weights / their norm",
            ylim=(-0.05, 1.1),
        )
        plotting.step_axis(ax, hidden["step"].tolist())
        plotting.legend(ax, ncols=2)
    return figure
