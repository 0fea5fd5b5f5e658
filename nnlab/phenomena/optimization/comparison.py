"""Which value of an axis does best, each at its own best value of another?

An optimizer is compared fairly only at its own best learning rate, and over several seeds.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nnlab.config.sweep_keys import SweepDefinition, axis_values, split_path
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon
from nnlab.phenomena.optimization.compared_values import (
    TRIAL_METRICS,
    ComparisonSettings,
    Contender,
    find_contenders,
    last_step,
    unique_labels,
    value_in_words,
)
from nnlab.phenomena.optimization.comparison_figure import ComparedSweep, draw_comparison
from nnlab.text import join_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Comparison(NamedTuple):
    """Each value of an axis at its own best value of the tuned axis (of equal ones the middle one).

    Scores are medians over the seeds, in the unit of the metric or, where there is a level, in steps. Of
    equal values the first is named. The axis' first value is the reference; where it is the only one, nothing
    is best.

    Attributes:
        best: Label of the value with the best score; null where none has a score.
        worst: Label of the value with the worst score; null likewise.
        best_score: Null where the median trial never reaches the level, or has diverged.
        worst_score: Likewise.
        reference_score: Likewise.
        best_at: Tuned value of the best; null without a tuned axis.
        reached: How many values have a score.
        ahead: How many are better than the reference in the median.
        ahead_in_every_seed: How many are better than the reference in each single seed.
        ratio: reference_score / best_score; null where one of them is not above 0. Of steps, the last one
            of training takes the place of never, so that the ratio is at least that, and no step counts as
            less than 1.
        gain: How much better the best is than the reference, likewise.
        at_edge: How many of those with a score do best at an end of the tuned axis, so that more of it should
            be tried; 0 without a tuned axis.
        reason: Why numbers are null.
    """

    best: str | None
    worst: str | None
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
    reason: str | None = None


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

    Args:
        along: The axis, its values components, lists, words, numbers or null, in the order of the file; the
            first is the reference for the others.
        metric: A number of each trial's summary, such as selected.validation_accuracy; with a level, a column
            of metrics.csv, such as train_loss.
        better: Whether `lower` or `higher` values of the metric are better.
        level: The score is instead the first recorded step at which the metric has come to this level; what
            never does, or diverges, is worse than all.
        tuned: An axis of numbers, such as optimizer.learning_rate; null where there is none.
        labels: Short names of the values, in their order; by default words made of the values.

    Reference:
        Choi et al. 2019 (an optimizer is compared fairly only at its own best learning rate).
    """
    settings = ComparisonSettings(along, metric, better, level, tuned, labels)
    part, dot, _ = metric.rpartition(".")
    _check_arguments(settings)
    return SweepPhenomenon(
        result=Comparison,
        detect=lambda sweep: _compare(sweep, settings).result,
        figures={"comparison": lambda sweeps: _figure(sweeps, settings)},
        axis=along,
        other_axes=(tuned,) if tuned else (),
        numeric_axis=False,
        validate_sweep=lambda sweep: _check_values(sweep, settings),
        depends_on=(part,) if dot and part not in TRIAL_METRICS else (),
    )


def _check_arguments(settings: ComparisonSettings) -> None:
    """Refuse arguments that do not go together. Raises InvalidValue."""
    along, tuned = settings.along, settings.tuned
    if along == tuned:
        raise InvalidValue(f"'{along}' cannot be compared and tuned at once", ("tuned",))
    if "epochs" in (along, tuned):
        raise InvalidValue("'epochs' is no axis of a sweep")
    part, dot, column = settings.metric.rpartition(".")
    if dot and settings.level is not None:
        raise InvalidValue(f"of a level, it is a column of metrics.csv, such as '{column}'", ("metric",))
    if tuned and not (column.startswith(("train_", "validation_")) and part in ("", *TRIAL_METRICS)):
        raise InvalidValue(
            f"'{tuned}' is chosen by a metric of training or validation, such as final.validation_loss, "
            "never of the test set; compare by one, or leave out 'tuned'",
            ("metric",),
        )


def _check_values(sweep: SweepDefinition, settings: ComparisonSettings) -> None:
    """Refuse a sweep whose values are not listed, or do not have names of their own. Raises InvalidValue."""
    (path,) = (path for path in sweep.paths if settings.along in split_path(path))
    listed = {**sweep.axes, **sweep.zip}
    if path not in listed:
        raise InvalidValue(
            f"comparison takes the values of '{settings.along}' in their order; list them under sweep.axes",
            ("along",),
        )
    if settings.tuned in split_path(path):
        raise InvalidValue(f"'{path}' is one axis; it cannot be compared and tuned at once", ("tuned",))
    values = axis_values(listed[path], as_integers=False)
    if settings.labels is None:
        unique_labels([value_in_words(value, settings) for value in values], len(values))
    elif isinstance(listed[path], list):  # spaced values are rounded to fewer where they are whole numbers
        unique_labels(settings.labels, len(values))


# --- the detector ----------------------------------------------------------------------------------------


def _compare(sweep: SweepView, settings: ComparisonSettings) -> ComparedSweep:
    contenders = find_contenders(sweep, settings)
    return ComparedSweep(sweep, contenders, detect(settings, contenders, last_step(sweep, settings)))


def detect(settings: ComparisonSettings, contenders: Sequence[Contender], last: float | None) -> Comparison:
    """The numbers of a sweep.

    Args:
        settings: What is compared.
        contenders: The values, the reference first.
        last: What never counts as in a ratio; None where scores are no steps.
    """
    cost = operator.attrgetter("cost")
    reference, best, worst = contenders[0], min(contenders, key=cost), max(contenders, key=cost)
    scored = [contender for contender in contenders if contender.has_score]
    reference_cost = reference.cost if reference.has_score else last
    ratio = gain = None
    is_comparison = len(contenders) > 1
    if is_comparison and scored and reference_cost is not None:
        ratio, gain = _ratio(reference_cost, best.cost, settings), reference_cost - best.cost
    return Comparison(
        best=best.label if scored and is_comparison else None,
        worst=worst.label if scored and is_comparison else None,
        best_score=_score(best, settings),
        worst_score=_score(worst, settings),
        reference_score=_score(reference, settings),
        best_at=float(best.at) if settings.tuned and scored else None,
        reached=len(scored),
        ahead=sum(contender.cost < reference.cost for contender in contenders),
        ahead_in_every_seed=sum(_is_always_ahead(contender, reference) for contender in contenders),
        ratio=ratio,
        gain=gain,
        at_edge=sum(contender.at_edge for contender in scored) if settings.tuned else 0,
        reason=_reason(settings, contenders, ratio),
    )


def _reason(settings: ComparisonSettings, contenders: Sequence[Contender], ratio: float | None) -> str | None:
    """Why there are numbers that are null; None where there are none."""
    lacking = [contender.label for contender in contenders if not contender.has_score]
    why = "diverges or fails" if settings.level is None else f"never comes to {settings.score_name}"
    reasons = [f"the median trial of {join_words(lacking, 'and')} {why}"] if lacking else []
    if len(contenders) < 2:
        reasons.append("there is one value, and none to compare it with")
    elif not lacking and ratio is None:
        reasons.append("scores that are not above 0 have no ratio")
    return "; ".join(reasons + ([] if settings.tuned else ["nothing is tuned"])) or None


def _score(contender: Contender, settings: ComparisonSettings) -> float | None:
    return settings.sign * contender.cost if contender.has_score else None


def _ratio(reference: float, best: float, settings: ComparisonSettings) -> float | None:
    """Of the scores of two costs; None where one is not above 0."""
    if settings.level is not None:
        return max(1.0, reference) / max(1.0, best)
    return reference / best if min(settings.sign * reference, settings.sign * best) > 0 else None


def _is_always_ahead(contender: Contender, reference: Contender) -> bool:
    """Whether it is better in each of the reference's seeds."""
    costs, others = (one.chosen.set_index("seed")["cost"] for one in (contender, reference))
    return bool(len(others) and (costs.reindex(others.index) < others).all())


def _figure(sweeps: Sequence[SweepView], settings: ComparisonSettings) -> Figure:
    return draw_comparison([_compare(sweep, settings) for sweep in sweeps], settings)
