"""Categories of a CSV file as inputs, against pandas and by hand."""

import io
import math

import numpy as np
import pandas
import pytest

from nnlab.config.resolve import resolve
from nnlab.data import encoding
from nnlab.errors import InvalidValue
from nnlab.registry import build

CARS = """\
weight,colour,doors,size,label
1.5,red,3,small,0
2.5,blue,5,large,1
3.5,green,5,small,0
4.5,blue,4,medium,1
5.5,white,2,large,0
6.5,red,3,medium,1
"""
TABLE = pandas.read_csv(io.StringIO(CARS))
SIZES = ["small", "medium", "large"]


@pytest.fixture
def read(tmp_path):
    """The inputs of a CSV file with this text, in the file's order."""

    def read(encoding, text=CARS, **more):
        (tmp_path / "cars.csv").write_text(text)
        config = {"type": "csv", "path": str(tmp_path / "cars.csv"), "target": "label", "coding": encoding}
        problems = []
        resolved = resolve("dataset", config | {"split": {"train": 1.0}} | more, (), problems)
        assert problems == []
        inputs = build("dataset", resolved).load(0).train.inputs
        assert inputs.dtype == np.float32
        return inputs[np.argsort(inputs[:, 0], kind="stable")]

    return read


def test_one_hot_is_a_unit_a_value(read):
    expected = pandas.get_dummies(TABLE.drop(columns="label"), columns=["colour", "size"], dtype=float)
    order = ["weight", *(f"colour_{c}" for c in ("blue", "green", "red", "white")), "doors"]
    order += [f"size_{size}" for size in ("large", "medium", "small")]
    np.testing.assert_array_equal(read("one_hot"), expected[order].to_numpy(np.float32))


def test_ordinal_is_the_number_among_the_sorted_values(read):
    expected = TABLE.drop(columns="label")
    for column in ("colour", "size"):
        expected[column] = expected[column].map(sorted(expected[column].unique()).index)
    np.testing.assert_array_equal(read("ordinal"), expected.to_numpy(np.float32))


def test_the_order_of_the_values_may_be_given(read):
    inputs = read({"size": SIZES, "colour": "ordinal"})
    np.testing.assert_array_equal(inputs[:, 3], TABLE["size"].map(SIZES.index))
    wider = read({"size": ["tiny", *SIZES], "colour": "ordinal"})
    np.testing.assert_array_equal(wider[:, 3], inputs[:, 3] + 1)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 8, 9, 100, 257])
def test_binary_has_the_bits_of_the_number(read, k):
    words = [f"w{number:03}" for number in range(k)]
    shuffled = np.random.default_rng(0).permutation(k)
    rows = "".join(f"{row},{words[number]},{row % 2}\n" for row, number in enumerate(shuffled))
    inputs = read("binary", f"row,word,label\n{rows}")
    assert inputs.shape == (k, 1 + math.ceil(math.log2(k)))
    found = ["".join(str(int(bit)) for bit in row) for row in inputs[:, 1:]]
    assert found == [format(number, f"0{inputs.shape[1] - 1}b") for number in shuffled]


def test_columns_of_numbers_may_be_categories_too(read):
    inputs = read({"doors": "one_hot", "colour": "ordinal", "size": "ordinal"})
    assert inputs.shape == (6, 1 + 1 + 4 + 1)
    np.testing.assert_array_equal(inputs[:, 2:6], pandas.get_dummies(TABLE["doors"]).to_numpy(np.float32))
    listed = read({"doors": [5, 4, 3.0, 2], "colour": "ordinal", "size": "ordinal"})
    np.testing.assert_array_equal(listed[:, 2], [2, 0, 0, 1, 3, 2])
    text = "row,code,label\n0,007,0\n1,x,1\n2,12,0\n3,x,1\n"
    np.testing.assert_array_equal(read({"code": [12, "x", "007"]}, text)[:, 1], [2, 1, 0, 1])
    assert read(None, "a,b,label\n1,true,0\n2,false,1\n").tolist() == [[1, 1], [2, 0]]


def test_the_values_are_those_of_the_whole_file(read):
    """Their code does not hang on which rows are trained on."""
    inputs = read("one_hot")
    for more in ({"limit": 3}, {"split": {"train": 2, "test": 4}}):
        some = read("one_hot", **more)
        assert some.shape[1] == inputs.shape[1]
        np.testing.assert_array_equal(some, inputs[np.isin(inputs[:, 0], some[:, 0])])


def test_a_coding_of_text_leaves_numbers_as_they_are(read):
    text = "a,b,label\n1,0.25,0\n2,-7,1\n"
    np.testing.assert_array_equal(read("one_hot", text), read(None, text))


@pytest.mark.parametrize(
    ("how", "says", "at"),
    [
        (None, "line 2, column 'colour': 'red' is text; inputs must be numbers, or be given", ("path",)),
        ({"size": "one_hot"}, "column 'colour': 'red' is text", ("coding", "colour")),
        ({"color": "one_hot"}, "no input column 'color'; did you mean 'colour'?", ("coding", "color")),
        (
            {"label": "one_hot"},
            "no input column 'label'; it has weight, colour, doors and",
            ("coding", "label"),
        ),
        (
            {"colour": "binary", "size": ["small", "large"]},
            "column 'size' holds 'medium' in line 5, which its coding does not list",
            ("coding", "size"),
        ),
        (
            {"colour": "binary", "size": ["small", "medum", "large"]},
            "does not list; did you mean 'medum'?",
            ("coding", "size"),
        ),
        (
            {"doors": [2, 3, "5"]},
            "holds numbers alone, and its coding lists the text '5'",
            ("coding", "doors"),
        ),
        ({"doors": [2, 4, 5]}, "holds '3' in line 2, which its coding does not list", ("coding", "doors")),
        ({"doors": [2, 3, 4, 5, 3]}, "has '3' listed twice", ("coding", "doors")),
        ({"doors": []}, "column 'doors' holds '3' in line 2", ("coding", "doors")),
    ],
)
def test_what_cannot_be_coded_is_refused(read, how, says, at):
    with pytest.raises(InvalidValue) as caught:
        read({"colour": "ordinal", **how} if isinstance(how, dict) and "doors" in how else how)
    assert says in str(caught.value)
    assert caught.value.at == at


@pytest.mark.parametrize("way", ["one_hot", "binary", "ordinal", ["red", "blue"]])
def test_a_single_value_tells_nothing(read, way):
    with pytest.raises(InvalidValue, match="column 'b' holds one value alone, 'red'; leave it out"):
        read({"b": way}, "a,b,label\n1,red,0\n2,red,1\n")


def test_too_many_values_for_a_unit_each(read, monkeypatch):
    text = "a,b,label\n" + "".join(f"{row},x{row},{row % 2}\n" for row in range(12_000))
    with pytest.raises(InvalidValue, match="has 12,000 values, too many for a unit each") as caught:
        read("one_hot", text)
    assert caught.value.at == ("coding", "b")
    assert read("binary", text).shape == (12_000, 1 + 14)
    monkeypatch.setattr(encoding, "MAXIMUM_ONE_HOT_VALUES", 20)
    with pytest.raises(InvalidValue, match="column 'colour' has 4 values, too many"):
        read("one_hot")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("onehot", "did you mean 'one_hot'?"),
        ({"size": "onehot"}, "one_hot, binary or ordinal"),
        ({"size": [[1]]}, "is not allowed"),
        ({"size": [True, False]}, "is not allowed"),
        (3, "coding takes one_hot, binary or ordinal, a mapping"),
    ],
)
def test_no_coding(value, says):
    problems = []
    resolve("dataset", {"type": "csv", "path": "a", "target": "b", "coding": value}, (), problems)
    (problem,) = problems
    assert problem.path == ("coding",)
    assert says in problem.message
