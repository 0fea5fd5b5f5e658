"""Run directories: the shortest text that reads back, no NaN in JSON, one line when a disk says no."""

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab.errors import NnlabError, UsageError
from nnlab.storage.results import read_json
from nnlab.storage.run_directory import RunDirectory
from nnlab.storage.tables import read_table


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path / "deep" / "run")
    directory.create("name: x\n", {"threads": 1})
    yield directory
    directory.close()


def cells(run, values):
    """The text that an array is written as."""
    run.append("table", {"value": values})
    run.close()
    return (run.path / "table.csv").read_bytes().decode().split("\n")[1:-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1 / 3, "0.33333334"),
        (123456.79, "123456.79"),
        (16777216.0, "16777216.0"),
        (1e-4, "0.0001"),
        (9.9e-5, "9.9e-05"),
        (1e-45, "1.0e-45"),
        (3.4028235e38, "3.4028235e+38"),
        (1e16, "1.0e+16"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, ""),
    ],
)
def test_float32_as_text(run, value, text):
    assert cells(run, np.array([value, 1], np.float32)) == [text if text else '""', "1.0"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_float32_reads_back_to_the_same_bits_and_is_shortest(tmp_path_factory, values):
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    array = np.array(values, np.float32)
    texts = cells(run, array)
    assert np.array([np.float32(text) for text in texts]).tobytes() == array.tobytes()
    read = pandas.read_csv(run.path / "table.csv")["value"].to_numpy().astype(np.float32)
    assert np.array_equal(read, array)
    for text, value in zip(texts, array, strict=True):
        digits = text.lstrip("-").split("e")[0].replace(".", "").strip("0")
        shortest = str(value).lstrip("-").split("e")[0].replace(".", "").strip("0")
        assert len(digits) <= len(shortest)


def test_the_columns_of_a_table(run):
    run.append(
        "table", {"step": np.array([0, 5], np.int32), "layer": ["a", "b,c"], "loss": np.float32([1, np.nan])}
    )
    run.append("table", {"step": np.array([10], np.int32), "layer": ["a"], "loss": np.float32([0.5])})
    run.close()
    text = (run.path / "table.csv").read_bytes().decode()
    assert text == 'step,layer,loss\n0,a,1.0\n5,"b,c",\n10,a,0.5\n'
    read = pandas.read_csv(run.path / "table.csv")
    assert read["step"].dtype == np.int64
    assert read["loss"].isna().tolist() == [False, True, False]


def test_rows_are_there_before_the_run_ends(run):
    run.append("table", {"step": np.array([0])})
    assert (run.path / "table.csv").read_text() == "step\n0\n"


def test_columns_of_different_lengths_are_refused(run):
    with pytest.raises(ValueError, match="shorter"):
        run.append("table", {"step": np.array([0, 1]), "loss": np.array([0.5])})


def test_json_holds_no_nan(run):
    run.write_json(
        "summary.json",
        {
            "nan": math.nan,
            "inf": np.float32(np.inf),
            "deep": {"list": [np.float64(np.nan), 1.5], "tuple": (1, -math.inf)},
            "float32": np.float32(0.1),
            "float64": np.float64(0.1),
            "int": np.int64(3),
            "bool": np.bool_(True),
            "none": None,
            "text": "é",
        },
    )
    text = (run.path / "summary.json").read_text()

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(text, parse_constant=refuse) == {
        "nan": None,
        "inf": None,
        "deep": {"list": [None, 1.5], "tuple": [1, None]},
        "float32": 0.1,
        "float64": 0.1,
        "int": 3,
        "bool": True,
        "none": None,
        "text": "é",
    }
    assert text.endswith("}\n")


def test_begin_clears_an_earlier_run_s_output_and_nothing_else(run):
    run.append("metrics", {"step": np.array([0])})
    (run.path / "plots").mkdir()
    (run.path / "plots" / "old.png").write_bytes(b"x")
    (run.path / "notes.txt").write_text("mine")
    again = RunDirectory(run.path)
    again.create("name: y\n", {})
    left = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    assert left == ["config.yaml", "environment.json", "notes.txt", "summary.json"]
    assert (run.path / "config.yaml").read_text() == "name: y\n"
    assert again.summary() == {"status": "running"}


def test_writing_leaves_no_half_files(run):
    run.write("config.yaml", "a: 1\n")
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_making_the_object_touches_nothing(tmp_path):
    assert RunDirectory(tmp_path / "run").summary() == {}
    assert list(tmp_path.iterdir()) == []


# --- disks that say no -------------------------------------------------------------------------------------


def one_line(error, path):
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert "cannot be written" in message


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NnlabError) as error:
        RunDirectory(tmp_path / "file" / "run").create("", {})
    one_line(error, tmp_path / "file" / "run")


def test_a_folder_that_may_not_be_written():
    """/proc takes no folders, not even root's."""
    with pytest.raises(NnlabError) as error:
        RunDirectory(Path("/proc/nnlab/run")).create("", {})
    one_line(error, "/proc/nnlab/run")


def test_a_full_disk(run, monkeypatch):
    def full(file, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NnlabError, match="No space left") as error:
        run.append("table", {"step": np.array([0])})
    one_line(error, run.path / "table.csv")


@pytest.mark.parametrize("name", ["table.csv", "train.log"])
def test_nothing_is_written_through_a_link(run, tmp_path, name):
    """A directory from elsewhere may hold links to files of one's own."""
    (tmp_path / "mine").write_text("precious")
    (run.path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(NnlabError, match="it is a symbolic link") as error:
        run.append("table", {"step": np.array([0])}) if name == "table.csv" else run.log("line")
    one_line(error, run.path / name)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "summary.json", "metrics.csv"])
def test_beginning_replaces_links(tmp_path, name):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    RunDirectory(tmp_path / "run").create("a: 1\n", {})
    assert (tmp_path / "mine").read_text() == "precious"
    assert not (tmp_path / "run" / name).is_symlink()


@pytest.mark.parametrize("folder", ["plots", "checkpoints"])
def test_folders_that_lead_elsewhere_are_refused(tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / folder).symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError, match="symbolic link"):
        RunDirectory(tmp_path / "run").create("", {})
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_the_run_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    RunDirectory(tmp_path / "run").create("a: 1\n", {})
    assert (tmp_path / "disk" / "config.yaml").read_text() == "a: 1\n"


def test_a_text_that_a_spreadsheet_would_run_is_made_text(run):
    run.append(
        "table", {"reason": np.array(["=1+1", "+1", "-x", "@sum", "x-y", "-1.5", "-1+1"], dtype=object)}
    )
    lines = (run.path / "table.csv").read_text().splitlines()[1:]
    assert lines == ["'=1+1", "'+1", "'-x", "'@sum", "x-y", "-1.5", "'-1+1"]


def test_a_table_s_place_taken_by_a_folder(run):
    (run.path / "metrics.csv").mkdir()
    with pytest.raises(NnlabError) as error:
        run.append("metrics", {"step": np.array([0])})
    one_line(error, run.path / "metrics.csv")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b"nul"])
def test_a_damaged_json_file_is_one_line(tmp_path, content):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_json(tmp_path / "summary.json")
    assert str(error.value).startswith(f"{tmp_path / 'summary.json'}: damaged: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b'a,b\n1,2\n1,2,3,4\n"', b"a,b\n\xff\xfe,2\n"])
def test_a_damaged_table_is_one_line(tmp_path, content):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_table(tmp_path / "metrics.csv")
    assert str(error.value).startswith(f"{tmp_path / 'metrics.csv'}: damaged: ")
    assert len(str(error.value).splitlines()) == 1
