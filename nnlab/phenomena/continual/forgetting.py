"""Forgetting: what is left of a task when others have been learnt after it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_too_many_lines
from nnlab.phenomena.continual.task_table import (
    LARGE_DROP,
    LEAST_LEARNT,
    SMALL_DROP,
    accuracies_when_learnt,
    check_tasks,
    task_rows,
    turn_ends,
)

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Forgetting(NamedTuple):
    """Accuracies from 0 to 1 on the test examples (else validation, else training) of tasks; the earlier ones
    are all but the last that had its turn.

    Attributes:
        learnt_accuracy: On an earlier task at the end of its own turn, mean over them.
        kept_accuracy: On it at the last record, mean over them.
        drop: learnt_accuracy - kept_accuracy.
        last_accuracy: On the last task at the last record.
        verdict: See `forgetting`; null where too little was learnt to be forgotten.
        reason: Why it is null.
    """

    learnt_accuracy: float
    kept_accuracy: float
    drop: float
    last_accuracy: float
    verdict: Literal["catastrophic", "partial", "none"] | None
    reason: str | None = None


@phenomenon
def forgetting() -> RunPhenomenon:
    """How much does a net forget of a task while it learns others?

    Of a sequence of tasks (`data.tasks`): the accuracy on each at the end of its own turn, and what is left
    of it at the end of training.

    Verdicts:
        catastrophic: On the earlier tasks it falls, on average, by half of all examples or more.
        partial: By a tenth or more.
        none: By less.
        No verdict where less than half of them was learnt.

    Reference:
        McCloskey & Cohen 1989, Catastrophic interference in connectionist networks; Chaudhry et al. 2018,
        Riemannian walk for incremental learning (the drop, there from the best accuracy).
    """
    return RunPhenomenon(
        result=Forgetting,
        detect=detect,
        figures={"forgetting": accuracies_over_steps},
        validate=check_tasks,
    )


def detect(run: RunView) -> Forgetting:
    """The detector's numbers. Raises InvalidValue where there are no two tasks."""
    rows = task_rows(run)
    learnt = accuracies_when_learnt(rows)
    end = rows[rows["step"] == rows["step"].max()].set_index("task")["accuracy"]
    earlier = learnt.index[:-1]
    before, after = float(learnt.loc[earlier].mean()), float(end.loc[earlier].mean())
    numbers = Forgetting(before, after, before - after, float(end.loc[learnt.index[-1]]), None)
    if before < LEAST_LEARNT:
        reason = f"of the earlier tasks {100 * before:.0f} % is learnt, too little to be forgotten"
        return numbers._replace(reason=reason)
    drop = numbers.drop
    return numbers._replace(
        verdict="catastrophic" if drop >= LARGE_DROP else "partial" if drop >= SMALL_DROP else "none"
    )


def accuracies_over_steps(runs: Sequence[RunView]) -> Figure:
    """The accuracy on every task over training, the first one the darkest, and where one turn ends and the
    next begins; one panel a run."""

    def draw(ax: Axes, run: RunView) -> str:
        rows = task_rows(run)
        _draw_tasks(ax, rows)
        split = reported_split(run.tables["tasks"]["split"].unique())
        ax.set(ylabel=f"{split} accuracy, %", ylim=(-3, 103))
        return f"{run.label}: {_finding(detect(run))}"

    figure, axes = plotting.panel_per_result(runs, draw, sharey=True, height=3.3)
    plotting.legend_below(figure, axes[0])
    return figure


def _draw_tasks(ax: Axes, rows: pandas.DataFrame) -> None:
    tasks = rows["task"].unique().tolist()
    refuse_too_many_lines(len(tasks), "tasks")
    named = plotting.evenly_spaced_indices(len(tasks), 8)
    for place, (task, colour) in enumerate(zip(tasks, plotting.sequential_colours(len(tasks)), strict=True)):
        curve = rows[rows["task"] == task]
        label = f"task {task}" if place in named else None
        ax.plot(curve["step"], 100 * curve["accuracy"], color=colour, label=label)
    for step in turn_ends(rows)[:-1]:
        ax.axvline(step, color="#555555", linestyle=":", linewidth=0.8)
    plotting.step_axis(ax, rows["step"].tolist())


def _finding(numbers: Forgetting) -> str:
    if numbers.verdict is None:
        return "too little is learnt to be forgotten"
    words = {"catastrophic": "most", "partial": "some", "none": "next to nothing"}
    before, after = 100 * numbers.learnt_accuracy, 100 * numbers.kept_accuracy
    return f"{words[numbers.verdict]} is forgotten, {before:.0f} % before and {after:.0f} % after"
