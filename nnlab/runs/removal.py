"""Removal of runs and sweeps: only what nnlab wrote, below a folder `results`, while nobody writes there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnlab.config import check_tree
from nnlab.config.document import read
from nnlab.errors import NnlabError, RunStatus, UsageError
from nnlab.runs.catalogue import DAMAGED
from nnlab.runs.results import open_run, open_sweep
from nnlab.storage.lock import is_locked
from nnlab.storage.results import read_json
from nnlab.storage.run_directory import LOCK_NAME, RunDirectory, is_being_written
from nnlab.system import files

RESULTS = "results"  # the name of a folder of runs
CONFIGS = ("config.yaml", "sweep.yaml")
_OF_NNLAB = re.compile(  # what nnlab writes into the directory of a run or a sweep
    r"\.lock|\.lease-\d+|\.nonce-.*|\.\w+\.(yaml|json|csv)\.\d+|[\w-]+\.csv|(config|sweep)\.yaml|(summary|environment)\.json|"
    r"(train|sweep)\.log|search\.journal|trials|refit|checkpoints|plots|report\.html|tensorboard|csv|parquet"
)


class Removable(NamedTuple):
    """A run or a sweep that may be removed.

    Attributes:
        path: Its directory.
        status: That of the run, or `damaged`.
        bytes: What its files come to.
    """

    path: Path
    status: str
    bytes: int


def remove(path: str | Path) -> Removable:
    """Remove the directory of a run or a sweep, with all that is in it, and say what it was.

    Raises:
        UsageError: It is no directory that nnlab wrote, or holds something else; it lies in no folder
            `results`; a process is at work in it.
        DiskError: Something cannot be removed.
    """
    found = removable(Path(path))
    with RunDirectory(found.path).held():
        files.remove(found.path)
    return found


def removable(path: Path) -> Removable:
    """What `remove` would remove, which see for what it raises."""
    _check_place(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such run directory; `nnlab runs` lists them")
    _check_wrote(path)
    try:
        result = open_sweep(path) if (path / "sweep.yaml").exists() else open_run(path)
        status = str(result.status)
    except NnlabError:
        status = DAMAGED
    may_go_on = status == RunStatus.RUNNING or (status == DAMAGED and is_being_written(path))
    if may_go_on or is_locked(path / LOCK_NAME):
        raise UsageError(f"{path}: a process is at work here; wait for it, or end it")
    return Removable(path, status, sum(_sizes(path)))


def _check_place(path: Path) -> None:
    """Refuse a path that lies in no folder `results`, or that leads over a link there."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links are looked at one by one, not followed
    above = [folder for folder in absolute.parents if folder.name == RESULTS]
    if not above:
        raise UsageError(f"{path}: lies in no folder '{RESULTS}'; remove it by hand")
    below = [folder for folder in absolute.parents if above[0] in folder.parents]
    for folder in (absolute, *below):
        if folder.is_symlink():
            raise UsageError(f"{folder}: is a symbolic link, which is not followed; remove it by hand")
    for folder in below:
        if any((folder / name).exists() for name in CONFIGS):
            raise UsageError(f"{path}: is a part of {folder}; remove that")


def _check_wrote(path: Path) -> None:
    """Refuse a directory that nnlab did not write, or that holds something that it did not write."""
    names = sorted(os.listdir(path))  # noqa: PTH208 - names alone
    foreign = [name for name in names if not _OF_NNLAB.fullmatch(name)]
    configs = [path / name for name in CONFIGS if name in names]
    if not configs or not (_is_experiment(configs[0]) or _names_nnlab(path)):
        raise UsageError(f"{path}: is no directory of a run or a sweep; nothing else is removed")
    if foreign:
        raise UsageError(f"{path}: holds '{foreign[0]}', which nnlab did not write; move it elsewhere first")


def _is_experiment(file: Path) -> bool:
    try:
        return file.is_file() and bool(check_tree(read(file)))
    except NnlabError:
        return False


def _names_nnlab(path: Path) -> bool:
    """Whether a run, or a trial of a sweep, says by which version of nnlab it was written."""
    for file in (path / "environment.json", *path.glob("trials/*/environment.json")):
        try:
            return "nnlab" in read_json(file)["versions"]
        except (NnlabError, KeyError, TypeError):
            continue
    return False


def _sizes(folder: Path) -> Iterator[int]:
    """The sizes of all files in a folder; links are not followed."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sizes(Path(entry.path))
        else:
            status = entry.stat(follow_symlinks=False)
            yield status.st_size if stat.S_ISREG(status.st_mode) else 0
