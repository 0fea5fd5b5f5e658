"""Keeping a run: when its checkpoints are written, and from which one it may go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.config import check_tree
from nnlab.config.document import read
from nnlab.errors import DriftError, InvalidValue, UsageError
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import Checkpoint, CheckpointMeta
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device, files
from nnlab.training.experiment import Experiment
from nnlab.training.loop import Chunk, check_fit
from nnlab.training.state import groups_of

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
    if chunk.state is None:  # of what is solved for
        return
    state = chunk.state()
    groups = groups_of(state)
    if not all(np.isfinite(array).all() for array in groups["weights"]().values()):
        return  # its next step diverges; the last finite checkpoint is worth more
    loss = float(state.best.loss)
    best = {"step": int(state.best.step), "loss": loss} if math.isfinite(loss) else {}
    facts = CheckpointMeta(
        chunk.step, chunk.done, provenance(lane.experiment), lane.directory.sync(), best, chunk.stopped
    )
    checkpoints.save(lane.directory.checkpoints, facts, groups)


def provenance(experiment: Experiment) -> dict[str, Any]:
    """All that the bytes of a run depend on."""
    found = device.environment()
    return {
        "config": experiment.config.hash,
        "data": experiment.data.hash,
        **({"initialize": experiment.given.hash} if experiment.given.arrays else {}),
        **{name: found["versions"][name] for name in PACKAGES},
        **{name: found[name] for name in ("platform", "devices", "processor", "threads", "settings")},
    }


def found(lanes: Sequence[Lane], keep: Keep, tell: Tell) -> list[Checkpoint] | None:
    """The checkpoints from which lanes go on together, all at one step, but for those that came to their end
    before their time; None where they begin anew. tell: called with each one that is damaged. Raises
    UsageError where one may not be gone on from."""
    if not keep.resume:
        return None
    newest = [_newest(lane, None, tell) for lane in lanes]
    there = [checkpoint.facts for checkpoint in newest if checkpoint is not None]
    if len(there) < len(lanes):
        if there:
            tell(f"{lanes[0].directory.path}: trains anew, as others beside it do")
        return None
    steps = [facts.step for facts in there if not facts.stopped]
    least = min(steps, default=0)
    if steps and max(steps) > least:  # killed while it wrote those of one step, before the last lane's
        newest = [
            old if old and old.facts.stopped else _newest(lane, least, tell)
            for lane, old in zip(lanes, newest, strict=True)
        ]
    chosen = [c for c in newest if c and (c.facts.stopped or c.facts.step == least)]
    if len(chosen) < len(lanes):
        tell(f"{lanes[0].directory.path}: has no checkpoint of a step that those beside it have: trains anew")
        return None
    for lane, checkpoint in zip(lanes, chosen, strict=True):
        _check(lane, checkpoint, keep.allow_drift)
    return chosen


def _newest(lane: Lane, most: int | None, tell: Tell) -> Checkpoint | None:
    directory = lane.directory

    def fits(checkpoint: Checkpoint) -> str:
        facts = checkpoint.facts
        for name, position in facts.tables.items():
            last = name in lane.experiment.last_tables
            if name == "timing" or (last and not facts.stopped and facts.step < lane.experiment.total_steps):
                continue  # is cut, or written anew
            if not files.has_prefix(directory.path / f"{name}.csv", position):
                return f"{name}.csv does not begin with what it held"
        return ""

    damage: list[str] = []
    newest = checkpoints.newest(directory.checkpoints, most, fits, damage.append)
    if damage and newest is None:
        damage.append(f"{directory.checkpoints}: none can be used: trains anew")
    for line in damage:
        directory.log(line)
        tell(line)
    return newest


def _check(lane: Lane, checkpoint: Checkpoint, allow_drift: bool) -> None:
    """Refuse to go on where the bytes would not be those of a run that was never interrupted, or where there
    is nothing to go on with; before anything is changed. Raises UsageError."""
    place, facts, total = lane.directory.path, checkpoint.facts, lane.experiment.total_steps
    differing = drift(lane, facts)
    if differing and not allow_drift:
        words = ", ".join(f"{d['what']} was {_short(d['was'])} and is {_short(d['is'])}" for d in differing)
        raise DriftError(
            f"{place}: interrupted at step {facts.step}; going on would give other numbers: {words}; "
            "--allow-drift goes on and records it, --force trains anew"
        )
    if facts.step > total:
        raise UsageError(
            f"{place}: has taken {facts.step} steps, more than the {total} of this config; "
            "--force trains anew"
        )
    changed = [d["what"] for d in differing if d["what"] in ("config", "data")]
    if changed and facts.done and (facts.stopped or facts.step == total):
        raise UsageError(
            f"{place}: is finished, with another {changed[0]}; nothing is left to go on with; --force trains "
            "anew, --out names another place"
        )
    if changed:
        try:
            _check_columns(lane)
            check_fit(lane.experiment, checkpoint.arrays())
        except InvalidValue as error:
            raise UsageError(f"{place}: cannot be gone on with: {error}; --force trains anew") from None


def _check_columns(lane: Lane) -> None:
    """Another config must fill the same columns of the same tables. Raises InvalidValue."""
    before = check_tree(read(lane.directory.path / "config.yaml")).tree
    now = lane.experiment.config.tree
    if before["record"]["layers"] != now["record"]["layers"] or before["phenomena"] != now["phenomena"]:
        raise InvalidValue("record.layers and phenomena make other columns")


def drift(lane: Lane, facts: CheckpointMeta) -> list[dict[str, Any]]:
    """What differs between a checkpoint's making and now."""
    was, now = facts.provenance, provenance(lane.experiment)
    return [
        {"step": facts.step, "what": name, "was": was.get(name), "is": value}
        for name, value in now.items()
        if was.get(name) != value
    ]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:8] if len(text) == 64 else text  # of a hash its beginning
