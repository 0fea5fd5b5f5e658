"""Write tables of every kind, and see that nnlab reads what Python's csv and PyArrow do, or what is wrong.

What must come out is found by a slow second reader here, from the cells that those two give: all values, or
every defect, each with its line and column. A table with a defect must be refused with one of them, one
without must be read to the last bit.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnlab.data import labels
from nnlab.data.datasets.tabular import csv_file, parquet
from nnlab.errors import InvalidValue
from torture import Report

GAPS = {"", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
WORDS = [
    "red",
    "blue",
    "a b",
    'say "hi"',
    "x,y",
    "p;q",
    "t\tt",
    "two\nlines",
    "four\r\nlines",
    "größe",
    "|",
    "mid",
]
WORDS += [" pad", "Ünï", "'", "-", "?", "A1", "B2x", "e", "v1.2", "0x1F", "1_000", "1e", "--5"]

Cells = list[str]


class Expected(NamedTuple):
    """What a reader must say of a table: inputs and targets, or else one of the defects, all of its words."""

    inputs: np.ndarray | None
    targets: np.ndarray | None
    defects: list[tuple[str, ...]]


def tables(folder: Path, csv_count: int, parquet_count: int, seed: int, largest: int = 300_000) -> Report:
    """Read so many generated files of each format. Every thousandth CSV file has `largest` rows."""
    bad = []
    for number in range(csv_count):
        pick = random.Random(f"csv {seed} {number}")
        rows = (
            largest if number % 1_000 == 999 else round(10 ** pick.uniform(0, 3 if number % 50 == 0 else 1.7))
        )
        content, keys, cells = written_csv(pick, rows)
        file = folder / "table.csv"
        file.write_bytes(content)
        found, broken = rows_by_csv(content, keys)
        if cells is not None and [row.cells for row in found] != cells:
            bad.append(f"csv {seed} {number}: Python's csv reads other cells than were written")
        bad += judged(csv_file, file, keys, expected_of_csv(found, broken, keys), f"csv {seed} {number}")
    for number in range(parquet_count):
        pick = random.Random(f"parquet {seed} {number}")
        file = folder / "table.parquet"
        keys = write_parquet(file, pick, round(10 ** pick.uniform(0, 2)))
        bad += judged(parquet, file, keys, expected_of_parquet(file, keys), f"parquet {seed} {number}")
    return Report(csv_count + parquet_count, bad)


def judged(
    reader: Callable[..., Any], file: Path, keys: dict[str, Any], expected: Expected, case: str
) -> Iterator[str]:
    """A line where a reader gives something else than expected."""
    try:
        examples = reader(str(file), **keys).load(0)[0]
    except InvalidValue as error:
        if not any(all(word in str(error) for word in defect) for defect in expected.defects):
            yield f"{case}: {keys} refused: {error}; expected {expected.defects[:3] or 'values'}"
        return
    if expected.defects:
        yield f"{case}: {keys} read in spite of {expected.defects[:3]}"
    elif not np.array_equal(examples.inputs, expected.inputs):
        yield f"{case}: {keys} has other inputs"
    elif not np.array_equal(examples.targets.ravel(), expected.targets):
        yield f"{case}: {keys} has other targets"


# --- CSV ---------------------------------------------------------------------------------------------------


def written_csv(pick: random.Random, rows: int) -> tuple[bytes, dict[str, Any], list[Cells] | None]:
    """The bytes of a CSV file, the arguments with which to read it, and its cells if no quote is astray."""
    mark = pick.choice(",,,;\t|")
    point = pick.choice(".,") if mark != "," else "."
    odd = pick.random() < 0.5
    columns = [column_of_cells(pick, rows, point, odd) for _ in range(pick.randrange(1 if odd else 2, 6))]
    names = [
        pick.choice(["a", "b b", 'c"c', "d,d", "e\ne", " f", "größe"]) + str(n) for n in range(len(columns))
    ]
    target = pick.randrange(len(columns))
    names[target] = "y"
    if pick.random() < 0.1:
        names[pick.randrange(len(names))] = pick.choice(["y", names[0], "", " "])
    if pick.random() < 0.1:
        names.insert(0, pick.choice(["", "Unnamed: 0"]))
        columns.insert(0, pick.choice([[str(row) for row in range(rows)], columns[0]]))
    table = [names, *map(list, zip(*columns, strict=True))]
    if pick.random() < 0.1:
        ragged(table, pick)
    keys: dict[str, Any] = {"target": "y", "separator": "tab" if mark == "\t" else mark, "decimal": point}
    keys["coding"] = pick.choice([None, "ordinal", "one_hot", "ordinal"])
    keys["task"] = "regression" if pick.random() < 0.3 else "classification"
    if pick.random() < 0.2 and len(set(names)) > 2:
        keys["drop"] = [pick.choice([name for name in names if name != "y"])]
    if pick.random() < 0.1:
        keys["missing"] = pick.choice([[], ["?", "-"], ["7", "red"]])
    text = as_csv(table, mark, pick)
    written = [cells for cells in table if len(cells) > 1 or "".join(cells).strip()]
    if is_damaged := pick.random() < 0.03:
        at = pick.randrange(len(text))
        text = text[:at] + '"' + text[at:]
    start = b"\xef\xbb\xbf" if pick.random() < 0.2 else b""
    return start + text.encode(), keys, None if is_damaged else written


def column_of_cells(pick: random.Random, rows: int, point: str, odd: bool) -> Cells:
    """Cells of one kind, or of an odd one, or with a few of another."""

    def number() -> str:
        return pick.choice(
            [f"{pick.gauss(0, 1):.4f}", repr(pick.gauss(0, 1e3)), f"{pick.random():.3e}"]
        ).replace(".", point)

    usual_kinds: list[Callable[[], str]] = [
        *(number, number, lambda: str(pick.randrange(-9, 10)), lambda: pick.choice("012")),
        *(lambda: pick.choice(WORDS[:12]), lambda: pick.choice(WORDS[:4]), lambda: f" {pick.randrange(9)} "),
        *(lambda: pick.choice(["true", "False", "TRUE"]), lambda: pick.choice(["007", "7", "07", "12"])),
    ]
    kinds = [
        *(*usual_kinds, lambda: pick.choice(WORDS), lambda: str(2**53 + pick.randrange(3))),
        lambda: f"2024-{pick.randrange(1, 13):02}-01",
        lambda: f"{pick.randrange(1, 10)}{',' if point == '.' else '.'}5",
    ]
    usual = pick.choice(kinds if odd else usual_kinds)
    cells = [usual() for _ in range(rows)]
    if odd and pick.random() < 0.25:
        other = pick.choice(
            [*kinds, lambda: pick.choice([*GAPS, "  "]), lambda: pick.choice(["inf", "1e39", "red "])]
        )
        for row in {pick.randrange(rows) for _ in range(pick.choice([1, 2, rows]))}:
            cells[row] = other()
    return cells


def ragged(table: list[Cells], pick: random.Random) -> None:
    """A row, or all but the header, with a cell more or less."""
    row = pick.randrange(len(table))
    for cells in table[1:] if pick.random() < 0.3 else [table[row]]:
        if pick.random() < 0.5 and len(cells) > 1:
            cells.pop()
        else:
            cells.append(pick.choice(["", "1"]))


def as_csv(table: list[Cells], mark: str, pick: random.Random) -> str:
    """The text of rows: quotes where they are needed and at times elsewhere, breaks, blank lines."""
    end, everywhere = pick.choice(["\n", "\r\n", "\r"]), pick.choice([0, 0, 0.3, 1])
    blank = pick.choice([0, 0, 0.2])
    lines = []
    for cells in table:
        quoted = [
            '"' + cell.replace('"', '""') + '"'
            if any(character in cell for character in f'{mark}"\r\n')
            or pick.random() < everywhere
            or len(cells) == 1
            else cell
            for cell in cells
        ]
        lines += [pick.choice(["", "  "])] * (pick.random() < blank) + [mark.join(quoted)]
    return end.join(lines) + end * pick.randrange(2)


class Row(NamedTuple):
    """A row: the line on which it begins, and its cells."""

    line: int
    cells: Cells


def rows_by_csv(content: bytes, keys: dict[str, Any]) -> tuple[list[Row], list[tuple[str, ...]]]:
    """The rows of a file by Python's csv, and the defect that ends them, if any."""
    mark = {"tab": "\t"}.get(keys["separator"], keys["separator"])
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=mark, strict=True)
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            if len(cells) > 1 or "".join(cells).strip():
                rows.append(Row(line, cells))
            line = reader.line_num + 1
    except csv.Error:
        return rows, [(f"' line {line_of_quote(content.decode('utf-8-sig'), mark)} has a ", "quot")]
    return rows, []


def line_of_quote(text: str, mark: str) -> int:
    """The line of the first quote that opens a cell and does not close it before a separator or break."""
    state, line, opened = "start", 1, 0
    for before, character in zip("\n" + text, text, strict=False):
        if state == "quoted":
            state = "closed" if character == '"' else "quoted"
        elif character == '"' and state in ("start", "closed"):
            opened = line if state == "start" else opened
            state = "quoted"
        elif character in (mark, "\r", "\n"):
            state = "start"
        elif state == "closed":
            return opened
        else:
            state = "plain"
        line += character == "\r" or (character == "\n" and before != "\r")
    return opened


def expected_of_csv(rows: list[Row], broken: list[tuple[str, ...]], keys: dict[str, Any]) -> Expected:
    """What must come out of a file with these rows."""
    mark = {"tab": "\t"}.get(keys["separator"], keys["separator"])
    if not rows:
        return Expected(None, None, [*broken, ("is no CSV table: it is empty",)])
    (header, names), *rows = rows
    defects = [*broken, *defects_of_names(names, keys, f"line {header}")]
    if len(names) == 1 and any(other in names[0] for other in ",;\t| " if other != mark):
        defects.append((f"line {header}", "the header is one name"))
    if all(number_of(name, keys["decimal"]) is not None or re.fullmatch("[0-9]+", name) for name in names):
        defects.append((f"line {header}", "are numbers and no names"))
    uneven = [(line, cells) for line, cells in rows if len(cells) != len(names)]
    if uneven:
        line, cells = uneven[0]
        defects.append((f"line {line} has {len(cells)} fields, the header {len(names)} ",))
    if not rows:
        defects.append(("has no rows",))
    if defects:
        return Expected(None, None, defects)

    def place(row: int, column: int) -> str:
        line, cells = rows[row]
        breaks = sum(len(re.findall("\r\n|\r|\n", cell)) for cell in cells[:column])
        return f"line {line + breaks}, "

    missing = {""} | (GAPS if keys.get("missing") is None else set(keys["missing"]))
    numbers_missing = {number_of(word, keys["decimal"]) for word in missing} - {None}
    columns = []
    for column, name in enumerate(names):
        cells = [cells[column] for _, cells in rows]
        numbers = [number_of(cell, keys["decimal"]) for cell in cells]
        truths = [{"true": True, "false": False}.get(cell.strip().lower()) for cell in cells]
        gaps = [
            cell.strip() in missing or number in numbers_missing
            for cell, number in zip(cells, numbers, strict=True)
        ]
        values = cells if None in numbers else numbers
        columns.append(Column(name, truths if None not in truths else values, gaps))
    return expected_of_columns(columns, keys, place)


def number_of(cell: str, point: str) -> float | None:
    """The number in a cell; None where it is no number, or digits that a number would not keep."""
    cell = cell.strip()
    mark = re.escape(point)
    if not re.fullmatch(rf"[+-]?([0-9]+({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]+)?", cell):
        return None
    digits = cell.lstrip("+-")
    number = int(cell) if digits.isdigit() else float(cell.replace(point, "."))
    loses = digits.isdigit() and (digits[0] == "0" != digits or int(float(digits)) != int(digits))
    return None if loses else number


# --- what both formats have in common -----------------------------------------------------------------------


class Column(NamedTuple):
    """A column as the second reader finds it: numbers, truth values or text, and which cells are gaps."""

    name: str
    values: Sequence[Any]
    gaps: Sequence[bool]


def is_nameless(name: str) -> bool:
    return name in ("", "Unnamed: 0")


def is_used(name: str, keys: dict[str, Any]) -> bool:
    return name not in keys.get("drop", ()) and not name.startswith("__index_level_")


def defects_of_names(names: Sequence[str], keys: dict[str, Any], place: str) -> list[tuple[str, ...]]:
    """What is wrong with a header."""
    defects: list[tuple[str, ...]] = []
    used = [(column, name) for column, name in enumerate(names) if is_used(name, keys)]
    for wanted in ["y", *keys.get("drop", ())]:
        if wanted not in names:
            defects.append((f"has no column '{wanted}'",))
    for column, name in used:
        before = [other for other in names[:column] if is_used(other, keys)]
        if name in before and not is_nameless(name):
            defects.append(
                (place, f"'{name}' is the name of columns {names.index(name) + 1} and {column + 1}")
            )
        if is_nameless(name) and (name in before or not all(map(is_nameless, names[:column]))):
            defects.append((place, f"column {column + 1} has no name"))
    return defects


def expected_of_columns(
    columns: Sequence[Column], keys: dict[str, Any], place: Callable[[int, int], str]
) -> Expected:
    """What must come out of columns whose names have no defect."""
    defects: list[tuple[str, ...]] = []
    used = [(number, column) for number, column in enumerate(columns) if is_used(column.name, keys)]
    gaps = [(row, number) for number, column in used for row, gap in enumerate(column.gaps) if gap]
    if gaps:
        row, number = min(gaps)
        return Expected(None, None, [(f"{place(row, number)}column '{columns[number].name}': ", "is a gap")])
    inputs, targets = [], np.zeros(0)
    for number, column in used:
        found = values_of(column, keys, column.name == "y")
        if isinstance(found, str):
            defects.append((found,))
        elif isinstance(found, tuple):
            row, what = found
            defects.append((f"{place(row, number)}column '{column.name}': ", what))
        elif column.name == "y":
            targets = found
        elif not is_nameless(column.name):
            inputs.append(found.reshape(len(found), -1))
    if all(column.name == "y" or is_nameless(column.name) for _, column in used):
        defects.append(("no column beside the target",))
    return Expected(None, None, defects) if defects else Expected(np.concatenate(inputs, axis=1), targets, [])


def values_of(column: Column, keys: dict[str, Any], is_target: bool) -> np.ndarray | tuple[int, str] | str:
    """A column as inputs or targets; or its first wrong row and what is wrong; or what is wrong with it."""
    values, to_regress = column.values, is_target and keys["task"] == "regression"
    is_text = isinstance(values[0], str)
    if is_nameless(column.name):
        are_labels = len(set(values)) == len(values) and (is_text or all(type(v) is int for v in values))
        return np.zeros(0) if are_labels else "the first column has no name"  # labels are left out
    if not is_text and (to_regress or not is_target):
        infinite = [row for row, value in enumerate(values) if abs(value) == math.inf]
        if infinite:
            return infinite[0], "is infinite"
        wrong = [row for row, value in enumerate(values) if abs(value) > float(np.finfo(np.float32).max)]
        whole = [(row, value) for row, value in enumerate(values) if isinstance(value, int)]
        loses = [row for row, value in whole if int(float(value)) != value]
        if wrong or loses:
            return (wrong[0], "is beyond float32") if wrong else (loses[0], "has more digits")
        return np.array(values, np.float64)
    if is_text:
        point = keys.get("decimal", ".")
        wrong_row = stray(values, point, is_target and not to_regress)
        if wrong_row is not None:
            return wrong_row, "number"
        if to_regress or (not is_target and keys["coding"] is None):
            padded = len({len(value) for value in values}) == 1 and all(
                re.fullmatch("0*[0-9]{1,15}", v) for v in values
            )
            return np.array([int(value) for value in values], float) if padded else (0, "is text")
        first: dict[str, str] = {}
        for row, value in enumerate(values):
            key = " ".join(value.split())
            if first.setdefault(key if len(key) < 3 else key.casefold(), value) != value:
                return row, "differs by"
    return labelled(values) if is_target else coded(values, keys["coding"])


def labelled(values: Sequence[Any]) -> np.ndarray | tuple[int, str] | str:
    """A target's classes, by the sorted values."""
    infinite = [row for row, value in enumerate(values) if value in (math.inf, -math.inf)]
    if infinite:
        return infinite[0], "is no class"
    different, numbers = numbered(values)
    if isinstance(values[0], str) and 2 * len(different) > len(values) and len(different) > 10:
        return "classes to learn have several examples each"
    if not isinstance(values[0], str) and are_measured(different, len(values)):
        return "give task: regression"
    return numbers


def coded(words: Sequence[str], coding: str) -> np.ndarray | str:
    """Words as inputs."""
    different, numbers = numbered(words)
    if len(different) == 1:
        return "holds one value alone"
    if coding == "ordinal":
        return numbers.astype(float)
    if len(different) > 10_000 or len(different) * len(words) > 2**28:
        return "too many for a unit each"
    return np.eye(len(different))[numbers]


def numbered(values: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    """The different values, sorted, and the place of each value among them."""
    different = sorted(set(values))
    places = {value: place for place, value in enumerate(different)}
    return different, np.array([places[value] for value in values])


def are_measured(different: Sequence[float], count: int) -> bool:
    """Whether numbers, sorted, are too many, too scattered or too rare for classes."""
    rare = 2 * len(different) > count
    if any(value != int(value) for value in different):
        return rare or len(different) > labels.MAXIMUM_FRACTIONS
    most = labels.MINIMUM_SCATTERED if rare else labels.MAXIMUM_SCATTERED
    return different[-1] - different[0] >= 2 * len(different) and len(different) > most


def stray(values: Sequence[str], point: str, may_be_names: bool) -> int | None:
    """The first row that is no number of a column of text that is meant for numbers; else None."""
    if any(re.fullmatch("[0-9]+", value.strip()) and number_of(value, point) is None for value in values):
        return None
    other = "," if point == "." else "."
    names = "" if may_be_names else r"|\d{4}-\d\d-\d\d|0x[0-9A-F]+"  # which may be a class's
    odd = re.compile(rf"[+-]?\d*{re.escape(other)}\d+|[+-]?inf|1_000{names}")
    is_odd = [odd.fullmatch(value.strip()) is not None for value in values]
    is_number = [number_of(value, point) is not None for value in values]
    looks = np.array(is_odd) | np.array(is_number)
    different = dict(zip(values, looks, strict=True))
    if max(looks.mean(), np.mean(list(different.values()))) < 0.5:
        return None
    signs = [not any(character.isalnum() for character in value) for value in values]
    if may_be_names and not any(is_odd) and not any(signs):
        return None
    return is_number.index(False) if False in is_number else 0


# --- Parquet ------------------------------------------------------------------------------------------------


def write_parquet(file: Path, pick: random.Random, rows: int) -> dict[str, Any]:
    """A Parquet file; the arguments with which to read it."""
    import pyarrow
    import pyarrow.parquet

    moment = datetime.datetime(2024, 1, 31, 12)
    kinds: list[tuple[Callable[[], Any], Any]] = [
        *((lambda: pick.gauss(0, 1), pyarrow.float64()), (lambda: pick.randrange(-5, 6), pyarrow.int8())),
        *((lambda: pick.random() < 0.5, None), (lambda: 2**53 + pick.randrange(3), pyarrow.int64())),
        *((lambda: pick.randrange(9), pyarrow.uint64()), (lambda: pick.gauss(0, 1), pyarrow.float32())),
        (lambda: decimal.Decimal(pick.randrange(-999, 999)) / 100, pyarrow.decimal128(9, 2)),
        *(
            (lambda: pick.choice(WORDS), pyarrow.string()),
            (lambda: pick.choice(WORDS[:4]), pyarrow.large_string()),
        ),
        (lambda: pick.choice(["1.5", "2", "?"]), pyarrow.string()),
        (lambda: pick.choice(WORDS[:4]), pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
        *((lambda: moment, pyarrow.timestamp("us")), (lambda: moment.date(), None), (lambda: [1], None)),
        *((lambda: {"u": 1}, None), (lambda: b"1", None), (lambda: None, pyarrow.null())),
    ]
    usual = kinds[:11]
    arrays = []
    for _ in range(pick.randrange(2, 6)):
        make, kind = pick.choice(usual if pick.random() < 0.9 else kinds)
        values = [make() for _ in range(rows)]
        if pick.random() < 0.1:
            values[pick.randrange(rows)] = None
        if kind == pyarrow.float64() and pick.random() < 0.1:
            values[pick.randrange(rows)] = pick.choice([float("nan"), float("inf"), 1e39])
        arrays.append(pyarrow.array(values, kind))
    names = [f"{pick.choice(['a', 'b.c', ' d'])}{n}" for n in range(len(arrays))]
    names[pick.randrange(len(names))] = "y"
    if pick.random() < 0.15:
        names[pick.randrange(len(names))] = pick.choice(["y", names[0], "", "__index_level_0__"])
    if pick.random() < 0.1:
        names.insert(0, "")
        arrays.insert(0, pyarrow.array(range(rows)))
    table = pyarrow.Table.from_arrays(arrays, names=names)
    pyarrow.parquet.write_table(table, file, row_group_size=pick.choice([1, 7, 1000]))
    keys: dict[str, Any] = {"target": "y", "coding": pick.choice([None, "ordinal", "one_hot", "ordinal"])}
    keys["task"] = "regression" if pick.random() < 0.3 else "classification"
    if pick.random() < 0.2 and len(set(names)) > 2:
        keys["drop"] = [pick.choice([name for name in names if name != "y"])]
    return keys


def expected_of_parquet(file: Path, keys: dict[str, Any]) -> Expected:
    """What must come out of a file, by PyArrow's plain values."""
    import pyarrow.parquet

    with file.open("rb") as stream:
        table = pyarrow.parquet.ParquetFile(stream).read()
    defects = defects_of_names(table.column_names, keys, "")
    columns = []
    for name, array in zip(table.column_names, table.columns, strict=True):
        values = array.to_pylist()
        kind = str(array.type)
        plain = "u?int|bool|float|double|halffloat|decimal|(large_)?string|dict"
        if is_used(name, keys) and not re.match(plain, kind):
            defects.append((f"column '{name}' holds {kind}",))
        gaps = [value is None or value != value for value in values]
        values = [float(value) if isinstance(value, decimal.Decimal) else value for value in values]
        columns.append(Column(name, values, gaps))
    if defects:
        return Expected(None, None, defects)
    return expected_of_columns(columns, keys, lambda row, _: f"row {row + 1}, ")
