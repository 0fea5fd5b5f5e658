"""Files that are whole or not there, whatever happens while they are written.

All that nnlab writes goes through here, by the operating system's plain calls, each of which may fail: a
failure is one line that names the path. Nothing is written through a symbolic link: one that stands in a
file's place is replaced or refused, so that a directory from elsewhere cannot send output out of itself.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnlab.errors import DiskError

READ_CHUNK_BYTES = 2**20  # bytes that are read at once


class FileDigest(NamedTuple):
    """A place in a file that grows: how many bytes come before it, and their SHA-256."""

    bytes: int
    sha256: str


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the path."""
    try:
        yield
    except OSError as error:
        linked = error.errno == errno.ELOOP and path.is_symlink()
        reason = "it is a symbolic link" if linked else error.strerror or error
        raise DiskError(f"{path}: cannot be written: {reason}") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there in whole or as it was: beside, to the disk, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        try:
            write_new_file(beside, content)
            os.replace(beside, path)  # noqa: PTH105 - as all calls here: one by one, as they may fail
            sync_folder(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
            raise


def write_new_file(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, to the disk. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - left by a process of this number
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _write_all(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file."""
    with disk_errors(path):
        file = open_for_append(path)
        try:
            _write_all(file, f"{line}\n".encode(errors="backslashreplace"))
        finally:
            os.close(file)


def make_folder(path: Path, linked: bool = False) -> None:
    """Make a folder, and those above it, where it is missing. linked: it may be a link to one."""
    with disk_errors(path):
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
        if path.is_symlink() and not linked:
            raise OSError(errno.ELOOP, "")  # telling says what it is


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing outside is touched."""
    with disk_errors(path):
        try:
            is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        except FileNotFoundError:
            return
        if is_folder:
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(folder)


def read_regular_file(path: Path) -> bytes:
    """The content of a plain file. Raises OSError, also where it is something else, such as a pipe."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is no plain file")
        pieces = []
        while piece := os.read(file, READ_CHUNK_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(file)


class AppendOnlyFile:
    """A file that is added to at its end, and knows the bytes in it by their count and SHA-256."""

    def __init__(self, path: Path, start: FileDigest | None = None) -> None:
        """Open it empty, or cut to a position that it holds. Raises NnlabError."""
        self.path, self._bytes, self._sha256 = path, 0, hashlib.sha256()
        with disk_errors(path):
            if start is not None:
                self._sha256 = _read_up_to(path, start.bytes)
                self._bytes = start.bytes
            self._file = open_for_append(path)
            os.ftruncate(self._file, self._bytes)

    def add(self, content: bytes) -> None:
        with disk_errors(self.path):
            _write_all(self._file, content)
        self._bytes += len(content)
        self._sha256.update(content)

    def sync(self) -> FileDigest:
        """Bring it to the disk; where it ends."""
        with disk_errors(self.path):
            os.fsync(self._file)
        return FileDigest(self._bytes, self._sha256.hexdigest())

    def close(self) -> None:
        with disk_errors(self.path):
            os.close(self._file)


def has_prefix(path: Path, position: FileDigest) -> bool:
    """Whether a file begins with the bytes that come before a position."""
    try:
        return _read_up_to(path, position.bytes).hexdigest() == position.sha256
    except OSError:
        return False


def _read_up_to(path: Path, count: int) -> hashlib._Hash:
    """The hash of the first bytes of a plain file. Raises OSError where there are not as many."""
    found = hashlib.sha256()
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while count > 0:
            piece = os.read(file, min(count, READ_CHUNK_BYTES))
            if not piece:
                raise OSError(errno.EIO, "it has been cut off")
            found.update(piece)
            count -= len(piece)
    finally:
        os.close(file)
    return found


def open_for_append(path: Path) -> int:
    """The descriptor of a file to add to. Raises OSError, also where it is a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o666)


def _write_all(file: int, content: bytes) -> None:
    """Write to the last byte: the system may take less at a time than it is given."""
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
