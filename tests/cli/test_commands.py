"""Every command, as a user meets it: what it prints, what it writes, how it exits."""

import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pandas
import pytest
import yaml
from support import TINY, run_nnlab

from nnlab import __version__
from nnlab.cli.main import cli
from nnlab.config.base import read_with_base, shipped_experiments
from nnlab.config.document import read
from nnlab.storage.run_directory import RunDirectory

COMMANDS = [
    "train",
    "sweep",
    "cross-validate",
    "plot",
    "check",
    "report",
    "watch",
    "validate",
    "summary",
    "list",
    "show",
    "runs",
    "remove",
    "compare",
    "generate",
    "export",
    "new",
    "schema",
    "info",
]
FILES = {
    "config.yaml",
    "metrics.csv",
    "layers.csv",
    "summary.json",
    "environment.json",
    "timing.csv",
    "train.log",
}


@pytest.fixture
def tiny(folder):
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def ok(*arguments):
    result = run_nnlab(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


# --- the group ---------------------------------------------------------------------------------------------


def test_every_command_is_here_and_tested():
    assert list(cli.commands) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_every_command(command, flag):
    result = ok(command, flag)
    assert result.stdout.startswith("Usage: ")
    assert cli.commands[command].help.splitlines()[0] in " ".join(result.stdout.split())
    assert max(len(line) for line in result.stdout.splitlines()) <= 110


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does(command):
    for parameter in cli.commands[command].params:
        assert parameter.param_type_name == "argument" or parameter.help, parameter.name


def test_help_lists_the_commands_with_a_word_on_each():
    lines = ok("--help").stdout.splitlines()
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] and len(line.split()) > 2 for line in lines), command


def test_version():
    assert ok("--version").stdout == f"nnlab, version {__version__}\n"


def test_a_misspelt_command_has_its_near_miss():
    result = run_nnlab("trian")
    assert result.exit_code == 2
    assert "there is no command 'trian'; did you mean 'train'?" in result.stderr


def test_the_entry_point_and_the_module_are_the_command(nnlab_process):
    done = nnlab_process("--version")
    assert (done.returncode, done.stdout) == (0, f"nnlab, version {__version__}\n")


# --- train -------------------------------------------------------------------------------------------------


def test_a_run_prints_its_outcome_and_leaves_its_files(tiny):
    result = ok("train", "tiny.yaml", "--out", "run")
    run = tiny / "run"
    assert {path.name for path in run.iterdir()} >= FILES
    assert "tiny: complete at step 20" in result.stdout
    assert "first_to_last_ratio" in result.stdout
    assert "holds" in result.stdout
    assert {path.suffix for path in (run / "plots").iterdir()} == {".png"}
    for path in (run / "plots").iterdir():
        assert path.name in result.stdout
        assert path.read_bytes().startswith(b"\x89PNG")
    assert result.stderr == "", "no bar where stderr is no terminal"


def test_its_default_place_is_named_by_the_config(tiny):
    """However the config is written."""
    ok("train", "tiny.yaml", "--quiet", "--no-plots")
    (run,) = (tiny / "results").iterdir()
    assert run.name.startswith("tiny-")
    assert len(run.name) == len("tiny-") + 8
    assert not (run / "plots").exists()
    assert "finished before" in ok("train", "tiny.yaml", "seed=0", "loss=cross_entropy").stderr
    assert f"results/{run.name}: " in ok("train", "tiny.yaml", "--dry-run").stderr
    assert f"results/{run.name}: " not in ok("train", "tiny.yaml", "seed=1", "--dry-run").stderr


def test_a_finished_run_is_reused_and_force_trains_anew(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    before = contents(run)
    again = ok("train", finished.parent / "tiny.yaml", "--out", run)
    assert contents(run) == before
    assert f"{run}: finished before, nothing to do (--force trains anew)" in again.stderr
    assert "tiny: complete at step 20" in again.stdout
    forced = ok("train", finished.parent / "tiny.yaml", "--out", run, "--force", "--no-plots")
    assert "finished before" not in forced.stderr
    assert (
        contents(run)[(run / "metrics.csv").relative_to(run)]
        != before[(run / "metrics.csv").relative_to(run)]
    )


def test_a_run_cut_off_in_the_middle_is_trained_again(finished, tmp_path):
    """A killed process may leave no summary and an empty table."""
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "summary.json").unlink()
    (run / "metrics.csv").write_text("")
    ok("train", finished.parent / "tiny.yaml", "--out", run, "--quiet", "--no-plots")
    assert summary_of(run)["status"] == "complete"


def test_the_same_config_gives_the_same_bytes(finished, tmp_path, nnlab_process):
    """In another process, from the run's own complete config."""
    words = ["--out", tmp_path / "again", "--quiet", "--no-plots"]
    assert nnlab_process("train", finished / "config.yaml", *words).returncode == 0
    for name in ("config.yaml", "metrics.csv", "layers.csv", "histograms.csv", "summary.json"):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), name


def test_another_seed_gives_other_numbers(finished, other):
    assert (other / "metrics.csv").read_bytes() != (finished / "metrics.csv").read_bytes()


def test_a_dry_run_prints_the_complete_config_and_writes_nothing(tiny):
    before = contents(tiny)
    result = ok("train", "tiny.yaml", "--dry-run", "seed=5")
    assert contents(tiny) == before
    (tiny / "complete.yaml").write_text(result.stdout)
    assert read(tiny / "complete.yaml").tree["seed"] == 5
    assert re.search("20 steps, 5 records, about [0-9.]+ [MG]B of memory; not trained", result.stderr)
    assert ok("train", "complete.yaml", "--dry-run").stdout == result.stdout
    assert "measured" not in result.stderr
    stderr = ok("train", "tiny.yaml", "--dry-run", "phenomena.0=edge_of_stability", "expect={}").stderr
    assert re.search(
        "edge_of_stability: measured at 5 of 5 records, each time .* work of [0-9.]+ steps", stderr
    )


def test_quiet_prints_nothing(tiny):
    for _ in range(2):  # trained, then reused
        result = ok("train", "tiny.yaml", "--out", "run", "--quiet", "--no-plots")
        assert (result.stdout, result.stderr) == ("", "")


def test_smoke_runs_two_records_without_a_verdict(tiny):
    result = ok("train", "tiny.yaml", "train.steps=1000000", "expect.final.train_loss={max: -1}", "--smoke")
    (run,) = (tiny / "results").iterdir()
    assert run.name.startswith("tiny-smoke-")
    assert summary_of(run)["step"] == 4
    assert pandas.read_csv(run / "metrics.csv")["step"].tolist() == [0, 2, 4]
    assert "FAILS" not in result.stdout


def test_zero_steps_look_once(tiny):
    ok("train", "tiny.yaml", "train.steps=0", "--out", "run", "--quiet", "--no-plots")
    assert pandas.read_csv(tiny / "run" / "metrics.csv")["step"].tolist() == [0]


def test_a_failing_expectation_is_exit_1(tiny):
    result = run_nnlab(
        "train", "tiny.yaml", "expect.final.train_loss={max: -1}", "--out", "run", "--no-plots"
    )
    assert result.exit_code == 1
    assert "FAILS" in result.stdout
    assert summary_of(tiny / "run")["status"] == "complete"
    assert run_nnlab("train", "tiny.yaml", "expect.final.train_loss={max: -1}", "--out", "run").exit_code == 1


def test_divergence_is_exit_3_and_names_the_step(tiny):
    words = ("tiny.yaml", "optimizer.learning_rate=1e30", "loss=squared_error", "model.activation=square")
    result = run_nnlab("train", *words, "--out", "run", "--no-plots")
    assert result.exit_code == 3
    summary = summary_of(tiny / "run")
    assert summary["status"] == "diverged"
    assert 1 <= summary["diverged_at"] <= 5
    assert f"run: diverged at step {summary['diverged_at']}" in result.stderr
    assert pandas.read_csv(tiny / "run" / "metrics.csv")["step"].iloc[0] == 0
    assert run_nnlab("train", *words, "--out", "run", "--quiet").exit_code == 3, "and is not trained again"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_exits(tiny, number, code):
    words = ["train", "tiny.yaml", "train.steps=100000000", "record.every.steps=1000", "--out", "run"]
    process = subprocess.Popen([sys.executable, "-m", "nnlab", *words], stderr=subprocess.PIPE, text=True)
    metrics = tiny / "run" / "metrics.csv"
    while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr
    summary = summary_of(tiny / "run")
    assert summary["status"] == "interrupted"
    assert pandas.read_csv(metrics)["step"].iloc[-1] <= summary["step"]
    assert run_nnlab("check", "run").exit_code == 1


# --- what a run holds --------------------------------------------------------------------------------------


def test_columns_of_metrics(finished):
    metrics = pandas.read_csv(finished / "metrics.csv")
    expected = ["step", "epoch", "learning_rate"]
    expected += [
        f"{split}_{what}" for split in ("train", "validation", "test") for what in ("loss", "accuracy")
    ]
    expected += ["grad_norm", "weight_norm"]
    assert metrics.columns[: len(expected)].tolist() == expected
    assert metrics["step"].tolist() == [0, 5, 10, 15, 20]
    assert metrics["step"].dtype == np.int64
    np.testing.assert_allclose(metrics["epoch"], metrics["step"] / (84 // 8), rtol=1e-6)
    np.testing.assert_allclose(metrics["learning_rate"], 0.1, rtol=1e-6)
    assert metrics.notna().all(axis=None)
    assert metrics["train_loss"].iloc[-1] < metrics["train_loss"].iloc[0]


def test_columns_of_layers(finished):
    layers = pandas.read_csv(finished / "layers.csv")
    expected = ["step", "layer", "index", "grad_norm", "weight_norm", "update_ratio", "activation_mean"]
    expected += ["activation_std", "dead_fraction", "saturated_fraction"]
    assert [column for column in layers if column in expected] == expected
    assert layers["step"].unique().tolist() == [0, 5, 10, 15, 20]
    assert layers["layer"].dtype.kind in "OUT"
    for _, rows in layers.groupby("step"):
        assert rows["index"].is_monotonic_increasing
        assert rows["layer"].is_unique


def test_summary_holds_the_outcome(finished):
    summary, metrics = summary_of(finished), pandas.read_csv(finished / "metrics.csv")
    assert summary["status"] == "complete"
    assert summary["step"] == 20
    assert summary["parameters"] == 3 * 4 + 5 * 4 + 5 * 2
    assert summary["final"]["train_loss"] == metrics["train_loss"].iloc[-1]
    assert summary["best"]["train_loss"] == metrics["train_loss"].min()
    assert summary["best"]["train_accuracy"] == metrics["train_accuracy"].max()
    assert summary["gradient_flow"]["first_to_last_ratio"] > 0


def test_the_environment_is_recorded_apart(finished):
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["threads"] == 1
    assert environment["platform"] == "cpu"
    assert set(environment["versions"]) >= {"nnlab", "jax", "numpy"}
    assert len(environment["config_sha256"]) == len(environment["data_sha256"]) == 64
    assert list(pandas.read_csv(finished / "timing.csv").columns) == ["step", "seconds", "compiling"]


# --- plot, check, runs, compare ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def other(finished, tmp_path_factory):
    """A finished run that differs in its seed, and a little in its rate; not to be changed."""
    run = tmp_path_factory.mktemp("other") / "run"
    words = ["seed=1", "optimizer.learning_rate=0.10000001"]
    ok("train", finished / "config.yaml", *words, "--out", run, "--quiet", "--no-plots")
    return run


@pytest.fixture
def two(finished, other, tmp_path):
    """Copies of both in one folder."""
    folder = tmp_path / "results"
    shutil.copytree(finished, folder / "one", ignore=shutil.ignore_patterns("plots"))
    shutil.copytree(other, folder / "two")
    return folder


@pytest.mark.parametrize(("form", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_one_figure_in_a_format(finished, tmp_path, form, magic):
    words = ["--figure", "training_curves", "--format", form, "--out", tmp_path / "figures"]
    result = ok("plot", finished, *words)
    (path,) = (tmp_path / "figures").iterdir()
    assert result.stdout.split() == [str(path)]
    assert path.name == f"training_curves.{form}"
    assert path.read_bytes().startswith(magic)


def test_plot_several_runs_on_one_axes(two):
    result = ok("plot", two / "one", two / "two", "--figure", "training_curves", "--figure", "depth_profile")
    assert result.stdout.split() == [
        str(two / "plots" / f"{n}.png") for n in ("training_curves", "depth_profile")
    ]
    assert not (two / "one" / "plots").exists()


def test_plot_draws_all_figures_beside_the_run(two):
    ok("plot", two / "one")
    assert len(list((two / "one" / "plots").iterdir())) >= 4


def test_plot_a_running_run(two):
    (two / "one" / "summary.json").write_text('{"status": "running"}')
    ok("plot", two / "one", "--figure", "training_curves")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--figure", "training_curve"], "did you mean 'training_curves'?"),
        (["--format", "gif"], "gif"),
    ],
)
def test_plot_refuses(finished, tmp_path, words, says):
    result = run_nnlab("plot", finished, "--out", tmp_path / "figures", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "figures").exists()


def test_check_holds(finished):
    result = ok("check", finished)
    assert result.stdout.count("holds") == 2
    assert "gradient_flow.first_to_last_ratio" in result.stdout
    assert ">= 0" in result.stdout


def test_check_fails_when_one_of_several_runs_does(finished, two):
    config = (two / "one" / "config.yaml").read_text()
    assert "max: 100.0" in config
    (two / "one" / "config.yaml").write_text(config.replace("max: 100.0", "max: 1.0e-9"))
    result = run_nnlab("check", finished, two / "one", two / "two")
    assert result.exit_code == 1
    assert result.stdout.count("FAILS") == 1
    assert result.stdout.count("holds") == 5


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_check_of_an_unfinished_run_is_no(two, status):
    summary = summary_of(two / "one")
    (two / "one" / "summary.json").write_text(json.dumps(summary | {"status": status}))
    with RunDirectory(two / "one").held():  # as by the process that trains it
        result = run_nnlab("check", two / "one")
    assert result.exit_code == 1
    assert f"not finished (status {status})" in result.stderr


def test_compare_takes_runs_and_no_sweeps(two):
    (two / "swept").mkdir()
    (two / "swept" / "sweep.yaml").touch()
    result = run_nnlab("compare", two / "one", two / "swept")
    assert result.exit_code == 2
    assert result.stderr == f"{two / 'swept'}: no run directory: it is a sweep; its runs lie in trials/\n"


def test_runs_lists_them_and_what_is_damaged(two):
    (two / "three").mkdir()
    (two / "three" / "config.yaml").write_text("name: [")
    (two / "four").mkdir()
    shutil.copy(two / "one" / "config.yaml", two / "four" / "config.yaml")
    (two / "four" / "summary.json").write_text("{}")
    (two / "no run").mkdir()
    rows = {line.split()[0]: line for line in ok("runs", two).stdout.splitlines() if line.strip()}
    assert "complete" in rows["one"]
    assert "2 of 2 hold" in rows["one"]
    assert "test_loss" in rows["two"]
    assert "damaged" in rows["three"]
    assert "four" in rows
    assert "no" not in rows


def test_compare_shows_what_differs(two):
    result = ok("compare", two / "one", two / "two")
    rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert ["seed", "0", "1"] in rows
    assert ["optimizer.learning_rate", "0.1", "0.10000001"] in rows
    assert any(row[0] == "final.train_loss" for row in rows)
    assert not any(row[0] in ("train.steps", "data.type", "status") for row in rows)


@pytest.mark.parametrize("command", ["plot", "check", "compare"])
@pytest.mark.parametrize("place", ["gone", "empty", "file"])
def test_what_is_no_run_is_one_line(folder, finished, command, place):
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    result = run_nnlab(command, finished, place)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith((f"{place}: no ", f"{place}: is a file, no "))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(
            (name, content)
            for name in ("config.yaml", "summary.json")
            for content in (b"", b"\xff\xfe\0", b"[[[")
        ),
        *(("metrics.csv", content) for content in (b"", b"\xff\xfe\0", b"a,b\n1,2,3\n4,5,6,7\n")),
    ],
)
def test_a_damaged_run_is_one_line(two, name, content):
    (two / "one" / name).write_bytes(content)
    for command in (["plot", two / "one"], ["check", two / "one"], ["compare", two / "one", two / "two"]):
        result = run_nnlab(*command)
        assert result.exit_code == 2, (command, result.stdout)
        (line,) = result.stderr.splitlines()
        assert line.startswith(str(two / "one" / name))
    assert "one" in ok("runs", two).stdout


def rewritten(text, change):
    """A CSV's text after a change of its rows."""
    rows = [line.split(",") for line in text.splitlines()]
    change(rows)
    return "\n".join(",".join(row) for row in rows) + "\n"


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("metrics", lambda rows: rows[2].__setitem__(2, "high"), "'learning_rate' holds what is no number"),
        ("metrics", lambda rows: rows[2].__setitem__(0, "1e999"), "'step' holds what is no step"),
        ("metrics", lambda rows: rows[2].__setitem__(0, "-5"), "'step' holds what is no step"),
        ("metrics", lambda rows: rows.reverse() or rows.insert(0, rows.pop()), "its steps do not rise"),
        ("metrics", lambda rows: rows.insert(2, rows[2]), "has not as many rows at each step"),
        ("metrics", lambda rows: rows[0].pop(), "Length of header"),
        ("layers", lambda rows: rows.pop(2), "has not as many rows at each step"),
        ("layers", lambda rows: rows[2].__setitem__(2, "one"), "'index' holds what is no number"),
        ("layers", lambda rows: rows[2].__setitem__(2, "9" * 400), "'index' holds what is no number"),
        (
            "layers",
            lambda rows: rows[2].__setitem__(1, "x" * 2000),
            "'layer' holds more than 1,000 characters",
        ),
    ],
)
def test_a_table_that_is_none_is_one_line(two, name, change, says):
    file = two / "one" / f"{name}.csv"
    file.write_text(rewritten(file.read_text(), change))
    for command in (["plot", two / "one"], ["check", two / "one"]):
        result = run_nnlab(*command)
        assert result.exit_code == 2
        assert result.stderr == f"{file}: damaged: {result.stderr.partition('damaged: ')[2]}"
        assert says in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"final": {"train_loss": 10**400}},
        {"gradient_flow": [1, 2]},
        {"gradient_flow": {"verdict": {"a": 1}}},
        {"final": {"train_loss": "low"}},
        {"trials": 1, "final": "low"},
        {"a": {str(number): 0 for number in range(6000)}},
        {"reason": "x" * 2**20},
    ],
)
def test_a_summary_of_another_form_is_one_line(two, change):
    file = two / "one" / "summary.json"
    file.write_text(json.dumps(summary_of(two / "one") | change))
    for command in (["check", two / "one"], ["compare", two / "two", two / "one"]):
        result = run_nnlab(*command)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{file}: damaged: ")
        assert result.stderr.count("\n") == 1
    assert "damaged" in ok("runs", two).stdout


def test_a_config_of_many_mistakes_is_one_line(two):
    (two / "one" / "config.yaml").write_text("".join(f"key_{number}: 1\n" for number in range(30)))
    result = run_nnlab("check", two / "one")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{two / 'one' / 'config.yaml'}:1:1: ")
    assert re.search(r"\(and \d+ more\)\n$", result.stderr)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("figure", [[], ["--figure", "flat_units"]])
def test_tables_of_another_config_are_one_line(two, figure):
    """What is whole by itself, and does not fit what it lies beside."""
    rows = (two / "one" / "layers.csv").read_text().replace("dead_fraction", "lost_fraction")
    (two / "one" / "layers.csv").write_text(rows)
    result = run_nnlab("plot", two / "one", *figure)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{two / 'one'}: figure '")
    assert "cannot be drawn of what its files hold (KeyError" in result.stderr
    assert result.stderr.count("\n") == 1


def test_plot_does_not_follow_a_link_out_of_the_run(two, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (two / "one" / "plots").symlink_to(elsewhere)
    words = ["plot", two / "one", "--figure", "training_curves"]
    result = run_nnlab(*words)
    assert result.exit_code == 2
    assert result.stderr == (
        f"{two / 'one' / 'plots'}: is a symbolic link; remove it, or name another folder with plot --out\n"
    )
    assert list(elsewhere.iterdir()) == []
    ok(*words, "--out", two / "one" / "plots")  # asked for by name
    (elsewhere / "training_curves.png").unlink()
    (elsewhere / "target").write_text("kept")
    (elsewhere / "training_curves.png").symlink_to(elsewhere / "target")
    ok(*words, "--out", elsewhere)
    assert (elsewhere / "target").read_text() == "kept"
    assert not (elsewhere / "training_curves.png").is_symlink()


def test_a_figure_is_whole_or_not_there(finished, tmp_path, monkeypatch):
    place = tmp_path / "figures"
    words = ["plot", finished, "--figure", "training_curves", "--out", place]
    ok(*words)
    before = (place / "training_curves.png").read_bytes()

    def full(file, content):
        os.write(file, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nnlab.system.files._write_all", full)
    result = run_nnlab(*words)
    assert result.exit_code == 1
    assert result.stderr == f"{place / 'training_curves.png'}: cannot be written: No space left on device\n"
    assert [path.name for path in place.iterdir()] == ["training_curves.png"]
    assert (place / "training_curves.png").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.drop(columns="status"), "has no column 'status'"),
        (lambda table: table.assign(trial="../../elsewhere"), "'trial' holds what is no name of a folder"),
        (
            lambda table: pandas.concat([table, table]),
            "'trial' holds what is no name of a folder, or one twice",
        ),
        (lambda table: table.assign(seed="first"), "'seed' holds what is no number"),
        (
            lambda table: table.assign(**{"final.train_loss": "low"}),
            "'final.train_loss' holds what is no number",
        ),
    ],
)
def test_trials_that_are_none_are_one_line(tmp_path, finished, change, says):
    sweep, file = tmp_path / "sweep", tmp_path / "sweep" / "trials.csv"
    sweep.mkdir()
    config = (
        (finished / "config.yaml").read_text().replace("sweep: null", "sweep: {axes: {model.width: [4, 8]}}")
    )
    (sweep / "sweep.yaml").write_text(config)
    (sweep / "summary.json").write_text('{"status": "complete", "trials": 2}')
    row = {"seed": 0, "status": "complete", "reason": "", "final.train_loss": 0.5}
    table = pandas.DataFrame([{"trial": f"t{width}", "model.width": width} | row for width in (4, 8)])
    table.to_csv(file, index=False)
    assert run_nnlab("check", sweep).exit_code == 1  # its trials do not have all that is expected
    change(table).to_csv(file, index=False)
    for command in ("check", "plot"):
        result = run_nnlab(command, sweep)
        assert result.exit_code == 2
        assert result.stderr == f"{file}: damaged: {result.stderr.partition('damaged: ')[2]}"
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
    table.head(0).to_csv(file, index=False)
    assert run_nnlab("check", sweep).exit_code == 1
    table.drop(columns="model.width").to_csv(file, index=False)
    result = run_nnlab("plot", sweep)
    assert (result.exit_code, result.stderr) == (2, f"{file}: damaged: has no column 'model.width'\n")


def test_compare_wants_two(finished):
    assert run_nnlab("compare", finished).exit_code == 2


def test_runs_of_no_folder(folder):
    assert run_nnlab("runs").exit_code == 2
    (folder / "results").mkdir()
    ok("runs")


# --- validate, summary, new, schema, info ------------------------------------------------------------------


def test_validate(tiny):
    result = ok("validate", "tiny.yaml")
    assert result.stdout == "tiny.yaml: ok (42 parameters, 20 steps)\n"
    assert [path.name for path in tiny.iterdir()] == ["tiny.yaml"]


def test_summary(tiny):
    rows = [line.split() for line in ok("summary", "tiny.yaml", "model.width=8").stdout.splitlines()]
    assert ["dense_1", "dense", "[None,", "8]", "24"] in rows
    assert ["tanh_1", "tanh", "[None,", "8]", "0"] in rows
    assert ["Total", "parameters:", "114"] in rows


def test_summary_counts_as_keras_does(folder):
    """Flatten, BN, 300, BN, 100, BN, 10 on 28 x 28: Géron, Hands-On Machine Learning, chapter 11."""
    (folder / "images").mkdir()
    pixels, labels = np.zeros((30, 28, 28), np.uint8), np.arange(30, dtype=np.uint8) % 10
    for name, array in (("train-images-idx3-ubyte", pixels), ("train-labels-idx1-ubyte", labels)):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / "images" / name).write_bytes(head + array.tobytes())
    (folder / "keras.yaml").write_text(
        "name: keras\ndata: {type: idx, path: images}\ntrain: {epochs: 1}\n"
        "model: [flatten, batch_norm, {type: dense, units: 300}, relu, batch_norm, {type: dense, units: 100},"
        " relu, batch_norm, {type: dense, units: 10}]\n"
    )
    lines = ok("summary", "keras.yaml").stdout.splitlines()
    counts = [line.split()[-1] for line in lines if line.split()[1:2] in (["batch_norm"], ["dense"])]
    assert counts == ["3,136", "235,500", "1,200", "30,100", "400", "1,010"]
    assert lines[-3:] == [
        "Total parameters: 271,346",
        "Trainable parameters: 268,978",
        "Non-trainable parameters: 2,368",
    ]


def test_summary_notes_what_a_layer_does_not_see(folder):
    (folder / "odd.yaml").write_text(
        "name: odd\ndata: {type: digits}\ntrain: {epochs: 1}\nmodel: [{type: reshape, shape: [8, 8]},"
        " {type: max_pool, size: 3}, flatten, {type: dense, units: 10}]\n"
    )
    lines = ok("summary", "odd.yaml").stdout.splitlines()
    assert [line.split()[-1] for line in lines if "output shape" in line] == ["note"]
    notes = [line.strip() for line in lines if "unseen" in line]
    assert [note.split()[0] for note in notes] == ["max_pool_1"]
    assert notes[0].endswith("  last 2 of 8 rows and columns unseen")


def test_new_lists_and_writes_what_is_shipped(folder):
    listed = ok("new").stdout
    assert "vanishing_gradients" in listed
    result = ok("new", "vanishing_gradients")
    assert result.stdout == "vanishing_gradients.yaml: written; next: nnlab train vanishing_gradients.yaml\n"
    ok("validate", "vanishing_gradients.yaml")
    again = run_nnlab("new", "vanishing_gradients")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    ok("new", "vanishing_gradients", "--out", "mine.yaml")
    assert (folder / "mine.yaml").read_bytes() == (folder / "vanishing_gradients.yaml").read_bytes()
    first, _, rest = (folder / "mine.yaml").read_text().partition("\n")
    assert first == "# yaml-language-server: $schema=nnlab.schema.json"
    assert rest == shipped_experiments()["vanishing_gradients"].read_text()
    assert (folder / "nnlab.schema.json").read_text() == ok("schema").stdout


def test_new_writes_a_control_that_works_on_its_own(folder):
    result = ok("new", "double_descent_mnist1d_clean")
    assert result.stdout.endswith("next: nnlab sweep double_descent_mnist1d_clean.yaml\n")
    written = read_with_base(folder / "double_descent_mnist1d_clean.yaml").tree
    assert written == read_with_base(shipped_experiments()["double_descent_mnist1d_clean"]).tree


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["vanishing_gradient"], "did you mean 'vanishing_gradients'?"),
        (["vanishing_gradients", "--out", "no/x"], "no/x: "),
    ],
)
def test_new_refuses(folder, words, says):
    result = run_nnlab("new", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert list(folder.iterdir()) == []


def test_schema_is_json():
    schema = json.loads(ok("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "sigmoid" in json.dumps(schema["$defs"]["layer"])


def test_schema_is_written_beside_files_and_over_nothing_else(folder):
    (folder / "first.yaml").write_text("name: first\n")
    for _ in range(2):
        assert ok("schema", "--out", "nnlab.schema.json").stdout == "nnlab.schema.json: written\n"
        assert (folder / "nnlab.schema.json").read_text() == ok("schema").stdout
    for place in ("first.yaml", "."):
        result = run_nnlab("schema", "--out", place)
        assert result.exit_code == 2
        assert result.stderr == f"{place}: is there already, and no schema of nnlab; name another --out\n"
    assert (folder / "first.yaml").read_text() == "name: first\n"
    ok("new", "vanishing_gradients")
    (folder / "nnlab.schema.json").write_text("{}")
    ok("new", "grokking_mod31")
    assert (folder / "nnlab.schema.json").read_text() == "{}", "one that is there stays"


def test_info():
    rows = [line.split() for line in ok("info").stdout.splitlines()]
    words = {row[0]: row[1:] for row in rows if row}
    assert words["nnlab"] == [__version__]
    assert words["platform"] == ["cpu"]
    assert words["threads"] == ["1"]
    assert os.environ["XDG_CACHE_HOME"] in " ".join(words["cache"])


def test_tables_are_cut_nowhere_when_piped(two):
    """A name too long for the width of a terminal."""
    name = "a" * 80
    (two / "one").rename(two / name)
    assert name in ok("runs", two).stdout


def test_changed_data_are_not_taken_for_the_old(folder):
    """The config says where the data are, not what they hold: a finished run of other data is no answer."""
    rows = "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(60))
    (folder / "data.csv").write_text("a,b,label\n" + rows)
    (folder / "run.yaml").write_text(
        "name: from-csv\ndata: {type: csv, path: data.csv, target: label}\n"
        "model: {type: mlp, width: 4, depth: 1, outputs: 2}\ntrain: {steps: 2}\n"
    )
    assert run_nnlab("train", "run.yaml", "--no-plots").exit_code == 0
    (folder / "data.csv").write_text("a,b,label\n" + rows.replace("6,", "9,"))
    result = run_nnlab("train", "run.yaml", "--no-plots")
    assert result.exit_code == 2
    assert "its data have changed since" in result.stderr


@pytest.mark.parametrize(
    ("override", "word"),
    [("expect.final.tset_accuracy={min: 0}", "test_accuracy"), ("expect.status.equals=complet", "complete")],
)
def test_an_expectation_of_nothing_is_refused_before_training(folder, override, word):
    (folder / "tiny.yaml").write_text(TINY)
    result = run_nnlab("train", "tiny.yaml", override, "--dry-run")
    assert result.exit_code == 2
    assert f"did you mean '{word}'?" in result.stderr


def test_an_override_reaches_an_argument_of_a_default(folder):
    text = "".join(line for line in TINY.splitlines(True) if not line.startswith("optimizer"))
    (folder / "tiny.yaml").write_text(text)
    result = run_nnlab("train", "tiny.yaml", "optimizer.momentum=0.5", "--dry-run")
    optimizer = yaml.safe_load(result.stdout)["optimizer"]
    assert optimizer["type"] == "sgd"
    assert (optimizer["learning_rate"], optimizer["momentum"]) == (0.01, 0.5)


@pytest.mark.parametrize(("equals", "found", "holds"), [(0, 0.0, True), (True, 1, False), (1, True, False)])
def test_equals_compares_numbers_as_numbers(equals, found, holds):
    from nnlab.config.experiment_keys import Bound

    assert Bound(equals=equals).holds(found) is holds
