"""The queue of a sweep's trials: which trial is run next, and by which worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nnlab.storage.lease import Lease
from nnlab.sweeps.claims import Claims
from nnlab.sweeps.engines.base import MAXIMUM_ATTEMPTS, Assignment, Event, Summary
from nnlab.sweeps.trials import Trial

LANES_MEMORY_SHARE = 0.6  # of an accelerator's memory, for the lanes of one assignment
MAXIMUM_LANES = 256


class TrialGroup(NamedTuple):
    """Trials that share a compiled program.

    Attributes:
        key: The same for all trials of the group, see `group_key`.
        trials: Its trials.
        trial_flops: Floating-point operations of one trial.
        trial_bytes: Memory of one trial on the devices of a worker.
        notes: Those of its data.
    """

    key: str
    trials: Sequence[Trial]
    trial_flops: float
    trial_bytes: float
    notes: tuple[str, ...] = ()


class TrialQueue:
    """The trials that are left to run, by group.

    The costliest groups come first, and a worker stays with the group whose program it has compiled. A trial
    that another process has is left where it is, for as long as that lives. See `TrialSource` for its
    methods.
    """

    prunes = False

    def __init__(self, groups: Sequence[TrialGroup], claims: Claims) -> None:
        self._claims = claims
        self._groups = {group.key: group for group in groups}
        self._waiting = {group.key: list(group.trials) for group in groups}
        self._group_of = {trial.id: group.key for group in groups for trial in group.trials}
        self._attempts: dict[str, int] = {}
        self._started: set[str] = set()
        self._ended_elsewhere: list[Event] = []

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def next_assignment(self, group: str, memory_bytes: int | None) -> Assignment | None:
        """Trials of the worker's group; then of the costliest group that nobody has started, then of the one
        with the most left to do."""
        waiting = [key for key, trials in self._waiting.items() if trials]
        waiting.sort(key=lambda key: (key != group, key in self._started, -self._flops_left(key)))
        for key in waiting:
            claimed = self._claim(key, lane_count(self._groups[key], memory_bytes))
            if claimed:
                self._started.add(key)
                trials, leases = zip(*claimed, strict=True)
                return Assignment(key, trials, leases)
        return None

    def ended_elsewhere(self) -> Sequence[Event]:
        events, self._ended_elsewhere = self._ended_elsewhere, []
        return events

    def retry(self, trial: Trial) -> bool:
        if not self._claims.has(trial):  # another process has taken it over, and does not count it here
            self._attempts[trial.id] -= 1
        if self._attempts[trial.id] >= MAXIMUM_ATTEMPTS:
            return False
        self._waiting[self._group_of[trial.id]].append(trial)
        return True

    def prune_step(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        return None

    def finish(self, trial: Trial, summary: Summary | None) -> None:
        self._claims.release(trial)

    def _claim(self, key: str, count: int) -> list[tuple[Trial, Lease]]:
        """Take up to so many trials of a group out of the queue, and those that were ended elsewhere."""
        claimed: list[tuple[Trial, Lease]] = []
        kept: list[Trial] = []
        trials = iter(self._waiting[key])
        for trial in trials:
            lease = self._claims.take(trial)
            if lease is None:
                kept.append(trial)
            elif summary := self._claims.outcome_elsewhere(trial):
                self._claims.release(trial)
                self._ended_elsewhere.append(Event(trial, 1.0, summary["status"]))
            else:
                claimed.append((trial, lease))
                self._attempts[trial.id] = self._attempts.get(trial.id, 0) + 1
                if len(claimed) == count:
                    break
        self._waiting[key] = [*kept, *trials]
        return claimed

    def _flops_left(self, key: str) -> float:
        return len(self._waiting[key]) * self._groups[key].trial_flops


def lane_count(group: TrialGroup, memory_bytes: int | None) -> int:
    """The number of trials to run side by side: one on CPU, as many as fit on an accelerator."""
    if memory_bytes is None:
        return 1
    return max(1, min(MAXIMUM_LANES, int(LANES_MEMORY_SHARE * memory_bytes / max(1, group.trial_bytes))))
