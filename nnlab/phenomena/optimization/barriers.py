"""Barriers: how far the training error rises on the straight line between the weights of two trainings.

    barrier = max over a of  error((1 - a) A + a B)  -  ((1 - a) error(A) + a error(B))

At the ends that is 0. Where it is 0 on all of the way, A and B lie in one region of weights as good as they.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepView, refuse_non_numeric

if TYPE_CHECKING:
    import pandas

HIGH_BARRIER = 0.15  # from which on there is one
NO_BARRIER = 0.02  # up to which there is none
MAXIMUM_OF_GUESS = 1 / 2  # of what a guess has wrong, that nets which have learnt may have


def read_lines(sweep: SweepView, along: str) -> pandas.DataFrame:
    """The points of the lines between trials that differ in an axis alone.

    Returns:
        The table `between` of these lines, in the order of the points, with the columns `error`, the training
        error, and `excess`, what of it is above that of the ends.

    Raises:
        InvalidValue: There are no lines, or the task is no classification.
    """
    table = sweep.joined("between")
    refuse_non_numeric(table, ("share", "matched"))
    if "train_accuracy" not in table:
        raise InvalidValue("a barrier is one of the training error, and these data have no classes")
    refuse_non_numeric(table, ("train_accuracy",))
    table = table[table["along"] == along].sort_values("share", kind="stable")
    if table.empty:
        raise InvalidValue(f"there are no two complete trials that differ in {along} alone")
    if table["train_accuracy"].isna().any():
        raise InvalidValue("there are points between the trials without a training accuracy")
    table = table.assign(error=1.0 - table["train_accuracy"])
    of_line = table.groupby(LINE)["error"]
    ends = (1.0 - table["share"]) * of_line.transform("first") + table["share"] * of_line.transform("last")
    return table.assign(excess=table["error"] - ends)


LINE = ["trial", "other", "matched"]
"""The columns that tell one line from another."""


def barriers(lines: pandas.DataFrame, by: str) -> pandas.DataFrame:
    """The barrier of each line of `read_lines`, in the column `excess`, beside the value of a column."""
    return lines.groupby([*LINE, by])["excess"].max().reset_index()


def why_no_verdict(sweep: SweepView, lines: pandas.DataFrame) -> str | None:
    """Why lines tell nothing of the ways between trained nets: where their ends have more than half of the
    training examples wrong that a guess has, 1 - 1 / classes, they have learnt too little. None where they
    have learnt. Raises InvalidValue."""
    trials = sweep.completed_trials
    refuse_non_numeric(trials, ("classes",))
    classes = float(trials["classes"].iloc[0])
    if not classes >= 1:
        raise InvalidValue("the trials do not say how many classes there are")
    error, guess = end_error(lines), 1.0 - 1.0 / classes
    if error <= MAXIMUM_OF_GUESS * guess:
        return None
    return (
        f"no verdict: the trainings learnt too little, and end with {error:.0%} of their training examples "
        f"wrong (a guess: {guess:.0%})"
    )


def end_error(lines: pandas.DataFrame) -> float:
    """The training error at the ends of lines, their mean."""
    return float(lines[lines["share"].isin([0.0, 1.0])]["error"].mean())


def mean_curves(lines: pandas.DataFrame, by: str) -> pandas.DataFrame:
    """The training error at each share, mean over the lines of each value of a column: a column for each."""
    return lines.pivot_table(index="share", columns=by, values="error", aggfunc=np.mean)
