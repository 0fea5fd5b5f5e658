"""Exports, read back: event files by TensorBoard itself, CSV and Parquet by pandas."""

import math
import shutil
import sys

import numpy as np
import pandas
import pytest
from support import TINY, run_nnlab

import nnlab
from nnlab.runs.event_file import event_file
from nnlab.runs.export import EVENTS


@pytest.fixture
def swept(folder, sweeps_here):
    """A sweep of four trials, one of which diverges."""
    (folder / "tiny.yaml").write_text(TINY)
    axes = ["model.width=2,3", "optimizer.learning_rate=0.1,1e30"]
    return nnlab.sweep(nnlab.load("tiny.yaml", *axes, axes=True), "results/swept", jobs=1, plots=False)


def read_back(folder):
    """step, tag -> value, of every scalar, as TensorBoard's own reader has them."""
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        (tag, event.step): event.value
        for tag in accumulator.Tags()["scalars"]
        for event in accumulator.Scalars(tag)
    }


def expected_of(run):
    """The same, read off the CSV files: of a table with several rows a step, a row goes by its words."""
    values = {}
    for name in ("metrics", "layers"):
        for row in pandas.read_csv(run.path / f"{name}.csv").to_dict("records"):
            label = f"{name}/{row['layer']}" if "layer" in row else name
            for column, value in row.items():
                if column not in ("step", "layer") and not math.isnan(value):
                    values[f"{label}/{column}", row["step"]] = float(np.float32(value))
    return values


def test_tensorboard_reads_every_value_of_a_run(finished, tmp_path):
    (file,) = nnlab.export_tensorboard(nnlab.open(finished), tmp_path)
    assert file.name == EVENTS
    found, expected = read_back(tmp_path), expected_of(nnlab.open(finished))
    assert len(expected) > 100
    assert {key: found[key] for key in expected} == expected
    others = {tag.split("/")[0] for tag, _ in found.keys() - expected.keys()}
    assert others <= {"activations", "histograms", "timing", "numbers", "expectations"}
    ratio = nnlab.open(finished).numbers["gradient_flow.first_to_last_ratio"]
    assert found["numbers/gradient_flow.first_to_last_ratio", 20] == np.float32(ratio)
    assert found["expectations/final.train_loss", 20] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_every_trial_and_its_axes(swept):
    result = run_nnlab("export", "tensorboard", "results/swept")
    assert result.exit_code == 0
    home = swept.path / "tensorboard"
    folders = sorted(home.iterdir())
    assert sorted(result.stdout.split()) == [str(folder / EVENTS) for folder in folders]
    for row, run in zip(swept.trials.to_dict("records"), swept.runs, strict=True):
        (folder,) = (folder for folder in folders if folder.name.startswith(row["trial"]))
        assert f"model.width={row['model.width']}_" in folder.name
        expected = expected_of(run)
        found = read_back(folder)
        assert {key: found[key] for key in expected} == expected
        assert hyperparameters(folder) == {
            "model.width": row["model.width"],
            "optimizer.learning_rate": row["optimizer.learning_rate"],
            "seed": 0,
        }


def hyperparameters(folder):
    """As TensorBoard's plug-in reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    content = EventAccumulator(str(folder)).Reload().PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    return {key: value.number_value for key, value in start.hparams.items()}


def test_a_second_export_replaces_the_first(finished, tmp_path):
    first = nnlab.export_tensorboard(nnlab.open(finished), tmp_path)
    content = first[0].read_bytes()
    assert nnlab.export_tensorboard(nnlab.open(finished), tmp_path) == first
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]


def test_the_checksum_is_that_of_the_published_examples():
    """CRC-32C of RFC 3720, B.4, unmasked; and a record's first bytes are its length."""
    from nnlab.runs.event_file import _masked_checksum

    for content, checksum in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ):
        masked = int.from_bytes(_masked_checksum(content), "little")
        rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
        assert (rotated << 15 | rotated >> 17) & 0xFFFFFFFF == checksum
    assert int.from_bytes(event_file(0.0, [])[:8], "little") == len(event_file(0.0, [])) - 16


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_joined_tables_of_a_sweep_read_back_equal(swept, form):
    assert run_nnlab("export", form, "results/swept", "--out", "out").exit_code == 0
    read = pandas.read_csv if form == "csv" else pandas.read_parquet
    written = {path.stem: read(path) for path in (swept.path.cwd() / "out").iterdir()}
    assert written.keys() >= {"metrics", "layers", "timing", "trials"}
    metrics = written["metrics"]
    complete = swept.completed_trials
    assert list(metrics)[-4:] == ["trial", "model.width", "optimizer.learning_rate", "seed"]
    assert list(dict.fromkeys(metrics["trial"])) == complete["trial"].tolist()
    for row in complete.to_dict("records"):
        part = metrics[metrics["trial"] == row["trial"]]
        alone = pandas.read_csv(swept.path / "trials" / row["trial"] / "metrics.csv")
        pandas.testing.assert_frame_equal(part[list(alone)].reset_index(drop=True), alone, check_exact=True)
        assert set(part["model.width"]) == {row["model.width"]}
        assert set(part["optimizer.learning_rate"]) == {row["optimizer.learning_rate"]}
    pandas.testing.assert_frame_equal(written["trials"], swept.trials, check_exact=True)
    pandas.testing.assert_frame_equal(written["layers"], swept.joined("layers"), check_exact=True)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_tables_of_a_run_read_back_equal(finished, tmp_path, form):
    for file in nnlab.export_tables(nnlab.open(finished), tmp_path, form):
        read = pandas.read_csv(file) if form == "csv" else pandas.read_parquet(file)
        pandas.testing.assert_frame_equal(read, nnlab.open(finished).table(file.stem), check_exact=True)


def test_several_go_into_folders_of_their_names(finished, folder):
    for name in ("a", "b"):
        shutil.copytree(finished, folder / "results" / name)
    assert run_nnlab("export", "csv", "results/a", "results/b").exit_code == 0
    assert sorted(path.name for path in (folder / "results" / "csv").iterdir()) == ["a", "b"]
    assert run_nnlab("export", "csv", "results/a").exit_code == 0
    assert (folder / "results" / "a" / "csv" / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["csv", "none"], "none: no such run directory; `nnlab runs` lists them"),
        (["csv", "results/a", "none"], "none: no such run directory; `nnlab runs` lists them"),
        (["csv", "results/a", "results/../results/a"], "export: several directories have the same name"),
        (["csv", "results/empty"], "results/empty: has no tables yet"),
    ],
)
def test_what_cannot_be_exported_costs_a_line(finished, folder, words, message):
    shutil.copytree(finished, folder / "results" / "a")
    (folder / "results" / "empty").mkdir()
    for name in ("config.yaml", "summary.json"):
        shutil.copy(finished / name, folder / "results" / "empty")
    result = run_nnlab("export", *words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(message)
    assert not list((folder / "results").rglob("metrics.csv"))[1:]  # but that of the run


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_is_no_earlier_export_is_not_replaced(finished, tmp_path, form):
    file = tmp_path / f"metrics.{form}"
    file.write_text("day,sales\n1,2\n")
    with pytest.raises(nnlab.UsageError, match="is there already, and holds something else; --out names"):
        nnlab.export_tables(nnlab.open(finished), tmp_path, form)
    assert file.read_text() == "day,sales\n1,2\n"
    assert list(tmp_path.iterdir()) == [file]


def test_of_damaged_tables_there_is_a_line_or_what_is_left(swept, folder):
    trial = swept.path / "trials" / swept.completed_trials["trial"][0]
    (trial / "timing.csv").write_text("step,seconds\n-1,2\n")
    assert run_nnlab("export", "tensorboard", swept.path).exit_code == 0
    swept.trials.drop(columns="model.width").to_csv(swept.path / "trials.csv", index=False)
    for form in ("tensorboard", "csv", "parquet"):
        result = run_nnlab("export", form, swept.path)
        assert result.exit_code == 2
        assert result.stderr == f"{swept.path / 'trials.csv'}: damaged: has no column 'model.width'\n"
    (swept.path / "trials.csv").unlink()
    assert run_nnlab("export", "csv", swept.path).stderr == f"{swept.path}: has no tables yet\n"
    assert run_nnlab("export", "tensorboard", swept.path).exit_code == 2


def test_parquet_without_pyarrow_costs_a_line(finished, tmp_path, monkeypatch):
    run = nnlab.open(finished)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(nnlab.UsageError, match=r"^parquet needs PyArrow: pip install 'nnlab\[parquet\]'$"):
        nnlab.export_tables(run, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused(finished):
    result = run_nnlab("export", "exel", finished)
    assert result.exit_code == 2
    assert "tensorboard" in result.stderr
