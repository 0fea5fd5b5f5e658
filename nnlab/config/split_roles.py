"""Which split selects weights and rates, and which one a result is reported for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SELECTION_ORDER = ("validation", "train")  # never the test set, which must not choose anything
REPORTING_ORDER = ("test", "validation", "train")


class SweepMetric(NamedTuple):
    """What the points of a sweep are compared by, numbers of a run's summary such as `final.test_loss`.

    Attributes:
        selected_by: The number that the best point is chosen by, never of the test set.
        reported: The number that is reported beside it; the same one where no split was held back for that.
        direction: Whether they are to be small, `minimize`, or large, `maximize`.
    """

    selected_by: str
    reported: str
    direction: str


def selection_split(splits: Iterable[str]) -> str:
    """The split whose loss selects the best weights and drives schedules: validation, else train."""
    return _first_of(SELECTION_ORDER, splits)


def reported_split(splits: Iterable[str]) -> str:
    """The split that a result is reported for: test, else validation, else train."""
    return _first_of(REPORTING_ORDER, splits)


def recorded_splits(columns: Iterable[str], metric: str) -> set[str]:
    """The splits for which a table or a summary has a metric, such as `loss` or `accuracy`."""
    names = set(columns)
    return {split for split in REPORTING_ORDER if f"{split}_{metric}" in names}


def sweep_metric(numbers: Iterable[str], restores_best: bool) -> SweepMetric | None:
    """What a sweep without a search is judged by: accuracy of a classification, else loss.

    It is taken at the last record (`final.`), or, where early stopping restores the best weights, at theirs
    (`selected.`).

    Args:
        numbers: The numbers that the trials have.
        restores_best: Whether training returns the weights of the best record.

    Returns:
        The metric, of the selection split and the reported one; None where there is neither number.
    """
    known, record = set(numbers), "selected" if restores_best else "final"
    columns = [number.removeprefix(f"{record}.") for number in known]
    for name, direction in (("accuracy", "maximize"), ("loss", "minimize")):
        splits = recorded_splits(columns, name)
        selected_by = f"{record}.{selection_split(splits)}_{name}"
        if selected_by in known:
            return SweepMetric(selected_by, f"{record}.{reported_split(splits)}_{name}", direction)
    return None


def search_metric(metric: str, direction: str, numbers: Iterable[str]) -> SweepMetric | None:
    """What a search, or a sweep that stops by a metric, is judged by: that, and it of the reported split.

    `best.` is the best of all records by the split itself; of the test set that would be a choice, and what
    is reported for it is the record that was selected (`selected.`).

    Args:
        metric: Of the search, such as `final.validation_loss`.
        direction: Whether it is to be small, `minimize`, or large, `maximize`.
        numbers: The numbers that the trials have.

    Returns:
        The metric; None where no trial has it.
    """
    known, (record, _, name) = set(numbers), metric.partition(".")
    if metric not in known:
        return None
    split, _, what = name.partition("_")
    record = "selected" if record == "best" else record
    columns = [number.removeprefix(f"{record}.") for number in known]
    reported = f"{record}.{reported_split(recorded_splits(columns, what))}_{what}"
    is_other = split in SELECTION_ORDER and reported in known and not reported.endswith(f".{name}")
    return SweepMetric(metric, reported if is_other else metric, direction)


def _first_of(order: Iterable[str], splits: Iterable[str]) -> str:
    names = set(splits)
    return next((split for split in order if split in names), "train")
