"""Incoming norms: how long the incoming weight vector of a unit becomes, which max-norm bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, Snapshot, layer_rows, measure_kernels
from nnlab.phenomena.signal.layer_curves import draw_layer_curves
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class IncomingNorms(NamedTuple):
    """The greatest length of a unit's incoming weight vector over all layers, from 0.

    Attributes:
        initial_largest: At the first weights, to which no constraint has been applied.
        largest: Over all records after step 0; null where there are none.
        final_largest: At the last record.
        reason: Why numbers are null.
    """

    initial_largest: float
    largest: float | None
    final_largest: float
    reason: str | None = None


@phenomenon
def incoming_norms() -> RunPhenomenon:
    """How long do the incoming weight vectors of units become? With max_norm, none is above its limit.

    ||K[..., j]|| over all axes of a kernel K but the last, j a unit; the largest of them in each layer.
    Biases do not count.

    Reference:
        Srebro & Shraibman 2005; Hinton et al. 2012; lectures 000 and 004 (max-norm regularization).
    """
    return RunPhenomenon(
        probes=(Probe("layers", layer_rows, ("incoming_norm",), _greatest_norms),),
        result=IncomingNorms,
        detect=lambda run: detect(run.tables["layers"]),
        figures={"incoming_norms": norm_curves},
    )


def detect(layers: pandas.DataFrame) -> IncomingNorms:
    """The numbers of the table `layers`."""
    greatest = layers.groupby("step")["incoming_norm"].max()
    trained = greatest[greatest.index > 0]
    return IncomingNorms(
        initial_largest=float(greatest.iloc[0]),
        largest=float(trained.max()) if len(trained) else None,
        final_largest=float(greatest.iloc[-1]),
        reason=None if len(trained) else "there is no record after step 0",
    )


def _greatest_norms(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    def greatest(kernel: Array) -> Array:
        return jnp.sqrt(jnp.square(kernel.reshape(-1, kernel.shape[-1])).sum(0)).max()

    return (measure_kernels(setup, snapshot.params, greatest),)


def norm_curves(runs: Sequence[RunView]) -> Figure:
    """The longest incoming weight vector of each layer, over training; one panel a run."""

    def draw(ax: Axes, run: RunView) -> str:
        draw_layer_curves(ax, run.tables["layers"], "incoming_norm")
        ax.set_ylabel("length of the longest\nincoming weight vector")
        plotting.legend(ax, ncols=2)
        final = plotting.scientific(detect(run.tables["layers"]).final_largest)
        return f"{run.label}: the longest vector has {final} at the end"

    figure, axes = plotting.panel_per_result(runs, draw, height=3.6, sharey=True)
    axes[0].set_ylim(0, None)
    return figure
