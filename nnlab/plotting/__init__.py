"""Drawing: the one package that imports matplotlib. Figures fit a paper's column and survive grey print.

`style` has the look of a figure and writes it, `axes` panels, scales and legends, `images` what is drawn as
a grid of values.
"""

from nnlab.plotting.axes import (
    capacity_axis,
    colour_legend,
    integer_ticks,
    legend,
    legend_below,
    log_axis,
    log_if_wide,
    log_step_axis,
    panel_per_result,
    panels,
    patch_legend,
    plain_ticks,
    refuse_blank,
    rows_after_start,
    step_axis,
)
from nnlab.plotting.images import (
    category_grid,
    cell_edges,
    contours,
    image,
    image_grid,
    log_cell_edges,
    surfaces,
)
from nnlab.plotting.style import (
    COLOURS,
    FORMATS,
    Colour,
    colours,
    evenly_spaced_indices,
    save,
    scientific,
    sequential_colours,
    shown_inline,
    style,
)

__all__ = [
    "COLOURS",
    "FORMATS",
    "Colour",
    "capacity_axis",
    "category_grid",
    "cell_edges",
    "colour_legend",
    "colours",
    "contours",
    "evenly_spaced_indices",
    "image",
    "image_grid",
    "integer_ticks",
    "legend",
    "legend_below",
    "log_axis",
    "log_cell_edges",
    "log_if_wide",
    "log_step_axis",
    "panel_per_result",
    "panels",
    "patch_legend",
    "plain_ticks",
    "refuse_blank",
    "rows_after_start",
    "save",
    "scientific",
    "sequential_colours",
    "shown_inline",
    "step_axis",
    "style",
    "surfaces",
]
