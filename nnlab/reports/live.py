"""The page of a run or a sweep that goes on: its curves at every look, the rest when it has changed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from nnlab.errors import RunStatus, UsageError
from nnlab.reports.contents import Contents, contents_of
from nnlab.reports.feeds import RunFeed, SweepFeed
from nnlab.reports.page import DataWriter, render
from nnlab.runs.results import Run, Sweep
from nnlab.runs.results import open as open_result
from nnlab.storage.run_directory import is_being_written

PAUSE_RATIO = 200  # of the pause after the whole page was collected to the time that this took

Stamp = tuple[int, int]
"""When a file was last changed, and its size."""


class LivePage:
    """The page of one directory, which a run or a sweep may still write into. Threads may share it."""

    def __init__(self, path: Path) -> None:
        """Open a run or a sweep. Raises UsageError where the path holds none, or a damaged one."""
        self.path = path
        self._lock = threading.Lock()
        self._number = self._page = 0
        self._writer = DataWriter()
        self._collected_at = self._pause = 0.0
        self._problem = ""
        self._contents: Contents
        self._goes_on: bool
        stamps, result = self._stamps(), open_result(path)
        self._feed: RunFeed | SweepFeed = RunFeed(result) if isinstance(result, Run) else SweepFeed(result)
        self._collect(result, stamps)

    def html(self) -> str:
        """The page as it is now."""
        with self._lock:
            self._look()
            return render(self._contents, live=True)

    def news(self, seen: str) -> str | None:
        """What has changed, as JSON.

        Args:
            seen: The `number` of the last news that the asker has; empty where it has none.

        Returns:
            `number`, the number of these news; `page`, which is another one where the whole page has changed;
            `progress` in words; `goes_on`, whether there is more to come; and `data`, the numbers of the
            curves. None where nothing has changed.
        """
        with self._lock:
            self._look()
            if seen == str(self._number):
                return None
            head = {
                "number": self._number,
                "page": self._page,
                "progress": self._problem or self._feed.progress,
                "goes_on": self._goes_on,
            }
            return f'{json.dumps(head)[:-1]}, "data": {self._writer.text(self._contents)}}}'

    def _look(self) -> None:
        """Read what has been added, and collect the whole page where it has changed and it is time to."""
        stamps = self._stamps()  # before the files are read, so that what is written meanwhile is news
        if self._problem or self._is_left_or_resumed or self._has_changed(stamps):
            try:
                self._collect(open_result(self.path), stamps)
            except UsageError as error:  # it may be half replaced, or removed
                self._tell(str(error))
        elif self._feed.grow():
            self._number += 1
            self._contents = self._feed.put_into(self._contents)

    @property
    def _is_left_or_resumed(self) -> bool:
        """Whether a process has gone from the directory, or come, without a word in the summary."""
        return self._is_unfinished and is_being_written(self.path) != self._goes_on

    def _has_changed(self, stamps: tuple[Stamp, Stamp]) -> bool:
        """Whether the summary is another one, or the trials are and it is time to collect them."""
        is_due = time.monotonic() >= self._collected_at + self._pause
        return stamps[0] != self._seen[0] or (stamps[1] != self._seen[1] and is_due)

    def _tell(self, problem: str) -> None:
        """The page stays as it is, but for the problem."""
        goes_on = is_being_written(self.path)
        if (problem, goes_on) != (self._problem, self._goes_on):
            self._problem, self._goes_on, self._number = problem, goes_on, self._number + 1

    def _collect(self, result: Run | Sweep, stamps: tuple[Stamp, Stamp]) -> None:
        """Collect the whole page; its figures are drawn once nothing is added any longer.

        Args:
            result: The run or sweep, just opened.
            stamps: Those of its files before it was.
        """
        begun = time.process_time()
        self._is_unfinished = result.summary["status"] == RunStatus.RUNNING
        self._goes_on, self._problem = result.status is RunStatus.RUNNING, ""
        self._feed.renew(result)
        self._feed.grow()
        contents = contents_of([result], with_figures=not self._goes_on, with_curves=False)
        self._contents = self._feed.put_into(contents)
        self._page, self._number, self._seen = self._page + 1, self._number + 1, stamps
        self._collected_at, self._pause = time.monotonic(), PAUSE_RATIO * (time.process_time() - begun)

    def _stamps(self) -> tuple[Stamp, Stamp]:
        return _stamp(self.path / "summary.json"), _stamp(self.path / "trials.csv")


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
