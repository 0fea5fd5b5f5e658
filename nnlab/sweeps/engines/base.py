"""The contract between an engine, which runs trials somewhere, and the queue that it takes them from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from nnlab.storage.lease import Lease
from nnlab.sweeps.trials import Trial

MAXIMUM_ATTEMPTS = 2  # runs of a trial in all, where its worker dies

Summary = Mapping[str, Any]
"""What summary.json holds of a run or a sweep."""


class Event(NamedTuple):
    """What happened to a trial.

    Attributes:
        trial: The trial.
        share: Of its steps, how many it has taken, from 0 to 1.
        status: How it ended, a `RunStatus`; empty while it runs.
        reason: Why it failed, where its own directory does not say.
    """

    trial: Trial
    share: float = 0.0
    status: str = ""
    reason: str = ""


class Assignment(NamedTuple):
    """Trials that a worker runs side by side.

    Attributes:
        group: The key of the group that they belong to.
        trials: The trials.
        leases: Those of their directories, without which the worker writes nothing.
    """

    group: str
    trials: Sequence[Trial]
    leases: Sequence[Lease]


class TrialSource(Protocol):
    """Where an engine takes trials from. Its length is the number of trials that are left.

    Attributes:
        prunes: Whether the engine is to ask `prune_step` as trials go on.
    """

    prunes: bool

    def __len__(self) -> int: ...

    def next_assignment(self, group: str, memory_bytes: int | None) -> Assignment | None:
        """The next trials for a worker; None where there is nothing to run now, or other processes run it.

        Args:
            group: The group whose program the worker has compiled; empty for a new worker.
            memory_bytes: Memory of the worker's accelerators, None on CPU.
        """
        ...

    def ended_elsewhere(self) -> Sequence[Event]:
        """The ends of trials, not told of before, that other processes of the same sweep have run."""
        ...

    def retry(self, trial: Trial) -> bool:
        """Put a trial back whose worker died; False where it was attempted often enough."""
        ...

    def prune_step(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        """The step at which a trial is to end early, None where it goes on.

        Args:
            trial: A trial that is running.
            records: Column -> values `[R]`, its next R rows of metrics.csv.
        """
        ...

    def finish(self, trial: Trial, summary: Summary | None) -> None:
        """Take in the summary of a trial that has ended; None where it was interrupted."""
        ...


class Engine(Protocol):
    """Runs the trials of a queue, on this machine or elsewhere.

    Attributes:
        stopping: Whether it was told to stop.
    """

    stopping: bool

    def run(self, trials: TrialSource) -> Iterator[Event]:
        """Run every trial once, yielding what happens to them.

        More trials may come to the source while an event is dealt with.
        """
        ...

    def stop(self) -> None:
        """Let running trials reach their next record, and start no more."""
        ...

    def kill(self) -> None:
        """End all running trials at once."""
        ...

    def close(self) -> None:
        """Leave no process behind."""
        ...
