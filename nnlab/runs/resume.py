"""Resuming a run: when its checkpoints are written, and from which one it can continue."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nnlab.config import check_tree
from nnlab.config.document import read
from nnlab.errors import DriftError, InvalidValue, UsageError
from nnlab.optim.schedules import Time
from nnlab.registry import plugins_used
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import Checkpoint, CheckpointMeta
from nnlab.storage.results import JsonObject
from nnlab.storage.run_directory import RunDirectory
from nnlab.storage.tables import read_table
from nnlab.system import device, files
from nnlab.system.imports import jax, jnp
from nnlab.training.experiment import Experiment, TrainedExperiment
from nnlab.training.lanes import validate_state
from nnlab.training.pretrained import PretrainedWeights
from nnlab.training.record_tables import Chunk
from nnlab.training.state import array_groups

Notify = Callable[[str], None]
"""Called with a line that is worth knowing."""

MAXIMUM_CHECKPOINT_SHARE = 0.02  # of a run's time, for all of its checkpoints but the last
NUMERIC_PACKAGES = ("nnlab", "jax", "jaxlib", "optax", "numpy")  # that the numbers of a training come from


class RunTask(NamedTuple):
    """An experiment, and the directory of its run."""

    experiment: Experiment
    directory: RunDirectory


class ResumePolicy(NamedTuple):
    """How a run can be resumed.

    Attributes:
        every: The least number of seconds between checkpoints; 0 for one after every chunk.
        resume: Whether to continue from a checkpoint that is there.
        allow_drift: Whether to do so even if something differs that the numbers depend on.
    """

    every: float = 60.0
    resume: bool = True
    allow_drift: bool = False


def ignore(_: str) -> None:
    """Notify nobody."""


class CheckpointTimer:
    """Tells when the next checkpoint is due.

    Attributes:
        every: Seconds between checkpoints, see `ResumePolicy`.
        wait: Seconds from the last checkpoint to the next; more where writing takes long.
        since: When the last one was written, by `time.monotonic`.
    """

    def __init__(self, every: float) -> None:
        self.every, self.wait, self.since = every, every, time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.since >= self.wait

    def save(self, ends: Sequence[tuple[RunTask, Chunk]]) -> None:
        """Write a checkpoint of each run at the end of its chunk."""
        began = time.monotonic()
        for task, chunk in ends:
            _save(task, chunk)
        self.since = time.monotonic()
        self.wait = max(self.every, (self.since - began) / MAXIMUM_CHECKPOINT_SHARE) if self.every else 0.0


def _save(task: RunTask, chunk: Chunk) -> None:
    if chunk.state is None:  # a solver has no state to continue from
        return
    state = chunk.state()
    groups = array_groups(state)
    if not all(np.isfinite(array).all() for array in groups["weights"]().values()):
        return  # its next step diverges; the last finite checkpoint is worth more
    cost, metric = float(state.best.cost), task.experiment.selection_metric
    value = -cost if task.experiment.metric_columns[metric] == "higher" else cost
    name = "loss" if metric == task.experiment.selection_loss else metric
    best = {"step": int(state.best.step), name: value} if math.isfinite(cost) else {}
    tables = task.directory.sync()
    meta = CheckpointMeta(chunk.step, chunk.done, provenance(task.experiment), tables, best, chunk.stopped)
    checkpoints.save(task.directory.checkpoints, meta, groups)


def provenance(experiment: Experiment) -> JsonObject:
    """All that the bytes of a run depend on."""
    environment = device.environment()
    mask = experiment.given_mask if isinstance(experiment, TrainedExperiment) else {}
    return {
        "config": experiment.config.hash,
        "data": experiment.data_hash,
        **({"initialize": experiment.pretrained.hash} if experiment.pretrained.arrays else {}),
        **({"mask": PretrainedWeights(mask, "").hash} if mask else {}),
        **{name: environment["versions"][name] for name in NUMERIC_PACKAGES},
        **{
            f"plug-in {module}": origin.sha256
            for module, origin in plugins_used(experiment.config.tree).items()
        },
        **{name: environment[name] for name in ("platform", "devices", "processor", "threads", "settings")},
    }


def find_resume_points(
    tasks: Sequence[RunTask], policy: ResumePolicy, notify: Notify
) -> list[Checkpoint] | None:
    """Find the checkpoints from which runs continue together.

    Returns:
        A checkpoint for each run, all at one step, except for runs that had stopped before their time; None
        where they start from the beginning.

    Raises:
        UsageError: A run must not continue from its checkpoint.
    """
    if not policy.resume:
        return None
    newest = [_newest(task, None, notify) for task in tasks]
    usable = [checkpoint.meta for checkpoint in newest if checkpoint is not None]
    if len(usable) < len(tasks):
        if usable:
            notify(f"{tasks[0].directory.path}: trains anew, as others beside it do")
        return None
    steps = [meta.step for meta in usable if not meta.stopped]
    common = min(steps, default=0)
    if steps and max(steps) > common:  # killed while it wrote those of one step, before the last run's
        newest = [
            one if one and one.meta.stopped else _newest(task, common, notify)
            for task, one in zip(tasks, newest, strict=True)
        ]
    chosen = [c for c in newest if c and (c.meta.stopped or c.meta.step == common)]
    if len(chosen) < len(tasks):
        notify(
            f"{tasks[0].directory.path}: has no checkpoint of a step that those beside it have: trains anew"
        )
        return None
    for task, checkpoint in zip(tasks, chosen, strict=True):
        _check(task, checkpoint, policy.allow_drift)
        if jump := _rate_jump(task, checkpoint.meta):
            notify(f"{task.directory.path}: {jump}")
    return chosen


def _newest(task: RunTask, max_step: int | None, notify: Notify) -> Checkpoint | None:
    directory = task.directory

    def objection(checkpoint: Checkpoint) -> str:
        meta = checkpoint.meta
        for name, digest in meta.tables.items():
            last = name in task.experiment.last_tables
            if name == "timing" or (last and not meta.stopped and meta.step < task.experiment.total_steps):
                continue  # is cut, or written anew
            if not files.has_prefix(directory.path / f"{name}.csv", digest):
                return f"{name}.csv does not begin with what it held"
        return ""

    damage: list[str] = []
    newest = checkpoints.newest(directory.checkpoints, max_step, objection, damage.append)
    if damage and newest is None:
        damage.append(f"{directory.checkpoints}: none can be used: trains anew")
    for line in damage:
        directory.log(line)
        notify(line)
    return newest


def _check(task: RunTask, checkpoint: Checkpoint, allow_drift: bool) -> None:
    """Refuse to continue where the bytes would not be those of a run that was never interrupted, or where
    nothing is left to do; before anything is changed. Raises UsageError."""
    path, meta, total = task.directory.path, checkpoint.meta, task.experiment.total_steps
    drifts = drift(task, meta)
    if drifts and not allow_drift:
        words = ", ".join(f"{d['what']} was {_short(d['was'])} and is {_short(d['is'])}" for d in drifts)
        raise DriftError(
            f"{path}: interrupted at step {meta.step}; going on would give other numbers: {words}; "
            "--allow-drift goes on and records it, --force trains anew"
        )
    if meta.step > total:
        raise UsageError(
            f"{path}: has taken {meta.step} steps, more than the {total} of this config; --force trains anew"
        )
    changed = [d["what"] for d in drifts if d["what"] in ("config", "data")]
    if changed and meta.done and (meta.stopped or meta.step == total):
        raise UsageError(
            f"{path}: is finished, with another {changed[0]}; nothing is left to go on with; --force trains "
            "anew, --out names another place"
        )
    if changed:
        try:
            _check_columns(task)
            if isinstance(task.experiment, TrainedExperiment):  # a solved one leaves no checkpoint
                validate_state(task.experiment, checkpoint.arrays(), meta.step)
        except InvalidValue as error:
            raise UsageError(f"{path}: cannot be gone on with: {error}; --force trains anew") from None


def _rate_jump(task: RunTask, meta: CheckpointMeta) -> str:
    """That the learning rate was another one when the last record was made, in words; empty where it was not,
    or goes by the loss."""
    experiment = task.experiment
    if not isinstance(experiment, TrainedExperiment) or experiment.config.hash == meta.provenance["config"]:
        return ""
    schedule = experiment.optimizer.learning_rate
    memory, metrics = schedule.init(), read_table(task.directory.path / "metrics.csv")
    if jax.tree.leaves(memory) or "learning_rate" not in metrics:
        return ""
    record = metrics[metrics["step"] <= meta.step].iloc[-1]
    step, was = int(record.get("round_step", record["step"])), float(record["learning_rate"])
    time = Time(jnp.int32(step), experiment.rounds.steps, experiment.steps_per_epoch)
    now = float(schedule.rate(memory, time))
    if math.isclose(was, now, rel_tol=1e-4, abs_tol=1e-12):
        return ""
    return f"the learning rate jumps: at step {step:,} it was {was:.3g}, and is {now:.3g} with this config"


def _check_columns(task: RunTask) -> None:
    """Another config must fill the same columns of the same tables. Raises InvalidValue."""
    before = check_tree(read(task.directory.path / "config.yaml")).tree
    now = task.experiment.config.tree
    if before["record"]["layers"] != now["record"]["layers"] or before["phenomena"] != now["phenomena"]:
        raise InvalidValue("record.layers and phenomena make other columns")
    if before["data"]["tasks"] != now["data"]["tasks"]:
        raise InvalidValue("data.tasks makes other rows of tasks.csv")


def drift(task: RunTask, meta: CheckpointMeta) -> list[JsonObject]:
    """What differs between the provenance of a checkpoint and that of a run now."""
    was, now = meta.provenance, provenance(task.experiment)
    return [
        {"step": meta.step, "what": name, "was": was.get(name), "is": value}
        for name, value in now.items()
        if was.get(name) != value
    ]


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:8] if len(text) == 64 else text  # of a hash its beginning
