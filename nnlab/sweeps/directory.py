"""A sweep's directory: its config, its tables, a run directory for each trial, and a lock."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.config.load import hashed_tree
from nnlab.errors import NnlabError, RunStatus, UsageError
from nnlab.storage.run_directory import RunDirectory
from nnlab.sweeps.engines.base import Summary
from nnlab.sweeps.trials import Trial, single_run_tree
from nnlab.system import files

ENDED = (RunStatus.COMPLETE, RunStatus.DIVERGED, RunStatus.PRUNED)  # statuses of a trial that did not fail


class SweepDirectory(RunDirectory):
    """The files of a sweep.

    Trials lie in trials/ID, named by the hash of their configs, so that a trial that was run is not run
    again, whichever definition of the sweep asks for it.
    """

    @staticmethod
    def default(config: Config) -> Path:
        """results/NAME-sweep-HASH, of the experiment without its sweep: with more values of an axis it is the
        same sweep, grown."""
        text = json.dumps(hashed_tree(single_run_tree(config)), sort_keys=True)
        return Path("results") / f"{config.name}-sweep-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def journal(self) -> Path:
        """The proposals of a search and their outcomes."""
        return self.path / "search.journal"

    def trial(self, trial: Trial) -> RunDirectory:
        """The directory of a trial. Raises UsageError where it leads elsewhere."""
        path = self.path / "trials" / trial.id
        if path.is_symlink():
            raise UsageError(f"{path}: is a symbolic link; remove it, or name another --out")
        return RunDirectory(path)

    def outcome(self, trial: Trial) -> dict[str, Any] | None:
        """The summary of a trial that has ended, well or not; None where it is still to be run."""
        directory = self.trial(trial)
        try:
            summary = directory.summary()
        except UsageError:  # damaged: run it again
            return None
        has_metrics = (directory.path / "metrics.csv").is_file()
        final_statuses = (*ENDED, RunStatus.FAILED) if has_metrics else (RunStatus.FAILED,)
        return summary if summary.get("status") in final_statuses else None

    def check_free(self, config: Config, force: bool) -> None:
        """Check that the directory is free for a sweep, or holds this one.

        Args:
            config: The experiment with its sweep.
            force: Let it replace a sweep of another experiment.

        Raises:
            UsageError: Something else is there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file, no place for a sweep")
        names = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        if all(name.startswith(".") or name == "sweep.log" for name in names):
            return  # nothing, or what a sweep leaves that was killed before it began
        if not (self.path / "sweep.yaml").is_file():
            raise UsageError(f"{self.path}: holds something that is no sweep; name another --out")
        if not force:
            held = single_run_tree(check_tree(read(self.path / "sweep.yaml")))
            if held != single_run_tree(config):
                raise UsageError(
                    f"{self.path}: holds a sweep of another experiment; --force replaces it, "
                    "--out names another place"
                )

    def begin_sweep(self, config: Config, force: bool) -> None:
        """Write the sweep's config and a summary that it is running.

        Args:
            config: The experiment with its sweep.
            force: Remove the files of an earlier sweep first.

        Raises:
            UsageError: A symbolic link would lead output elsewhere.
            DiskError: Something cannot be written.
        """
        if force:
            for old in (self.path / "trials", self.path / "plots", self.journal, *self.path.glob("*.csv")):
                files.remove(old)
        for path in (self.path / "plots", self.journal):
            if path.is_symlink():
                raise UsageError(f"{path}: is a symbolic link; remove it, or name another --out")
        files.make_folder(self.path, linked=True)
        self.write("sweep.yaml", config.text)  # first: by it others know the directory for a sweep's
        files.make_folder(self.path / "trials")
        self.write_json("summary.json", {"name": config.name, "status": RunStatus.RUNNING})

    def holds(self, config: Config) -> bool:
        """Whether the sweep that was begun here is this one, with the same values of all axes."""
        file = self.path / "sweep.yaml"
        return file.is_file() and file.read_text() == config.text

    def record_failure(self, trial: Trial, reason: str) -> Summary:
        """Write the summary of a trial whose run failed before it could write one."""
        directory = self.trial(trial)
        summary = {"name": trial.config.name, "status": RunStatus.FAILED, "reason": reason}
        with contextlib.suppress(NnlabError):  # a directory that cannot be written is the reason, likely
            files.make_folder(directory.path)
            if not directory.is_run:
                directory.write("config.yaml", trial.config.text)
            directory.write_json("summary.json", summary)  # its checkpoints stay: it is tried again
        return summary
