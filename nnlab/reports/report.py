"""Writing the report of runs and sweeps: what `nnlab.report` and the command `nnlab report` do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnlab.errors import UsageError
from nnlab.reports.contents import contents_of
from nnlab.reports.page import is_page, render
from nnlab.runs.results import open as open_result
from nnlab.system import files

NAME = "report.html"


def report(*paths: str | Path, out: str | Path | None = None) -> Path:
    """Write one HTML page of what runs and sweeps were asked and came to.

    The file is complete in itself: it asks the network for nothing, and can be read without JavaScript. An
    earlier report in its place is replaced.

    Args:
        paths: The directories of runs and sweeps, finished or still running; several are compared.
        out: The file; by default report.html in the directory, or, of several, in the current folder.

    Returns:
        The file.

    Raises:
        UsageError: A path holds no run and no sweep, or damaged ones; the file holds something else.
        DiskError: The file cannot be written.
    """
    if not paths:
        raise UsageError("report: name a run or a sweep; `nnlab runs` lists them")
    directories = list(dict.fromkeys(map(Path, paths)))
    file = Path(out) if out is not None else _default_file(directories)
    _check_free(file)
    page = render(contents_of([open_result(path) for path in directories]))
    files.make_folder(file.parent, linked=True)
    files.write_atomically(file, page.encode())
    return file


def _default_file(directories: Sequence[Path]) -> Path:
    return directories[0] / NAME if len(directories) == 1 else Path(NAME)


def _check_free(file: Path) -> None:
    """Refuse to replace anything but a report. Raises UsageError."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        what = "a symbolic link" if file.is_symlink() else "no file"
        raise UsageError(f"{file}: is {what}; name another file with --out")
    if file.is_file() and not is_page(file):
        raise UsageError(f"{file}: is there already, and is no report; name another file with --out")
