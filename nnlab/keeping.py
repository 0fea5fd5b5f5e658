"""Keeping a run: when its checkpoints are written, and from which one it may go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nnlab import checkpoints, device, disk
from nnlab.checkpoints import Checkpoint
from nnlab.errors import UsageError
from nnlab.experiment import Experiment
from nnlab.store import RunDirectory
from nnlab.train import Chunk

Tell = Callable[[str], None]

SHARE = 0.02  # of a run's time that its checkpoints may take, but for the last one
PACKAGES = ("nnlab", "jax", "jaxlib", "optax", "numpy")  # that the numbers of a training come from


class Lane(NamedTuple):
    """An experiment and where its run goes."""

    experiment: Experiment
    directory: RunDirectory


class Keep(NamedTuple):
    """How a run is kept. every: seconds between checkpoints, at least; resume: whether to go on from one;
    allow_drift: even where something differs that its numbers depend on."""

    every: float = 60.0
    resume: bool = True
    allow_drift: bool = False


def no_matter(_: str) -> None:
    """Tell nobody."""


class Clock:
    """Tells when the next checkpoint is due."""

    def __init__(self, every: float) -> None:
        self.every, self.wait, self.since = every, every, time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.since >= self.wait

    def save(self, ends: Sequence[tuple[Lane, Chunk]]) -> None:
        """Write a checkpoint of each lane at the end of its chunk."""
        began = time.monotonic()
        for lane, chunk in ends:
            _save(lane, chunk)
        self.since = time.monotonic()
        self.wait = max(self.every, (self.since - began) / SHARE) if self.every else 0.0


def _save(lane: Lane, chunk: Chunk) -> None:
    if chunk.arrays is None:  # of what is solved for
        return
    arrays = chunk.arrays()
    loss, step = (float(arrays["training"][name]) for name in ("best_loss", "best_step"))
    best = {"step": int(step), "loss": loss} if loss < float("inf") else {}
    found = Checkpoint(chunk.step, chunk.done, made_by(lane.experiment), lane.directory.sync(), best, arrays)
    checkpoints.save(lane.directory.checkpoints, found)


def made_by(experiment: Experiment) -> dict[str, Any]:
    """All that the bytes of a run depend on."""
    found = device.environment()
    return {
        "config": experiment.config.hash,
        "data": experiment.data.hash,
        **{name: found["versions"][name] for name in PACKAGES},
        **{name: found[name] for name in ("platform", "devices", "processor", "threads")},
    }


def found(lanes: Sequence[Lane], keep: Keep, tell: Tell) -> list[Checkpoint] | None:
    """The checkpoints from which lanes go on together, all at one step; None where they begin anew. tell:
    called with each one that is damaged. Raises UsageError where one may not be gone on from."""
    if not keep.resume:
        return None
    newest = [_newest(lane, None, tell) for lane in lanes]
    steps = [checkpoint.step for checkpoint in newest if checkpoint is not None]
    if len(steps) < len(lanes):
        return None
    same = [
        checkpoint if checkpoint and checkpoint.step == min(steps) else _newest(lane, min(steps), tell)
        for lane, checkpoint in zip(lanes, newest, strict=True)
    ]
    chosen = [checkpoint for checkpoint in same if checkpoint and checkpoint.step == min(steps)]
    if len(chosen) < len(lanes):
        return None
    for lane, checkpoint in zip(lanes, chosen, strict=True):
        _check(lane, checkpoint, keep.allow_drift)
    return chosen


def _newest(lane: Lane, most: int | None, tell: Tell) -> Checkpoint | None:
    directory = lane.directory

    def fits(checkpoint: Checkpoint) -> str:
        for name, position in checkpoint.tables.items():
            if not disk.holds(directory.path / f"{name}.csv", position):
                return f"{name}.csv does not begin with what it held"
        return ""

    return checkpoints.newest(directory.checkpoints, most, fits, tell)


def _check(lane: Lane, checkpoint: Checkpoint, allow_drift: bool) -> None:
    """Refuse to go on where the bytes would not be those of a run that was never interrupted."""
    place, total = lane.directory.path, lane.experiment.total_steps
    differing = drift(lane, checkpoint)
    if differing and not allow_drift:
        words = ", ".join(f"{d['what']} was {_short(d['was'])} and is {_short(d['is'])}" for d in differing)
        raise UsageError(
            f"{place}: interrupted at step {checkpoint.step}; going on would give other numbers: {words}; "
            "--allow-drift goes on and records it, --force trains anew"
        )
    if checkpoint.step > total:
        raise UsageError(
            f"{place}: has taken {checkpoint.step} steps, more than the {total} of this config; "
            "--force trains anew"
        )


def drift(lane: Lane, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """What differs between a checkpoint's making and now."""
    was, now = checkpoint.made_by, made_by(lane.experiment)
    return [
        {"step": checkpoint.step, "what": name, "was": was.get(name), "is": value}
        for name, value in now.items()
        if was.get(name) != value
    ]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:8] if len(text) == 64 else text  # of a hash its beginning
