"""The queue of a sweep's trials: which trial is run next, and by which worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nnlab.sweeps.engines.base import MAXIMUM_ATTEMPTS, Assignment, Summary
from nnlab.sweeps.trials import Trial

LANES_MEMORY_SHARE = 0.6  # of an accelerator's memory, for the lanes of one assignment
MAXIMUM_LANES = 256


class TrialGroup(NamedTuple):
    """Trials that share a compiled program.

    Attributes:
        key: The same for all trials of the group, see `group_key`.
        trials: Its trials.
        trial_flops: Floating-point operations of one trial.
        trial_bytes: Memory of one trial on the device.
        notes: Those of its data.
    """

    key: str
    trials: Sequence[Trial]
    trial_flops: float
    trial_bytes: int
    notes: tuple[str, ...] = ()


class TrialQueue:
    """The trials that are left to run, by group.

    The costliest groups come first, and a worker stays with the group whose program it has compiled. See
    `TrialSource` for its methods.
    """

    prunes = False

    def __init__(self, groups: Sequence[TrialGroup]) -> None:
        self._groups = {group.key: group for group in groups}
        self._waiting = {group.key: list(group.trials) for group in groups}
        self._group_of = {trial.id: group.key for group in groups for trial in group.trials}
        self._attempts: dict[str, int] = {}
        self._started: set[str] = set()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def next_assignment(self, group: str, memory_bytes: int | None) -> Assignment | None:
        """Trials of the worker's group; then of the costliest group that nobody has started, then of the one
        with the most left to do."""
        waiting = [key for key, trials in self._waiting.items() if trials]
        if not waiting:
            return None
        key = group
        if group not in waiting:
            fresh = [key for key in waiting if key not in self._started]
            key = max(fresh or waiting, key=self._flops_left)
            self._started.add(key)
        lanes = lane_count(self._groups[key], memory_bytes)
        trials, self._waiting[key] = self._waiting[key][:lanes], self._waiting[key][lanes:]
        for trial in trials:
            self._attempts[trial.id] = self._attempts.get(trial.id, 0) + 1
        return Assignment(key, trials)

    def retry(self, trial: Trial) -> bool:
        if self._attempts[trial.id] >= MAXIMUM_ATTEMPTS:
            return False
        self._waiting[self._group_of[trial.id]].append(trial)
        return True

    def prune_step(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        return None

    def finish(self, trial: Trial, summary: Summary | None) -> None:
        pass

    def _flops_left(self, key: str) -> float:
        return len(self._waiting[key]) * self._groups[key].trial_flops


def lane_count(group: TrialGroup, memory_bytes: int | None) -> int:
    """The number of trials to run side by side: one on CPU, as many as fit on an accelerator."""
    if memory_bytes is None:
        return 1
    return max(1, min(MAXIMUM_LANES, int(LANES_MEMORY_SHARE * memory_bytes / max(1, group.trial_bytes))))
