"""Files that are complete or absent, whatever happens while they are written.

Everything that nnlab writes goes through here, by plain calls of the operating system, each of which may
fail. A failure is reported in one line that names the path. Nothing is written through a symbolic link: a
link in the place of a file is replaced or refused, so that a directory from elsewhere cannot redirect output.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnlab.errors import DiskError

READ_CHUNK_BYTES = 2**20
_RANDOM_NUMBER = secrets.randbelow(10**9)


class FileDigest(NamedTuple):
    """The first bytes of a file that grows.

    Attributes:
        bytes: How many bytes.
        sha256: Their SHA-256, hexadecimal.
    """

    bytes: int
    sha256: str


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a DiskError, whose one line names the path.

    Raises:
        DiskError: The file system refused something.
    """
    try:
        yield
    except OSError as error:
        linked = error.errno == errno.ELOOP and path.is_symlink()
        reason = "it is a symbolic link" if linked else error.strerror or error
        raise DiskError(f"{path}: cannot be written: {reason}") from None


def modification_time(path: Path) -> float:
    """When a file or folder was last changed, in seconds, by the clock of its file system; it is opened for
    that, which asks a file server. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.fstat(file).st_mtime
    finally:
        os.close(file)


def refresh(path: Path) -> float:
    """Say of a file that it was changed now, and return the time by the clock of its file system.

    Raises:
        OSError: It is not there, or cannot be written.
    """
    os.utime(path)
    return modification_time(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file such that it has the new content or still the old one: beside it, synced, then renamed.

    Raises:
        DiskError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{process_number()}")
    with disk_errors(path):
        try:
            write_new_file(temporary, content)
            os.replace(temporary, path)  # noqa: PTH105 - as everywhere here: plain calls, which may each fail
            sync_folder(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise


def process_number() -> str:
    """Digits that no other process has, on this host or another one that shares the directory."""
    return f"{os.getpid()}{_RANDOM_NUMBER:09d}"


def write_new_file(path: Path, content: bytes, synced: bool = True) -> None:
    """Create a file with this content. A file of that name is replaced.

    Args:
        path: The file.
        content: All that is to be in it.
        synced: Whether it is to be on the disk when this returns.

    Raises:
        OSError: It cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - left by an earlier process with the same id
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _write_all(file, content)
        if synced:
            os.fsync(file)
    finally:
        os.close(file)


def replace_by_copy(path: Path) -> None:
    """Replace a file by a copy of it, so that who has it open does not write into it any longer.

    Raises:
        DiskError: It cannot be read or written.
    """
    with disk_errors(path):
        content = read_regular_file(path)
    write_atomically(path, content)


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file, which is created where it is missing.

    Raises:
        DiskError: It cannot be written.
    """
    with disk_errors(path):
        file = open_for_append(path)
        try:
            _write_all(file, f"{line}\n".encode(errors="backslashreplace"))
        finally:
            os.close(file)


def make_folder(path: Path, linked: bool = False) -> None:
    """Make a folder, and those above it, where it is missing.

    Args:
        path: The folder.
        linked: Whether it may be a symbolic link to a folder.

    Raises:
        DiskError: It cannot be made, or is a link.
    """
    with disk_errors(path):
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
        if path.is_symlink() and not linked:
            raise OSError(errno.ELOOP, "")  # disk_errors words it


def make_new_folder(path: Path) -> bool:
    """Make a folder; whether it was not there before. Of several processes one alone makes it.

    Raises:
        DiskError: It cannot be made.
    """
    with disk_errors(path):
        try:
            os.mkdir(path)  # noqa: PTH102
        except FileExistsError:
            return False
    return True


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its content, if there is one; links are not followed.

    Raises:
        DiskError: It cannot be removed.
    """
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
    """Sync the names in a folder to the disk, where the file system can.

    Raises:
        OSError: The disk failed.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(folder)


def read_regular_file(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: It cannot be read, or is something else, such as a pipe.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is no plain file")
        chunks = []
        while chunk := os.read(file, READ_CHUNK_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(file)


class AppendOnlyFile:
    """A file that is only appended to, and knows the count and SHA-256 of its bytes."""

    def __init__(self, path: Path, start: FileDigest | None = None) -> None:
        """Open the file empty, or truncated to its first bytes.

        Args:
            path: The file, which is created where it is missing.
            start: The first bytes, which the file must have. None empties it.

        Raises:
            DiskError: It cannot be read or written.
        """
        self.path, self._bytes, self._sha256 = path, 0, hashlib.sha256()
        with disk_errors(path):
            if start is not None:
                self._sha256 = _hash_prefix(path, start.bytes)
                self._bytes = start.bytes
            self._file = open_for_append(path)
            os.ftruncate(self._file, self._bytes)

    def append(self, content: bytes) -> None:
        """Append bytes. Raises DiskError."""
        with disk_errors(self.path):
            _write_all(self._file, content)
        self._bytes += len(content)
        self._sha256.update(content)

    def sync(self) -> FileDigest:
        """Sync the file to the disk and return the digest of its bytes. Raises DiskError."""
        with disk_errors(self.path):
            os.fsync(self._file)
        return FileDigest(self._bytes, self._sha256.hexdigest())

    def close(self) -> None:
        """Close the file. Raises DiskError."""
        with disk_errors(self.path):
            os.close(self._file)


def has_prefix(path: Path, prefix: FileDigest) -> bool:
    """Whether a file begins with these bytes; false where it cannot be read."""
    try:
        return _hash_prefix(path, prefix.bytes).hexdigest() == prefix.sha256
    except OSError:
        return False


def _hash_prefix(path: Path, count: int) -> hashlib._Hash:
    """The SHA-256 of the first `count` bytes of a file. Raises OSError where there are fewer."""
    digest = hashlib.sha256()
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while count > 0:
            chunk = os.read(file, min(count, READ_CHUNK_BYTES))
            if not chunk:
                raise OSError(errno.EIO, "it has been cut off")
            digest.update(chunk)
            count -= len(chunk)
    finally:
        os.close(file)
    return digest


def open_for_append(path: Path) -> int:
    """The descriptor of a file opened for appending, which is created where it is missing.

    Raises:
        OSError: It cannot be opened, or is a symbolic link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o666)


def _write_all(file: int, content: bytes) -> None:
    """Write all bytes: the system may write fewer at a time than it is given."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(file, remaining) :]
