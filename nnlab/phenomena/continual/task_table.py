"""The table `tasks`: how well every task is done, at each record, while one after the other is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunView, refuse_non_numeric

if TYPE_CHECKING:
    import pandas

LEAST_LEARNT = 0.5  # accuracy on a task, below which there is nothing to be lost
LARGE_DROP = 0.5  # of an accuracy
SMALL_DROP = 0.1


def check_tasks(setup: Setup, data: Data) -> None:
    """Refuse data that are no sequence of tasks with classes. Raises InvalidValue."""
    if data.train.tasks is None:
        raise InvalidValue("looks at one task after another; give data.tasks")
    if not data.train.classes:
        raise InvalidValue("looks at accuracies; this data set's targets are values")


def task_rows(run: RunView, split: str | None = None) -> pandas.DataFrame:
    """The rows of the table for one split, from the record after the first step on.

    Args:
        run: The run.
        split: The split; by default the one that results are reported for.

    Raises:
        InvalidValue: There is no such table, or fewer than two tasks were trained on.
    """
    if "tasks" not in run.tables:
        raise InvalidValue("there is no table tasks: no sequence of tasks was trained on")
    table = run.tables["tasks"]
    refuse_non_numeric(table, ("step", "current_task", "task", "accuracy"))
    rows = table[table["split"] == (split or reported_split(table["split"].unique()))]
    rows = rows[rows["step"] > 0]
    if rows["current_task"].nunique() < 2:
        raise InvalidValue("one task at most was trained on, and there is none to compare it with")
    return rows


def accuracies_when_learnt(rows: pandas.DataFrame) -> pandas.Series:
    """The accuracy on each task at the last record of its own turn, by task; of those that had one."""
    own = rows[rows["task"] == rows["current_task"]]
    return own.groupby("task")["accuracy"].last()


def turn_ends(rows: pandas.DataFrame) -> list[int]:
    """The step of the last record of each turn, in order."""
    return rows.groupby("current_task")["step"].last().tolist()
