"""The contract of a search: it proposes trials, is told their outcomes, and may end bad ones early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from nnlab.sweeps.trials import AxisValues

Direction = Literal["minimize", "maximize"]

Distribution = Mapping[str, Sequence[Any]]
"""Name of a distribution -> its bounds or choices, as `sweep.random.axes` has it."""

Space = Mapping[str, Distribution]
"""Axis -> its distribution."""

Reports = Mapping[int, float]
"""Rung of a training -> the metric there. Rungs divide each training evenly, so that all compare."""


class Proposal(NamedTuple):
    """A point that a study proposes to run.

    Attributes:
        number: Its position among the study's proposals, from 0.
        values: The value of each axis.
        open: Whether the study has yet to be told its outcome.
    """

    number: int
    values: AxisValues
    open: bool


class Study(Protocol):
    """A search at work, kept in its journal."""

    def proposals(self) -> Sequence[Proposal]:
        """All proposals so far, in their order."""
        ...

    def propose(self) -> Proposal:
        """A new proposal."""
        ...

    def should_prune(self, number: int, reports: Reports) -> bool:
        """Whether a proposal's trial, with these reports so far, is not worth running on."""
        ...

    def tell(self, number: int, value: float | None, reports: Reports) -> None:
        """Record the outcome of a proposal; value: None for a trial that was pruned or diverged."""
        ...


class Search(NamedTuple):
    """A search method, as a registered function returns it.

    Attributes:
        metric: The number of a run's summary to optimize, such as `final.validation_loss`.
        direction: Whether it is to be small or large; None for what is better by the metric itself.
        prune: Whether trials may be ended early.
        require: Raises UsageError where a package is missing.
        study: (direction, space, seed, journal) -> the study; no other process writes its journal.
    """

    metric: str
    direction: Direction | None
    prune: bool
    require: Callable[[], None]
    study: Callable[[Direction, Space, int, Path], Study]
