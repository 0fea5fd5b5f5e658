"""Update ratios: how fast each layer learns, by what a step adds to its weights, over their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.signal.layer_curves import draw_layer_curves

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNEVEN_SPREAD = 10.0  # of the fastest to the slowest layer
MINIMUM_LAYERS = 2


class UpdateRatios(NamedTuple):
    """Median over the records of ||step|| / ||weights||, of the layers with a kernel that are not frozen.

    Attributes:
        slowest_ratio: Of the layer that learns most slowly; from 0.
        fastest_ratio: Of the one that learns fastest.
        spread: fastest_ratio / slowest_ratio, 1 or more; null where the slowest does not move.
        first_to_last_ratio: The first layer's over the last one's; from 0, null where the last does not move.
        verdict: See `update_ratios`.
        reason: Why numbers are null.
    """

    slowest_ratio: float
    fastest_ratio: float
    spread: float | None
    first_to_last_ratio: float | None
    verdict: Literal["uneven", "even"]
    reason: str | None = None


@phenomenon
def update_ratios() -> RunPhenomenon:
    """Do all layers learn at one speed, or some a hundred times as fast as others?

    Of the table `layers`: the length of what a step adds to a layer's weights, over the length of these. With
    one learning rate for all layers it goes by their gradients, which may differ by orders of magnitude; an
    optimizer with a rate for each weight evens them out.

    Verdicts:
        uneven: The fastest layer's ratio is more than ten times the slowest one's.
        even: It is not.

    Reference:
        Glorot & Bengio 2010 (gradients by layer); lecture 002 (earlier layers have smaller gradients); the
        rule of thumb for a healthy ratio is 1e-3.
    """
    return RunPhenomenon(
        result=UpdateRatios,
        detect=lambda run: detect(ratios_by_layer(run)),
        figures={"update_ratios": ratio_curves},
    )


def ratios_by_layer(run: RunView) -> pandas.DataFrame:
    """The rows of trained layers with a kernel, of the records at which any layer moves.

    Raises:
        InvalidValue: The table `layers` is not recorded, or has no such rows.
    """
    rows = _kernels(run)
    is_trained = rows.groupby("layer")["update_ratio"].transform("max") != 0
    if "grad_norm" in rows:
        is_trained |= rows.groupby("layer")["grad_norm"].transform("max") != 0  # vanished, and not frozen
    rows = rows[is_trained]
    if rows.empty:
        raise InvalidValue("no layer moves")
    return rows


def _kernels(run: RunView) -> pandas.DataFrame:
    """The rows of layers with a kernel. Raises InvalidValue where the table `layers` is not recorded."""
    if "layers" not in run.tables:
        raise InvalidValue("there is no table layers: record.layers is false, or nothing is trained")
    table = run.tables["layers"]
    refuse_non_numeric(table, ["update_ratio", "index"])
    return table[table["fan_in"].notna()]


def detect(rows: pandas.DataFrame) -> UpdateRatios:
    """The numbers of trained layers. Raises InvalidValue where there are fewer than two."""
    medians = rows.groupby("index")["update_ratio"].median()
    if len(medians) < MINIMUM_LAYERS:
        raise InvalidValue("a single layer is trained, and there is none to compare it with")
    if not np.isfinite(medians).all():
        raise InvalidValue(
            f"the update ratio of layer {medians.index[~np.isfinite(medians)][0]} is no number"
        )
    first, last = float(medians.iloc[0]), float(medians.iloc[-1])
    slowest, fastest = float(medians.min()), float(medians.max())
    if not fastest:
        raise InvalidValue("at most records no layer moves")
    stuck = medians.index[medians == 0]
    return UpdateRatios(
        slowest_ratio=slowest,
        fastest_ratio=fastest,
        spread=fastest / slowest if slowest else None,
        first_to_last_ratio=first / last if last else None,
        verdict="uneven" if fastest > UNEVEN_SPREAD * slowest else "even",
        reason=f"layer {stuck[0]} does not move" if len(stuck) else None,
    )


def ratio_curves(runs: Sequence[RunView]) -> Figure:
    """The update ratio of each layer over training, the first one the darkest; one panel a run."""

    def draw(ax: Axes, run: RunView) -> str:
        draw_layer_curves(ax, _kernels(run), "update_ratio")
        ax.set_yscale("log")
        ax.set_ylabel("||step|| / ||weights|| (log scale)")
        try:
            finding = _finding(detect(ratios_by_layer(run)))
        except InvalidValue as error:  # there are curves all the same
            finding = str(error)
        return f"{run.label}: {finding}"

    figure, axes = plotting.panel_per_result(runs, draw, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def _finding(numbers: UpdateRatios) -> str:
    if numbers.spread is None:
        return "one layer does not learn at all"
    return f"one layer learns {plotting.scientific(numbers.spread)} times as fast as another"
