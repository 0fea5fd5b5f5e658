"""How numbers are written in a table's cells, and what is none but may be meant for one.

All of it looks at cells one by one, so that it does not matter in which parts a column is read.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

Decimal = Literal[".", ","]

LARGEST_EXACT = 2**53  # beyond it float64 leaves whole numbers out

_NAN_OR_UNDERSCORE = re.compile("[_nN]")  # 1_000, nan and inf are numbers to Python
_LEADING_ZEROS = re.compile(r"\n[^\S\n]*[+-]?0[0-9]+[^\S\n]*\n")
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBERS: Mapping[Decimal, re.Pattern[str]] = {
    ".": re.compile(_NUMBER),
    ",": re.compile(_NUMBER.replace(r"\.", ",")),
}


def parse_numbers(cells: Sequence[str], decimal: Decimal) -> np.ndarray | None:
    """The numbers that cells hold, or None where one of them holds none.

    A number has digits, and where it needs them a sign, a decimal mark and an exponent: no thousands
    separators, no NaN, no infinity. A code, of which a number would lose digits, is none. Spaces around it do
    not count.

    Returns:
        `[N]`, int64 where no cell has a decimal mark or an exponent, else float64.
    """
    different = set(cells)
    if 2 * len(different) < len(cells):
        numbers = parse_numbers(tuple(different), decimal)
        if numbers is None:
            return None
        number_of = dict(zip(different, numbers.tolist(), strict=True))
        return np.fromiter(map(number_of.__getitem__, cells), numbers.dtype, len(cells))
    if decimal == ",":
        if any("." in cell for cell in cells):
            return None
        cells = [cell.replace(",", ".") for cell in cells]
    text = "\n".join(cells)
    if not text.isascii() or _NAN_OR_UNDERSCORE.search(text) or _LEADING_ZEROS.search(f"\n{text}\n"):
        return None
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    sizes = np.abs(values)
    if any(is_code(cells[row]) for row in np.flatnonzero(sizes >= LARGEST_EXACT).tolist()):
        return None
    is_whole = not re.search("[.eE]", text) and sizes.max(initial=0) < 2**63
    return values.astype(np.int64) if is_whole else values


def is_code(word: str) -> bool:
    """Whether a word is digits that a number would not keep: 007, or 2^53 + 1, which float64 rounds."""
    digits = word.strip().lstrip("+-")
    if not (digits.isascii() and digits.isdigit()):
        return False
    rounded = 15 < len(digits) < 300 and int(float(digits)) != int(digits)
    return rounded or (len(digits) > 1 and digits[0] == "0")


def is_padded_number(word: str) -> bool:
    """Whether a word is digits, zeros in front or not, that a number keeps."""
    return word.isascii() and word.isdigit() and len(word.lstrip("0")) <= 15


def is_number(word: str, decimal: Decimal) -> bool:
    """Whether a word is a number as `parse_numbers` takes it, or a code."""
    return word.isascii() and _NUMBERS[decimal].fullmatch(word.strip()) is not None


def meant_quantity(word: str, decimal: Decimal) -> str | None:
    """The quantity that a word seems to mean which is no number; None where it seems to mean none."""
    stripped = word.strip(string.whitespace)
    kinds = _QUANTITIES[decimal].items()
    meaning = next((kind for kind, pattern in kinds if pattern.fullmatch(stripped)), None)
    if meaning is None and not word.isascii() and is_number(_in_ascii(word), decimal):
        return "one with other digits or spaces than plain ones"
    return meaning


def _in_ascii(word: str) -> str:
    """A word with plain digits in the place of others, such as full-width ones, and without spaces."""
    letters = unicodedata.normalize("NFKC", word)
    kept = (letter for letter in letters if unicodedata.category(letter) not in ("Cf", "Zs"))
    return "".join(str(unicodedata.decimal(letter, letter)) for letter in kept)


def common_unit(words: Sequence[str], decimal: Decimal) -> str | None:
    """The letters, such as kg, that follow the numbers of at least half of many words; None without any."""
    units = Counter(
        match[1].strip() for word in words if (match := _WITH_LETTERS[decimal].fullmatch(word.strip()))
    )
    unit, count = units.most_common(1)[0] if units else ("", 0)
    return unit if count >= MINIMUM_QUANTITIES and 2 * count >= len(words) else None


MINIMUM_QUANTITIES = 5  # different words with the same letters behind their numbers; fewer may be names

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_DAY = (
    r"(?:\d{4}([-/.])\d\d?\1\d\d?|\d\d?([-/.])\d\d?\2(?:\d{4}|\d\d)"
    rf"|\d\d?[ -]{_MONTH}[ -]\d{{2,4}}|{_MONTH} \d\d?, \d{{4}})"
)
_TIME = r"(?:-?\d+ days?,? )?\d\d?:\d\d(?::\d\d\S*)?(?: ?[AaPp][Mm])?"
_DATE_OR_TIME, _WITH_A_UNIT, _HEXADECIMAL = "a date or time", "one with a unit", "one in hexadecimal"
NAMING_QUANTITIES = (_DATE_OR_TIME, _WITH_A_UNIT, _HEXADECIMAL)  # those that are at times a class's name


def _quantities(decimal: Decimal, other: Decimal) -> Mapping[str, re.Pattern[str]]:
    number = _NUMBERS[decimal].pattern
    mark = rf"[ _'\u00a0\u2009\u202f{other}]"
    thousands = rf"[+-]?\d{{1,3}}(?P<mark>{mark})\d{{3}}(?:(?P=mark)\d{{3}})*(?:{re.escape(decimal)}\d*)?"
    money = r"(?:[$€£¥]|EUR|USD|GBP|CHF|JPY)"
    amount = rf"(?:{number}|{thousands})"
    texts = {
        "an infinity": "[+-]?(?:inf|infinity|INF|Inf|Infinity)",
        "one with thousands separators": thousands,
        f'one with the decimal mark {other} (then say decimal: "{other}")': _NUMBERS[other].pattern,
        _DATE_OR_TIME: rf"{_DAY}(?:[T ].*)?|{_TIME}",
        "one behind a sign that is no hyphen": rf"[\u2212\u2013\u2014]{number}",
        _HEXADECIMAL: "0[xX][0-9a-fA-F]+",
        "one in brackets": rf"\({money}? ?{amount}\)",
        _WITH_A_UNIT: rf"[+-]?{money} ?{amount}|{amount.replace('mark', 'other')} ?(?:[%‰°]|{money})",
    }
    return {meaning: re.compile(text) for meaning, text in texts.items()}


_QUANTITIES: Mapping[Decimal, Mapping[str, re.Pattern[str]]] = {
    ".": _quantities(".", ","),
    ",": _quantities(",", "."),
}
_WITH_LETTERS: Mapping[Decimal, re.Pattern[str]] = {
    mark: re.compile(rf"{number.pattern}( ?(?!(?:st|nd|rd|th)$)[A-Za-zµ/]+)")
    for mark, number in _NUMBERS.items()
}
