"""Checkpoints: all that a training needs to continue, in folders that are complete or not taken for one.

    checkpoints/step-0000001200/
        weights.safetensors     the weights and the layers' running averages, by path: dense_1/kernel
        best.safetensors        the same at the record that is best by the selection metric
        average.safetensors     where an optimizer keeps one, the same of the weights' running average
        training.safetensors    what else training hands from step to step: the optimizer's state, the step
        manifest.json           size and SHA-256 of each file and of the tables so far, and what made them

A checkpoint is written under another name, brought to the disk and renamed. Each bit of it is covered by a
SHA-256, the manifest's by its own: safetensors has no checksum, a flipped bit there loads as another weight.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnlab.errors import NnlabError
from nnlab.storage.results import JsonObject
from nnlab.system import files
from nnlab.system.files import FileDigest

KEPT_CHECKPOINTS = 2  # the newest, and one to fall back on
FORMAT_VERSION = 2
PROVENANCE_KEY = "made_by"  # as earlier versions wrote it into a manifest
FOLDER_NAME = re.compile(r"step-[0-9]{10}")
FILE_NAME, TABLE_NAME = re.compile(r"[a-z]+\.safetensors"), re.compile(r"[a-z][a-z_]*")

Arrays = Mapping[str, np.ndarray]
"""Arrays by name."""


class CheckpointMeta(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
        step: The number of steps taken.
        done: Whether the training has come to its end and made its last record.
        provenance: All that its bytes depend on.
        tables: How far each table went.
        best: Step of the best weights, and loss or metric that they are best by; empty before there are any.
        stopped: The number of the rule that stopped the training, counted from 1; 0 if none did.
    """

    step: int
    done: bool
    provenance: Mapping[str, object]
    tables: Mapping[str, FileDigest]
    best: Mapping[str, object]
    stopped: int = 0


class Checkpoint(NamedTuple):
    """A checkpoint on the disk.

    Attributes:
        meta: What it says of itself.
        groups: The names of its groups of arrays: weights, say.
        arrays: Reads its arrays, by group.
    """

    meta: CheckpointMeta
    groups: Collection[str]
    arrays: Callable[[], dict[str, Arrays]]


class DamagedError(NnlabError):
    """A checkpoint that is not what was written."""

    def __init__(self, file: Path, reason: object) -> None:
        super().__init__(f"{file}: damaged: {reason}")


def save(folder: Path, meta: CheckpointMeta, groups: Mapping[str, Callable[[], Arrays]]) -> None:
    """Write a checkpoint, and remove all but the newest.

    Args:
        folder: The folder of a run's checkpoints.
        meta: What it says of itself.
        groups: For each file its arrays, computed one file after the other to save memory.

    Raises:
        DiskError: It cannot be written; the checkpoints before it stay.
    """
    name = f"step-{meta.step:010d}"
    temporary, place = folder / f".{name}.{files.process_number()}", folder / name
    files.make_folder(folder)
    files.remove(temporary)
    with files.disk_errors(place):
        try:
            os.mkdir(temporary)  # noqa: PTH102
            digests = {}
            for group, arrays in groups.items():
                digests[f"{group}.safetensors"] = _write(temporary / f"{group}.safetensors", arrays())
            files.write_new_file(temporary / "manifest.json", _manifest(meta, digests))
            files.sync_folder(temporary)
            if place.exists():  # of the same step, and damaged, most likely
                aside = folder / f".{name}.old"
                files.remove(aside)
                os.rename(place, aside)  # noqa: PTH104
            os.rename(temporary, place)  # noqa: PTH104
            files.sync_folder(folder)
            files.sync_folder(folder.parent)
        except OSError:
            with contextlib.suppress(Exception):
                files.remove(temporary)
            raise
    for older in (*_places(folder)[KEPT_CHECKPOINTS:], folder / f".{name}.old"):
        files.remove(older)


def newest(
    folder: Path,
    max_step: int | None,
    objection: Callable[[Checkpoint], str],
    notify: Callable[[str], None],
) -> Checkpoint | None:
    """Find the newest checkpoint that can be used.

    Args:
        folder: The folder of a run's checkpoints.
        max_step: The largest step wanted; None for any.
        objection: Says what is wrong with a checkpoint, nothing if it can be used.
        notify: Called with a line for each checkpoint that is passed over as it is damaged.

    Returns:
        The checkpoint; None where there is none.
    """
    for place in _places(folder):
        if max_step is not None and _step(place) > max_step:
            continue
        try:
            checkpoint = load(place)
            if reason := objection(checkpoint):
                raise DamagedError(place, reason)
        except DamagedError as damage:
            notify(f"{damage}; not used")
        else:
            return checkpoint
    return None


def drop_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps, and what a killed process left unfinished."""
    for place in _places(folder):
        if _step(place) > step:
            files.remove(place)
    for temporary in folder.glob(".step-*"):
        files.remove(temporary)


def load(place: Path) -> Checkpoint:
    """Read a checkpoint, and check each of its bytes. Raises DamagedError where one is not as written."""
    body = _read_manifest(place / "manifest.json")
    if body["step"] != _step(place) or "metrics" not in body["tables"]:
        raise DamagedError(place / "manifest.json", "it is none of this checkpoint")
    files, tables = (
        {name: FileDigest(*digest) for name, digest in body[part].items()} for part in ("files", "tables")
    )
    meta = CheckpointMeta(
        body["step"], body["done"], body[PROVENANCE_KEY], tables, body["best"], body["stopped"]
    )

    groups = {name.removesuffix(".safetensors"): name for name in files}

    def arrays() -> dict[str, Arrays]:
        return {group: _arrays(place / name, files[name]) for group, name in groups.items()}

    arrays()
    return Checkpoint(meta, groups.keys(), arrays)


def _arrays(file: Path, digest: FileDigest) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    content = _read(file)
    if (len(content), _sha256(content)) != digest:
        raise DamagedError(file, "it is not what was written")
    try:
        return parse(content)
    except SafetensorError as error:
        raise DamagedError(file, error) from None


def _places(folder: Path) -> list[Path]:
    """The folders of checkpoints, the newest first."""
    folders = (place for place in folder.glob("step-*") if FOLDER_NAME.fullmatch(place.name))
    return sorted(folders, key=_step, reverse=True)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-"))


def _write(file: Path, arrays: Arrays) -> FileDigest:
    """Write arrays as safetensors, in C order, without which version 0.8.0 writes wrong numbers
    (safetensors#825)."""
    from safetensors.numpy import save as serialize

    ordered = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    content = serialize(ordered)
    files.write_new_file(file, content)
    return FileDigest(len(content), _sha256(content))


def _manifest(meta: CheckpointMeta, digests: Mapping[str, FileDigest]) -> bytes:
    fields = {
        PROVENANCE_KEY if name == "provenance" else name: value for name, value in meta._asdict().items()
    }
    body = {"format": FORMAT_VERSION, **fields, "files": digests}
    return _text({"sha256": _sha256(_text(body)), **body})


def _read_manifest(file: Path) -> JsonObject:
    """Read a manifest. Raises DamagedError unless it is, byte for byte, what `_manifest` wrote."""
    raw = _read(file)
    try:
        body = json.loads(raw)
        claimed = body.pop("sha256")
        intact = claimed == _sha256(_text(body)) and raw == _text({"sha256": claimed, **body})
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        intact = False
    if not intact:
        raise DamagedError(file, "it is not what was written")
    if body.get("format") != FORMAT_VERSION:
        raise DamagedError(file, f"its format is {body.get('format')}, not {FORMAT_VERSION}")
    if not _well_formed(body):  # intact, but forged: a name in it might lead elsewhere
        raise DamagedError(file, "it is none of a checkpoint")
    return body


def _well_formed(body: JsonObject) -> bool:
    def digests(named: object, pattern: re.Pattern[str]) -> bool:
        return isinstance(named, dict) and all(
            pattern.fullmatch(name)
            and isinstance(digest, list)
            and [type(part) for part in digest] == [int, str]
            and digest[0] >= 0
            for name, digest in named.items()
        )

    return (
        type(body.get("step")) is int
        and type(body.get("stopped")) is int
        and type(body.get("done")) is bool
        and all(isinstance(body.get(name), dict) for name in ("best", PROVENANCE_KEY))
        and digests(body.get("files"), FILE_NAME)
        and digests(body.get("tables"), TABLE_NAME)
    )


def _text(content: object) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> bytes:
    try:
        return files.read_regular_file(file)
    except OSError as error:
        raise DamagedError(file, error.strerror or error) from None
