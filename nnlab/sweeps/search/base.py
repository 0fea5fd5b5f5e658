"""What a search is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

Space = Mapping[str, Mapping[str, Any]]
"""Axis -> distribution, as the file has it under sweep.random.axes."""

Reports = Mapping[int, float]
"""Rung of a training -> the metric there. Rungs are even parts of it, so that all trainings compare."""


class Proposal(NamedTuple):
    """values: of each axis. open: no outcome was told yet."""

    number: int
    values: Mapping[str, Any]
    open: bool


class Study(Protocol):
    """A search at work, kept in its journal."""

    def proposals(self) -> Sequence[Proposal]:
        """All so far, in their order."""
        ...

    def propose(self) -> Proposal: ...

    def prunes(self, number: int, reports: Reports) -> bool:
        """Whether the trial of a proposal, with these reports so far, is not worth going on with."""
        ...

    def tell(self, number: int, value: float | None, reports: Reports) -> None:
        """What a proposal came to; None: it came to no value, being pruned or diverged."""
        ...


class Search(NamedTuple):
    """metric: the number of a run's summary that is to be small or large. prune: whether trials may be ended
    early. require: raises UsageError where a package is missing. study: (space, seed, journal) -> Study; the
    journal is this process's alone.
    """

    metric: str
    direction: Literal["minimize", "maximize"]
    prune: bool
    require: Callable[[], None]
    study: Callable[[Space, int, Path], Study]
