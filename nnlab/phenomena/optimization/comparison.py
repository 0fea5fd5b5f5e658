"""Which value of an axis does best, each at its own best value of another: an optimizer is compared fairly
only at its own best learning rate (Choi et al. 2019), and over several seeds."""

from __future__ import annotations

import itertools
import math
import operator
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.document import parse_value
from nnlab.config.sweep_keys import Sweep, split_path, values_of
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    finished_trials,
    phenomenon,
    refuse_non_numeric,
    refuse_too_many_lines,
    sweep_column,
)
from nnlab.text import suggestion

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST_LABEL = 48  # characters, of a value's words
TITLE, ROW = 44, 20  # characters, of a line of a panel's title and of a row's name
STROKES = ("-", "--", ":", "-.")  # of lines, one after the other beyond the palette's size
WIDE = 10  # between the least and the greatest score, from which on their axis is logarithmic
OF_EVERY_TRIAL = ("final", "best", "selected")  # the parts of a summary that are metrics


class Comparison(NamedTuple):
    """Medians over the seeds, of each value at its own best value of the tuned axis (of equals the middle
    one); of equal values the first is named. The axis' first value is the reference.

    best, worst: labels. best_score, worst_score, reference_score: null where the median trial never gets
    there, or has diverged. best_at: the tuned value of the best. reached: how many values get there. ahead,
    ahead_in_every_seed: how many are better than the reference in the median, and in each single seed. ratio:
    reference_score / best_score, of steps with the last one of training in the place of never, so that it is
    at least that, and no step counted as less than 1. gain: how much better the best is than the reference,
    likewise. at_edge: of those that get there, how many do best at an end of the tuned axis, so that more of
    it should be tried.
    """

    best: str
    worst: str
    best_score: float | None
    worst_score: float | None
    reference_score: float | None
    best_at: float | None
    reached: int
    ahead: int
    ahead_in_every_seed: int
    ratio: float | None
    gain: float | None
    at_edge: int


class Question(NamedTuple):
    """What is asked, see `comparison`."""

    along: str
    metric: str
    better: Literal["lower", "higher"]
    level: float | None
    tuned: str | None
    labels: Sequence[str] | None

    @property
    def sign(self) -> int:
        """Times a score: the less, the better. Steps to a level are always the better the fewer."""
        return -1 if self.better == "higher" and self.level is None else 1

    @property
    def score(self) -> str:
        """What a score is, in words."""
        if self.level is None:
            return self.metric
        return f"{self.metric} {'<=' if self.better == 'lower' else '>='} {self.level:g}"


@phenomenon
def comparison(
    along: str,
    metric: str = "final.validation_loss",
    better: Literal["lower", "higher"] = "lower",
    level: float | None = None,
    tuned: str | None = None,
    labels: list[str] | None = None,
) -> SweepPhenomenon:
    """Which value of an axis does best, each at its own best value of another axis?

    along: the axis, its values components, lists, words, numbers or null, in the order of the file; the first
    is what the others are measured against. metric: a number of each trial's summary, such as
    selected.validation_accuracy; better: what of it is. level: the score is instead the first recorded step
    at which `metric`, then a column of metrics.csv such as train_loss, has come to it; what never does, or
    diverges, is worse than all. tuned: an axis of numbers, such as optimizer.learning_rate; null where there
    is none. labels: short names of the values, in their order; by default words made of them.
    """
    if along == tuned:
        raise InvalidValue(f"'{along}' cannot be compared and tuned at once", ("tuned",))
    if "epochs" in (along, tuned):
        raise InvalidValue("'epochs' is no axis of a sweep")
    part, dot, column = metric.rpartition(".")
    if dot and level is not None:
        raise InvalidValue(f"of a level, it is a column of metrics.csv, such as '{column}'", ("metric",))
    if tuned and not (column.startswith(("train_", "validation_")) and part in ("", *OF_EVERY_TRIAL)):
        raise InvalidValue(
            f"'{tuned}' is chosen by a metric of training or validation, such as final.validation_loss, "
            "never of the test set; compare by one, or leave out 'tuned'",
            ("metric",),
        )
    asked = Question(along, metric, better, level, tuned, labels)
    return SweepPhenomenon(
        result=Comparison,
        detect=lambda sweep: detect(asked, contenders(sweep, asked), _last_step(sweep, asked)),
        figures={"comparison": lambda sweeps: compared(sweeps, asked)},
        axis=along,
        other_axes=(tuned,) if tuned else (),
        numeric_axis=False,
        validate_sweep=lambda sweep: _check_values(sweep, asked),
        depends_on=(part,) if dot and part not in OF_EVERY_TRIAL else (),
    )


def _check_values(sweep: Sweep, asked: Question) -> None:
    """The values must be listed, each with a name of its own."""
    (path,) = (path for path in sweep.paths if asked.along in split_path(path))
    listed = {**sweep.axes, **sweep.zip}
    if path not in listed:
        raise InvalidValue(
            f"comparison takes the values of '{asked.along}' in their order; list them under sweep.axes",
            ("along",),
        )
    if asked.tuned in split_path(path):
        raise InvalidValue(f"'{path}' is one axis; it cannot be compared and tuned at once", ("tuned",))
    values = values_of(listed[path], whole=False)
    if asked.labels is None:
        named([words(value, asked) for value in values], len(values))
    elif isinstance(listed[path], list):  # spaced values are rounded to fewer where they are whole numbers
        named(asked.labels, len(values))


def named(labels: Sequence[str], count: int) -> Sequence[str]:
    """The labels of so many values. Raises InvalidValue."""
    refuse_too_many_lines(count, "values")
    if len(labels) != count:
        raise InvalidValue(f"{len(labels)} labels for {count} values of the axis", ("labels",))
    for place, label in enumerate(labels):
        if label in labels[:place]:
            raise InvalidValue(
                f"two values of the axis would both be called '{label}'; give each a label of its own",
                ("labels",),
            )
    return labels


def words(value: Any, asked: Question) -> str:
    """A value of the axis, or its cell of trials.csv, in a few words: `sgd momentum 0.9`. What is tuned in
    it is left out."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = parse_value(value, "trials.csv").tree
    if isinstance(value, Mapping):
        value = {key: inner for key, inner in value.items() if f"{asked.along}.{key}" != asked.tuned}
    return textwrap.shorten(_words(value), LONGEST_LABEL, placeholder=" ...")


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        rest = [f"{key} {_words(inner)}" for key, inner in value.items() if key != "type"]
        return " ".join([str(value["type"]), *rest] if "type" in value else rest)
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value) or "none"
    if value is None or isinstance(value, float):
        return "none" if value is None or math.isnan(value) else f"{value:g}"
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else str(value)


# --- scores ----------------------------------------------------------------------------------------------


class Contender(NamedTuple):
    """A value of the axis at its own best value of the tuned axis, `at`: 0 without one, NaN without trials.

    cost: the median over the seeds of its scores, the lower the better, infinite where it never gets there.
    costs: of each trial, columns at, trial, seed and cost, at every tuned value.
    """

    label: str
    at: float
    at_edge: bool
    cost: float
    costs: pandas.DataFrame

    @property
    def chosen(self) -> pandas.DataFrame:
        """Its trials at its best tuned value."""
        return self.costs[self.costs["at"] == self.at]


def contenders(sweep: SweepView, asked: Question) -> list[Contender]:
    """Every value of the axis, in its order. Raises InvalidValue."""
    import pandas

    column = sweep_column(sweep, asked.along)
    _, cells = pandas.factorize(sweep.table[column], use_na_sentinel=False)
    trials = finished_trials(sweep)
    tuned = sweep_column(sweep, asked.tuned) if asked.tuned else None
    if tuned:
        refuse_non_numeric(trials, [tuned])
    at = trials[tuned].astype(float) if tuned else 0.0
    table = trials[["trial", "seed"]].assign(at=at, cost=_costs(sweep, trials, asked))
    labels = named(asked.labels or [words(cell, asked) for cell in cells], len(cells))
    own = [trials[column].isna() if pandas.isna(cell) else trials[column] == cell for cell in cells]
    return [_contender(label, table[mine]) for label, mine in zip(labels, own, strict=True)]


def _contender(label: str, costs: pandas.DataFrame) -> Contender:
    medians = costs.groupby("at")["cost"].median()
    if medians.empty:  # all its trials failed
        return Contender(label, math.nan, False, math.inf, costs)
    least = medians.index[medians == medians.min()]
    at = least[(len(least) - 1) // 2]
    return Contender(label, at, at in (medians.index[0], medians.index[-1]), float(medians[at]), costs)


def _costs(sweep: SweepView, trials: pandas.DataFrame, asked: Question) -> np.ndarray:
    """The score of each trial, times the sign; infinite where it has none."""
    if asked.level is None:
        _check_column(trials, asked.metric, "the trials have no number")
        scores = trials[asked.metric].astype(float).where(trials["status"] == "complete")
        return (asked.sign * scores).fillna(np.inf).to_numpy(float)
    rows = sweep.joined("metrics")
    _check_column(rows, asked.metric, "metrics.csv has no column")
    side = -1 if asked.better == "higher" else 1
    there = side * rows[asked.metric] <= side * asked.level
    first = rows[there].groupby("trial")["step"].min()
    return trials["trial"].map(first).fillna(np.inf).to_numpy(float)


def _check_column(table: pandas.DataFrame, name: str, problem: str) -> None:
    if name not in table:
        known = [str(column) for column in table if table[column].dtype.kind in "fiu"]
        raise InvalidValue(f"{problem} '{name}'{suggestion(name, known)}")
    refuse_non_numeric(table, [name])


def _last_step(sweep: SweepView, asked: Question) -> float | None:
    """The last step of training where scores are steps."""
    return None if asked.level is None else float(sweep.joined("metrics")["step"].max())


def detect(asked: Question, found: Sequence[Contender], last: float | None) -> Comparison:
    """The detector's numbers, see Comparison. last: what never counts as in a ratio; none does where None."""
    cost = operator.attrgetter("cost")
    reference, best, worst = found[0], min(found, key=cost), max(found, key=cost)
    reached = [contender for contender in found if math.isfinite(contender.cost)]
    start = reference.cost if math.isfinite(reference.cost) else last
    pair = (start, best.cost) if start is not None and reached else None
    return Comparison(
        best=best.label,
        worst=worst.label,
        best_score=_score(best, asked),
        worst_score=_score(worst, asked),
        reference_score=_score(reference, asked),
        best_at=float(best.at) if asked.tuned and reached else None,
        reached=len(reached),
        ahead=sum(contender.cost < reference.cost for contender in found),
        ahead_in_every_seed=sum(_always_ahead(contender, reference) for contender in found),
        ratio=_ratio(*pair, asked) if pair else None,
        gain=pair[0] - pair[1] if pair else None,
        at_edge=sum(contender.at_edge for contender in reached) if asked.tuned else 0,
    )


def _score(contender: Contender, asked: Question) -> float | None:
    return asked.sign * contender.cost if math.isfinite(contender.cost) else None


def _ratio(reference: float, best: float, asked: Question) -> float | None:
    """Of the scores of two costs; none where one is not above 0."""
    if asked.level is not None:
        return max(1.0, reference) / max(1.0, best)
    return reference / best if min(asked.sign * reference, asked.sign * best) > 0 else None


def _always_ahead(contender: Contender, reference: Contender) -> bool:
    """Whether it is better in each of the reference's seeds."""
    own, other = (one.chosen.set_index("seed")["cost"] for one in (contender, reference))
    return bool(len(other) and (own.reindex(other.index) < other).all())


# --- the figure ------------------------------------------------------------------------------------------


def compared(sweeps: Sequence[SweepView], asked: Question) -> Figure:
    """The scores along the tuned axis, or a row a value where there is none, and the metric over training of
    each at its best, where metrics.csv has it; a row of panels a sweep."""
    found = [contenders(sweep, asked) for sweep in sweeps]
    curves = [_curves(sweep, asked) for sweep in sweeps]
    most = max(map(len, found))
    columns = 1 + all(rows is not None for rows in curves)
    height = len(sweeps) * max(3.5, 1.5 + 0.22 * most)
    looks = [(colour, stroke) for stroke in STROKES for colour in plotting.COLOURS]
    figure, axes = plotting.panels(len(sweeps), columns, width=2.0 + 4.0 * columns, height=height)
    for row, sweep, values, rows in zip(axes, sweeps, found, curves, strict=True):
        coloured = list(zip(values, itertools.cycle(looks), strict=False))
        coloured.sort(key=lambda pair: pair[0].cost)  # the best one comes first
        if asked.tuned:
            _draw_lines(row[0], coloured, asked)
            lines, labels = row[0].get_legend_handles_labels()
            place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
            row[-1].legend(lines, labels, **place, title=f"at the best {asked.tuned}", alignment="left")
        else:
            _draw_rows(row[0], coloured, asked)
        finding = _finding(values, _last_step(sweep, asked), asked)
        row[0].set_title(f"{sweep.label}\n{textwrap.fill(finding, TITLE)}")
        if columns > 1 and rows is not None:
            _draw_curves(row[1], coloured, rows, asked)
    return figure


def _curves(sweep: SweepView, asked: Question) -> pandas.DataFrame | None:
    """step, trial and, as `score`, the metric at each record; None where there is no such curve."""
    part, _, column = asked.metric.rpartition(".")
    if part not in ("", *OF_EVERY_TRIAL):
        return None
    rows = sweep.joined("metrics")
    if column not in rows or rows["step"].nunique() < 2:
        return None
    refuse_non_numeric(rows, [column])
    return rows[["step", "trial"]].assign(score=rows[column])


def _draw_lines(ax: Axes, coloured: Sequence[tuple[Contender, Any]], asked: Question) -> None:
    """Seeds as dots along the tuned axis, their median as a line, its best point in a circle."""
    drawn: list[float] = []
    for contender, (colour, stroke) in coloured:
        if contender.costs.empty:
            continue
        costs = contender.costs["cost"]
        scores = asked.sign * costs.where(np.isfinite(costs))
        medians = costs.groupby(contender.costs["at"]).median()
        curve = asked.sign * medians.where(np.isfinite(medians))
        at = f"{contender.at:.4g}" if math.isfinite(contender.cost) else "never"
        ax.plot(curve.index, curve, stroke, color=colour, label=f"{contender.label}, {at}")
        ax.plot(contender.costs["at"], scores, "o", markersize=2.5, color=colour)
        ax.plot(contender.at, curve[contender.at], "o", markersize=8, mfc="none", color=colour)
        drawn += scores.dropna().tolist()
    _dress(ax, "y", drawn, asked)
    plotting.capacity_axis(ax, str(asked.tuned))


def _draw_rows(ax: Axes, coloured: Sequence[tuple[Contender, Any]], asked: Question) -> None:
    """Seeds as dots in the value's own row, their median as a bar; those without a score as triangles."""
    drawn: list[float] = []
    note = ""
    marker, end = (">", 0.98) if asked.sign > 0 else ("<", 0.02)
    for row, (contender, (colour, _)) in enumerate(coloured):
        costs = contender.chosen["cost"]
        scores = (asked.sign * costs[np.isfinite(costs)]).tolist()
        ax.plot(scores, [row] * len(scores), "o", markersize=4, alpha=0.7, color=colour)
        if math.isfinite(contender.cost):
            median = asked.sign * contender.cost
            ax.plot(median, row, "|", markersize=18, markeredgewidth=2.5, color=colour)
        never, across = len(costs) - len(scores), ax.get_yaxis_transform()
        ax.plot([end] * never, [row] * never, marker, mfc="none", color=colour, transform=across)
        note = "; triangles: never" if never else note
        drawn += scores
    names = [textwrap.fill(contender.label, ROW) for contender, _ in coloured]
    _dress(ax, "x", drawn, asked, note)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylabel="" if asked.labels else asked.along, ylim=(len(names) - 0.4, -0.6))


def _dress(ax: Axes, axis: str, scores: Sequence[float], asked: Question, note: str = "") -> None:
    """Name and scale of the axis of scores."""
    wide = bool(scores) and min(scores) > 0 and max(scores) > WIDE * min(scores)
    what = asked.score if asked.level is None else f"first step with {asked.score}"
    scale, name = ("log", f"{what} (log)") if wide else ("linear", what)
    ax.set(**{f"{axis}scale": scale, f"{axis}label": name + note})


def _draw_curves(
    ax: Axes, coloured: Sequence[tuple[Contender, Any]], rows: pandas.DataFrame, asked: Question
) -> None:
    """The median over the seeds at each record, of each value at its best tuned value."""
    drawn: list[float] = []
    for contender, (colour, stroke) in coloured:
        own = rows[rows["trial"].isin(contender.chosen["trial"])]
        curve = own.groupby("step")["score"].median()
        ax.plot(curve.index, curve, stroke, color=colour)
        drawn += curve.tolist()
    if min(drawn, default=0.0) >= 0:  # a loss of 0 lies below a log axis
        plotting.log_if_wide(ax, [score for score in drawn if score > 0])
    plotting.step_axis(ax, rows["step"].tolist())
    if asked.level is not None:
        ax.axhline(asked.level, color="#555555", linestyle=":", linewidth=1.2)
    title = "Training, each at its best" if asked.tuned else "Training"
    ax.set(ylabel=f"{asked.metric.rpartition('.')[2]}, median", title=title)


def _finding(found: Sequence[Contender], last: float | None, asked: Question) -> str:
    """What comes out, for a title: `adam first: 985 steps, 3.4x fewer than sgd`."""
    numbers, reference = detect(asked, found, last), found[0].label
    if numbers.best_score is None:
        return f"none comes to {asked.score}" if asked.level is not None else "none has a score"
    if asked.level is not None:
        best = f"{numbers.best} first: {numbers.best_score:,.0f} steps"
        at_least = "" if math.isfinite(found[0].cost) else "at least "
        times = f"{numbers.ratio:,.1f}".removesuffix(".0")
        behind = f"{at_least}{times}x fewer than {reference}"
    else:
        best = f"{numbers.best} best: {numbers.best_score:.3g}"
        other = numbers.reference_score
        behind = f"{reference} {'none' if other is None else f'{other:.3g}'}"
    words = best if numbers.best == reference else f"{best}, {behind}"
    return words + (f"; {numbers.at_edge} at an end of the axis" if numbers.at_edge else "")
