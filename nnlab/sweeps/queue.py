"""Which trial is run next, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from nnlab.sweeps.trials import Trial

TRIES = 2  # a trial whose worker died is tried so often in all
LANES_MEMORY = 0.6  # share of an accelerator's memory that a slice of lanes may take
MOST_LANES = 256


class Group(NamedTuple):
    """Trials that share a compiled program. cost: of one trial, in floating-point operations; memory: of one
    trial, in bytes."""

    key: str
    trials: Sequence[Trial]
    cost: float
    memory: int


class Work(Protocol):
    """What an engine asks what to do. Its length is how many trials are left.

    judges: whether `stop_at` is to be asked as trials go on.
    """

    judges: bool

    def __len__(self) -> int: ...

    def next_for(self, own: str, memory: int | None) -> tuple[str, list[Trial]] | None:
        """The next trials for a worker that is at the group `own`, with their group; None where there is
        nothing now. memory: of its accelerator, None on CPU."""
        ...

    def again(self, trial: Trial) -> bool:
        """Put a trial back, unless it was tried often enough."""
        ...

    def stop_at(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        """The step at which a trial is to end early, given its next rows of metrics.csv."""
        ...

    def ended(self, trial: Trial, summary: Mapping[str, Any] | None) -> None:
        """Learn what a trial came to; None where it did not come to an end."""
        ...


class Agenda:
    """What is left to run, by group: the costliest groups come first, and a worker stays with the group whose
    program it has compiled."""

    judges = False

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = {group.key: group for group in groups}
        self.left = {group.key: list(group.trials) for group in groups}
        self.home = {trial.id: group.key for group in groups for trial in group.trials}
        self.tries: dict[str, int] = {}
        self.begun: set[str] = set()

    def __len__(self) -> int:
        return sum(map(len, self.left.values()))

    def next_for(self, own: str, memory: int | None) -> tuple[str, list[Trial]] | None:
        """The next trials for a worker, with their group: of its own group; then of the costliest one that
        nobody has begun, then of the one with the most to do. memory: of its accelerator, None on CPU."""
        open_groups = [key for key, trials in self.left.items() if trials]
        if not open_groups:
            return None
        if own in open_groups:
            key = own
        else:
            fresh = [key for key in open_groups if key not in self.begun]
            key = max(fresh or open_groups, key=lambda k: len(self.left[k]) * self.groups[k].cost)
            self.begun.add(key)
        lanes = self._lanes(self.groups[key], memory)
        chosen, self.left[key] = self.left[key][:lanes], self.left[key][lanes:]
        for trial in chosen:
            self.tries[trial.id] = self.tries.get(trial.id, 0) + 1
        return key, chosen

    def again(self, trial: Trial) -> bool:
        """Put a trial back, unless it was tried often enough."""
        if self.tries[trial.id] >= TRIES:
            return False
        self.left[self.home[trial.id]].append(trial)
        return True

    def stop_at(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        return None

    def ended(self, trial: Trial, summary: Mapping[str, Any] | None) -> None:
        pass

    @staticmethod
    def _lanes(group: Group, memory: int | None) -> int:
        """How many trials side by side: one on CPU, as many as fit on an accelerator."""
        if memory is None:
            return 1
        return max(1, min(MOST_LANES, int(LANES_MEMORY * memory / max(1, group.memory))))
