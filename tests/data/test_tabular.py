# ruff: noqa: E501 - a case of a table is a line
"""CSV and Parquet files of many kinds: read to the values that stand in them, or refused at the right place.

What must come out is written by hand here; tests/torture/tables.py compares thousands of generated files with
other readers.
"""

import datetime
import decimal
import gzip
import time
import warnings

import numpy as np
import pandas
import pytest

from nnlab.config.resolve import resolve
from nnlab.data.datasets import csv_file
from nnlab.data.datasets.tabular import csv_file as csv_source
from nnlab.data.datasets.tabular import parquet as parquet_source
from nnlab.data.notation import is_code, is_number, parse_numbers
from nnlab.errors import InvalidValue


@pytest.fixture
def read(tmp_path):
    """The examples of a CSV file with this text, or of a Parquet file with these columns, in its order."""

    def read(content, target="y", name=None, **keys):
        is_csv = isinstance(content, (str, bytes))
        file = tmp_path / (name or ("t.csv" if is_csv else "t.parquet"))
        if not is_csv:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table(content), file)
        else:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = (csv_source if is_csv else parquet_source)(str(file), target, **keys)
            return source.load(0)[0]

    return read


@pytest.fixture
def refusal(read):
    def refusal(*arguments, **keys):
        with pytest.raises(InvalidValue) as caught:
            read(*arguments, **keys)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refusal


# text -> (keys, inputs, targets); classes are numbered by the sorted labels
READ = {
    "byte order mark": ("\ufeffa,y\n1,0\n2,1\n", {}, [[1], [2]], [0, 1]),
    "CRLF": ("a,y\r\n1,p\r\n2,q\r\n", {}, [[1], [2]], [0, 1]),
    "old Macintosh": ("a,y\r1,0\r2,1", {}, [[1], [2]], [0, 1]),
    "no last break": ("a,y\n1,0\n2,1", {}, [[1], [2]], [0, 1]),
    "blank lines": ("\n\na,y\n\n1,0\n   \n2,1\n\n", {}, [[1], [2]], [0, 1]),
    "quotes": ('"a ""b""",y\n"1",0\n"2","1"\n', {}, [[1], [2]], [0, 1]),
    "breaks in cells": ('"a\nb",y\n1,"p\nq"\n2,"r\r\ns"\n', {}, [[1], [2]], [0, 1]),
    "spaces": ("a, y\n 1 , p\n2,q\n", {"target": " y"}, [[1], [2]], [0, 1]),
    "numbers": ("a,y\n-1.5e-3,0\n+.5,1\n", {}, [[-1.5e-3], [0.5]], [0, 1]),
    "semicolons": ("a;b;y\n0,5;1;0\n-1,25e1;2;1\n", {"separator": ";", "decimal": ","}, [[0.5, 1], [-12.5, 2]], [0, 1]),
    "tabs": ("a\ty\n1\t0\n2\t1\n", {"separator": "tab"}, [[1], [2]], [0, 1]),
    "quoted decimal commas": ('a,y\n"0,5",0\n1,1\n', {"decimal": ","}, [[0.5], [1]], [0, 1]),
    "truth": ("a,y\nTrue,0\nfalse,1\n", {}, [[1], [0]], [0, 1]),
    "truth beside text": ("a,y\nTrue,0\nmaybe,1\n", {"coding": "ordinal"}, [[0], [1]], [0, 1]),
    "columns, in the order given": ("a,b,c,y\n1,2,3,0\n4,5,6,1\n", {"columns": ["c", "a"]}, [[3, 1], [6, 4]], [0, 1]),
    "drop": ("a,b,y\n1,?,0\n4,,1\n", {"drop": ["b"]}, [[1], [4]], [0, 1]),
    "a name twice, dropped": ("a,b,b,y\n1,2,3,0\n4,5,6,1\n", {"drop": ["b"]}, [[1], [4]], [0, 1]),
    "trailing separators, dropped": ("a,y,\n1,0,\n2,1,\n", {"drop": [""]}, [[1], [2]], [0, 1]),
    "row labels": (",a,y\n7,1,0\n3,2,1\n", {}, [[1], [2]], [0, 1]),
    "row labels that are text": (",a,y\nx,1,0\nz,2,1\n", {}, [[1], [2]], [0, 1]),
    "row labels of row labels": (",Unnamed: 0,a,y\n0,1,1,0\n1,0,2,1\n", {}, [[1], [2]], [0, 1]),
    "row labels that are asked for": (",a,y\n7,1,0\n3,2,1\n", {"columns": [""]}, [[7], [3]], [0, 1]),
    "names that are numbers": ("0,1,2\n5,6,0\n7,8,1\n", {"target": "2"}, [[5, 6], [7, 8]], [0, 1]),
    "codes": ("a,y\n7,0\n007,1\n07,0\n", {"coding": "ordinal"}, [[2], [0], [1]], [0, 1, 0]),
    "padded numbers": ("a,b,y\n007,7,0\n012,8,1\n", {}, [[7, 7], [12, 8]], [0, 1]),
    "padded codes": ("a,b,y\n007,7,0\n012,8,1\n", {"coding": "one_hot"}, [[1, 0, 7], [0, 1, 8]], [0, 1]),
    "padded values": ("a,y\n1,007\n2,012\n", {"task": "regression"}, [[1], [2]], [[7], [12]]),
    "long codes": ("a,y\n9007199254740993,0\n9007199254740992,1\n", {"coding": "ordinal"}, [[1], [0]], [0, 1]),
    "codes as labels": ("a,y\n1,7\n2,007\n3,7\n", {}, [[1], [2], [3]], [1, 0, 1]),
    "numbers among text": ("a,y\nred,0\n7,1\nblue,0\n", {"coding": "ordinal"}, [[2], [0], [1]], [0, 1, 0]),
    "words kept": ("a,y\nNA,0\nNone,1\n", {"missing": [], "coding": "ordinal"}, [[0], [1]], [0, 1]),
    "capitals of letters": ("a,y\n1,a\n2,A\n", {}, [[1], [2]], [1, 0]),
    "bars and marks": ("a,y\n1,1\n2,X\n3,2\n", {}, [[1], [2], [3]], [0, 2, 1]),
    "signs as labels": ("a,y\n1,+\n2,-\n", {}, [[1], [2]], [0, 1]),
    "a column by its own code": ("a,y\n1,0\n?,1\n3,0\n", {"coding": {"a": "ordinal"}}, [[0], [2], [1]], [0, 1, 0]),
    "values": ("a,y,z\n1,2,3.5\n4,5,6\n", {"target": ["z", "y"], "task": "regression"}, [[1], [4]], [[3.5, 2], [6, 5]]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_is_read(read, name):
    text, keys, inputs, targets = READ[name]
    examples = read(text, **keys)
    np.testing.assert_array_equal(examples.inputs, np.array(inputs))
    targets = np.array(targets)
    np.testing.assert_array_equal(examples.targets, targets)
    assert examples.classes == (0 if targets.ndim == 2 else targets.max() + 1)
    np.testing.assert_array_equal(examples.rows, np.arange(len(targets)))


ROWS = "".join(f"{i},{i % 2}\n" for i in range(20))
# text -> keys, what the error says
REFUSED = {
    "rows too long": ("a,y\n8,6,1\n7,5,0\n", {}, "line 2 has 3 fields, the header 2 (2 such rows in all)"),
    "one row too long": ("a,y\n1,0\n\n2,3,1\n", {}, "line 4 has 3 fields, the header 2 (1 such rows in all)"),
    "a row too short": ("a,b,y\n1,2,0\n2,1\n", {}, "line 3 has 2 fields, the header 3"),
    "a row that ends in a separator": ("a,y\n1,0,\n2,1,\n", {}, "line 2 has 3 fields, the header 2 (2 such rows in all): it ends in a separator"),
    "lines that end in a separator": ("a,y,\n1,0,\n2,1,\n", {}, "line 1: column 3 has no name; does each line end in a separator?"),
    "the target twice": ("y,a,y\n1,2,1\n", {}, "line 1: 'y' is the name of columns 1 and 3"),
    "an input twice": ("a,y,a\n1,2,1\n", {}, "line 1: 'a' is the name of columns 1 and 3"),
    "a name missing": ("a,,y\n1,2,1\n", {}, "line 1: column 2 has no name;"),
    "fractions without a name": (",y\n1.5,1\n2.5,0\n", {}, "the first column has no name"),
    "repeated cells without a name": (",a,y\n1,1,1\n1,2,0\n", {}, "leave it out (drop: [''])"),
    "row labels alone": (",y\n1,1\n2,0\n", {}, "has no column beside the target"),
    "semicolons": ("a;b;y\n1,5;2;0\n", {}, "line 1: the header is one name, 'a;b;y'; is a semicolon between the cells? Then say separator: \";\""),
    "tabs": ("a\ty\n1\t0\n", {}, "Then say separator: tab"),
    "spaces": ("a b y\n1 2 0\n", {}, "Then say separator: \" \""),
    "commas": ("a,y\n1,0\n", {"separator": ";"}, 'Then say separator: ","'),
    "tabs, and a comma in a name": ("a, cm\ty\n1\t0\n", {}, "line 2 has 1 fields, the header 2 (1 such rows in all): is a tab between the cells? Then say separator: tab"),
    "semicolons, and decimal commas": ("a;b;y\n1,5;2,5;0\n", {"columns": ["a"]}, 'Then say separator: ";"'),
    "Excel's remark about the separator": ("sep=;\na;y\n1;0\n", {}, 'Then say separator: ";", and remove this line, which is for Excel'),
    "a space before a quote": ('a,y\n1, "p, q"\n', {}, "line 2 has 3 fields, the header 2 (1 such rows in all): a quote counts where it stands right behind a separator"),
    "gzip by another name": (gzip.compress(b"a,y\n1,0\n"), {}, "it is packed by gzip; give it a name that ends in .gz"),
    "a remark above": ("# by a logger\na,y\n1,0\n", {}, "line 2 has 2 fields, the header 1 (2 such rows in all): is the header, '# by a logger', a remark?"),
    "a remark with commas": ("# by a, b, c\na,y\n1,0\n", {}, "is the header, '# by a', a remark?"),
    "Excel's remark": ("sep=;\na;b;y\n1;2;0\n", {"separator": ";"}, "is the header, 'sep=', a remark?"),
    "no header": ("0.5,1\n1.5,0\n", {"target": "1"}, "line 1: '0.5,1' are numbers and no names; add a header"),
    "a space before a name": ("a, y\n1,0\n", {}, "no column 'y'; did you mean ' y'? it has a and ' y'"),
    "capitals of a name": ("a,Y\n1,0\n", {}, "no column 'y'; did you mean 'Y'? it has a and Y"),
    "no such name": ("a,b\n1,0\n", {}, "has no column 'y'; it has a and b"),
    "no such column": ("a,y\n1,0\n", {"columns": ["b", "c"]}, "has no column 'b'; it has a and y"),
    "no such column to drop": ("a,y\n1,0\n", {"drop": ["b"]}, "has no column 'b'; it has a and y"),
    "a question mark": (f"a,y\n{ROWS}?,1\n?,0\n", {}, "line 22, column 'a': '?' is no number (2 of the column's 22 cells are none); mend them, drop the column or remove such rows"),
    "the same with a coding": (f"a,y\n{ROWS}?,1\n", {"coding": "one_hot"}, "line 22, column 'a': '?' is no number"),
    "mostly question marks": ("a,y\n1,0\n2,1\n?,0\n?,1\n?,1\n", {"coding": "one_hot"}, "line 4, column 'a': '?' is no"),
    "several marks in a column of two numbers": ("a,y\n" + "0,1\n1,0\n" * 9 + "?,1\nx,0\nz,1\n", {"coding": "one_hot"}, "line 20, column 'a': '?' is no number (3 of the column's 21 cells are none)"),
    "a question mark among labels": ("a,y\n1,0\n2,1\n3,?\n", {}, "line 4, column 'y': '?' is no number"),
    "another decimal mark": ("a;y\n1,5;0\n2;1\n", {"separator": ";"}, "line 2, column 'a': '1,5' is no number, but one with the decimal mark , (then say decimal: \",\")"),
    "labels with another decimal mark": ("a;y\n1;1,5\n2;2,5\n", {"separator": ";"}, "line 2, column 'y': '1,5' is no number"),
    "thousands": ('a,y\n"1,000",0\n"2,000,000.5",1\n', {"coding": "one_hot"}, "line 2, column 'a': '1,000' is no number, but one with thousands separators"),
    "dates": ("a,y\n2024-01-31,0\n2024-02-01,1\n", {"coding": "one_hot"}, "line 2, column 'a': '2024-01-31' is no number, but a date or time"),
    "times": ("a,y\n1,0\n12:30:05,1\n", {}, "line 3, column 'a': '12:30:05' is no number, but a date or time"),
    "amounts of money": ('a,y\n"-$1,000.50",0\n"($2,000)",1\nEUR 3,0\n4 €,1\n', {"coding": "one_hot"}, "line 2, column 'a': '-$1,000.50' is no number, but one with a unit (4 of the column's 4 cells are none); save them as numbers, drop the column, or name the column in 'coding' where they are categories"),
    "numbers with a unit": ("a,y\n" + "".join(f"{n}.5 kmpl,{n % 2}\n" for n in range(5)), {"coding": "one_hot"}, "line 2, column 'a': '0.5 kmpl' is no number, but one with the unit 'kmpl', as others are; save them without it, or name the column in 'coding'"),
    "values with a unit": ("a,y\n" + "".join(f"{n},{n}.5kg\n" for n in range(5)), {"task": "regression"}, "line 2, column 'y': '0.5kg' is no number, but one with the unit 'kg', as others are; save them without it"),
    "hexadecimal": ("a,y\n0x1F,0\n0x2a,1\n", {"coding": "one_hot"}, "line 2, column 'a': '0x1F' is no number, but one in hexadecimal"),
    "brackets": ("a,y\n1,0\n(2),1\n", {"coding": "one_hot"}, "line 3, column 'a': '(2)' is no number, but one in brackets"),
    "full-width digits": ("a,y\n1,0\n\uff11\uff12,1\n", {"coding": "one_hot"}, "line 3, column 'a': '\uff11\uff12' is no number, but one with other digits or spaces than plain ones"),
    "a no-break space": ("a,y\n\xa01,0\n2,1\n", {}, "line 2, column 'a': '\xa01' is no number, but one with other digits or spaces"),
    "months": ("a,y\n31-Jan-2024,0\n\"Feb 1, 2024\",1\n", {"coding": "one_hot"}, "'31-Jan-2024' is no number, but a date or time"),
    "durations": ("a,y\n0 days 00:05:00,0\n12 days 01:00:00,1\n", {"coding": "one_hot"}, "'0 days 00:05:00' is no number, but a date or time"),
    "percentages": ("a,y\n5%,0\n6 %,1\n", {"coding": "one_hot"}, "'5%' is no number, but one with a unit"),
    "a dash for a sign": ("a,y\n1,0\n\u22125,1\n", {}, "line 3, column 'a': '\u22125' is no number, but one behind a sign that is no hyphen"),
    "underscores": ("a,y\n1,0\n1_000,1\n", {}, "line 3, column 'a': '1_000' is no number"),
    "digits of other scripts": ("a,y\n1,0\n\u0665,1\n", {}, "line 3, column 'a'"),
    "an infinity": ("a,y\n1,0\n-Infinity,1\n", {}, "line 3, column 'a': '-Infinity' is no number, but an infinity"),
    "too large": ("a,y\n1,0\n\n1e39,1\n", {}, "line 4, column 'a': '1e39' is beyond float32, 3.4e38 (1 such cell in all)"),
    "far too large": ("a,y\n1,0\n1e999,1\n", {"target": "a", "task": "regression"}, "line 3, column 'a': '1e999' is infinite or beyond float64"),
    "codes": ("a,y\n007,0\n8,1\n", {}, "line 2, column 'a': '007' is text, as '007' has digits that a number would not keep; inputs must be numbers, or be given a 'coding'"),
    "an empty cell": ('a,y\n"1\n",0\n\n,1\n,0\n', {}, "line 5, column 'a': '' is a gap"),
    "a cell of spaces": ("a,y\n1,0\n  ,1\n", {}, "line 3, column 'a': '  ' is a gap"),
    "two gaps": ("a,b,y\n1,2,0\n1,,1\nNA,3,1\n", {}, "line 3, column 'b': '' is a gap"),
    "a category called NA": ("a,y\nNA,0\nwood,1\n", {"coding": "one_hot"}, "'NA' is a gap, as empty cells, NA, NaN, None, null and their like are unless missing lists others; fill it, or leave out"),
    "words that are missing": ("a,y\n1,0\n?,1\n", {"missing": ["?"]}, "'?' is a gap, as missing says (?); fill it"),
    "numbers that are missing": ("a,y\n1,0\n-999.0,1\n", {"missing": ["-999"]}, "line 3, column 'a': '-999.0' is a gap"),
    "a gap in the last line of a cell": ('b,a,y\n"u\nv",,0\n', {}, "line 3, column 'a': '' is a gap"),
    "spaces after a label": ("a,y\n1,cat\n2,dog\n3,cat \n", {}, "line 4, column 'y': 'cat ' differs by spaces alone from 'cat'"),
    "capitals of labels": ("a,y\n1,Yes\n2,no\n3,yes\n", {}, "line 4, column 'y': 'yes' differs by capitals alone"),
    "spaces after a category": ("a,y\nUS,0\nUS ,1\n", {"coding": "one_hot"}, "line 3, column 'a': 'US ' differs"),
    "text to regress": ("a,y\n1,x\n", {"task": "regression"}, "line 2, column 'y': 'x' is text; a regression takes"),
    "an open quote": ('a,y\n1,0\n\n2,"1\n3,0\n', {}, "line 4 has a quote that opens a cell, and none closes it"),
    "a lone quote": ('a,y\n1,"p\n2,"q"\n', {}, "line 2 has a quote that opens a cell, which goes on behind the next quote, in line 3"),
    "a lone quote in the second line of a row": ('a,y\n"p\nq","r\n3,0\n', {}, "line 3 has a quote that opens a cell, and none"),
    "a quote that closes too early": ('a,y\n1,"p"q\n', {}, "line 2 has a cell that goes on behind its closing quote"),
    "an endless cell": ('a,y\n1,0\n2,"' + "x" * 140_000, {}, "line 3 has a cell of more than 131,072 characters"),
    "UTF-16": ("a,y\n1,0\n".encode("utf-16"), {}, "is no CSV table: it is UTF-16"),
    "UTF-16 without a mark": ("a,y\n1,0\n".encode("utf-16-le"), {}, "is no CSV table: it holds NUL bytes"),
    "Latin-1": ("a,y\n1,0\n\n2,für\n".encode("latin-1"), {}, "line 4 has a byte that is no UTF-8 (0xfc)"),
    "a workbook": (b"PK\3\4\xff", {}, "it is a ZIP archive, as Excel's workbooks are"),
    "a NUL byte": ("a,y\n1,0\n2,\0\n", {}, "line 3, column 'y': '\0' holds a NUL byte"),
    "nothing": ("\n\n", {}, "is no CSV table: it is empty"),
    "a header alone": ("a,y\n\n", {}, "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(refusal, name):
    text, keys, says = REFUSED[name]
    assert says in refusal(text, **keys)


@pytest.mark.parametrize(
    ("text", "coding", "says"),
    [
        (",a,y\n4,1,0\n2,2,1\n", None, ["the first column, '', is taken for row labels and left out"]),
        ("a,y\n01,A\n2,a\n2,A\n", "ordinal", ["column 'a' is text, since '01' is a code"]),
        ("a,y\n01,A\n?,a\n?,A\n", "ordinal", ["column 'a' is text, since '01' is a code"]),
        ("a,y\n01,0\nB2,1\nB2,0\n", "ordinal", []),
        ("a,y\n1st,0\n2nd,1\n3rd,0\n4th,1\n5th,0\n6th,0\n7th,0\n7th,1", "ordinal", []),
        ("a,y\n36 months,0\n60 months,1\n36 months,0", "ordinal", []),
        ("a,y\nx,0\ny,1\n", "ordinal", ["column 'a' has another word in every row; is it of use?"]),
    ],
)  # fmt: skip
def test_what_is_worth_knowing_is_noted(tmp_path, text, coding, says):
    (tmp_path / "t.csv").write_text(text)
    notes = csv_source(str(tmp_path / "t.csv"), "y", coding=coding).load(0).notes
    assert notes == tuple(f"'{tmp_path / 't.csv'}': {note}" for note in says)


def test_a_column_has_one_type_however_long_the_file_is(read, refusal, monkeypatch):
    """Blocks of two rows give what one block does, wherever the cell stands that makes a column text."""
    texts = ["a,b,y\n007,1,0\n7,2,1\n7,3,0\n7,4,1\nA1,5,0\n", "a,b,y\n1,1,0\n2,2,1\n3,3,0\nx,4,1\ny,5,0\n"]
    wanted = [read(text, coding={"a": "one_hot"}) for text in texts]
    texts.append("a,b,y\n1,1,0\n2,2,1\n3,3,0\n?,4,1\n?,5,0\n")
    says = refusal(texts[-1])
    monkeypatch.setattr(csv_file, "_CELLS_OF_A_BLOCK", 6)
    for text, whole in zip(texts, wanted, strict=False):
        found = read(text, coding={"a": "one_hot"})
        np.testing.assert_array_equal(found.inputs, whole.inputs)
        np.testing.assert_array_equal(found.targets, whole.targets)
    assert refusal(texts[-1]) == says
    assert wanted[0].inputs.tolist() == [[1, 0, 0, 1], [0, 1, 0, 2], [0, 1, 0, 3], [0, 1, 0, 4], [0, 0, 1, 5]]


def test_gzip_is_unpacked(read, refusal):
    content = gzip.compress(b"a,y\n1,0\n2,1\n")
    assert read(content, name="t.csv.gz").inputs.tolist() == [[1], [2]]
    assert "is no CSV table" in refusal(content[:-9], name="t.csv.gz")


@pytest.mark.parametrize(
    ("keys", "says", "at"),
    [
        ({"separator": "::"}, "takes one character such as ; or tab, not '::'", ("separator",)),
        ({"separator": '"'}, "takes one character", ("separator",)),
        ({"columns": ["a"], "drop": ["b"]}, "is not needed beside 'columns'", ("drop",)),
        ({"columns": []}, "is empty; name at least one column", ("columns",)),
        ({"columns": ["a", "y"]}, "names the column 'y' as does 'target'", ("columns", 1)),
        ({"drop": ["a", "a"]}, "names the column 'a' already", ("drop", 1)),
        ({"target": []}, "is empty; name at least one column", ("target",)),
        (
            {"target": ["y", "z"]},
            "names one column for a classification, several for a regression",
            ("target",),
        ),
        ({"decimal": ";"}, ". or ,", ("decimal",)),
    ],
)
def test_keys_that_do_not_fit_are_refused_without_the_file(keys, says, at):
    problems = []
    resolve("dataset", {"type": "csv", "path": "gone.csv", "target": "y"} | keys, (), problems)
    (problem,) = problems
    assert problem.path == at
    assert says in problem.message


@pytest.mark.parametrize("kind", [str, float])
def test_the_index_of_pandas_is_no_input_of_either_format(tmp_path, kind):
    frame = pandas.DataFrame({"a": [1.5, 2.5, 4.0], "y": [0, 1, 0]}, index=[*map(kind, (4, 2, 9))])
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index_label="")
    found = parquet_source(str(tmp_path / "t.parquet"), "y").load(0)[0]
    if kind is str:
        assert csv_source(str(tmp_path / "t.csv"), "y").load(0)[0].inputs.tolist() == found.inputs.tolist()
    assert found.inputs.tolist() == [[1.5], [2.5], [4.0]]


@pytest.mark.parametrize(
    ("keys", "inputs"),
    [({}, ["a"]), ({"columns": ["a", "id"]}, ["a", "id"]), ({"drop": ["id"]}, ["a"]), ({"target": "id"}, ["a", "y"])],
)  # fmt: skip
def test_an_index_with_a_name_is_an_input_where_it_is_asked_for(tmp_path, keys, inputs):
    frame = pandas.DataFrame({"a": [0.5, 1.5], "y": [0, 1], "id": [7, 3], "when": [8, 9]})
    frame.set_index(["id", "when"]).to_parquet(tmp_path / "t.parquet")
    loaded = parquet_source(str(tmp_path / "t.parquet"), **{"target": "y"} | keys).load(0)
    assert loaded.examples.inputs.tolist() == frame[inputs].to_numpy(float).tolist()
    left_out = [name for name in ("id", "when") if name not in str(keys)] * ("columns" not in keys)
    listed = " and ".join(f"'{name}'" for name in left_out)
    said = [f"'{tmp_path}/t.parquet': {listed}, pandas' row labels, left out"]
    assert list(loaded.notes) == (said if left_out else [])


def test_parquet_types(read):
    import pyarrow

    columns = {
        "half": np.array([1.5, 2.5, 3.5], np.float16),
        "small": np.array([1, 2, 3], np.uint8),
        "large": np.array([2**53, 2**60, 3], np.int64),
        "truth": [True, False, True],
        "price": [decimal.Decimal("1.10"), decimal.Decimal("2.20"), decimal.Decimal("3.30")],
        "grade": pyarrow.array([3, 1, 3]).dictionary_encode(),
        "colour": pyarrow.array(["red", "blue", "red"]).dictionary_encode(),
        "text": pyarrow.array(["b", "a", "c"], pyarrow.large_string()),
        "y": ["p", "q", "p"],
    }
    found = read(columns, coding="ordinal")
    wanted = [
        [1.5, 1, 2**53, 1, 1.10, 3, 1, 1],
        [2.5, 2, 2**60, 0, 2.20, 1, 0, 0],
        [3.5, 3, 3, 1, 3.30, 3, 1, 2],
    ]
    np.testing.assert_array_equal(found.inputs, np.array(wanted))
    assert found.targets.tolist() == [0, 1, 0]


MOMENT = datetime.datetime(2024, 1, 31, 12, 30)
NAMED = {
    "date32[day]": MOMENT.date(),
    "timestamp[us]": MOMENT,
    "time64[us]": MOMENT.time(),
    "duration[us]": datetime.timedelta(1),
    "list<element: int64>": [1],
    "struct<u: int64>": {"u": 1},
    "binary": b"1",
    "null": None,
}


@pytest.mark.parametrize("kind", NAMED)
def test_parquet_says_what_a_column_holds(refusal, kind):
    table = {"a": [NAMED[kind]] * 2, "y": [0, 1]}
    assert f"column 'a' holds {kind}, no numbers, text or truth values" in refusal(table)
    assert "leave it out (drop: [a])" in refusal(table)


@pytest.mark.parametrize(
    ("cells", "keys", "says"),
    [
        ([1, None, None], {}, "row 2, column 'a': 'null' is a gap; fill it, or leave out the row or the column (2 such cells in all)"),
        ([1.0, 2.0, float("nan")], {}, "row 3, column 'a': 'nan' is a gap"),
        ([1.0, float("inf"), 2.0], {}, "row 2, column 'a': 'inf' is infinite or beyond float64 (1 such cell in all)"),
        ([decimal.Decimal(f"1234567890123456789{n}") for n in range(3)], {}, "row 2, column 'a': '12345678901234567891' has more digits than float64 keeps"),
        (["x", "nan", "x"], {"coding": "one_hot"}, "row 2, column 'a': 'nan' is a gap that became text"),
        (["10", "20", "30"], {}, "row 1, column 'a': '10' reads as a number"),
        ([1, 2, 2**53 + 1], {}, "row 3, column 'a': '9007199254740993' has more digits than float64 keeps"),
        (["1.5", "2", "3"], {"coding": "one_hot"}, "row 1, column 'a': '1.5' reads as a number"),
        (["1.5", "2", "?"], {"coding": "one_hot"}, "row 3, column 'a': '?' is no number"),
        (["x", "y", "z"], {}, "row 1, column 'a': 'x' is text"),
    ],
)  # fmt: skip
def test_parquet_names_the_row_and_the_cell(refusal, cells, keys, says):
    assert says in refusal({"a": cells, "y": [0, 1, 0]}, **keys)


def test_parquet_takes_columns_as_csv_does(read, refusal):
    table = {"a": [1, 2], "b": [3, 4], "y": [0, 1]}
    assert read(table, columns=["b", "a"]).inputs.tolist() == [[3, 1], [4, 2]]
    assert read(table, drop=["a"]).inputs.tolist() == [[3], [4]]
    assert read({"": [7, 5]} | table).inputs.tolist() == [[1, 3], [2, 4]]
    assert "column 3 has no name" in refusal({"a": [1, 2], "y": [0, 1], "": [3, 4]})


CELLS = [
    "0",
    "-0",
    "1",
    "+1.",
    ".5",
    "1e5",
    " 2\t",
    "007",
    "-07",
    "00",
    "0.5",
    "00.5",
    "1_0",
    "nan",
    "inf",
    "",
    ".",
]
CELLS += [
    "1e",
    "0x1",
    "1,5",
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    "1e400",
    "9" * 400,
    "\uff11",
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_number_alone_is_one_among_others(cell):
    """The two ways of telling a number agree, and Python's float gives its value."""
    parsed = parse_numbers(["1.5", cell], ".")
    assert (parsed is not None) == (is_number(cell, ".") and not is_code(cell))
    if parsed is not None:
        assert parsed[1] == float(cell)
        assert parse_numbers(["1,5", cell.replace(".", ",")], ",")[1] == float(cell)


def test_empty_cells_take_no_more_time_than_others():
    def seconds(cells):
        start = time.process_time()
        assert (parse_numbers(cells, ".") is None) == ("" in cells)
        return time.process_time() - start

    numbers = [*map(str, range(110_000))]  # none is left aside, as would be if less than half were different
    assert seconds(numbers[:60_000] + [""] * 50_000) < 20 * seconds(numbers)
