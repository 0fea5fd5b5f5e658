"""Every error a user can meet, and the states that a run can be in.

NnlabError                 exit 1; its text is the one line that is printed
├── ConfigError            exit 2; one line a problem, each with file:line:column
├── UsageError             exit 2; the command's words or paths are off
│   └── DriftError         a run was begun where other numbers come out
└── DiskError              exit 1; something cannot be written

InvalidValue            raised by a component about its own arguments, shapes or data;
                           whoever knows the place in the file turns it into a ConfigError
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

KeyPath = tuple[str | int, ...]

# of a run, in its summary; a search ends a trial that is not worth going on with: it is pruned
STATUSES = ("running", "complete", "interrupted", "diverged", "pruned", "failed")


class NnlabError(Exception):
    exit_code = 1


class UsageError(NnlabError):
    exit_code = 2


class DriftError(UsageError):
    """A run was begun where other numbers come out."""


class DiskError(NnlabError):
    """Something cannot be written."""


class Problem(NamedTuple):
    """What is wrong at one place of an experiment file."""

    path: KeyPath
    message: str


class ConfigError(NnlabError):
    """Problems of one experiment file; `lines` are ready to print."""

    exit_code = 2

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class InvalidValue(ValueError):  # noqa: N818 - read aloud at the raise site
    """A component's arguments contradict each other, a shape, or the data.

    `at` names the argument, relative to the component, where that is known.
    """

    def __init__(self, message: str, at: KeyPath = ()) -> None:
        super().__init__(message)
        self.at = at
