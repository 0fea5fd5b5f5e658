"""Curves of the layers over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab import plotting
from nnlab.phenomena.base import refuse_too_many_lines

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


def draw_layer_curves(ax: Axes, layers: pandas.DataFrame, column: str) -> None:
    """Draw a column of the table `layers` over training, a line for each layer with a kernel."""
    rows = layers[layers["fan_in"].notna()]
    names = rows["layer"].drop_duplicates()
    refuse_too_many_lines(len(names), "layers")
    for name, colour in zip(names, plotting.colours(len(names)), strict=True):
        layer = rows[rows["layer"] == name]
        ax.plot(layer["step"], layer[column], color=colour, label=name)
    plotting.step_axis(ax, rows["step"].tolist())
