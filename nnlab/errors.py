"""Every error a user can meet, and the states that a run can be in.

NnlabError                 exit 1; its text is the one line that is printed
├── ConfigError            exit 2; one line a problem, each with file:line:column
├── UsageError             exit 2; the command's words or paths are off
│   └── DriftError         a run was begun where other numbers come out
└── DiskError              exit 1; something cannot be written

ValueDoesNotFit            raised by a component about its own arguments, shapes or data;
                           whoever knows the place in the file turns it into a ConfigError
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Path = tuple[str | int, ...]

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

    path: Path
    message: str


class ConfigError(NnlabError):
    """Problems of one experiment file; `lines` are ready to print."""

    exit_code = 2

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class ValueDoesNotFit(ValueError):  # noqa: N818 - read aloud at the raise site
    """A component's arguments contradict each other, a shape, or the data.

    `at` names the argument, relative to the component, where that is known.
    """

    def __init__(self, message: str, at: Path = ()) -> None:
        super().__init__(message)
        self.at = at


def dotted(path: Path) -> str:
    """`("model", 2, "units")` as `model[2].units`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def near_miss(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'dense'?`, or nothing where no known word is close."""
    words = list(known)
    close = [other for other in words if one_letter_off(word, other)]
    close = close or difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def one_letter_off(word: str, other: str) -> bool:
    """Whether one is the other with a letter more, less or another in its place, or with two that swapped."""
    if abs(len(word) - len(other)) > 1 or word == other:
        return False
    same = next((i for i, pair in enumerate(zip(word, other, strict=False)) if pair[0] != pair[1]), None)
    if same is None:
        return True  # one goes on where the other ends
    word, other = word[same:], other[same:]
    swapped = word[:2] == other[1::-1] and word[2:] == other[2:]
    return swapped or word[1:] == other[1:] or word[1:] == other or word == other[1:]


def listed(words: Sequence[str], last: str = "or") -> str:
    """`a, b or c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
