"""A CSV file as rows of text, taken apart by Python's `csv`, with the lines on which they stand."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, cast

from nnlab.data.table import Cell
from nnlab.errors import InvalidValue

_OTHER_FORMATS = {
    codecs.BOM_UTF16_LE: "it is UTF-16, Excel's Unicode text; save it as CSV UTF-8",
    codecs.BOM_UTF16_BE: "it is UTF-16, Excel's Unicode text; save it as CSV UTF-8",
    b"PK\3\4": "it is a ZIP archive, as Excel's workbooks are; save the sheet as CSV UTF-8",
    b"PAR1": "it is Parquet; say type: parquet",
    b"\x1f\x8b": "it is packed by gzip; give it a name that ends in .gz",
}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Row(NamedTuple):
    """A row of the file: the line on which it begins, from 1, and its cells."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class CsvRows:
    """The rows of a CSV file, the header among them; blank lines are none.

    Iteration raises InvalidValue where the file cannot be taken apart.

    Attributes:
        file: The file; `.gz` is unpacked.
        path: The file, as the experiment names it.
        separator: The character between two cells.
    """

    file: Path
    path: str
    separator: str

    def __iter__(self) -> Iterator[Row]:
        line = 1
        try:
            with self._open() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
                reader = csv.reader(text, delimiter=self.separator, strict=True)
                try:
                    for cells in reader:
                        if len(cells) > 1 or (cells and cells[0].strip()):
                            yield Row(line, cells)
                        line = reader.line_num + 1
                except csv.Error as error:
                    raise self._bad_quotes(line, reader.line_num, str(error)) from None
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        except (OSError, EOFError, zlib.error) as error:
            raise self.no_table(str(error)) from None

    def cell(self, row: int, place: int) -> Cell:
        """A cell of a row, the header being row 0, and its line: the cells before it may take up several."""
        line, cells = next(islice(self, row, None))
        breaks = sum(len(_LINE_BREAK.findall(cell)) for cell in cells[:place])
        return Cell(f"line {line + breaks}", cells[place])

    def no_table(self, what: str) -> InvalidValue:
        """An error about the file as a whole."""
        return InvalidValue(f"'{self.path}' is no CSV table: {what}", ("path",))

    def _open(self) -> IO[bytes]:
        return cast(IO[bytes], gzip.open(self.file)) if self.file.suffix == ".gz" else self.file.open("rb")

    def _bad_quotes(self, first: int, last: int, error: str) -> InvalidValue:
        """An error about the row that begins in line `first`, and which `csv` gave up in line `last`."""
        line = self._line_of_quote(first, last)
        if "limit" in error:
            what = (
                f"has a cell of more than {csv.field_size_limit():,} characters; does a quote open it alone?"
            )
        elif "end of data" in error:
            what = "has a quote that opens a cell, and none closes it;"
        elif last > line:
            what = f"has a quote that opens a cell, which goes on behind the next quote, in line {last};"
        else:
            what = "has a cell that goes on behind its closing quote;"
        remedy = 'write a quote within a cell twice, "", and such a cell in quotes'
        return InvalidValue(f"'{self.path}' line {line} {what} {remedy}", ("path",))

    def _line_of_quote(self, first: int, last: int) -> int:
        """The line of the quote that opens the first cell between two lines which is not whole."""
        mark = re.escape(self.separator)
        whole_cell = re.compile(rf'(?:"(?:[^"]|"")*"|[^"{mark}\r\n][^{mark}\r\n]*|){mark}')
        with self._open() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            row = "".join(islice(text, first - 1, last))
        end = 0
        while cell := whole_cell.match(row, end):
            end = cell.end()
        return first + len(_LINE_BREAK.findall(row[:end]))

    def _not_utf8(self) -> InvalidValue:
        """An error about bytes that are no UTF-8."""
        with self._open() as stream:
            content = stream.read()
        for start, what in _OTHER_FORMATS.items():
            if content.startswith(start):
                return self.no_table(what)
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
            byte = f"0x{content[error.start]:02x}"
            what = f"has a byte that is no UTF-8 ({byte}), as Latin-1 and Windows-1252 do; save it as UTF-8"
            return InvalidValue(f"'{self.path}' line {line} {what}", ("path",))
        return self.no_table("it changed while it was read")
