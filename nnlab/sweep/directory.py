"""Where a sweep lies: its config, its tables, a run directory for every trial, and who is at work on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import NnlabError, UsageError
from nnlab.store import RunDirectory
from nnlab.sweep.trials import Trial, base_tree

FINISHED = ("complete", "diverged", "pruned")
PATIENCE = 15.0  # seconds for the workers of a sweep that was killed to notice


class SweepDirectory(RunDirectory):
    """A sweep's files. Trials lie in trials/<id>, by the hash of their config, so that one that is there is
    not run again, whichever definition of the sweep asked for it."""

    @staticmethod
    def default(config: Config) -> Path:
        """results/<name>-<hash>, of the experiment without its sweep: more values of an axis are the same
        sweep, grown."""
        text = json.dumps(base_tree(config), sort_keys=True)
        return Path("results") / f"{config.name}-sweep-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def journal(self) -> Path:
        """Of a search: what it proposed, and what came of that."""
        return self.path / "search.journal"

    def trial(self, trial: Trial) -> RunDirectory:
        return RunDirectory(self.path / "trials" / trial.id)

    def outcome(self, trial: Trial) -> dict[str, Any] | None:
        """The summary of a trial that has ended, well or not; None where it is still to be run."""
        try:
            summary = self.trial(trial).summary()
        except UsageError:  # damaged: run it again
            return None
        return summary if summary.get("status") in (*FINISHED, "failed") else None

    def check(self, config: Config, force: bool) -> None:
        """Refuse a place that holds something else. Raises UsageError."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file, no place for a sweep")
        found = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        if all(name.startswith(".") or name == "sweep.log" for name in found):
            return  # nothing, or what a sweep leaves that is killed before it has begun
        if not (self.path / "sweep.yaml").is_file():
            raise UsageError(f"{self.path}: holds something that is no sweep; name another --out")
        if not force and base_tree(check_tree(read(self.path / "sweep.yaml"))) != base_tree(config):
            raise UsageError(
                f"{self.path}: holds a sweep of another experiment; --force replaces it, "
                "--out names another place"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Keep the directory to this process while it works on it; yields the lock's file descriptor, which
        workers inherit: as long as one of them lives, nobody else comes in. Raises UsageError, naming the
        holder."""
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise NnlabError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        try:
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    holder = os.pread(lock, 200, 0).decode(errors="replace").strip()
                    if _is_alive(holder) or time.monotonic() > until:
                        raise UsageError(
                            f"{self.path}: another sweep is at work here ({holder or 'unknown'}); "
                            "wait for it, or name another --out"
                        ) from None
                    time.sleep(0.05)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield lock
        finally:
            os.close(lock)

    def begin_sweep(self, config: Config, force: bool) -> None:
        """Write the sweep's config; force: without what was there."""
        if force:
            for folder in ("trials", "plots"):
                shutil.rmtree(self.path / folder, ignore_errors=True)
            for table in self.path.glob("*.csv"):
                table.unlink()
            self.journal.unlink(missing_ok=True)
        self.write("sweep.yaml", config.text)
        self.write_json("summary.json", {"name": config.name, "status": "running"})

    def give_up(self, trial: Trial, reason: str) -> Mapping[str, Any]:
        """Note a trial that failed without a word of its own."""
        directory = self.trial(trial)
        summary = {"name": trial.config.name, "status": "failed", "reason": reason}
        with contextlib.suppress(NnlabError):  # a directory that cannot be written is the reason, likely
            directory.begin(trial.config.text, {})
            directory.write_json("summary.json", summary)
        return summary


def _is_alive(holder: str) -> bool:
    """Whether the process that a lock names runs; yes where that cannot be told."""
    words = holder.split()
    if len(words) != 4 or words[3] != socket.gethostname() or not words[1].isdecimal():
        return bool(words)
    return Path(f"/proc/{words[1]}").exists() if Path("/proc/self").exists() else True
