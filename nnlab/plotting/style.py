"""The house style: one width, three sizes of letters, colours, numbers in words; and writing a figure."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlab.system import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

Colour = str | tuple[float, float, float, float]

# Okabe & Ito's palette, told apart by colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # of the points of runs, which grey print tells apart
LIGHTEST = 0.88  # of the colours of an order: beyond it they can hardly be seen on white

# a split has one colour in all figures; where colours stand for runs, it has one line style
SPLIT_COLOURS = {"train": COLOURS[1], "validation": COLOURS[0], "test": COLOURS[2]}
SPLIT_STYLES = {"train": "--", "validation": "-", "test": ":"}
SPLIT_KEY, HELD_OUT_KEY = "training dashed, validation solid, test dotted", "held out solid, training dashed"

WIDTH = 6.9  # inches, of every figure: the text of a page, so that letters are of one size side by side
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 10.0, 9.0, 8.0  # points; nothing is written in another size
CHARACTERS_PER_INCH = 13.0  # of a title, in letters of TITLE_SIZE
LABEL_INCHES = 0.5  # at the left of a panel, which its title does not reach over

_STYLE: dict[Any, Any] = {
    "font.size": TEXT_SIZE,
    "axes.titlesize": TITLE_SIZE,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.titlesize": TITLE_SIZE,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": SMALL_SIZE,
    "legend.title_fontsize": SMALL_SIZE,
    "lines.linewidth": 1.5,
    "pdf.fonttype": 42,  # whole letters, which can be searched and edited
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nnlab",
    "savefig.facecolor": "white",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the house style to everything that is drawn and saved inside, without a library's warning.

    What matplotlib and NumPy warn of is a scale without a value, a letter without a glyph, a mean of nothing:
    a figure may still show something, and one that does not is refused (`refuse_blank`).
    """
    import matplotlib
    from cycler import cycler

    look = matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)})
    with look, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure completely or not at all; the same figure gives the same bytes.

    Args:
        figure: The figure.
        path: Where to; its suffix, one of FORMATS, is the format.
    """
    without_time = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    image_format, content = path.suffix[1:], io.BytesIO()
    if image_format == "png":
        _lay_out(figure)
    figure.savefig(content, format=image_format, metadata=without_time[image_format])
    files.make_folder(path.parent, linked=True)
    files.write_atomically(path, content.getvalue())


def _lay_out(figure: Figure) -> None:
    """Place the panels now, once and for all, as they come to lie in pixels.

    `savefig` draws a figure that has a layout engine twice, first only to let the engine place its panels.
    """
    import matplotlib

    engine, dpi = figure.get_layout_engine(), matplotlib.rcParams["savefig.dpi"]
    if dpi != "figure":
        figure.set_dpi(dpi)
    if engine is not None:
        with _without_unlabelled_ticks(figure):
            engine.execute(figure)
        figure.set_layout_engine(None)


@contextlib.contextmanager
def _without_unlabelled_ticks(figure: Figure) -> Iterator[None]:
    """Leave out the minor ticks of axes that label none of them. They take no place, but the engine measures
    each of them several times, and a log axis has dozens."""
    from matplotlib.ticker import NullLocator

    left_out = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not any(axis.get_minor_formatter().format_ticks(list(axis.get_minorticklocs()))):
            left_out.append((axis, axis.get_minor_locator()))
            axis.set_minor_locator(NullLocator())
    try:
        yield
    finally:
        for axis, locator in left_out:
            axis.set_minor_locator(locator)


def shown_inline(figure: Figure) -> Figure:
    """Let a notebook show a figure, without pyplot, in the style inside of which this is called."""
    figure.draw_without_rendering()  # ticks are made now, in this style, and not when it is shown
    vars(figure)["_repr_png_"] = functools.partial(_png, figure)  # IPython's name for it
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor="white")
    return content.getvalue()


def colours(count: int) -> list[Colour]:
    """Colours for so many lines: those of the palette, beyond its size an order from dark to light."""
    return list(COLOURS[:count]) if count <= len(COLOURS) else sequential_colours(count)


def sequential_colours(count: int) -> list[Colour]:
    """Colours from dark to light, for lines in an order, such as layers from the first to the last."""
    import matplotlib

    return [matplotlib.colormaps["viridis"](i / max(1, count - 1) * LIGHTEST) for i in range(count)]


def markers(count: int) -> list[str]:
    """Markers for the points of so many runs, beyond eight from the first one on again."""
    return [MARKERS[number % len(MARKERS)] for number in range(count)]


def evenly_spaced_indices(count: int, at_most: int) -> list[int]:
    """At most so many of 0 .. count - 1, evenly spaced, the first and the last among them."""
    number = min(count, at_most)
    return [round(i * (count - 1) / max(1, number - 1)) for i in range(number)]


def can_write(text: str) -> bool:
    """Whether the font of figures has all characters of a text."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    return font.get_charmap().keys() >= set(map(ord, text))


def scientific(value: float) -> str:
    """A number for a title: 0.37, 1.5, 830, 7.0×10⁻¹³."""
    if not math.isfinite(value) or value == 0 or 9.5e-3 <= abs(value) < 999:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}\N{MULTIPLICATION SIGN}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def title(words: str, across: int = 1, size: float = TITLE_SIZE) -> str:
    """A title broken into lines.

    Args:
        words: The title; lines that it has already are kept.
        across: How many panels stand side by side, each with a title of its own.
        size: Of its letters, in points.
    """
    width = int((WIDTH / across - LABEL_INCHES) * CHARACTERS_PER_INCH * TITLE_SIZE / size)
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in words.split("\n"))
