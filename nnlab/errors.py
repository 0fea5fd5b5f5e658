"""Every error a user can meet, and the statuses a run can have.

NnlabError                 exit 1; its text is the one line that is printed
├── ConfigError            exit 2; one line per problem, each with file:line:column
├── UsageError             exit 2; the command's words or paths are wrong
│   ├── DriftError         a run cannot continue with the same numbers
│   └── PluginError        a plug-in cannot be loaded, or takes a name that is taken
└── DiskError              exit 1; something cannot be written, or cannot be read any more

Interrupted                a signal ended a training at a checkpoint; a KeyboardInterrupt
InvalidValue               raised by a component about its arguments, shapes or data;
                           the caller that knows the place in the file turns it into a ConfigError
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

KeyPath = tuple[str | int, ...]


class RunStatus(StrEnum):
    """The status of a run, as its summary.json holds it."""

    RUNNING = "running"
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    DIVERGED = "diverged"
    PRUNED = "pruned"  # a search ended the trial before its time: others do better
    FAILED = "failed"


class NnlabError(Exception):
    """An error whose text says in a line what is wrong, and what to do.

    Attributes:
        exit_code: The exit code of a command that ends with it.
    """

    exit_code = 1


class UsageError(NnlabError):
    """Words, paths or files that a call or a command cannot work with."""

    exit_code = 2


class MissingPluginError(UsageError):
    """A run was made with a plug-in that is not loaded."""


class DriftError(UsageError):
    """A run cannot continue with the same numbers: config, data, versions, device or threads have changed."""


class PluginError(UsageError):
    """A plug-in cannot be loaded, or takes a name that is taken."""


class DiskError(NnlabError):
    """Something cannot be written, or cannot be read any more."""


class Interrupted(KeyboardInterrupt):
    """A signal ended a training at a checkpoint.

    It is a KeyboardInterrupt, so that a notebook or script that is not prepared for it stops.

    Attributes:
        path: The directory of the run or sweep; the same call continues it.
        signal: The number of the signal.
    """

    def __init__(self, path: Path, signal: int) -> None:
        super().__init__(f"{path}: interrupted; the same call goes on from its last checkpoint")
        self.path, self.signal = path, signal

    def __reduce__(self) -> tuple[type[Interrupted], tuple[Path, int]]:
        return type(self), (self.path, self.signal)


class Problem(NamedTuple):
    """What is wrong at one place of an experiment file.

    Attributes:
        path: The place.
        text: The message, or a function that makes it: of many problems only the first are shown, and a
            message with a near miss in it costs work.
    """

    path: KeyPath
    text: str | Callable[[], str]

    @property
    def message(self) -> str:
        return self.text if isinstance(self.text, str) else self.text()


class ConfigError(NnlabError):
    """Problems of one experiment file; `lines` are ready to print."""

    exit_code = 2

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.lines,)


class InvalidValue(ValueError):  # noqa: N818 - read aloud at the raise site
    """A component's arguments contradict each other, a shape, or the data.

    Attributes:
        at: The place of the argument, relative to the component; empty where it is not known.
    """

    def __init__(self, message: str, at: KeyPath = ()) -> None:
        super().__init__(message)
        self.at = at

    def __reduce__(self) -> tuple[type[InvalidValue], tuple[str, KeyPath]]:
        return type(self), (str(self), self.at)
