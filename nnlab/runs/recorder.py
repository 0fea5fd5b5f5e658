"""Writing a run as it trains: chunks into tables, the outcome into the summary."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from nnlab import __version__
from nnlab.errors import DiskError, RunStatus, UsageError
from nnlab.registry import plugins
from nnlab.runs.resume import Notify, RunTask, drift
from nnlab.runs.summary import facts_of, summarize
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import Checkpoint, CheckpointMeta
from nnlab.storage.results import JsonObject, read_json
from nnlab.storage.run_directory import RunDirectory
from nnlab.storage.tables import read_table
from nnlab.system import device, files
from nnlab.system.files import FileDigest
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.placement import batch_devices
from nnlab.training.record_tables import Chunk

StopRule = Callable[[Chunk], int | None]
"""Called with each chunk of a run; where it returns a step of that chunk, the run ends there, pruned."""


class RunRecorder:
    """Writes one run into its directory.

    Attributes:
        task: The experiment and its directory.
        status: `RUNNING` while there are steps left, then how the training ended.
        step: The last step recorded.
    """

    def __init__(self, task: RunTask, stop_rule: StopRule | None) -> None:
        self.task, self.stop_rule = task, stop_rule
        self.status, self.step = RunStatus.RUNNING, 0
        self.stopped = 0  # see Chunk
        self._has_records = False
        self._known_until = -1  # the last step whose record is there, where the training resumes at a record

    def create(self, start: Checkpoint | None, notify: Notify) -> None:
        """Make the directory, or continue in it from a checkpoint."""
        experiment, directory = self.task
        drifts = [] if start is None else drift(self.task, start.meta)
        environment = device.environment() | {
            "config_sha256": experiment.config.hash,
            "data_sha256": experiment.data_hash,
        }
        if isinstance(experiment, TrainedExperiment) and (devices := batch_devices(experiment)) > 1:
            environment["devices_of_a_batch"] = devices
        if loaded := plugins():
            environment["plugins"] = {module: origin._asdict() for module, origin in loaded.items()}
        earlier = [] if start is None else _earlier_drifts(directory)
        if earlier or drifts:
            environment["drift"] = [*earlier, *drifts]
        tables = {} if start is None else self._tables_to_continue(start.meta)
        directory.create(experiment.config.text, environment, facts_of(experiment), tables)
        directory.log(f"nnlab {__version__}: {experiment.config.name}, {experiment.total_steps} steps")
        if start is not None:
            self._continue_from(start.meta, drifts, notify)
            return
        pretrained = [experiment.pretrained.report] if experiment.pretrained.arrays else []
        for line in (*(f"note: {note}" for note in experiment.notes), *pretrained):
            directory.log(line)
            notify(line)

    def _tables_to_continue(self, meta: CheckpointMeta) -> dict[str, FileDigest]:
        """The tables of a checkpoint that stay. A training that is lengthened writes its last ones anew."""
        experiment, directory = self.task
        tables = dict(meta.tables)
        if meta.done and not meta.stopped and meta.step < experiment.total_steps:
            self._known_until = meta.step
            for name in experiment.last_tables:
                tables.pop(name, None)
        if "timing" in tables and not files.has_prefix(directory.path / "timing.csv", tables["timing"]):
            del tables["timing"]  # no number depends on it
        return tables

    def _continue_from(self, meta: CheckpointMeta, drifts: list[JsonObject], notify: Notify) -> None:
        experiment, directory = self.task
        line = f"goes on from step {meta.step}" + "".join(f", {d['what']} differs" for d in drifts)
        directory.log(line)
        notify(f"{directory.path}: {line}")
        checkpoints.drop_after(directory.checkpoints, meta.step)
        self.step, self.stopped, self._has_records = meta.step, meta.stopped, True
        if meta.done and (meta.stopped or meta.step == experiment.total_steps):
            self.status = RunStatus.COMPLETE
        if self.stop_rule is not None:
            metrics = read_table(directory.path / "metrics.csv")
            table = {str(name): metrics[name].to_numpy() for name in metrics}
            self.stop_rule(Chunk(meta.step, {"metrics": table}, True, meta.done, 0.0, 0.0))

    def record(self, chunk: Chunk) -> None:
        """Add a chunk to the tables, or as much of it as comes before the run is pruned."""
        stop = self.stop_rule(chunk) if self.stop_rule is not None else None
        if stop is not None:
            chunk = _up_to(stop, chunk)
            self.status = RunStatus.PRUNED
        elif not chunk.finite:
            self.status = RunStatus.DIVERGED
        elif chunk.done:
            self.status = RunStatus.COMPLETE
        self.step, self._has_records = chunk.step, True
        self.stopped = chunk.stopped if self.status is RunStatus.COMPLETE else 0
        for name, columns in chunk.tables.items():
            new = columns["step"] > self._known_until if "step" in columns else slice(None)
            self.task.directory.append(name, {column: values[new] for column, values in columns.items()})
        seconds = {"seconds": round(chunk.seconds, 6), "compiling": round(chunk.compiling, 6)}
        timing = {"step": chunk.step, **seconds}
        self.task.directory.append("timing", {n: np.array([v], dtype=object) for n, v in timing.items()})

    def finish(self) -> JsonObject:
        """Close the tables and write the summary; a run with steps left is interrupted. Returns it as read
        back."""
        experiment, directory = self.task
        directory.close()
        if self.status is RunStatus.RUNNING:
            self.status = RunStatus.INTERRUPTED
        summary = facts_of(experiment) | {"status": self.status}
        if self._has_records:
            summary = summarize(experiment, directory.path, self.status, self.step, self.stopped)
        directory.log(self.status + (f" at step {self.step}" if self._has_records else ""))
        directory.write_json("summary.json", summary)
        return read_json(directory.path / "summary.json")

    def fail(self, reason: str) -> None:
        """Write into the summary that the run failed, if that can still be written."""
        self.status = RunStatus.FAILED
        ending = {"status": self.status, "reason": reason, "step": self.step}
        with contextlib.suppress(DiskError):  # the reason is raised in any case
            self.task.directory.log(f"failed at step {self.step}")
            self.task.directory.write_json("summary.json", facts_of(self.task.experiment) | ending)


def _earlier_drifts(directory: RunDirectory) -> list[JsonObject]:
    """The drifts recorded before; none where they cannot be read."""
    try:
        drifts = read_json(directory.path / "environment.json").get("drift", [])
    except UsageError:
        return []
    return drifts if isinstance(drifts, list) else []


def _up_to(step: int, chunk: Chunk) -> Chunk:
    """A chunk without what came after a step."""
    tables = {
        name: {column: values[table["step"] <= step] for column, values in table.items()}
        for name, table in chunk.tables.items()
        if "step" in table
    }
    return chunk._replace(step=step, tables=tables, finite=True)
