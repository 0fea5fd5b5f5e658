"""Removal of runs and sweeps: only what nnlab wrote, below a folder `results`, while nobody writes there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import MissingPluginError, NnlabError, RunStatus, UsageError
from nnlab.runs.catalogue import DAMAGED
from nnlab.runs.results import Run, Sweep, open_run, open_sweep
from nnlab.storage.lock import is_locked
from nnlab.storage.results import read_json
from nnlab.storage.run_directory import LOCK_NAME, RunDirectory, is_being_written
from nnlab.system import files
from nnlab.text import one_line

RESULTS = "results"  # the name of a folder of runs
CONFIGS = ("config.yaml", "sweep.yaml")
TABLES = {
    "metrics",
    "layers",
    "timing",
    "predictions",
    "directions",
    "tasks",
    "trials",
    "summary",
    "between",
}  # beside those of probes
FIGURES = {"training_curves", "learning_rate", "sweep"}  # beside those of phenomena
FILES = (  # what nnlab writes into the directory of a run or a sweep; tables and figures by their names
    r"\.lock|\.lease-\d+/holder|\.nonce-.*|\.\w+\.(yaml|json|csv)\.\d+|(config|sweep)\.yaml|report\.html|"
    r"(summary|environment)\.json|(train|sweep)\.log|search\.journal|(TABLES)\.csv|plots/(FIGURES)\.(png|svg|pdf)|"
    r"checkpoints/\.?step-[\d.]+/(manifest\.json|\w+\.safetensors)|csv/(TABLES)\.csv|parquet/(TABLES)\.parquet|"
    r"tensorboard/([^/]+/)?events\.out\.tfevents\.nnlab|"
    r"\.lease-\d+|checkpoints|plots|trials"  # as folders that are empty
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
        raise UsageError(f"{one_line(str(path))}: no such run directory; `nnlab runs` lists them")
    config = _check_wrote(path)
    _check_nothing_else(path, config)
    result: Run | Sweep | None
    try:
        result = open_sweep(path) if (path / "sweep.yaml").exists() else open_run(path)
    except MissingPluginError:
        raise
    except NnlabError:
        result = None
    status = DAMAGED if result is None else str(result.status)
    may_go_on = status == RunStatus.RUNNING or (result is None and is_being_written(path))
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


def _check_wrote(path: Path) -> Config | None:
    """Refuse a directory that nnlab did not write; its experiment, None where that is damaged."""
    files_of_config = [path / name for name in CONFIGS if (path / name).exists()]
    config = _experiment(files_of_config[0]) if files_of_config else None
    if config is None and not (files_of_config and _names_nnlab(path)):
        raise UsageError(f"{path}: is no directory of a run or a sweep; nothing else is removed")
    return config


def _check_nothing_else(path: Path, config: Config | None) -> None:
    """Refuse a directory that holds something that nnlab did not write."""
    tables = figures = r"[\w-]+"  # of an experiment that is damaged their names are not known
    if config is not None:
        phenomena = config.build().phenomena
        probes = [probe for phenomenon in phenomena for probe in getattr(phenomenon, "probes", ())]
        tables = "|".join(sorted(TABLES.union(probe.table for probe in probes)))
        figures = "|".join(sorted(FIGURES.union(*(phenomenon.figures for phenomenon in phenomena))))
    files_of_run = FILES.replace("TABLES", tables).replace("FIGURES", figures)
    known = re.compile(rf"((trials/[^/]+|refit)/)?({files_of_run})|trials/[^/]+")
    for name in _file_names(path):
        if not known.fullmatch(name):
            raise UsageError(
                f"{path}: holds '{one_line(name)}', which nnlab did not write; move it elsewhere first"
            )


def _file_names(folder: Path, prefix: str = "") -> Iterator[str]:
    """The paths in a folder of all that holds nothing else: files, links and empty folders."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False) and os.listdir(entry.path):  # noqa: PTH208 - names alone
            yield from _file_names(Path(entry.path), f"{name}/")
        else:
            yield name


def _experiment(file: Path) -> Config | None:
    try:
        return check_tree(read(file)) if file.is_file() else None
    except NnlabError:
        return None


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
