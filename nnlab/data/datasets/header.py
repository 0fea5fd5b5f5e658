"""Which columns of a table are used, judged by their names alone, before any cell is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnlab.data.table import Column, Table, Text
from nnlab.errors import InvalidValue, KeyPath
from nnlab.text import join_words, suggestion

MAXIMUM_LISTED_NAMES = 20

PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # pandas' name for row labels in Parquet

_NAMELESS = re.compile(r"|Unnamed: \d+(\.\d+)?")  # and for a column whose name is missing


@dataclass(frozen=True)
class Choice:
    """The columns that an experiment takes from a table.

    Attributes:
        path: The file, as the experiment names it.
        target: The name of the target's column, or of several.
        columns: The names of the inputs; None is all that are not left out.
        drop: The names of those that are left out.
    """

    path: str
    target: str | list[str]
    columns: list[str] | None
    drop: list[str] | None

    def __post_init__(self) -> None:
        if self.columns is not None and self.drop is not None:
            raise InvalidValue("is not needed beside 'columns', which says what is taken", ("drop",))
        for key, names in (("target", self.targets), ("columns", self.columns)):
            if names == []:
                raise InvalidValue("is empty; name at least one column", (key,))
        seen: dict[str, str] = {}
        for at, name in self._named():
            if name in seen:
                also = "already" if seen[name] == at[0] else f"as does '{seen[name]}'"
                raise InvalidValue(f"names the column '{name}' {also}; once is enough", at)
            seen[name] = str(at[0])

    @property
    def targets(self) -> list[str]:
        """The names of the target's columns."""
        return [self.target] if isinstance(self.target, str) else self.target

    def _named(self) -> Iterator[tuple[KeyPath, str]]:
        """Each name that the experiment gives, and where."""
        if isinstance(self.target, str):
            yield ("target",), self.target
        for key, names in (("target", self.target), ("columns", self.columns), ("drop", self.drop)):
            if isinstance(names, list):
                yield from (((key, position), name) for position, name in enumerate(names))

    def names_column(self, name: str) -> bool:
        """Whether the experiment names a column, for whatever use."""
        return any(name == named for _, named in self._named())

    def places(self, names: Sequence[str], header: str, row_labels: Sequence[str] = ()) -> list[int]:
        """Where the columns stand that are read, among all of the file.

        Columns without a name before all others are read too: their cells tell whether they are row labels.

        Args:
            names: The names of all columns.
            header: Where these stand, for messages.
            row_labels: The names of those that the file declares to be row labels.

        Raises:
            InvalidValue: A column that the experiment names is missing, or one that is read has no name or
                that of another.
        """
        known = set(names)
        for at, name in self._named():
            if name not in known:
                raise InvalidValue(f"'{self.path}' has no column '{name}'{names_hint(name, names)}", at)
        read: dict[str, int] = {}
        named_before = False
        for place, name in enumerate(names):
            nameless = self._is_nameless(name)
            named_before |= not nameless
            if not self._reads(name, row_labels):
                continue
            if nameless and (named_before or name in read):
                ends = "; does each line end in a separator?" if place == len(names) - 1 else ";"
                raise InvalidValue(
                    f"{header}: column {place + 1} has no name{ends} give it one, "
                    f"or leave it out (drop: ['{name}'])",
                    ("path",),
                )
            if name in read:
                raise InvalidValue(
                    f"{header}: '{name}' is the name of columns {read[name] + 1} and {place + 1}; rename one",
                    ("path",),
                )
            read[name] = place
        return list(read.values())

    def inputs(self, table: Table) -> list[str]:
        """The columns of a table that was read which are inputs, in their order: no targets, no row labels.

        Raises:
            InvalidValue: There are none, or the cells of one without a name are no row labels.
        """
        names = [name for name in table.columns if name not in self.targets]
        for name in filter(self._is_nameless, names):
            if not _are_row_labels(table.columns[name]):
                raise InvalidValue(
                    f"'{self.path}': the first column has no name, and its cells are no row labels, whole "
                    f"numbers or text, each once; give it a name, or leave it out (drop: ['{name}'])",
                    ("path",),
                )
            table.notes.append(
                f"'{self.path}': the first column, '{name}', is taken for row labels and left out"
            )
        inputs = self.columns or [name for name in names if not self._is_nameless(name)]
        if not inputs:
            raise InvalidValue(f"'{self.path}' has no column beside the target", ("path",))
        return inputs

    def _is_nameless(self, name: str) -> bool:
        """Whether a column has no name, and is not taken by what stands for it."""
        return _NAMELESS.fullmatch(name) is not None and name not in {*self.targets, *(self.columns or ())}

    def _reads(self, name: str, row_labels: Sequence[str]) -> bool:
        if name in self.targets or self.columns is not None:
            return name in {*self.targets, *(self.columns or ())}
        return name not in {*(self.drop or ()), *row_labels} and not PANDAS_INDEX.fullmatch(name)


def names_hint(word: str, names: Sequence[str]) -> str:
    """What to say of a column that is missing: a near miss, and the columns there are."""
    alike = (name for name in names if name.strip().casefold() == word.strip().casefold())
    same = next(alike, None)
    close = (
        f"; did you mean '{same}'?" if same is not None else suggestion(word, names) if len(word) > 1 else ""
    )
    shown = [name if name and name == name.strip() else f"'{name}'" for name in names[:MAXIMUM_LISTED_NAMES]]
    if len(names) > MAXIMUM_LISTED_NAMES:
        shown.append(f"{len(names) - MAXIMUM_LISTED_NAMES:,} more")
    return f"{close or ';'} it has {join_words(shown, 'and')}"


def _are_row_labels(column: Column) -> bool:
    """Whether cells are whole numbers or text, each of them once."""
    if isinstance(column, Text):
        return len(column.words) == len(column.numbers)
    return column.dtype.kind in "iu" and len(np.unique(column)) == len(column)
