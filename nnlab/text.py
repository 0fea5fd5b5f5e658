"""Words for messages: near misses, lists, paths of keys, and text that is safe to print in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MAXIMUM_LINE_CHARACTERS = 800
MAXIMUM_WORD_CHARACTERS = 300
MAXIMUM_COMPARED_CHARACTERS = 80  # difflib's work grows with the square of the length
MAXIMUM_COMPARED_WORDS = 200  # by difflib


def dotted(path: tuple[str | int, ...]) -> str:
    """`("model", 2, "units")` as `model[2].units`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'dense'?`, or nothing where no known word is close."""
    words = list(known)
    one_edit = (other for other in words if is_one_edit_apart(word, other))
    close = next(one_edit, None) or _most_alike(word, words)
    return f"; did you mean '{close}'?" if close else ""


def _most_alike(word: str, words: Sequence[str]) -> str | None:
    """The word that shares most letters in order with another, if those are 60 % of the two; else None."""
    if len(word) > MAXIMUM_COMPARED_CHARACTERS:
        return None
    comparable = [
        other for other in words[:MAXIMUM_COMPARED_WORDS] if len(other) <= MAXIMUM_COMPARED_CHARACTERS
    ]
    return next(iter(difflib.get_close_matches(word, comparable, n=1, cutoff=0.6)), None)


def is_one_edit_apart(word: str, other: str) -> bool:
    """Whether one is the other with a letter more, less or another in its place, or with two that swapped."""
    if abs(len(word) - len(other)) > 1 or word == other:
        return False
    same = next((i for i, pair in enumerate(zip(word, other, strict=False)) if pair[0] != pair[1]), None)
    if same is None:
        return True  # one goes on where the other ends
    word, other = word[same:], other[same:]
    swapped = word[:2] == other[1::-1] and word[2:] == other[2:]
    return swapped or word[1:] == other[1:] or word[1:] == other or word == other[1:]


def join_words(words: Sequence[str], last: str = "or") -> str:
    """`a, b or c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def one_line(text: str) -> str:
    """Printable, and with the middle of endless words, and of what is endless still, left out."""
    words = [_shortened(word, MAXIMUM_WORD_CHARACTERS) for word in str(text).split()]
    return _shortened(
        printable(_shortened(" ".join(words), MAXIMUM_LINE_CHARACTERS)), MAXIMUM_LINE_CHARACTERS
    )


def printable(text: str) -> str:
    """Without line breaks or control characters, which a hostile file could send to the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 3 :]}"


def short_value(value: object) -> str:
    """A value in a few characters, for a cell of a table; `-` where there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def exact_value(value: object) -> str:
    """A value with all its digits, for a cell of a table in which `-` stands for what is missing."""
    return "null" if value is None else str(value) if isinstance(value, float) else short_value(value)
