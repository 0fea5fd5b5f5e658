"""The figure of a comparison."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.phenomena.base import SweepView, refuse_non_numeric
from nnlab.phenomena.optimization.compared_values import TRIAL_METRICS, ComparisonSettings, Contender
from nnlab.text import label_in_words, name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnlab.phenomena.optimization.comparison import Comparison

ROW_CHARACTERS = 20  # in a line of a row's name
LEGEND_CHARACTERS = 24  # in a line of the legend
LEGEND_COLUMNS = 3  # of the legend below the panels
LINE_STYLES = ("-", "--", ":", "-.")  # one after the other, beyond the palette's size
WIDE_RATIO = 10.0  # of the greatest to the least score, from which on their axis is logarithmic


class ComparedSweep(NamedTuple):
    """A sweep, the values of its compared axis, and the numbers of the comparison."""

    sweep: SweepView
    contenders: Sequence[Contender]
    result: Comparison


class StyledContender(NamedTuple):
    """A contender with the colour and the line style that it has in all panels."""

    contender: Contender
    colour: plotting.Colour
    style: str


def draw_comparison(sweeps: Sequence[ComparedSweep], settings: ComparisonSettings) -> Figure:
    """The scores, and the metric over training of each value at its best; a row of panels a sweep.

    Scores are drawn along the tuned axis, or in a row for each value where there is none. The second panel is
    left out where metrics.csv does not have the metric.
    """
    curves = [_metric_by_step(compared.sweep, settings) for compared in sweeps]
    columns = 1 + all(rows is not None for rows in curves)
    most = max(len(compared.contenders) for compared in sweeps)
    height = len(sweeps) * max(3.5, 1.5 + 0.22 * most)
    figure, axes = plotting.panels(len(sweeps), columns, height)
    for row, compared, rows in zip(axes, sweeps, curves, strict=True):
        styled = _styled(compared.contenders)
        if settings.tuned:
            _draw_lines(row[0], styled, settings)
            _add_legend(figure, row, settings, is_below=len(sweeps) == 1)
        else:
            _draw_rows(row[0], styled, settings)
        across = columns + (len(sweeps) > 1 and bool(settings.tuned))  # the legend is beside the panels
        row[0].set_title(plotting.title(f"{compared.sweep.label}: {_outcome(compared, settings)}", across))
        if columns > 1 and rows is not None:
            _draw_curves(row[1], styled, rows, settings)
    return figure


def _add_legend(figure: Figure, row: Sequence[Axes], settings: ComparisonSettings, is_below: bool) -> None:
    """The values and where each is best: below all panels, or beside those of one sweep of several."""
    best = f"at its best {name_in_words(str(settings.tuned))}"
    if is_below:
        plotting.legend_below(figure, row[0], columns=LEGEND_COLUMNS, title=best)
        return
    lines, labels = row[0].get_legend_handles_labels()
    title = textwrap.fill(best, LEGEND_CHARACTERS)
    row[-1].legend(lines, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), title=title, alignment="left")


def _styled(contenders: Sequence[Contender]) -> list[StyledContender]:
    """Contenders, the best first, with the looks that they have by their order on the axis."""
    looks = itertools.cycle((colour, style) for style in LINE_STYLES for colour in plotting.COLOURS)
    styled = [StyledContender(contender, *next(looks)) for contender in contenders]
    return sorted(styled, key=lambda one: one.contender.cost)


def _metric_by_step(sweep: SweepView, settings: ComparisonSettings) -> pandas.DataFrame | None:
    """The columns step, trial and score, the metric at each record; None where it is not recorded."""
    part, _, column = settings.metric.rpartition(".")
    if part not in ("", *TRIAL_METRICS):
        return None
    rows = sweep.joined("metrics")
    if column not in rows or rows["step"].nunique() < 2:
        return None
    refuse_non_numeric(rows, [column])
    return rows[["step", "trial"]].assign(score=rows[column])


def _draw_lines(ax: Axes, styled: Sequence[StyledContender], settings: ComparisonSettings) -> None:
    """Seeds as dots along the tuned axis, their median as a line, its best point in a circle."""
    shown: list[float] = []
    for contender, colour, style in styled:
        if contender.costs.empty:
            continue
        costs = contender.costs["cost"]
        scores = settings.sign * costs.where(np.isfinite(costs))
        medians = costs.groupby(contender.costs["at"]).median()
        curve = settings.sign * medians.where(np.isfinite(medians))
        at = f"{contender.at:.4g}" if contender.has_score else "never"
        label = textwrap.fill(f"{label_in_words(contender.label)}, {at}", LEGEND_CHARACTERS)
        ax.plot(curve.index, curve, style, color=colour, label=label)
        ax.plot(contender.costs["at"], scores, "o", markersize=2.5, color=colour)
        ax.plot(contender.at, curve[contender.at], "o", markersize=8, mfc="none", color=colour)
        shown += scores.dropna().tolist()
    _set_score_axis(ax, "y", shown, settings)
    plotting.capacity_axis(ax, name_in_words(str(settings.tuned)))


def _draw_rows(ax: Axes, styled: Sequence[StyledContender], settings: ComparisonSettings) -> None:
    """Seeds as dots in the value's row, their median as a bar; those without a score as triangles."""
    shown: list[float] = []
    note = ""
    marker, end = (">", 0.98) if settings.sign > 0 else ("<", 0.02)
    for row, (contender, colour, _) in enumerate(styled):
        costs = contender.chosen["cost"]
        scores = (settings.sign * costs[np.isfinite(costs)]).tolist()
        ax.plot(scores, [row] * len(scores), "o", markersize=4, alpha=0.7, color=colour)
        if contender.has_score:
            median = settings.sign * contender.cost
            ax.plot(median, row, "|", markersize=18, markeredgewidth=2.5, color=colour)
        never, across = len(costs) - len(scores), ax.get_yaxis_transform()
        ax.plot([end] * never, [row] * never, marker, mfc="none", color=colour, transform=across)
        note = "; triangles: never" if never else note
        shown += scores
    names = [textwrap.fill(label_in_words(one.contender.label), ROW_CHARACTERS) for one in styled]
    _set_score_axis(ax, "x", shown, settings, note)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylabel="" if settings.labels else name_in_words(settings.along), ylim=(len(names) - 0.4, -0.6))


def _set_score_axis(
    ax: Axes, axis: str, scores: Sequence[float], settings: ComparisonSettings, note: str = ""
) -> None:
    """Name and scale of the axis of scores."""
    wide = bool(scores) and min(scores) > 0 and max(scores) > WIDE_RATIO * min(scores)
    name = settings.score_name if settings.level is None else f"first step with {settings.score_name}"
    scale, label = ("log", f"{name} (log scale)") if wide else ("linear", name)
    ax.set(**{f"{axis}scale": scale, f"{axis}label": label + note})


def _draw_curves(
    ax: Axes, styled: Sequence[StyledContender], rows: pandas.DataFrame, settings: ComparisonSettings
) -> None:
    """The median over the seeds at each record, of each value at its best tuned value."""
    shown: list[float] = []
    for contender, colour, style in styled:
        chosen = rows[rows["trial"].isin(contender.chosen["trial"])]
        curve = chosen.groupby("step")["score"].median()
        mark = "o" if len(curve) == 1 else ""  # a line of one point is not seen
        ax.plot(curve.index, curve, style, marker=mark, color=colour)
        shown += curve.tolist()
    if min(shown, default=0.0) >= 0:  # a loss of 0 lies below a log axis
        plotting.log_if_wide(ax, [score for score in shown if score > 0])
    plotting.step_axis(ax, rows["step"].tolist())
    if settings.level is not None:
        ax.axhline(settings.level, color="#555555", linestyle=":", linewidth=1.2)
    title = "Training, each at its best" if settings.tuned else "Training"
    column = settings.metric.rpartition(".")[2]
    ax.set(ylabel=f"{name_in_words(column)}, median", title=title)


def _outcome(compared: ComparedSweep, settings: ComparisonSettings) -> str:
    """The comparison in words, for a title: `adam first, after 985 steps, 3.4 times fewer than sgd`."""
    result, reference = compared.result, compared.contenders[0]
    if result.best_score is None:
        return f"none comes to {settings.score_name}" if settings.level is not None else "none has a score"
    other = label_in_words(reference.label)
    if result.best is None:  # it is compared with none
        return f"{other} alone: {result.best_score:.3g}"
    if settings.level is not None:
        best = f"{label_in_words(result.best)} first, after {result.best_score:,.0f} steps"
        at_least = "" if reference.has_score else "at least "
        times = f"{result.ratio:,.1f}".removesuffix(".0")
        behind = f"{at_least}{times} times fewer than {other}"
    else:
        best = f"{label_in_words(result.best)} is best with {result.best_score:.3g}"
        score = result.reference_score
        behind = f"{other} has {'none' if score is None else f'{score:.3g}'}"
    words = best if result.best == reference.label else f"{best}, {behind}"
    return words + (f"; {result.at_edge} at an end of the axis" if result.at_edge else "")
