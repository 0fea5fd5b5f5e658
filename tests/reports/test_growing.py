"""Tables that grow while they are read."""

import numpy as np
import pandas
import pytest

from nnlab.reports import growing
from nnlab.reports.growing import GrowingTable


@pytest.fixture
def file(tmp_path):
    return tmp_path / "metrics.csv"


def test_each_look_reads_what_was_added_up_to_the_last_line_break(file):
    table = GrowingTable(file)
    assert not table.grow()
    parts = ["step,lo", "ss,layer\n0,0.5,a\n1,", "", "0.25,b\n2,,c\n3,inf"]
    for part, steps in zip(parts, ([], [0], [0], [0, 1, 2]), strict=True):
        before = table.columns.get("step", np.zeros(0)).tolist()
        with file.open("a") as growing_file:
            growing_file.write(part)
        table.grow()
        assert table.columns.get("step", np.zeros(0)).tolist() == steps
        assert steps[: len(before)] == before
    np.testing.assert_array_equal(table.columns["loss"], [0.5, 0.25, np.nan])
    assert table.columns["layer"].tolist() == ["a", "b", "c"]
    before = dict(table.columns)
    assert not table.grow()
    assert all(table.columns[name] is column for name, column in before.items())


def test_it_reads_what_pandas_reads(file, finished, monkeypatch):
    monkeypatch.setattr(growing, "MAXIMUM_READ_BYTES", 300)  # so that it takes several looks
    for name in ("metrics", "layers"):
        table = GrowingTable(finished / f"{name}.csv")
        while table.grow():
            pass
        expected = pandas.read_csv(finished / f"{name}.csv")
        assert list(table.columns) == list(expected)
        for column in expected:
            np.testing.assert_array_equal(table.columns[column], expected[column].to_numpy())


def test_a_file_that_was_replaced_or_cut_is_read_anew(file):
    table = GrowingTable(file)
    file.write_text("step,loss\n0,1\n1,2\n2,3\n")
    assert table.grow()
    file.write_text("step,loss\n0,7\n")
    assert table.grow()
    assert table.columns["loss"].tolist() == [7.0]
    other = file.with_name("other")
    other.write_text("step,error\n0,1\n1,2\n2,3\n3,4\n")
    other.replace(file)
    assert table.grow()
    assert table.columns["error"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_what_is_no_file_is_no_table(tmp_path):
    import os

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe", "gone"):
        table = GrowingTable(tmp_path / name)
        assert not table.grow()
        assert table.columns == {}
