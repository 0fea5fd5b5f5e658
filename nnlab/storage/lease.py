"""Leases: which process may write into a directory that several hosts share.

`flock` excludes nobody on some network file systems, and a process on a host that cannot be reached may live
on. So whoever writes into a directory holds a lease on it: a folder `.lease-0001` in there, which `mkdir`
makes, and makes once, on NFS, too. The lease of the highest number counts. Its file `holder` says who has it,
and is touched every few seconds. Where that has not been done for `STALE_SECONDS`, by the clock of the file
system, so that those of the hosts do not matter, another process takes over: it makes the folder of the next
number and removes the files of those before. A lease that is no longer needed is removed with its folders.

Before each write the holder opens its file, which asks an NFS server, unlike a look at a name, and leaves
where that is gone. A process that falls asleep between that and the write, for as long as it takes to be
taken for dead, still does this one write: rows go into a file that is none of the directory any longer, as a
run that goes on begins its tables as new files (`RunDirectory.create`); a file that is replaced as a whole is
replaced by one of the same run, and at the run's end once more.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nnlab.errors import NnlabError
from nnlab.storage.lock import may_be_alive, this_process
from nnlab.system import files

STALE_SECONDS = 30.0  # without a sign of life, after which a holder is taken for dead
BEATS = 6  # signs of life in that time
FOLDER_NAME = re.compile(r"\.lease-[0-9]{4,}")


class LeaseLostError(NnlabError):
    """Another process has taken over what this one was writing."""


class Holder(NamedTuple):
    """Who has a lease.

    Attributes:
        process: Such as `process 12 on host`; `unknown` where it has not said so yet.
        content: What tells this lease from all others.
        seconds: Since its last sign of life.
    """

    process: str
    content: str
    seconds: float

    @property
    def may_be_alive(self) -> bool:
        """Whether its last sign of life is not long ago."""
        return self.seconds < STALE_SECONDS


class Lease(NamedTuple):
    """A lease that was taken.

    Attributes:
        folder: Its folder, in the directory that it covers.
        content: What its file holds as long as nobody has taken over.
    """

    folder: Path
    content: str

    @property
    def is_held(self) -> bool:
        """Whether nobody has taken over."""
        try:
            return files.read_regular_file(self.folder / "holder") == self.content.encode()
        except OSError:
            return False

    def check(self) -> None:
        """Raise LeaseLostError where another process has taken over."""
        if not self.is_held:
            raise LeaseLostError(f"{self.folder.parent}: another process has taken over here")

    def release(self) -> None:
        """Give the lease up, if it is still held. Raises DiskError."""
        if self.is_held:
            for folder in sorted(_numbers(self.folder.parent).values()):
                if folder <= self.folder:  # a later one is of a process that takes over just now
                    files.remove(folder)


def take(directory: Path, clock: Path, is_gone: Callable[[Holder], bool]) -> Lease | None:
    """Take the lease of a directory, which is made where it is missing.

    Args:
        directory: What the lease covers.
        clock: A file beside it, by touching which the time is known.
        is_gone: Whether a holder is gone though its last sign of life is not long ago.

    Returns:
        The lease; None where another process has it.

    Raises:
        DiskError: Something cannot be written.
    """
    files.make_folder(directory)
    seen = _numbers(directory)
    current = _holder(seen, clock)
    if current is not None and current.may_be_alive and not is_gone(current):
        return None
    number = max(seen, default=0) + 1
    lease = Lease(directory / f".lease-{number:04d}", f"{this_process()}\n{secrets.token_hex(16)}\n")
    if not files.make_new_folder(lease.folder):
        return None
    with files.disk_errors(lease.folder):
        files.write_new_file(lease.folder / "holder", lease.content.encode(), synced=False)
    if _numbers(directory).keys() != {*seen, number}:  # others have come and gone since
        files.remove(lease.folder)
        return None
    for folder in seen.values():
        files.remove(folder / "holder")
    return lease


def holder(directory: Path, clock: Path) -> Holder | None:
    """Who has the lease of a directory, or had it when it was last heard of; None where nobody has it."""
    return _holder(_numbers(directory), clock)


def may_be_held(directory: Path) -> bool:
    """Whether a process has the lease of a directory, as far as the clock of this host tells. Nothing is
    written."""
    numbers = _numbers(directory)
    file = numbers[max(numbers)] / "holder" if numbers else directory
    try:
        process = files.read_regular_file(file).decode(errors="replace").partition("\n")[0]
        seconds = time.time() - files.modification_time(file)
    except OSError:
        return False
    return seconds < STALE_SECONDS and may_be_alive(process)


def _holder(numbers: Mapping[int, Path], clock: Path) -> Holder | None:
    if not numbers:
        return None
    folder = numbers[max(numbers)]
    try:
        content = files.read_regular_file(folder / "holder").decode(errors="replace")
        modified = files.modification_time(folder / "holder")
    except OSError:
        content = ""  # it is about to be written, or has just been given up
        try:
            modified = files.modification_time(folder)
        except OSError:
            return None
    with files.disk_errors(clock):
        seconds = files.refresh(clock) - modified
    return Holder(content.partition("\n")[0] or "unknown", content, seconds)


@contextlib.contextmanager
def signs_of_life(leases: Sequence[Lease], stale_seconds: float) -> Iterator[None]:
    """Touch the files of leases as long as the block runs, often enough for those who take a holder for dead
    after `stale_seconds`."""
    has_ended = threading.Event()

    def beat() -> None:
        while not has_ended.wait(stale_seconds / BEATS):
            for lease in leases:
                with contextlib.suppress(OSError):  # it was taken over, which is noticed at the next write
                    files.refresh(lease.folder / "holder")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def _numbers(directory: Path) -> dict[int, Path]:
    """The folders of the leases of a directory, by their numbers; a link may lead elsewhere, and is none."""
    folders = [path for path in directory.glob(".lease-*") if FOLDER_NAME.fullmatch(path.name)]
    return {int(path.name.removeprefix(".lease-")): path for path in folders if not path.is_symlink()}
