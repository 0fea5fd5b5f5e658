"""The figures of runs and sweeps, for a page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from nnlab import plotting
from nnlab.errors import UsageError
from nnlab.runs.figures import available, draw_figure
from nnlab.runs.results import Run, Sweep
from nnlab.text import name_in_words

BROAD_RATIO = 2.1  # of width to height


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        name: As `nnlab plot --figure` takes it.
        title: The name in words.
        svg: The figure; markup of nnlab's own, in which what is not is escaped.
        problem: Why there is none, in place of it.
        is_broad: Whether it has panels side by side that need the width of the page.
    """

    name: str
    title: str
    svg: str
    problem: str = ""
    is_broad: bool = False


def drawings_of(results: Sequence[Run | Sweep], prefix: str, without: Collection[str] = ()) -> list[Drawing]:
    """The figures that runs, or sweeps, can be drawn in; several on one axes.

    Args:
        results: All of one kind; without records there is no figure.
        prefix: What the ids of these figures begin with, and no others' on the page.
        without: Names of figures that are left out.
    """
    if not all(map(_has_records, results)):
        return []
    names = [name for name in available(results) if name not in without]
    return [_drawing(results, name, f"{prefix}-{name}-") for name in names]


def _has_records(result: Run | Sweep) -> bool:
    if isinstance(result, Sweep):
        return len(result.completed_trials) > 0
    return "metrics" in result.tables and len(result.tables["metrics"]) > 0


def _drawing(results: Sequence[Run | Sweep], name: str, prefix: str) -> Drawing:
    title = name_in_words(name)
    try:
        figure = draw_figure(results, name)
    except UsageError as error:
        return Drawing(name, title, "", str(error))
    width, height = figure.get_size_inches()
    with plotting.style():
        svg = plotting.inline_svg(figure, prefix, title)
    return Drawing(name, title, svg, is_broad=bool(width > BROAD_RATIO * height))
