"""Curves of the layers over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab import plotting
from nnlab.phenomena.base import refuse_too_many_lines
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

NAMED_LAYERS = 8  # in a legend, at most; the order of the colours tells the others


def draw_layer_curves(ax: Axes, layers: pandas.DataFrame, column: str, scale: float = 1.0) -> None:
    """Draw a column of the table `layers` over training, times a scale.

    There is a line for each layer with a kernel, the first one the darkest.
    """
    rows = layers[layers["fan_in"].notna()]
    names = rows["layer"].drop_duplicates().tolist()
    refuse_too_many_lines(len(names), "layers")
    named = plotting.evenly_spaced_indices(len(names), NAMED_LAYERS)
    for place, (name, colour) in enumerate(zip(names, plotting.sequential_colours(len(names)), strict=True)):
        layer = rows[rows["layer"] == name]
        label = name_in_words(name) if place in named else None
        ax.plot(layer["step"], scale * layer[column], color=colour, label=label)
    plotting.step_axis(ax, rows["step"].tolist())
