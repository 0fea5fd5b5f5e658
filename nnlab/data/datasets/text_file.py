"""Text as windows of tokens: a model is to foretell the next token at every position.

`M` is the number of tokens in a part of the text, `L` the length of a window, `N` the number of windows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, cast

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.datasets.local_files import existing_file
from nnlab.data.examples import Examples, Loaded, Source, classification_examples
from nnlab.data.file_rows import is_too_large
from nnlab.data.inputs import BYTE_VALUES
from nnlab.data.labels import MAXIMUM_CLASSES
from nnlab.data.splits import Split, part_sizes
from nnlab.errors import InvalidValue
from nnlab.registry import Count, register
from nnlab.text import format_bytes, join_words

MANUAL = "the manual of Python"
UNKNOWN = "\ufffd"  # stands for what the training part does not have
TOKEN_BYTES = 5  # of a token in a window: one of the inputs, four of the targets
MAXIMUM_LISTED = 5  # tokens in a note
PARTS = ("training", "validation", "test")

Unit = Literal["characters", "bytes"]


@register("dataset")
def text(
    path: str | None = None,
    length: Annotated[int, Ge(1), Le(10**6)] = 64,
    unit: Unit = "characters",
    stride: Count | None = None,
) -> Source:
    """A text, of which a model is to foretell every next token: a classification at each position.

    Inputs are windows of L tokens, `[N, L]`, for an embedding; targets the token behind each of them,
    `[N, L]`; a class is a token. The loss of an example is the mean over its positions, and so is its
    accuracy. Outputs are `[N, L, K]`, of a model that must not see later tokens: transformer blocks with
    `causal: true`, recurrent layers with `read: null`. `metrics: [perplexity]` adds exp(loss).

    The text is divided by place, not at random: the training part comes first, then that of validation, then
    that of test; no window reaches from one into another. Shares of `split` are of its tokens.

    The vocabulary is the different characters of the training part, sorted, or the 256 bytes. What only the
    other parts hold becomes one more token, the last; a note says how much that is.

    Args:
        path: The file, in UTF-8; a relative path starts at the working directory. null is the manual that
            Python has with it (pydoc_data.topics, 470 kB of technical English), its topics in alphabetical
            order; each version of Python has its own.
        length: L, 1 to 10^6.
        unit: What a token is. `characters` reads each end of a line, CR LF too, as one line feed, and skips
            a byte order mark; `bytes` takes any file as it is.
        stride: From the start of a window of the training part to that of the next; null is L. A smaller one
            shows a token at several positions, in more examples. The other parts have each token once.
    """

    def divided(split: Split) -> Loaded:
        source = MANUAL if path is None else f"'{path}'"
        content = _manual() if path is None else _content(path, max(1.0, length / (stride or length)))
        tokens = np.frombuffer(content, np.uint8) if unit == "bytes" else _characters(content, source)
        sizes = part_sizes(len(tokens), split, unit)
        numbers, names, notes = _number(tokens[: sum(sizes)], sizes[0], source, unit)
        strides = (stride or length, length, length)
        starts = [0, sizes[0], sizes[0] + sizes[1]]
        parts: list[Examples | None] = []
        for name, start, size, step in zip(PARTS, starts, sizes, strides, strict=True):
            if 0 < size <= length:
                raise InvalidValue(
                    f"the {name} part of {source} has {size:,} {unit}, and a window takes {length + 1:,}, "
                    "those of its inputs and one more; let length be shorter, or the part larger",
                    ("length",),
                )
            part = numbers[start : start + size]
            parts.append(_windows(part, length, step, start, names) if size else None)
        train, validation, test = parts
        return Loaded(cast(Examples, train), test, validation, notes)

    return Source(lambda _: divided(Split()), by_place=divided)


def _manual() -> bytes:
    """The text of MANUAL."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InvalidValue("this Python comes without its manual; give a file", ("path",)) from None
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def _content(path: str, copies: float) -> bytes:
    """The bytes of a file. copies: windows that a token is in, at most."""
    file = existing_file(path)
    try:
        size = int(file.stat().st_size * copies * TOKEN_BYTES)
        if is_too_large(size):
            raise InvalidValue(
                f"the windows of '{file}' take {format_bytes(size)}, too much for memory; give a part of it, "
                "or a longer stride",
                ("path",),
            )
        content = file.read_bytes()
    except OSError as error:
        raise InvalidValue(f"'{file}' cannot be read: {error.strerror}", ("path",)) from None
    if not content:
        raise InvalidValue(f"'{file}' is empty", ("path",))
    return content


def _characters(content: bytes, source: str) -> np.ndarray:
    """The code points of a text in UTF-8, `[M]`, an end of a line as one line feed."""
    text = _decoded(content, source).replace("\r\n", "\n").replace("\r", "\n")
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _decoded(content: bytes, source: str) -> str:
    """Text in UTF-8 without its byte order mark. Raises InvalidValue where it is none."""
    place = content.find(b"\0")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        place = error.start if place < 0 else min(place, error.start)
    if place >= 0:
        line = content.count(b"\n", 0, place) + 1
        raise InvalidValue(
            f"{source} is no text in UTF-8: byte {place:,} (counted from 0, in line {line:,}) is "
            f"0x{content[place]:02x}; save it as UTF-8, or let unit be bytes",
            ("path",),
        )
    return text


def _number(
    tokens: np.ndarray, trained_on: int, source: str, unit: Unit
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Tokens `[M]` as numbers from 0, of which the first ones make the vocabulary; its names; and notes."""
    vocabulary = np.arange(BYTE_VALUES) if unit == "bytes" else np.unique(tokens[:trained_on])
    unknown = np.setdiff1d(tokens, vocabulary)
    names = tuple(map(chr, vocabulary.tolist()))
    if len(names) > MAXIMUM_CLASSES:
        raise InvalidValue(
            f"{source} has {len(names):,} different {unit}, and {MAXIMUM_CLASSES:,} is the most; let unit be "
            "bytes",
            ("path",),
        )
    numbers = np.searchsorted(vocabulary, tokens)
    if not unknown.size:
        return numbers, names, ()
    is_unknown = np.isin(tokens, unknown)
    numbers[is_unknown] = len(names)
    listed = [repr(chr(number)) for number in unknown[:MAXIMUM_LISTED].tolist()]
    more = [f"{unknown.size - MAXIMUM_LISTED} more"] if unknown.size > MAXIMUM_LISTED else []
    note = (
        f"{is_unknown.sum():,} {unit} of {source} do not occur in its training part "
        f"({join_words(listed + more, 'and')}); they are one token, {len(names)}"
    )
    return numbers, (*names, UNKNOWN), (note,)


def _windows(numbers: np.ndarray, length: int, stride: int, start: int, names: tuple[str, ...]) -> Examples:
    """The windows of a part of the text, each with the tokens behind its own.

    Args:
        numbers: The part's tokens, `[M]`.
        length: L.
        stride: From one window to the next.
        start: The part's place in the text.
        names: What the tokens are.
    """
    windows = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::stride]
    fitting = np.uint8 if len(names) <= BYTE_VALUES else np.uint16
    examples = classification_examples(windows[:, :-1].astype(fitting), windows[:, 1:], len(names), names)
    return replace(examples, rows=start + stride * np.arange(len(windows)))
