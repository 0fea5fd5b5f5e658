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

from nnlab.errors import NnlabError
from nnlab.system import files
from nnlab.system.files import FileDigest

KEPT = 2  # the newest, and one to fall back on
FORMAT = 2
PROVENANCE = "made_by"  # its name in a manifest, so that what earlier versions wrote is still read
NAMED = re.compile(r"step-[0-9]{10}")
FILE, TABLE = re.compile(r"[a-z]+\.safetensors"), re.compile(r"[a-z][a-z_]*")
Arrays = Mapping[str, np.ndarray]  # by name


class CheckpointMeta(NamedTuple):
    """step: how many were taken; done: whether the training has come to its end, its last record made.
    provenance: what its bytes depend on. tables: how far each table went. best: step and loss of the best
    weights. stopped: see `Chunk`."""

    step: int
    done: bool
    provenance: Mapping[str, Any]
    tables: Mapping[str, FileDigest]
    best: Mapping[str, Any]
    stopped: int = 0


class Checkpoint(NamedTuple):
    """What is known of a checkpoint. arrays: () -> its arrays, read anew, by group."""

    facts: CheckpointMeta
    arrays: Callable[[], dict[str, Arrays]]


class DamagedError(NnlabError):
    """A checkpoint that is not what was written."""

    def __init__(self, file: Path, reason: object) -> None:
        super().__init__(f"{file}: damaged: {reason}")


def save(folder: Path, facts: CheckpointMeta, groups: Mapping[str, Callable[[], Arrays]]) -> None:
    """Write a checkpoint, a file for each group of arrays, and let go of all but the newest. Raises
    NnlabError; what was there then stays."""
    name = f"step-{facts.step:010d}"
    beside, place = folder / f".{name}.{os.getpid()}", folder / name
    files.make_folder(folder)
    files.remove(beside)
    with files.disk_errors(place):
        try:
            os.mkdir(beside)  # noqa: PTH102
            digests = {}
            for group, arrays in groups.items():  # one after the other, for the memory's sake
                digests[f"{group}.safetensors"] = _write(beside / f"{group}.safetensors", arrays())
            files.write_new_file(beside / "manifest.json", _manifest(facts, digests))
            files.sync_folder(beside)
            if place.exists():  # of the same step, and damaged, most likely
                aside = folder / f".{name}.old"
                files.remove(aside)
                os.rename(place, aside)  # noqa: PTH104
            os.rename(beside, place)  # noqa: PTH104
            files.sync_folder(folder)
            files.sync_folder(folder.parent)
        except OSError:
            with contextlib.suppress(Exception):
                files.remove(beside)
            raise
    for older in (*_places(folder)[KEPT:], folder / f".{name}.old"):
        files.remove(older)


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
            if reason := fits(found):
                raise DamagedError(place, reason)
        except DamagedError as damage:
            tell(f"{damage}; not used")
        else:
            return found
    return None


def drop_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps, and what a killed process left beside."""
    for place in _places(folder):
        if _step(place) > step:
            files.remove(place)
    for beside in folder.glob(".step-*"):
        files.remove(beside)


def load(place: Path) -> Checkpoint:
    """Read a checkpoint. Raises DamagedError unless each of its bytes is what was written."""
    body = _read_manifest(place / "manifest.json")
    if body["step"] != _step(place) or "metrics" not in body["tables"]:
        raise DamagedError(place / "manifest.json", "it is none of this checkpoint")
    files, tables = (
        {name: FileDigest(*position) for name, position in body[part].items()} for part in ("files", "tables")
    )
    facts = CheckpointMeta(
        body["step"], body["done"], body[PROVENANCE], tables, body["best"], body["stopped"]
    )

    def arrays() -> dict[str, Arrays]:
        return {name.removesuffix(".safetensors"): _arrays(place / name, files[name]) for name in files}

    arrays()
    return Checkpoint(facts, arrays)


def _arrays(file: Path, position: FileDigest) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpacked

    content = _read(file)
    if (len(content), _sha256(content)) != position:
        raise DamagedError(file, "it is not what was written")
    try:
        return unpacked(content)
    except SafetensorError as error:
        raise DamagedError(file, error) from None


def _places(folder: Path) -> list[Path]:
    """The folders of checkpoints, the newest first."""
    named = (place for place in folder.glob("step-*") if NAMED.fullmatch(place.name))
    return sorted(named, key=_step, reverse=True)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-"))


def _write(file: Path, arrays: Arrays) -> FileDigest:
    """Write arrays as safetensors, in C order, without which version 0.8.0 writes wrong numbers
    (safetensors#825)."""
    from safetensors.numpy import save as packed

    ordered = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    content = packed(ordered)
    files.write_new_file(file, content)
    return FileDigest(len(content), _sha256(content))


def _manifest(facts: CheckpointMeta, files: Mapping[str, FileDigest]) -> bytes:
    known = {PROVENANCE if name == "provenance" else name: value for name, value in facts._asdict().items()}
    body = {"format": FORMAT, **known, "files": files}
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
        raise DamagedError(file, "it is not what was written")
    if body.get("format") != FORMAT:
        raise DamagedError(file, f"its format is {body.get('format')}, not {FORMAT}")
    if not _well_formed(body):  # whole, but not of our making: a name in it might lead elsewhere
        raise DamagedError(file, "it is none of a checkpoint")
    return body


def _well_formed(body: Mapping[str, Any]) -> bool:
    def positions(named: Any, pattern: re.Pattern[str]) -> bool:
        return isinstance(named, dict) and all(
            pattern.fullmatch(name)
            and isinstance(position, list)
            and [type(part) for part in position] == [int, str]
            and position[0] >= 0
            for name, position in named.items()
        )

    return (
        type(body.get("step")) is int
        and type(body.get("stopped")) is int
        and type(body.get("done")) is bool
        and all(isinstance(body.get(name), dict) for name in ("best", PROVENANCE))
        and positions(body.get("files"), FILE)
        and positions(body.get("tables"), TABLE)
    )


def _text(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> bytes:
    try:
        return files.read_regular_file(file)
    except OSError as error:
        raise DamagedError(file, error.strerror or error) from None
