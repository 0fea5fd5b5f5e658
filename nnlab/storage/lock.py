"""The lock of a directory, which one process has alone, or several share."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from nnlab.errors import UsageError
from nnlab.system import files

WAIT_SECONDS = 15.0  # for the workers of a process that was killed to notice
POLL_SECONDS = 0.05
SHARED = "shared"


class DirectoryLock:
    """A lock on a directory by `flock`, which may exclude nobody on another host.

    Attributes:
        file: The file that is locked; it says who was last to do so.
        descriptor: Of the file. Workers that are processes here inherit it: as long as one of them lives, no
            other process gets the lock.
        is_alone: Whether no other process shares it.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.is_alone = file, False
        with files.disk_errors(file):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self.descriptor = os.open(file, flags, 0o666)

    def acquire(self, shared: bool) -> None:
        """Get the lock, alone if possible.

        Args:
            shared: Whether it is enough to have it with others that share it.

        Raises:
            UsageError: Another process has it; it is named.
        """
        until = time.monotonic() + WAIT_SECONDS
        while not self.try_alone() and not (shared and self._try(alone=False)):
            process, mode = self._holder()
            is_about_to_share = shared and mode == SHARED
            if (may_be_alive(process) and not is_about_to_share) or time.monotonic() > until:
                raise UsageError(
                    f"{self.file.parent}: another process is at work here ({process or 'unknown'}); "
                    "wait for it, or name another --out"
                )
            time.sleep(POLL_SECONDS)
        with files.disk_errors(self.file):
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{this_process()}\n{SHARED * shared}".encode(), 0)

    def try_alone(self) -> bool:
        """Get the lock alone, if nobody else has it; if not, it is not shared any longer."""
        self.is_alone = self._try(alone=True)
        return self.is_alone

    def share(self) -> None:
        """Let others share the lock. Raises UsageError where another process took it in this very moment."""
        if not self._try(alone=False):
            raise UsageError(f"{self.file.parent}: another process has just begun to work here; try again")

    def close(self) -> None:
        """Give the lock up."""
        os.close(self.descriptor)

    def _try(self, alone: bool) -> bool:
        import fcntl

        with files.disk_errors(self.file):
            try:
                fcntl.flock(self.descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _holder(self) -> tuple[str, str]:
        """The process that was last to lock the file, and whether it shares the lock."""
        process, _, mode = os.pread(self.descriptor, 200, 0).decode(errors="replace").partition("\n")
        return process.strip(), mode


def is_locked(file: Path) -> bool:
    """Whether a process of this host has the lock of this file. Nothing is written."""
    return _look(file)[0]


def may_be_locked(file: Path) -> bool:
    """Whether a process has the lock of this file, or may have it, on another host. Nothing is written."""
    locked, process = _look(file)
    return locked or is_elsewhere(process)


def _look(file: Path) -> tuple[bool, str]:
    """Whether a process of this host has the lock, and which process was last to have it."""
    import fcntl

    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False, ""
    try:
        process = os.pread(descriptor, 200, 0).decode(errors="replace").partition("\n")[0].strip()
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True, ""
    finally:
        os.close(descriptor)
    return False, process


def this_process() -> str:
    """This process, as others are told of it."""
    return f"process {os.getpid()} on {platform.node()}"


def is_elsewhere(process: str) -> bool:
    """Whether a process, named as `this_process` does, is none of this host."""
    words = process.split()
    return bool(words) and (len(words) != 4 or words[3] != platform.node() or not words[1].isdecimal())


def may_be_alive(process: str) -> bool:
    """Whether a process, named as `this_process` does, is running, or may be: on another host, say."""
    words = process.split()
    if not words or is_elsewhere(process):
        return bool(words)
    return Path(f"/proc/{words[1]}").exists() if Path("/proc/self").exists() else True
