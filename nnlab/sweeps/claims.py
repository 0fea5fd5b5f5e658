"""Which trials of a sweep this process may run: those whose lease it has, see `nnlab.storage.lease`."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence

from nnlab.errors import DiskError, RunStatus, UsageError
from nnlab.runs.expectations import FINISHED
from nnlab.storage.lease import Holder, Lease, holder, take
from nnlab.storage.lock import DirectoryLock, may_be_alive
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Summary
from nnlab.sweeps.trials import Trial
from nnlab.system import files


class Claims:
    """The leases of this process on the trials of a sweep.

    Args:
        directory: The sweep's directory.
        lock: Its lock, which this process has.
        joined: Whether other processes may run trials of the same sweep at the same time.
        trials: Those that are left to run; what failed among them before is run again.
    """

    def __init__(
        self, directory: SweepDirectory, lock: DirectoryLock, joined: bool, trials: Sequence[Trial]
    ) -> None:
        self.directory, self.lock, self.joined = directory, lock, joined
        self._leases: dict[str, Lease] = {}
        self._failed_before = {trial.id: self._failure(trial) for trial in trials} if joined else {}

    def clear(self) -> None:
        """Remove what processes left that were killed.

        Raises:
            UsageError: Another process is at work, though the lock does not show it; it is named.
        """
        trials = self.directory.path / "trials"
        leases = [] if trials.is_symlink() else list(trials.glob("*/.lease-*"))
        leases = [folder for folder in leases if not folder.parent.is_symlink()]
        for path in {folder.parent for folder in leases}:
            current = holder(path, self.lock.file)
            if current is not None and current.may_be_alive and not self._is_gone(path.name, current):
                raise self._refusal(current)
        for path in (*leases, *self.directory.path.glob(".nonce-*")):
            files.remove(path)

    def take(self, trial: Trial) -> Lease | None:
        """The lease of a trial.

        Returns:
            The lease; None where another process of the same sweep has it.

        Raises:
            UsageError: Another process has it that must not be at work here.
            DiskError: Something cannot be written.
        """
        path = self.directory.trial(trial).path
        lease = take(path, self.lock.file, lambda current: self._is_gone(trial.id, current))
        if lease is not None:
            self._leases[trial.id] = lease
        elif not self.joined:
            raise self._refusal(holder(path, self.lock.file))
        return lease

    def has(self, trial: Trial) -> bool:
        """Whether the lease of a trial is this process's."""
        return trial.id in self._leases and self._leases[trial.id].is_held

    def release(self, trial: Trial) -> None:
        """Give a trial up, or back where it has ended. Raises DiskError."""
        if lease := self._leases.pop(trial.id, None):
            lease.release()

    def close(self) -> None:
        """Give all trials up."""
        with contextlib.suppress(DiskError):
            for lease in self._leases.values():
                lease.release()
        self._leases = {}

    def is_last(self) -> bool:
        """Whether no other process is at work on the sweep; asked at the end, as others may join then."""
        return not self.joined or self.lock.try_alone()

    def outcome_elsewhere(self, trial: Trial) -> Summary | None:
        """The summary of a trial that another process has brought to its end since this one began; None where
        it is to be run."""
        if not self.joined:
            return None
        summary = self.directory.outcome(trial)
        if summary is None or summary["status"] in FINISHED:
            return summary
        return summary if self._failure(trial) != self._failed_before.get(trial.id) else None

    def _failure(self, trial: Trial) -> int | None:
        """When a trial failed; None where it did not."""
        summary = self.directory.outcome(trial)
        if summary is None or summary["status"] != RunStatus.FAILED:
            return None
        return (self.directory.trial(trial).path / "summary.json").stat().st_mtime_ns

    def _is_gone(self, name: str, current: Holder) -> bool:
        """Whether a holder is known to be gone: it was a worker of this process, which knows of its death, or
        a process of this host that has ended, or else would have the lock."""
        if name in self._leases and self._leases[name].content == current.content:
            return True
        was_here = current.process.endswith(f" on {platform.node()}") or not current.content
        return was_here if not self.joined else not may_be_alive(current.process)

    def _refusal(self, current: Holder | None) -> UsageError:
        process = current.process if current is not None else "unknown"
        return UsageError(
            f"{self.directory.path}: another process is at work here ({process}); wait for it, or name "
            "another --out"
        )
