"""Checkpoints: all that a training needs to go on, in folders that are whole or not taken for one.

    checkpoints/step-0000001200/
        weights.safetensors     the weights and the layers' running averages, by path: dense_1/kernel
        best.safetensors        the same at the record with the smallest loss
        training.safetensors    what else training hands from step to step: the optimizer's state, the step
        manifest.json           size and SHA-256 of each file and of the tables so far, and what made them

A checkpoint is written beside, brought to the disk and renamed. Each bit of it is under a SHA-256, the
manifest's under its own, as safetensors has no checksum: a flipped bit there loads as another weight.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnlab import disk
from nnlab.disk import Position

KEPT = 2  # the newest, and one to fall back on
FORMAT = 1
NAMED = re.compile(r"step-[0-9]{10}")
FILE, TABLE = re.compile(r"[a-z]+\.safetensors"), re.compile(r"[a-z][a-z_]*")
Arrays = Mapping[str, Mapping[str, np.ndarray]]  # by file, without its ending, and by name


class Checkpoint(NamedTuple):
    """step: how many were taken; done: whether the training has come to its end, its last record made.
    made_by: what its bytes depend on. tables: how far each table went. best: step and loss of the best
    weights."""

    step: int
    done: bool
    made_by: Mapping[str, Any]
    tables: Mapping[str, Position]
    best: Mapping[str, Any]
    arrays: Arrays


class DamagedError(Exception):
    """A checkpoint that is not what was written; its text says which file."""


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and let go of all but the newest. Raises NnlabError; what was there then stays."""
    from safetensors.numpy import save as packed

    name = f"step-{checkpoint.step:010d}"
    files = {f"{file}.safetensors": packed(_in_order(arrays)) for file, arrays in checkpoint.arrays.items()}
    files["manifest.json"] = _manifest(checkpoint, files)
    beside, place = folder / f".{name}.{os.getpid()}", folder / name
    disk.make_folder(folder)
    disk.remove(beside)
    with disk.telling(place):
        try:
            beside.mkdir()
            for file, content in files.items():
                disk.write_new(beside / file, content)
            disk.sync_folder(beside)
            disk.remove(place)  # damaged, else nothing would be written in its place
            os.rename(beside, place)  # noqa: PTH104
            disk.sync_folder(folder)
        except OSError:
            with contextlib.suppress(Exception):
                disk.remove(beside)
            raise
    for older in _places(folder)[KEPT:]:
        disk.remove(older)


def newest(
    folder: Path, most: int | None, fits: Callable[[Checkpoint], str], tell: Callable[[str], None]
) -> Checkpoint | None:
    """The newest checkpoint, of no more than `most` steps, that is whole and against which `fits` says
    nothing; each one that is passed over is told of. None where there is none."""
    for place in _places(folder):
        if most is not None and _step(place) > most:
            continue
        try:
            found = load(place)
            reason = fits(found)
        except DamagedError as damage:
            reason = str(damage)
        if not reason:
            return found
        tell(f"{place}: damaged, not used: {reason}")
    return None


def drop_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps, and what a killed process left beside."""
    for place in _places(folder):
        if _step(place) > step:
            disk.remove(place)
    for beside in folder.glob(".step-*"):
        disk.remove(beside)


def load(place: Path) -> Checkpoint:
    """Read a checkpoint. Raises DamagedError unless each of its bytes is what was written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    body = _read_manifest(place / "manifest.json")
    arrays = {}
    for file, position in body["files"].items():
        content = _read(place / file)
        if [len(content), hashlib.sha256(content).hexdigest()] != position:
            raise DamagedError(f"{file} is not what was written")
        try:
            arrays[file.removesuffix(".safetensors")] = unpacked(content)
        except SafetensorError as error:
            raise DamagedError(f"{file}: {error}") from None
    tables = {name: Position(*position) for name, position in body["tables"].items()}
    return Checkpoint(body["step"], body["done"], body["made_by"], tables, body["best"], arrays)


def _places(folder: Path) -> list[Path]:
    """The folders of checkpoints, the newest first."""
    named = (place for place in folder.glob("step-*") if NAMED.fullmatch(place.name))
    return sorted(named, key=_step, reverse=True)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-"))


def _in_order(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in C order, without which safetensors 0.8.0 writes wrong numbers (safetensors#825)."""
    return {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}


def _manifest(checkpoint: Checkpoint, files: Mapping[str, bytes]) -> bytes:
    body = {
        "format": FORMAT,
        "step": checkpoint.step,
        "done": checkpoint.done,
        "best": checkpoint.best,
        "made_by": checkpoint.made_by,
        "files": {name: [len(content), _sha256(content)] for name, content in files.items()},
        "tables": checkpoint.tables,
    }
    return _text({"sha256": _sha256(_text(body)), **body})


def _read_manifest(file: Path) -> dict[str, Any]:
    """What a manifest says. Raises DamagedError unless it is, byte for byte, what `_manifest` wrote."""
    raw = _read(file)
    try:
        body = json.loads(raw)
        claimed = body.pop("sha256")
        whole = claimed == _sha256(_text(body)) and raw == _text({"sha256": claimed, **body})
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DamagedError(f"{file.name} is not what was written")
    if body.get("format") != FORMAT:
        raise DamagedError(f"{file.name} has the format {body.get('format')}, not {FORMAT}")
    if not _well_formed(body):  # whole, but not of our making: a name in it might lead elsewhere
        raise DamagedError(f"{file.name} is none of a checkpoint")
    return body


def _well_formed(body: Mapping[str, Any]) -> bool:
    def positions(named: Any, pattern: re.Pattern[str]) -> bool:
        return isinstance(named, dict) and all(
            pattern.fullmatch(name)
            and isinstance(position, list)
            and [type(part) for part in position] == [int, str]
            for name, position in named.items()
        )

    return (
        type(body.get("step")) is int
        and type(body.get("done")) is bool
        and all(isinstance(body.get(name), dict) for name in ("best", "made_by"))
        and positions(body.get("files"), FILE)
        and positions(body.get("tables"), TABLE)
    )


def _text(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> bytes:
    try:
        return disk.read_whole(file)
    except OSError as error:
        raise DamagedError(f"{file.name}: {error.strerror or error}") from None
