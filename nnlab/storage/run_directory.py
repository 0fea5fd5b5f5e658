"""Run directories: the files of a run, written so that they can be read at any moment. Knows no models.

Files are written beside and renamed, tables grow by complete rows. One process at a time holds a directory.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nnlab.errors import RunStatus, UsageError
from nnlab.storage.lease import Lease, may_be_held
from nnlab.storage.lock import DirectoryLock, may_be_locked
from nnlab.storage.results import JsonObject, json_text, read_summary
from nnlab.storage.tables import Columns, header_and_rows
from nnlab.system import files
from nnlab.system.files import AppendOnlyFile, FileDigest

TEMPORARY_FILE = re.compile(r"\.[a-z_]+\.(yaml|json|csv)\.[0-9]+")  # left by a process that was killed
LOCK_NAME = ".lock"


def is_being_written(path: Path) -> bool:
    """Whether a process is at work in the directory of a run or a sweep, or may be: of one on another host it
    is not known. Nothing is written."""
    if may_be_locked(path / LOCK_NAME):
        return True
    trials = path / "trials"
    return any(map(may_be_held, [path] if trials.is_symlink() else [path, *trials.glob("*/")]))


class RunDirectory:
    """A run's files. Making the object touches nothing; `create` makes the directory.

    Attributes:
        path: The directory.
        lease: Where processes may take the directory over from one another, what this one has of it: every
            method that writes raises LeaseLostError once it is lost.
    """

    def __init__(self, path: Path, lease: Lease | None = None) -> None:
        self.path, self.lease = path, lease
        self._tables: dict[str, AppendOnlyFile] = {}
        self._headers: dict[str, str] = {}

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return any((self.path / name).is_file() for name in ("config.yaml", "environment.json"))

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints; it may not exist."""
        return self.path / "checkpoints"

    def create(
        self,
        config: str,
        environment: Mapping[str, object],
        facts: Mapping[str, object] | None = None,
        tables: Mapping[str, FileDigest] | None = None,
    ) -> None:
        """Make the directory, and remove what an earlier run left in it.

        Args:
            config: Text of config.yaml.
            environment: Content of environment.json.
            facts: What the summary can say before the training.
            tables: Tables of an earlier run that this one continues, cut to these first bytes. Without any,
                its checkpoints are removed too.

        Raises:
            UsageError: plots/ or checkpoints/ is no folder of its own.
            DiskError: Something cannot be written.
        """
        self._check_lease()
        files.make_folder(self.path, linked=True)
        self._refuse_foreign_folders()
        if (self.path / "summary.json").exists():  # it must not speak of what is about to go
            self.write_json("summary.json", {"status": RunStatus.RUNNING})
        self._remove_output({f"{name}.csv" for name in tables or ()})
        if not tables:
            files.remove(self.checkpoints)
        for name, digest in (tables or {}).items():
            file = self.path / f"{name}.csv"
            if self.lease is not None:  # who had it before may have the file open
                files.replace_by_copy(file)
            self._tables[name] = AppendOnlyFile(file, digest)
            with file.open(encoding="utf-8", newline="") as lines:
                self._headers[name] = lines.readline()
        self.write("config.yaml", config)
        self.write_json("environment.json", environment)
        self.write_json("summary.json", {"status": RunStatus.RUNNING, **(facts or {})})

    def _refuse_foreign_folders(self) -> None:
        for folder in (self.path / "plots", self.checkpoints):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                what = "a symbolic link" if folder.is_symlink() else "no folder"
                raise UsageError(f"{folder}: is {what}; remove it, or name another --out")

    def _remove_output(self, kept: set[str]) -> None:
        temporary = [file for file in self.path.glob(".*") if TEMPORARY_FILE.fullmatch(file.name)]
        for file in (*self.path.glob("*.csv"), *self.path.glob("plots/*"), *temporary):
            if file.name not in kept:
                files.remove(file)

    def write(self, name: str, text: str) -> None:
        """Replace a file by one with this text."""
        self._check_lease()
        files.write_atomically(self.path / name, text.encode(errors="backslashreplace"))

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Replace a file by one with this JSON object."""
        self.write(name, json_text(content))

    def append(self, table: str, columns: Columns) -> None:
        """Add rows to a table; the first ones write its header. Raises UsageError where it has another."""
        self._check_lease()
        header, rows = header_and_rows(columns)
        if table not in self._tables:
            self._tables[table], self._headers[table] = AppendOnlyFile(self.path / f"{table}.csv"), header
            rows = header + rows
        if self._headers[table] != header:
            raise UsageError(f"{self.path / table}.csv: has other columns; --force trains anew")
        self._tables[table].append(rows.encode())

    def sync(self) -> dict[str, FileDigest]:
        """Bring the tables to the disk, and return where each of them ends."""
        self._check_lease()
        return {name: file.sync() for name, file in self._tables.items()}

    def log(self, line: str) -> None:
        """Add a line to train.log."""
        self._check_lease()
        files.append_line(self.path / "train.log", line)

    def close(self) -> None:
        """Close the tables; what is in them stays."""
        tables, self._tables = self._tables, {}
        for file in tables.values():
            file.close()

    def summary(self) -> JsonObject:
        """Read summary.json; empty where there is none. Raises UsageError where it is damaged."""
        return read_summary(self.path) if (self.path / "summary.json").exists() else {}

    @contextlib.contextmanager
    def held(self, shared: bool = False) -> Iterator[DirectoryLock]:
        """Lock the directory for this process, or for it and others that share it.

        Yields:
            The lock.

        Raises:
            UsageError: Another process holds the lock; it is named.
        """
        files.make_folder(self.path, linked=True)
        lock = DirectoryLock(self.path / LOCK_NAME)
        try:
            lock.acquire(shared)
            yield lock
        finally:
            lock.close()

    def _check_lease(self) -> None:
        if self.lease is not None:
            self.lease.check()
