"""Words for messages, figures and reports: near misses, lists, names and paths of keys, numbers, and text
that is safe to print in one line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

MAXIMUM_LINE_CHARACTERS = 800
MAXIMUM_WORD_CHARACTERS = 300
MAXIMUM_COMPARED_CHARACTERS = 80  # difflib's work grows with the square of the length
MAXIMUM_COMPARED_WORDS = 200  # by difflib

SPOKEN = {  # parts of names that are not read as they are written
    "auc": "AUC",
    "b1": "β₁",
    "b2": "β₂",
    "f1": "F1",
    "grad": "gradient",
    "init": "initializer",
    "ipr": "inverse participation ratio",
    "l1": "L1",
    "l2": "L2",
    "log10": "log₁₀",
    "pc1": "principal component 1",
    "pc2": "principal component 2",
    "pca": "PCA",
    "r2": "R²",
    "rmse": "root mean squared error",
    "std": "standard deviation",
    "train": "training",
    "w": "weight",
}
OWN = ("type", "value", "fraction")  # keys that say what the component or the section itself is
SPLITS = ("train", "validation", "test")
RECORDS = ("final", "best", "selected")  # whose metrics a summary has


def dotted(path: tuple[str | int, ...]) -> str:
    """`("model", 2, "units")` as `model[2].units`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def name_in_words(name: str) -> str:
    """A column, a number, a layer or a path of keys as a reader would say it.

    For example, `validation_accuracy` is "validation accuracy", `final.train_loss` "final training loss",
    `optimizer.learning_rate` "learning rate", `model.0.units` "units of layer 1", `data.split.train`
    "training split", `residual_2/dense_1` "residual 2, dense 1", and `a.width, b.width`, which move together,
    "width".
    """
    return ", ".join(dict.fromkeys(_path_in_words(path.strip()) for path in name.split(",")))


def names_in_words(names: Sequence[str]) -> list[str]:
    """`name_in_words` of several names; those that would be the same get what they belong to in brackets."""
    words = [name_in_words(name) for name in names]
    owners = [name_in_words(name.rpartition(".")[0]) for name in names]
    return [
        f"{word} ({owner})" if owner and words.count(word) > 1 else word
        for word, owner in zip(words, owners, strict=True)
    ]


def label_in_words(label: str) -> str:
    """A label of names and values, such as `leaky_relu negative_slope 0.1`, without their underscores."""
    return re.sub(r"(?<=[^\W_])_+(?=[^\W_])", " ", label)


def setting_in_words(name: str, value: str) -> str:
    """A name in words and its value: `weight decay 1`, but `layer 2 = tanh`, as two numbers run together."""
    return f"{name} = {value}" if name[-1:].isdecimal() else f"{name} {value}"


def _path_in_words(path: str) -> str:
    *parents, name = path.split(".")
    if name in OWN and parents:
        return _path_in_words(".".join(parents))
    if name.isdecimal() and parents:
        *parents, items = parents
        words = _item_in_words(items, int(name))
    else:
        words = ", ".join(_spoken(part) for part in name.split("/"))
    places = [place for place, part in enumerate(parents) if part.isdecimal() and place]
    if places:
        items_in_words = [_item_in_words(parents[place - 1], int(parents[place])) for place in places]
        return f"{words} of {' in '.join(reversed(items_in_words))}"
    if name in SPLITS and parents:
        return f"{words} {_spoken(parents[-1])}"
    return f"{parents[0]} {words}" if parents and parents[0] in RECORDS else words


def _item_in_words(items: str, index: int) -> str:
    """An item of a list of keys: `layer 1` for the first of `model` or `layers`."""
    one = "layer" if items == "model" else _spoken(items).removesuffix("s")
    return f"{one} {index + 1}"


def _spoken(name: str) -> str:
    return " ".join(SPOKEN.get(part, part) for part in name.split("_") if part)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'dense'?`, or nothing where no known word is close."""
    words = list(known)
    same_letters = (other for other in words if letters(word) == letters(other) and word != other)
    one_edit = (other for other in words if len(word) > 1 and is_one_edit_apart(word, other))
    close = next(same_letters, None) or next(one_edit, None) or _most_alike(word, words)
    return f"; did you mean '{close}'?" if close else ""


def letters(word: str) -> str:
    """A word without what spellings differ in, `simplernn` for simple_rnn and SimpleRNN."""
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")


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


def in_words(value: object) -> str:
    """A value of an experiment file without brackets: `sgd momentum 0.9`."""
    if isinstance(value, Mapping):
        rest = [f"{key} {in_words(inner)}" for key, inner in value.items() if key != "type"]
        return " ".join([str(value["type"]), *rest] if "type" in value else rest)
    if isinstance(value, list):
        return ", ".join(in_words(item) for item in value) or "none"
    if value is None or isinstance(value, float):
        return "none" if value is None or math.isnan(value) else f"{value:g}"
    return str(value).lower() if str(value) in ("True", "False") else str(value)


def with_deviation(mean: float, deviation: float) -> str:
    """`0.931 ± 0.012`: a mean to the second digit of its standard deviation, six digits at most.

    The mean stands alone where there is no deviation.
    """
    if not (math.isfinite(mean) and math.isfinite(deviation)):
        return short_value(float(mean))
    if not deviation:
        return f"{mean:.4g} ± 0"
    magnitude, last = _magnitude(mean), _magnitude(deviation) - 1
    if -4 <= magnitude < 6 and last > -7:
        decimals = max(0, min(-last, 5 - max(magnitude, 0)))
        spread = f"{deviation:.{decimals}f}" if deviation >= 10.0**-decimals else f"{deviation:.1g}"
        return f"{mean:.{decimals}f} ± {spread}"
    digits = min(max(magnitude - last + 1, 2), 6)
    return f"{mean:.{digits - 1}e} ± {deviation:.1e}"


def _magnitude(value: float) -> int:
    """The power of ten of a number's first digit."""
    return math.floor(math.log10(abs(value))) if value else 0


def format_bytes(size: float) -> str:
    """A number of bytes in words: `3.2 GB`; beyond petabytes, the power of ten."""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000
    return f"10^{round(math.log10(size)) + 18} bytes"
