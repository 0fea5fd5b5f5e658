"""Plasticity: does a net still learn a new task as well as it learnt the first one?"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.continual.task_table import (
    LARGE_DROP,
    LEAST_LEARNT,
    SMALL_DROP,
    accuracies_when_learnt,
    check_tasks,
    task_rows,
    turn_ends,
)
from nnlab.phenomena.layer_table import hidden_layers

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Plasticity(NamedTuple):
    """Training accuracies on a task at the end of its own turn, and what became of the units; from 0 to 1.

    Attributes:
        first_accuracy: On the first task, of a fresh net.
        last_accuracy: On the last task that had its turn.
        drop: first_accuracy - last_accuracy.
        dead_fraction: Share of the units of the last hidden layer that are flat for every example of the
            batch, at the last record; null without the table layers or a hidden layer.
        verdict: See `plasticity`; null where the first task was not learnt.
        reason: Why numbers are null.
    """

    first_accuracy: float
    last_accuracy: float
    drop: float
    dead_fraction: float | None
    verdict: Literal["lost", "waning", "kept"] | None
    reason: str | None = None


@phenomenon
def plasticity() -> RunPhenomenon:
    """Does a net that has learnt many tasks learn a new one as well as the first?

    Of a sequence of tasks that are equally hard (`data.tasks`, such as `random_labels`): the training
    accuracy on each at the last step of its own turn. How much is remembered of earlier ones does not matter
    here; see `forgetting`.

    Verdicts:
        lost: On the last task it is lower than on the first by half of all examples or more.
        waning: By a tenth or more.
        kept: By less.
        No verdict where less than half of the first task was learnt.

    Reference:
        Dohare et al. 2024, Loss of plasticity in deep continual learning; Lyle et al. 2023, Understanding
        plasticity in neural networks.
    """
    return RunPhenomenon(
        result=Plasticity,
        detect=detect,
        figures={"plasticity": accuracy_by_task},
        validate=check_tasks,
    )


def detect(run: RunView) -> Plasticity:
    """The detector's numbers. Raises InvalidValue where there are no two tasks."""
    learnt = accuracies_when_learnt(task_rows(run, "train"))
    first, last = float(learnt.iloc[0]), float(learnt.iloc[-1])
    dead, reason = None, None
    try:
        dead = float(dead_units(run).iloc[-1])
    except InvalidValue as error:
        reason = str(error)
    numbers = Plasticity(first, last, first - last, dead, None, reason)
    if first < LEAST_LEARNT:
        not_learnt = f"of the first task {100 * first:.0f} % is learnt: nothing to lose"
        return numbers._replace(reason="; ".join(filter(None, (reason, not_learnt))))
    return numbers._replace(
        verdict="lost" if numbers.drop >= LARGE_DROP else "waning" if numbers.drop >= SMALL_DROP else "kept"
    )


def dead_units(run: RunView) -> pandas.Series:
    """The share of dead units of the last hidden layer, by step. Raises InvalidValue where it is unknown."""
    if "layers" not in run.tables:
        raise InvalidValue("record.layers: false leaves out which units are dead")
    layers = run.tables["layers"]
    refuse_non_numeric(layers, ("step", "dead_fraction"))
    hidden = hidden_layers(layers)
    return hidden[hidden["depth"] == hidden["depth"].max()].set_index("step")["dead_fraction"]


def accuracy_by_task(runs: Sequence[RunView]) -> Figure:
    """Training accuracy on each task at the end of its turn, and the share of dead units there; a colour a
    run."""
    figure, axes = plotting.panels(1, 2, 3.0 + 0.15 * len(runs))
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        rows = task_rows(run, "train")
        learnt = accuracies_when_learnt(rows)
        axes[0][0].plot(learnt.index, 100 * learnt, color=colour)
        dead = np.full(len(learnt), np.nan)
        with contextlib.suppress(InvalidValue):  # the accuracies can be seen all the same
            dead = dead_units(run).reindex(turn_ends(rows)).to_numpy()
        axes[0][1].plot(learnt.index, 100 * dead, color=colour)
    axes[0][0].set(title="Training accuracy when learnt", ylabel="accuracy, %")
    axes[0][1].set(title="Dead units of the last hidden layer", ylabel="share of the units, %")
    for ax in axes[0]:
        ax.set(xlabel="task", ylim=(-3, 103))
        plotting.integer_ticks(ax.xaxis)
    if len(runs) == 1:
        plotting.figure_title(figure, _finding(runs[0]))
    else:
        plotting.colour_legend(figure, [_finding(run) for run in runs], "")
    return figure


def _finding(run: RunView) -> str:
    numbers = detect(run)
    first, last = 100 * numbers.first_accuracy, 100 * numbers.last_accuracy
    return (
        f"{run.label}: {numbers.verdict or 'nothing to lose'}, {first:.0f} % of the first task is learnt, "
        f"{last:.0f} % of the last"
    )
