"""Where a sweep lies: its config, its tables, a run directory for every trial, and who is at work on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import NnlabError, UsageError
from nnlab.storage.run_directory import RunDirectory
from nnlab.sweeps.trials import Trial, base_tree
from nnlab.system import files

FINISHED = ("complete", "diverged", "pruned")


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
        """A trial's directory. Raises UsageError where it leads elsewhere."""
        place = self.path / "trials" / trial.id
        if place.is_symlink():
            raise UsageError(f"{place}: is a symbolic link; remove it, or name another --out")
        return RunDirectory(place)

    def outcome(self, trial: Trial) -> dict[str, Any] | None:
        """The summary of a trial that has ended, well or not; None where it is still to be run."""
        directory = self.trial(trial)
        try:
            summary = directory.summary()
        except UsageError:  # damaged: run it again
            return None
        ended = (*FINISHED, "failed") if (directory.path / "metrics.csv").is_file() else ("failed",)
        return summary if summary.get("status") in ended else None

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

    def begin_sweep(self, config: Config, force: bool) -> None:
        """Write the sweep's config; force: without what was there."""
        if force:
            for old in (self.path / "trials", self.path / "plots", self.journal, *self.path.glob("*.csv")):
                files.remove(old)
        for place in (self.path / "plots", self.journal):
            if place.is_symlink():
                raise UsageError(f"{place}: is a symbolic link; remove it, or name another --out")
        files.make_folder(self.path / "trials")
        self.write("sweep.yaml", config.text)
        self.write_json("summary.json", {"name": config.name, "status": "running"})

    def give_up(self, trial: Trial, reason: str) -> Mapping[str, Any]:
        """Note a trial that failed without a word of its own."""
        directory = self.trial(trial)
        summary = {"name": trial.config.name, "status": "failed", "reason": reason}
        with contextlib.suppress(NnlabError):  # a directory that cannot be written is the reason, likely
            files.make_folder(directory.path)
            if not directory.is_run:
                directory.write("config.yaml", trial.config.text)
            directory.write_json("summary.json", summary)  # its checkpoints stay: it is tried again
        return summary
