"""A table that was read from a file: columns of numbers or of text, and where each cell stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from nnlab.data.labels import words_alike
from nnlab.data.notation import (
    LARGEST_EXACT,
    NAMING_QUANTITIES,
    Decimal,
    common_unit,
    is_code,
    is_number,
    is_padded_number,
    meant_quantity,
)
from nnlab.errors import InvalidValue, KeyPath

FLOAT32_MAXIMUM = float(np.finfo(np.float32).max)


class Text(NamedTuple):
    """A column of text.

    Attributes:
        words: Its different cells, in the order in which they first appear.
        numbers: Which of them each row holds, `[N]`, from 0 on.
    """

    words: list[str]
    numbers: np.ndarray

    def rows_with(self, chosen: Sequence[bool] | np.ndarray) -> np.ndarray:
        """Which rows hold one of the words for which `chosen` is true, `[N]`."""
        return np.array(chosen, bool)[self.numbers]


Use = Literal["input", "label", "value"]

_OR_CODE_IT = ", or name the column in 'coding' where they are categories"

Column: TypeAlias = np.ndarray | Text
"""Numbers or truth values `[N]`, or text."""


class Cell(NamedTuple):
    """A cell in the file.

    Attributes:
        place: `line 7`, or `row 6` where there are no lines.
        text: What it holds.
    """

    place: str
    text: str


@dataclass(frozen=True)
class Table:
    """Columns of `N` rows.

    Attributes:
        path: The file, as the experiment names it.
        columns: The columns by name, in the file's order.
        cell: (row from 0, name) -> the cell.
        decimal: The decimal mark of its numbers.
        notes: Lines that are worth knowing, added as the columns are used.
    """

    path: str
    columns: dict[str, Column]
    cell: Callable[[int, str], Cell]
    decimal: Decimal = "."
    notes: list[str] = field(default_factory=list)

    def refusal(self, row: int, name: str, what: str, at: KeyPath = ("path",)) -> InvalidValue:
        """An error about a cell, which it quotes; `what` goes on."""
        cell = self.cell(row, name)
        said = f"'{self.path}' {cell.place}, column '{name}': '{cell.text:.60}' {what}"
        return InvalidValue(said, at)

    def check_cells(self, wrong: Mapping[str, np.ndarray], what: str) -> None:
        """Refuse the first wrong cell in the order of the file.

        Args:
            wrong: The name of a column -> which of its rows are wrong, `[N]`.
            what: What is wrong with such a cell.

        Raises:
            InvalidValue: There is one.
        """
        cells = np.stack(list(wrong.values()), axis=1)
        if cells.any():
            row, place = divmod(int(cells.argmax()), cells.shape[1])
            raise self.refusal(row, list(wrong)[place], f"{what} ({_cells(cells)})")

    def numbers(self, name: str, column: np.ndarray) -> np.ndarray:
        """A column of numbers as float64 `[N]`; truth values are 0 and 1.

        Raises:
            InvalidValue: A number is infinite, beyond float32's range, or whole and none of float64's.
        """
        values = column.astype(np.float64)
        infinite = np.isinf(values)
        if infinite.any():
            what = f"is infinite or beyond float64 ({_cells(infinite)}); mend it, or remove the row"
            raise self.refusal(int(infinite.argmax()), name, what)
        beyond = np.abs(values) > FLOAT32_MAXIMUM
        if beyond.any():
            what = f"is beyond float32, 3.4e38 ({_cells(beyond)}); scale the column"
            raise self.refusal(int(beyond.argmax()), name, what)
        if column.dtype.kind in "iu":
            for row in np.flatnonzero(np.abs(values) >= LARGEST_EXACT):
                if int(column[row]) != int(values[row]):
                    what = "has more digits than float64 keeps (2^53); subtract an offset, or drop the column"
                    raise self.refusal(int(row), name, what)
        return values

    def padded_numbers(self, name: str, column: Text) -> np.ndarray | None:
        """The numbers of a column of digits that zeros in front make equally long, `[N]`; else None.

        There different cells are different numbers, so that where no code is asked for, none is lost.
        """
        words = column.words
        padded = next(filter(is_code, words), None)
        if padded is None or len(set(map(len, words))) > 1 or not all(map(is_padded_number, words)):
            return None
        self.notes.append(
            f"'{self.path}': column '{name}' is read as numbers, '{padded:.60}' without its zeros"
        )
        return np.array(words, np.float64)[column.numbers]

    def check_no_quantities(self, name: str, column: Text, use: Use) -> None:
        """Refuse a column of text that is meant for numbers.

        It is where at least half of its cells, or of its different cells, are numbers or seem to mean some
        quantity, and none is a code; or where the same unit follows the numbers of that many different cells.

        Args:
            name: The column's name.
            column: The column.
            use: What the column is for. Numbers beside other words may be labels.

        Raises:
            InvalidValue: It is meant for numbers.
        """
        plain = np.array([is_number(word, self.decimal) for word in column.words])
        unit = None if use == "label" else common_unit(column.words, self.decimal)
        if unit is not None:
            what = f"is no number, but one with the unit '{unit}', as others are; save them without it"
            raise self.refusal(0, name, f"{what}{_OR_CODE_IT * (use == 'input')}")
        meanings = [
            None if is_plain else meant_quantity(word, self.decimal)
            for word, is_plain in zip(column.words, plain, strict=True)
        ]
        ignored = (None, *NAMING_QUANTITIES) if use == "label" else (None,)
        meant = np.array([meaning not in ignored for meaning in meanings])
        quantities = plain | meant
        if max(quantities.mean(), quantities[column.numbers].mean()) < 0.5:
            return
        signs = np.array([not any(map(str.isalnum, word)) for word in column.words])
        if use == "label" and not (meant | signs).any():
            return
        code = next((word for word in column.words if is_code(word)), None)
        if code is not None:
            if use == "input" and (quantities | signs).all():
                self.notes.append(f"'{self.path}': column '{name}' is text, since '{code:.60}' is a code")
            return
        if plain.all():
            what = "reads as a number, as all of the column does, and is kept as text; save it as a number"
            raise self.refusal(0, name, what)
        strange = column.rows_with(~plain)
        row, count = int(strange.argmax()), int(strange.sum())
        meaning = meanings[column.numbers[row]]
        but = f", but {meaning}" if meaning else ""
        none = f"{count:,} of the column's {len(strange):,} cells {'is' if count == 1 else 'are'} none"
        remedy = f"mend them{', drop the column' * (use == 'input')} or remove such rows"
        if use == "input" and meaning in NAMING_QUANTITIES and count == len(strange):
            remedy = f"save them as numbers, drop the column{_OR_CODE_IT}"
        raise self.refusal(row, name, f"is no number{but} ({none}); {remedy}")

    def check_words_differ(self, name: str, column: Text) -> None:
        """Refuse a column of text two of whose words are one but for spaces or capitals.

        Raises:
            InvalidValue: There are two such words.
        """
        alike = words_alike(column.words)
        if alike is not None:
            first, second = alike
            by = "spaces" if first.split() == second.split() else "capitals"
            row = int((column.numbers == column.words.index(second)).argmax())
            what = f"differs by {by} alone from '{first:.60}', which stands above; mend one of them"
            raise self.refusal(row, name, what)


def _cells(wrong: np.ndarray) -> str:
    count = int(wrong.sum())
    return f"{count:,} such cell{'s' * (count > 1)} in all"
