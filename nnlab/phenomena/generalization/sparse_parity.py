"""Sparse parity: nothing seems to be learnt for a long time, then all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.generalization.grokking import held_out_split
from nnlab.text import name_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNT_ACCURACY = 0.9
MASTERED_ACCURACY = 0.99
MAXIMUM_TIMES_CHANCE = 1.2  # of the accuracy at half the steps to the first
MAXIMUM_STEPS_RATIO = 1.3  # of the steps to the second and to the first

Verdict = Literal["all at once", "gradual", "not learnt"]


class SparseParity(NamedTuple):
    """When held-out accuracy rises, and how fast; accuracies are shares from 0 to 1.

    Held out are the validation examples, or the test examples where there are none.

    Attributes:
        learnt_step: Training step of the first record with an accuracy of 90 % or more; null if there is
            none.
        accuracy_at_half: Accuracy at the last record up to half of learnt_step; null without it.
        mastered_step: Training step of the first record with an accuracy of 99 % or more; null if there is
            none.
        steps_ratio: mastered_step / learnt_step; null without either.
        chance: Accuracy of a guess, 1 / number of classes.
        final_accuracy: Accuracy at the last record.
        verdict: `all at once`, `gradual` or `not learnt`, see `sparse_parity`.
        reason: Why numbers are null.
    """

    learnt_step: int | None
    accuracy_at_half: float | None
    mastered_step: int | None
    steps_ratio: float | None
    chance: float
    final_accuracy: float
    verdict: Verdict
    reason: str | None = None


@phenomenon
def sparse_parity() -> RunPhenomenon:
    """Is a class learnt all at once, after a long time in which accuracy shows nothing?

    It is so with the parity of a few of many signs (the data set of this name): each by itself says nothing.
    Record often enough to tell the steps apart, twenty times before it is learnt, say.

    Verdicts:
        all at once: At half the steps that it takes to a held-out accuracy of 90 %, it is 1.2 times that of a
            guess at most, and it is 99 % within 1.3 times these steps.
        gradual: It comes to 90 %, but not so.
        not learnt: It does not come to 90 %.

    Reference:
        Barak et al. 2022, Hidden progress in deep learning: SGD learns parities near the computational limit.
    """
    return RunPhenomenon(
        result=SparseParity,
        detect=detect,
        figures={"sparse_parity": accuracy_curves},
        validate=_check_data,
    )


def _check_data(setup: Setup, data: Data) -> None:
    if not data.train.classes:
        raise InvalidValue("sparse_parity is one of a classification; these data have no classes")
    if len(data.splits) == 1:
        raise InvalidValue("sparse_parity is seen on held-out examples; give data.split a test share")


def detect(run: RunView) -> SparseParity:
    """The detector's numbers. Raises InvalidValue if the number of classes is not known, or of one record."""
    metrics, classes = run.tables["metrics"], run.summary.get("classes")
    if not isinstance(classes, int) or classes < 1:
        raise InvalidValue(f"the summary of {run.label} does not say how many classes there are")
    column = f"{held_out_split(metrics)}_accuracy"
    refuse_non_numeric(metrics, ("step", column))
    if len(metrics) < 2:
        raise InvalidValue("what is learnt takes two records or more to be seen")
    steps, accuracies = metrics["step"], metrics[column]
    learnt, mastered = (
        next((int(step) for step in steps[accuracies >= bound]), None)
        for bound in (LEARNT_ACCURACY, MASTERED_ACCURACY)
    )
    numbers = SparseParity(
        learnt_step=learnt,
        accuracy_at_half=None,
        mastered_step=mastered,
        steps_ratio=None,
        chance=1 / classes,
        final_accuracy=float(accuracies.iloc[-1]),
        verdict="not learnt",
    )
    if learnt is None:
        return numbers._replace(reason="the held-out accuracy never reaches 90 %")
    before = float(accuracies[steps <= learnt / 2].iloc[-1])
    numbers = numbers._replace(accuracy_at_half=before, verdict="gradual")
    if mastered is None:
        return numbers._replace(reason="the held-out accuracy never reaches 99 %")
    ratio = mastered / max(1, learnt)
    sudden = before <= MAXIMUM_TIMES_CHANCE * numbers.chance and ratio <= MAXIMUM_STEPS_RATIO
    return numbers._replace(steps_ratio=ratio, verdict="all at once" if sudden else "gradual")


def accuracy_curves(runs: Sequence[RunView]) -> Figure:
    """Held-out accuracy over the steps; several runs have a colour each, a single one its steps marked."""
    figure, axes = plotting.panels(1, 1, 3.6)
    ax = axes[0][0]
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        metrics = run.tables["metrics"]
        split = held_out_split(metrics)
        label = run.label if len(runs) > 1 else name_in_words(split)
        ax.plot(metrics["step"], 100 * metrics[f"{split}_accuracy"], color=colour, label=label)
    if len(runs) == 1:
        _mark_steps(ax, detect(runs[0]))
    else:
        plotting.legend(ax)
    ax.set(xlabel="training step", ylabel="held-out accuracy, %", ylim=(-3, 103))
    ax.set_title(plotting.title("; ".join(f"{run.label}: {_finding(detect(run))}" for run in runs[:2])))
    return figure


def _mark_steps(ax: Axes, numbers: SparseParity) -> None:
    for step, style in ((numbers.learnt_step, "-"), (numbers.learnt_step and numbers.learnt_step / 2, ":")):
        if step is not None:
            ax.axvline(step, color="#555555", linewidth=0.8, linestyle=style)


def _finding(numbers: SparseParity) -> str:
    if numbers.learnt_step is None or numbers.accuracy_at_half is None:
        return f"not learnt, {100 * numbers.final_accuracy:.0f} % in the end"
    half = f"{100 * numbers.accuracy_at_half:.0f} % at half that time"
    return f"{numbers.verdict}: 90 % at step {numbers.learnt_step:,}, {half}"
