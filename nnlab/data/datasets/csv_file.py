"""Reading of CSV files, in which nothing is guessed.

Each row must have a cell for each name of the header. A column's type is decided over all of it: blocks of
rows become numbers for as long as all cells of the column are, and where a later block has another cell, the
file is read once more with that column as text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnlab.data.datasets.csv_rows import CsvRows, Row
from nnlab.data.datasets.header import MAXIMUM_LISTED_NAMES, Choice
from nnlab.data.notation import Decimal, is_number, parse_numbers
from nnlab.data.table import Column, Table, Text
from nnlab.errors import InvalidValue

MISSING = frozenset(("#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"))
"""The words that mean a gap where the experiment names none."""

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "a space"}
_CELLS_OF_A_BLOCK = 2**19
_TRUTH_VALUES = {"true": True, "false": False}


@dataclass(frozen=True)
class CsvFile:
    """A CSV file and how its cells are written.

    Attributes:
        rows: Its rows.
        decimal: The decimal mark.
        missing: The words that mean a gap, as an empty cell does.
    """

    rows: CsvRows
    decimal: Decimal
    missing: frozenset[str]

    def read(self, choice: Choice) -> Table:
        """The chosen columns.

        Raises:
            InvalidValue: The file is no table, or one of these columns has a gap.
        """
        names, places = self._header(choice)
        chosen = {names[place]: place for place in places}
        columns = [_ColumnReader(self.decimal) for _ in places]
        while True:
            for block in self._blocks(names):
                cells = list(zip(*block, strict=True))
                for column, place in zip(columns, places, strict=True):
                    column.add(cells[place])
            if all(column.is_whole for column in columns):
                break
            columns = [_ColumnReader(self.decimal, column.is_text) for column in columns]
        if not columns[0].parts:
            raise InvalidValue(f"'{self.rows.path}' has no rows", ("path",))
        table = Table(
            self.rows.path,
            {name: column.column() for name, column in zip(chosen, columns, strict=True)},
            lambda row, name: self.rows.cell(row + 1, chosen[name]),
            self.decimal,
        )
        self._check_words(table)
        return table

    def _header(self, choice: Choice) -> tuple[list[str], list[int]]:
        """The names of all columns, and where those stand that are chosen."""
        rows = iter(self.rows)
        line, names = next(rows, Row(0, []))
        header = f"'{self.rows.path}' line {line}"
        if not names:
            raise self.rows.no_table("it is empty")
        if "\0" in "".join(names):
            raise self.rows.no_table("it holds NUL bytes, as UTF-16 and binary files do; save it as UTF-8")
        first = next(rows, None)
        if len(names) == 1:
            others = [mark for mark in _SEPARATORS if mark in names[0] and mark != self.rows.separator]
            if others and (others[0] != " " or first is None or len(first.cells) == 1):
                what = _ask_for(others[0])
                if names[0].startswith("sep="):
                    what += ", and remove this line, which is for Excel"
                raise InvalidValue(f"{header}: the header is one name, '{names[0]:.60}'; {what}", ("path",))
        if first is not None and len(first.cells) != len(names):
            raise self._wrong_count(names, first, rows)
        if len(names) > 1 and all(is_number(name, self.decimal) for name in names) and not _counts(names):
            shown = self.rows.separator.join(names)
            raise InvalidValue(f"{header}: '{shown:.60}' are numbers and no names; add a header", ("path",))
        return names, choice.places(names, header)

    def _blocks(self, names: list[str]) -> Iterator[list[list[str]]]:
        """The cells of many rows after the header at a time, each row held against it."""
        rows = iter(self.rows)
        next(rows)
        block: list[list[str]] = []
        for row in rows:
            if len(row.cells) != len(names):
                raise self._wrong_count(names, row, rows)
            block.append(row.cells)
            if len(block) * len(names) >= _CELLS_OF_A_BLOCK:
                yield block
                block = []
        if block:
            yield block

    def _check_words(self, table: Table) -> None:
        """Refuse the first gap, or else the first NUL byte, in the order of the file."""
        listed = ", ".join(sorted(self.missing)[:MAXIMUM_LISTED_NAMES])
        why = f", as missing says ({listed})" if self.missing else ""
        if self.missing == MISSING:
            why = ", as empty cells, NA, NaN, None, null and their like are unless missing lists others"
        gaps = {name: self._gaps_of(column) for name, column in table.columns.items()}
        table.check_cells(gaps, f"is a gap{why}; fill it, or leave out the row or the column")
        nuls = {name: _nuls_of(column) for name, column in table.columns.items()}
        table.check_cells(nuls, "holds a NUL byte, as files that are no text do")

    def _gaps_of(self, column: Column) -> np.ndarray:
        """Which rows of a column hold a gap, `[N]`."""
        if isinstance(column, Text):
            stripped = (word.strip() for word in column.words)
            return column.rows_with([not word or word in self.missing for word in stripped])
        parsed = [parse_numbers([word], self.decimal) for word in self.missing]
        return np.isin(column, [numbers[0] for numbers in parsed if numbers is not None])

    def _wrong_count(self, names: list[str], row: Row, others: Iterator[Row]) -> InvalidValue:
        """An error about a row that does not have a cell for each name of the header."""
        more = 0
        with contextlib.suppress(InvalidValue):  # of what follows, only how many such rows there are
            more = sum(len(other.cells) != len(names) for other in others)
        if len(names) == 1 or names[0].startswith(("#", "sep=")):
            cause = f"is the header, '{names[0]:.60}', a remark? Then remove what stands above the names"
        elif (separator := self._likely_separator(names, row)) is not None:
            cause = _ask_for(separator)
        elif any(cell.startswith(' "') for cell in row.cells):
            cause = "a quote counts where it stands right behind a separator; remove the spaces before it"
        elif len(row.cells) < len(names):
            cause = "give it a cell for each name, or remove it"
        elif not any(row.cells[len(names) :]):
            cause = "it ends in a separator and the header does not; let both end alike"
        else:
            cause = (
                f"put quotes around a cell with '{self.rows.separator}' in it, as with decimal commas, and a "
                "name above row labels"
            )
        what = f"has {len(row.cells)} fields, the header {len(names)} ({more + 1:,} such rows in all)"
        return InvalidValue(f"'{self.rows.path}' line {row.line} {what}: {cause}", ("path",))

    def _likely_separator(self, names: list[str], row: Row) -> str | None:
        """Another separator, which makes as many cells of the header as of a row."""
        header, cells = (self.rows.separator.join(line) for line in (names, row.cells))
        others = (mark for mark in _SEPARATORS if mark not in (self.rows.separator, " "))
        return next((mark for mark in others if 0 < header.count(mark) == cells.count(mark)), None)


class _ColumnReader:
    """A column that is read block by block.

    Attributes:
        is_text: Whether a cell is no number, or the column is to be kept as text anyway.
        is_whole: Whether its parts are of one kind; else it must be read anew as text.
        parts: Its numbers, or the numbers of its words, of each block.
    """

    def __init__(self, decimal: Decimal, is_text: bool = False) -> None:
        self.decimal, self.is_text, self.is_whole = decimal, is_text, True
        self.parts: list[np.ndarray] = []
        self.words: dict[str, int] = {}

    def add(self, cells: Sequence[str]) -> None:
        """Add the cells of a block."""
        if not self.is_text:
            numbers = parse_numbers(cells, self.decimal)
            if numbers is not None:
                self.parts.append(numbers)
                return
            self.is_text, self.is_whole = True, not self.parts
        if self.is_whole:
            numbers_of_words = (self.words.setdefault(cell, len(self.words)) for cell in cells)
            self.parts.append(np.fromiter(numbers_of_words, np.int32, len(cells)))

    def column(self) -> Column:
        """All of the column: numbers, truth values where each cell is true or false, or text."""
        values = np.concatenate(self.parts)
        if not self.is_text:
            return values
        truths = [_TRUTH_VALUES.get(word.strip().lower()) for word in self.words]
        if None in truths:
            return Text(list(self.words), values)
        return np.array(truths, bool)[values]


def _ask_for(separator: str) -> str:
    """A question that leads to another separator."""
    named = "tab" if separator == "\t" else f'"{separator}"'
    return f"is {_SEPARATORS[separator]} between the cells? Then say separator: {named}"


def _nuls_of(column: Column) -> np.ndarray:
    """Which rows of a column hold a NUL byte, `[N]`."""
    if isinstance(column, Text):
        return column.rows_with(["\0" in word for word in column.words])
    return np.zeros(len(column), bool)


def _counts(names: Sequence[str]) -> bool:
    """Whether names are 0, 1, 2, ... or 1, 2, 3, ..., as those of unnamed columns are."""
    return list(names) in [[str(number) for number in range(start, start + len(names))] for start in (0, 1)]
