"""Files fetched from their publishers: the one module that uses the network.

A file is kept only if its SHA-256 is the known one, and appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnlab.errors import InvalidValue
from nnlab.text import join_words

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Published(NamedTuple):
    """The files of a published data set.

    Attributes:
        mirrors: Addresses that a file's name is appended to, tried in this order.
        files: SHA-256 by file name.
    """

    mirrors: Sequence[str]
    files: Mapping[str, str]


def fetch(published: Published, names: Sequence[str], folder: Path) -> None:
    """Fetch files into a folder.

    Args:
        published: Where they are published.
        names: Which of its files.
        folder: Where to; it is made where it is missing.

    Raises:
        InvalidValue: No mirror has a file; the message says what to do by hand.
    """
    for position, name in enumerate(names):
        reasons = []
        for mirror in published.mirrors:
            try:
                _fetch(f"{mirror}{name}", published.files[name], folder / name)
                break
            except (OSError, ValueError) as error:  # no connection, a wrong hash, a full disk
                reasons.append(textwrap.shorten(str(error), 240, placeholder=" ..."))
        else:
            raise InvalidValue(
                f"{name} is not in '{folder}' and cannot be fetched: {reasons[0]}; put "
                f"{join_words(names[position:], 'and')} from {join_words(published.mirrors)} into that "
                "folder by hand, or name with 'path' a folder that holds them",
                ("path",),
            )


def _fetch(address: str, sha256: str, file: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")  # the progress bar and errors say enough
    with _bar(file.name) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, timeout=30)
        pooch.retrieve(address, f"sha256:{sha256}", file.name, file.parent, downloader=downloader)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[_Bar | bool]:
    """A progress bar as pooch takes it; False where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, progress.add_task(name, total=None))


class _Bar:
    """A progress bar for pooch, which sets `total`, in bytes, and calls the methods."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self.total = progress, task, 0

    def update(self, count: int) -> None:
        self._progress.update(self._task, advance=count, total=self.total or None)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Nothing to do: the bar ends with its context."""
