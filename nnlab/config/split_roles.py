"""Which split selects weights and rates, and which one a result is reported for."""

from __future__ import annotations

from collections.abc import Iterable

SELECTION_ORDER = ("validation", "train")  # never the test set, which must not choose anything
REPORTING_ORDER = ("test", "validation", "train")


def selection_split(splits: Iterable[str]) -> str:
    """The split whose loss selects the best weights and drives schedules: validation, else train."""
    return _first_of(SELECTION_ORDER, splits)


def reported_split(splits: Iterable[str]) -> str:
    """The split that a result is reported for: test, else validation, else train."""
    return _first_of(REPORTING_ORDER, splits)


def recorded_splits(columns: Iterable[str], metric: str) -> set[str]:
    """The splits for which a table or a summary has a metric, `loss` or `accuracy`."""
    names = set(columns)
    return {split for split in REPORTING_ORDER if f"{split}_{metric}" in names}


def _first_of(order: Iterable[str], splits: Iterable[str]) -> str:
    names = set(splits)
    return next((split for split in order if split in names), "train")
