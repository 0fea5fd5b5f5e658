"""The figure of signal propagation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab import plotting
from nnlab.phenomena.base import RunView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnlab.phenomena.signal.signal_propagation import SignalPropagation


def signal_by_layer(runs: Sequence[RunView], results: Sequence[SignalPropagation]) -> Figure:
    """Variance, correlation and squared gradient by layer, beside the theory; a row of panels a run."""
    figure, axes = plotting.panels(len(runs), 3, 3.2 * len(runs))
    for row, run, result in zip(axes, runs, results, strict=True):
        _draw_run(row, run)
        titles = (
            f"{run.label}: {result.phase or 'neither ordered nor chaotic'}",
            f"c* {_beside_theory(result.correlation_measured, result.correlation_theory)}",
            f"χ {_beside_theory(result.chi_measured, result.chi_theory)}",
        )
        for ax, words in zip(row, titles, strict=True):
            ax.set_title(plotting.title(words, across=3))
    return figure


def _beside_theory(measured: float | None, theory: float | None) -> str:
    found, expected = (
        "none" if number is None or not math.isfinite(number) else f"{number:.3f}"
        for number in (measured, theory)
    )
    return f"{found}, theory {expected}"


def _draw_run(row: Sequence[Axes], run: RunView) -> None:
    layers = run.tables["signal"]
    theory = run.tables["mean_field"].head(len(layers))
    depth = layers["index"]
    gradients = np.square(layers["gradient_norm"].to_numpy(float))
    chi = theory["chi"].to_numpy(float)
    # theory knows ratios alone: its line ends where the measured one does
    expected = np.exp(np.append(np.log(chi[:-1])[::-1].cumsum()[::-1], 0.0)) * gradients[-1]
    for ax, measured, line, label in (
        (row[0], layers["variance"], theory["variance"], "variance q of the pre-activations"),
        (row[1], layers["correlation"], theory["correlation"], "correlation c of two inputs"),
        (row[2], gradients, expected, "squared gradient"),
    ):
        ax.plot(depth, measured, "o", markersize=3, color=plotting.COLOURS[0], label="measured")
        mark = "_" if len(depth) == 1 else ""  # a line of one point is not seen
        ax.plot(depth, line, marker=mark, markersize=14, color=plotting.COLOURS[1], label="theory")
        ax.set(xlabel="hidden layer", ylabel=label)
        plotting.integer_ticks(ax.xaxis)
    plotting.log_if_wide(row[0], layers["variance"].tolist())
    plotting.log_axis(row[2])
    row[1].set_ylim(min(0.0, float(layers["correlation"].min())) - 0.05, 1.05)
    plotting.legend(row[1], loc="best")
