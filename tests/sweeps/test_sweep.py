"""Sweeps in real processes: what they leave, what they run again, and what becomes of them under fire."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from support import run_nnlab

from nnlab.config import load
from nnlab.runs.resume import ResumePolicy, RunTask
from nnlab.runs.run import run_together
from nnlab.sweeps.claims import Claims
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Event
from nnlab.sweeps.plan import make_plan
from nnlab.sweeps.recorder import SweepRecorder
from nnlab.sweeps.tables import row_of, write_summary
from nnlab.sweeps.trials import trials_of
from nnlab.system import device
from nnlab.training.experiment import build_experiment

BASE = """\
name: tiny
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20}
record: {every: {steps: 10}}
"""
WIDTHS = """\
sweep: {axes: {model.width: [3, 4, 6]}, seeds: 2}
phenomena: [gradient_flow, {type: double_descent, capacity: model.width}]
expect:
  double_descent.verdict: {equals: none}
  final.train_loss: {max: 100}
"""
LONG = """\
name: long
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 200000}
record: {every: {steps: 10000}}
sweep: {seeds: 2}
"""
TABLES = {"trials.csv", "summary.csv", "sweep.yaml", "summary.json"}
OF_A_TRIAL = {"config.yaml", "metrics.csv", "layers.csv", "summary.json"}
SPLITS = ("train", "validation", "test")


def swept(*arguments, code=0):
    """`nnlab sweep` in this process, its workers in theirs; it prints nothing."""
    result = run_nnlab("sweep", *arguments, "--quiet")
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    if code < 2:
        assert result.stderr == ""
    return result


def left_by(out):
    """Every file that must be the same whenever the sweep is the same: its bytes by its path."""
    files = [out / name for name in TABLES]
    for trial in (out / "trials").iterdir():
        files += [trial / name for name in OF_A_TRIAL]
        last = sorted((trial / "checkpoints").iterdir())[-1]
        files += [last / f"{name}.safetensors" for name in ("weights", "best", "training")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def moments(out):
    """When each trial's summary was written."""
    return {trial.name: (trial / "summary.json").stat().st_mtime_ns for trial in (out / "trials").iterdir()}


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def summary_of(place):
    return json.loads((place / "summary.json").read_text())


def trials_table(out):
    return pandas.read_csv(out / "trials.csv")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the experiment files."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "tiny.yaml").write_text(BASE + WIDTHS)
    (folder / "long.yaml").write_text(LONG)
    return folder


@pytest.fixture(scope="module")
def done(home):
    """A finished sweep of two workers, run as a user does, and what it printed; not to be changed."""
    command = [sys.executable, "-m", "nnlab", "sweep", "tiny.yaml", "--out", "done", "--jobs", "2"]
    process = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    return home / "done", process


@pytest.fixture
def copied(done, tmp_path):
    """A copy of the finished sweep, to be changed."""
    return Path(shutil.copytree(done[0], tmp_path / "copied"))


@pytest.fixture(scope="module")
def undisturbed(home):
    """What a sweep of two trials of seconds each leaves that nobody disturbed."""
    swept(home / "long.yaml", "--out", home / "undisturbed", "--no-plots")
    return left_by(home / "undisturbed")


# --- what a sweep leaves ---------------------------------------------------------------------------------


def test_it_says_how_it_ended_and_where_everything_is(done):
    out, process = done
    assert process.returncode == 0, process.stderr
    notes = process.stderr.splitlines()
    assert all(": not drawn: " in note for note in notes), "no bar where stderr is no terminal"
    for words in ("tiny: complete, 6 complete trials, in done", "verdict", "holds", "double_descent.png"):
        assert words in process.stdout
    assert {path.name for path in out.iterdir()} >= {*TABLES, "plots", "trials"}
    assert [path.name for path in (out / "plots").iterdir()] == ["double_descent.png"]
    assert (out / "plots" / "double_descent.png").read_bytes().startswith(b"\x89PNG")


def test_no_file_is_left_half_written(done):
    assert not [path for path in done[0].rglob(".*") if path.name != ".lock"]


def test_trials_csv_has_a_row_a_trial(done, home):
    out, _ = done
    table = trials_table(out)
    assert table.columns[:5].tolist() == ["trial", "model.width", "seed", "status", "reason"]
    assert table["trial"].tolist() == [t.id for t in trials_of(load(home / "tiny.yaml"))]
    assert sorted(table["trial"]) == sorted(path.name for path in (out / "trials").iterdir())
    assert table["model.width"].tolist() == [3, 3, 4, 4, 6, 6]
    assert table["seed"].tolist() == [0, 1] * 3
    assert table["status"].tolist() == ["complete"] * 6
    assert table["reason"].isna().all()
    for row in table.to_dict("records"):
        summary = summary_of(out / "trials" / row["trial"])
        for part in ("final", "best", "gradient_flow"):
            for name, number in summary[part].items():
                cell = row[f"{part}.{name}"]
                assert cell == number or (number is None and pandas.isna(cell)), (part, name)
        assert row["parameters"] == summary["parameters"]
    assert table["final.train_loss"].nunique() == 6, "all trials are different ones"


def test_summary_csv_has_the_statistics_over_seeds(done):
    out, _ = done
    table, summary = trials_table(out), pandas.read_csv(out / "summary.csv")
    assert summary.columns.tolist() == [
        "model.width", "metric", "mean", "std", "median", "min", "max", "count",
        "diverged", "failed", "pruned",
    ]  # fmt: skip
    assert {f"final.{split}_{what}" for split in SPLITS for what in ("loss", "accuracy")} <= set(
        summary["metric"]
    )
    assert not summary.duplicated(["model.width", "metric"]).any()
    assert set(summary["model.width"]) == {3, 4, 6}
    for row in summary.to_dict("records"):
        values = table.loc[table["model.width"] == row["model.width"], row["metric"]]
        for name in ("mean", "std", "median", "min", "max", "count"):
            np.testing.assert_allclose(row[name], getattr(values, name)(), rtol=1e-12, err_msg=str(row))


def test_summary_json_counts_and_holds_the_detectors_numbers(done):
    summary = summary_of(done[0])
    assert summary["status"] == "complete"
    assert [summary[word] for word in ("trials", "complete", "diverged", "failed")] == [6, 6, 0, 0]
    table = trials_table(done[0])
    errors = 1 - table.groupby("model.width")["final.test_accuracy"].mean()
    assert summary["double_descent"]["metric"] == "error"
    assert summary["double_descent"]["classical_minimum"] == pytest.approx(errors.min())


def test_every_trial_is_a_run_that_the_commands_read(done, tmp_path):
    out, _ = done
    runs = sorted((out / "trials").iterdir())
    assert all({path.name for path in run.iterdir()} >= OF_A_TRIAL for run in runs)
    assert run_nnlab("check", *runs).exit_code == 0
    plotted = run_nnlab("plot", runs[0], "--out", tmp_path)
    assert plotted.exit_code == 0, plotted.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"training_curves.png"}
    compared = run_nnlab("compare", *runs[:3])
    assert compared.exit_code == 0
    assert "model.width" in compared.stdout


def test_the_commands_read_the_sweep(done, home, tmp_path):
    out, _ = done
    checked = run_nnlab("check", out)
    assert (checked.exit_code, checked.stdout.count("holds")) == (0, 2)
    assert run_nnlab("plot", out, "--format", "svg", "--out", tmp_path).exit_code == 0
    assert (tmp_path / "double_descent.svg").read_text().startswith("<?xml")
    listed = run_nnlab("runs", home)
    assert "6 trials" in listed.stdout
    assert "2 of 2 hold" in listed.stdout
    mixed = run_nnlab("plot", out, next((out / "trials").iterdir()))
    assert mixed.exit_code == 2


def test_a_trial_is_what_train_makes_of_its_config(done, tmp_path):
    out, _ = done
    trial = out / "trials" / trials_table(out)["trial"].iloc[3]
    trained = run_nnlab("train", trial / "config.yaml", "--out", tmp_path / "run", "--quiet", "--no-plots")
    assert trained.exit_code == 0, trained.stderr
    for name in OF_A_TRIAL:
        assert (tmp_path / "run" / name).read_bytes() == (trial / name).read_bytes(), name


def test_a_broken_expectation_of_a_sweep_is_exit_1(done, home, tmp_path, copied):
    """Other expectations are of the same trials, so nothing is run for it."""
    before = moments(copied)
    swept(home / "tiny.yaml", "expect.final.train_loss={max: 0.1}", "--out", copied, "--no-plots", code=1)
    assert moments(copied) == before
    checked = run_nnlab("check", copied)
    assert checked.exit_code == 1
    assert "final.train_loss (every trial)" in checked.stdout
    assert "FAILS" in checked.stdout
    assert summary_of(copied)["status"] == "complete"


# --- what is run again -----------------------------------------------------------------------------------


def test_running_it_again_runs_nothing_and_changes_no_byte(copied, home):
    before, when = left_by(copied), moments(copied)
    plan = run_nnlab("sweep", home / "tiny.yaml", "--out", copied, "--dry-run")
    assert "6 done, 0 to run" in plan.stdout
    swept(home / "tiny.yaml", "--out", copied)
    assert left_by(copied) == before
    assert moments(copied) == when


def test_its_own_complete_config_makes_the_same_trials(copied):
    before, when = left_by(copied), moments(copied)
    swept(copied / "sweep.yaml", "--out", copied, "--no-plots")
    assert left_by(copied) == before
    assert moments(copied) == when


def test_a_deleted_and_a_half_written_trial_alone_are_run_again(copied, home):
    before, when = left_by(copied), moments(copied)
    deleted, damaged, *others = sorted(when)
    shutil.rmtree(copied / "trials" / deleted)
    (copied / "trials" / damaged / "summary.json").write_text('{"status": "comp')
    swept(home / "tiny.yaml", "--out", copied, "--no-plots")
    assert left_by(copied) == before
    assert {name: moments(copied)[name] for name in others} == {name: when[name] for name in others}
    assert moments(copied)[damaged] != when[damaged]


def test_more_values_run_only_the_new_ones(copied, home):
    when = moments(copied)
    swept(home / "tiny.yaml", "model.width=2,3,4,6", "sweep.seeds=[0,1]", "--out", copied, "--no-plots")
    now = moments(copied)
    assert len(now) == 8
    assert {name: now[name] for name in when} == when
    table = trials_table(copied)
    assert table["model.width"].tolist() == [2, 2, 3, 3, 4, 4, 6, 6]
    assert set(table["trial"]) == set(now)
    assert summary_of(copied)["trials"] == 8


def test_fewer_values_are_the_rows_of_the_tables_and_nothing_is_thrown_away(copied, home):
    when = moments(copied)
    words = ("model.width=4,6,3", "sweep.seeds=1", "~expect.double_descent.verdict")
    swept(home / "tiny.yaml", *words, "--out", copied, "--no-plots")
    assert moments(copied) == when
    assert trials_table(copied)["model.width"].tolist() == [4, 6, 3]
    assert summary_of(copied)["trials"] == 3


@pytest.mark.parametrize("jobs", [1, 4])
def test_force_runs_all_of_them_and_any_number_of_workers_leaves_the_same_bytes(jobs, copied, home):
    before, when = left_by(copied), moments(copied)
    swept(home / "tiny.yaml", "--out", copied, "--force", "--no-plots", "--jobs", jobs)
    assert left_by(copied) == before
    now = moments(copied)
    assert now.keys() == when.keys()
    assert all(now[name] > when[name] for name in when)


def test_a_trial_has_the_bytes_of_its_config_trained_on_one_thread(done, tmp_path):
    (trial, *_) = sorted((done[0] / "trials").iterdir())
    environment = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
    for threads in (1, 2):
        command = [sys.executable, "-m", "nnlab", "train", trial / "config.yaml", "--no-plots", "--quiet"]
        out = tmp_path / str(threads)
        subprocess.run([*command, "--threads", str(threads), "--out", out], env=environment, check=True)
        assert json.loads((out / "environment.json").read_text())["threads"] == threads
    assert json.loads((trial / "environment.json").read_text())["threads"] == 1
    for name in OF_A_TRIAL:
        assert (tmp_path / "1" / name).read_bytes() == (trial / name).read_bytes()
    weights = [
        next((run / "checkpoints").glob("step-*/weights.safetensors")) for run in (tmp_path / "1", trial)
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


# --- dry run, smoke, places ------------------------------------------------------------------------------


def test_a_dry_run_prints_trials_and_programs_and_writes_nothing(folder):
    (folder / "tiny.yaml").write_text(BASE + WIDTHS)
    before = contents(folder)
    result = run_nnlab("sweep", "tiny.yaml", "--dry-run")
    assert result.exit_code == 0
    assert contents(folder) == before
    for trial in trials_of(load(folder / "tiny.yaml")):
        assert trial.id in result.stdout
    assert "6 trials, 0 done, 6 to run as 3 programs" in result.stdout
    assert "results/tiny-sweep-" in result.stdout
    many = run_nnlab("sweep", "tiny.yaml", "sweep.seeds=50", "--dry-run")
    assert "and 110 more" in many.stdout
    assert "150 trials" in many.stdout
    quiet = run_nnlab("sweep", "tiny.yaml", "--dry-run", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert contents(folder) == before


def test_rates_and_seeds_share_a_program_and_widths_do_not(folder):
    (folder / "tiny.yaml").write_text(BASE)
    plan = ["sweep", "tiny.yaml", "sweep.seeds=4", "--dry-run"]
    assert "as 1 program," in run_nnlab(*plan, "optimizer.learning_rate=0.1,0.2").stdout
    assert "as 2 programs" in run_nnlab(*plan, "model.width=3,4").stdout


def test_the_default_place_is_the_experiments_whatever_varies(folder):
    (folder / "tiny.yaml").write_text(BASE + WIDTHS)

    def place(*overrides):
        result = run_nnlab("sweep", "tiny.yaml", *overrides, "--dry-run")
        (line,) = [line for line in result.stdout.splitlines() if "trials," in line]
        return line.split(":")[0]

    default = place()
    assert place("model.width=3,4,5,6", "sweep.seeds=9") == default
    assert place("optimizer.learning_rate=0.2") != default
    assert place("seed=1") != default


def test_smoke_cuts_every_trial_short_and_judges_nothing(folder):
    (folder / "tiny.yaml").write_text(
        BASE.replace("steps: 20", "steps: 90000000").replace("steps: 10}", "steps: 1000}")
        + "sweep: {axes: {optimizer.learning_rate: [0.1, 0.2]}}\nexpect: {final.train_loss: {max: -1}}\n"
    )
    swept("tiny.yaml", "--smoke", "--no-plots")
    (out,) = (folder / "results").iterdir()
    assert out.name.startswith("tiny-smoke-sweep-")
    assert trials_table(out)["step"].tolist() == [4, 4]


def test_smoke_cuts_trials_short_that_an_axis_makes_long(folder):
    (folder / "tiny.yaml").write_text(BASE + "sweep: {axes: {train.steps: [1000000, 1900000]}}\n")
    result = run_nnlab("sweep", "tiny.yaml", "--smoke", "--dry-run")
    assert result.exit_code == 0, result.stderr
    operations = float(result.stdout.partition(" floating-point operations")[0].split()[-1])
    assert operations < 1e7, "two trials of 4 steps of 22 weights"


def test_a_place_that_holds_something_else_is_refused(folder, finished, copied, home):
    (folder / "some").mkdir()
    (folder / "some" / "thesis.tex").write_text("")
    (folder / "file").write_text("")
    for place in ("some", "file", finished):
        result = run_nnlab("sweep", home / "tiny.yaml", "--out", place)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert str(place) in line
        assert line.endswith(("name another --out", "no place for a sweep"))
    assert [path.name for path in (folder / "some").iterdir()] == ["thesis.tex"]
    before = left_by(copied)
    result = run_nnlab("sweep", home / "tiny.yaml", "train.steps=21", "--out", copied)
    assert result.exit_code == 2
    assert "holds a sweep of another experiment" in result.stderr
    assert left_by(copied) == before
    assert run_nnlab("train", finished.parent / "tiny.yaml", "--out", copied).exit_code == 2


def test_a_sweep_that_died_before_it_wrote_anything_can_be_begun(home, tmp_path):
    """Its lock is there, and nothing else."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").write_text(f"process 999999 on {socket.gethostname()}")
    result = run_nnlab("sweep", home / "tiny.yaml", "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.stderr


# --- trials that fail or diverge -------------------------------------------------------------------------


@pytest.fixture
def of_files(folder):
    """A sweep over three data files, one of which `vanish` takes away when the sweep has begun."""
    rows = "".join(f"{i % 7},{i % 3},{i % 2}\n" for i in range(60))
    for name in "abc":
        (folder / f"{name}.csv").write_text(f"x,y,label\n{rows}")
    (folder / "files.yaml").write_text(
        BASE.replace("{type: xor, examples: 120,", "{type: csv, path: a.csv, target: label,")
        + "sweep: {axes: {data.path: [a.csv, b.csv, c.csv]}}\n"
    )
    return folder


def begun(*words, until="sweep.yaml", cwd=None):
    """A sweep in a process of its own, waited for until a file is there below its directory `out`."""
    command = [sys.executable, "-m", "nnlab", "sweep", *map(str, words), "--no-plots"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    out = Path(cwd or ".") / words[words.index("--out") + 1]
    while process.poll() is None:
        if any(file.stat().st_size for file in out.glob(until)):
            return process
        time.sleep(0.01)
    process.kill()
    raise AssertionError(process.communicate())


def test_a_trial_that_fails_says_why_and_is_run_the_next_time(of_files):
    process = begun("files.yaml", "--out", "out")
    (of_files / "b.csv").rename(of_files / "away.csv")
    stdout, stderr = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in stderr + stdout
    assert "failed" in stdout
    assert "there is no 'b.csv'" in stdout
    table = trials_table(of_files / "out")
    assert table["status"].tolist() == ["complete", "failed", "complete"]
    assert "there is no 'b.csv'" in table["reason"].iloc[1]
    summary = summary_of(of_files / "out")
    assert (summary["status"], summary["complete"], summary["failed"]) == ("failed", 2, 1)
    failed = summary_of(of_files / "out" / "trials" / table["trial"].iloc[1])
    assert failed["status"] == "failed"
    assert "there is no 'b.csv'" in failed["reason"]
    assert run_nnlab("check", "out").exit_code == 1
    when = moments(of_files / "out")
    (of_files / "away.csv").rename(of_files / "b.csv")
    swept("files.yaml", "--out", "out", "--no-plots")
    now = moments(of_files / "out")
    assert [name for name in now if now[name] != when[name]] == [table["trial"].iloc[1]]
    assert trials_table(of_files / "out")["status"].tolist() == ["complete"] * 3
    assert trials_table(of_files / "out")["reason"].isna().all()
    assert summary_of(of_files / "out")["status"] == "complete"


def test_fail_fast_leaves_at_the_first_failure(of_files):
    process = begun("files.yaml", "--out", "out", "--fail-fast", "--jobs", "1", "--quiet")
    for name in "abc":
        (of_files / f"{name}.csv").unlink()
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (1, "", "")
    states = trials_table(of_files / "out")["status"].fillna("").tolist()
    assert sorted(states) == ["", "", "failed"]


DIVERGING = """\
loss: squared_error
sweep: {axes: {optimizer.learning_rate: [0.001, 0.002, 0.003, 1.0e+30]}}
phenomena: [{type: double_descent, capacity: optimizer.learning_rate}]
"""


def test_a_trial_that_diverges_is_counted_and_drawn(folder):
    (folder / "tiny.yaml").write_text(BASE.replace("tanh", "square") + DIVERGING)
    result = run_nnlab("sweep", "tiny.yaml", "--out", "out")
    assert result.exit_code == 0, result.stderr
    assert "3 complete, 1 diverged" in result.stdout
    assert trials_table(folder / "out")["status"].tolist() == ["complete"] * 3 + ["diverged"]
    summary = summary_of(folder / "out")
    assert [summary[word] for word in ("complete", "diverged", "failed")] == [3, 1, 0]
    assert summary["double_descent"]["classical_capacity"] < 1
    table = pandas.read_csv(folder / "out" / "summary.csv").query("metric == 'final.train_loss'")
    assert table["optimizer.learning_rate"].tolist() == [0.001, 0.002, 0.003, 1e30]
    assert table[["count", "diverged", "failed"]].to_numpy().tolist() == [[1, 0, 0]] * 3 + [[0, 1, 0]]
    assert table["mean"].isna().tolist() == [False] * 3 + [True]
    assert (folder / "out" / "plots" / "double_descent.png").stat().st_size > 1000
    when = moments(folder / "out")
    swept("tiny.yaml", "--out", "out", "--no-plots")
    assert moments(folder / "out") == when, "what diverged would diverge again"


def test_a_sweep_whose_trials_all_diverge_has_ended(folder):
    (folder / "tiny.yaml").write_text(
        BASE.replace("tanh", "square") + DIVERGING.replace("0.001, 0.002, 0.003", "1.0e+31, 1.0e+32")
    )
    result = run_nnlab("sweep", "tiny.yaml", "--out", "out", "--no-plots")
    assert result.exit_code in (0, 1)
    summary = summary_of(folder / "out")
    assert summary["status"] in ("complete", "diverged", "failed"), "nothing of it is running any more"
    assert summary["diverged"] == 3
    assert "no trial is complete, there is no best" in result.stdout
    table = pandas.read_csv(folder / "out" / "summary.csv").query("metric == 'final.train_loss'")
    assert table[["count", "diverged"]].to_numpy().tolist() == [[0, 1]] * 3


# --- killed and interrupted ------------------------------------------------------------------------------


def workers(process):
    """The worker processes of a sweep."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def alive(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(processes):
    """Forever, if need be: pytest's timeout ends a test that waits in vain."""
    while any(map(alive, processes)):
        time.sleep(0.02)


def training(home, out, *words):
    """A sweep of long.yaml in the middle of its trials, and its workers."""
    process = begun(home / "long.yaml", "--out", out, *words, until="trials/*/metrics.csv")
    pids = workers(process.pid)
    assert pids, "it was done before anything could be done to it"
    return process, pids


def test_a_killed_workers_trial_is_run_again_in_the_same_sweep(home, undisturbed, tmp_path):
    process, pids = training(home, tmp_path / "out", "--quiet", "--jobs", "1")
    os.kill(pids[0], signal.SIGKILL)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert left_by(tmp_path / "out") == undisturbed


def test_a_killed_sweep_leaves_no_worker_and_is_resumed(home, undisturbed, tmp_path):
    process, pids = training(home, tmp_path / "out", "--quiet")
    process.kill()
    process.communicate()
    wait_until_gone(pids)
    assert left_by_any(tmp_path / "out") != undisturbed
    swept(home / "long.yaml", "--out", tmp_path / "out", "--no-plots")
    assert left_by(tmp_path / "out") == undisturbed


def left_by_any(out):
    with contextlib.suppress(FileNotFoundError):
        return left_by(out)


def test_ctrl_c_ends_workers_and_the_sweep_is_resumed(home, undisturbed, tmp_path):
    """Before that, nobody else may come in, and what is there so far can be checked at."""
    process, pids = training(home, tmp_path / "out", "--jobs", "1")
    second = run_nnlab("sweep", home / "long.yaml", "--out", tmp_path / "out")
    checked = run_nnlab("check", tmp_path / "out")
    listed = run_nnlab("runs", tmp_path)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in stderr + stdout
    assert not any(map(alive, pids))
    assert second.exit_code == 2
    (line,) = second.stderr.splitlines()
    assert f"process {process.pid} on " in line
    summary = summary_of(tmp_path / "out")
    assert summary["status"] == "interrupted"
    assert summary["missing"] >= 1
    swept(home / "long.yaml", "--out", tmp_path / "out", "--no-plots")
    assert left_by(tmp_path / "out") == undisturbed
    assert checked.exit_code == 1, checked.stderr
    assert "not finished (status running)" in checked.stderr
    assert "damaged" not in listed.stdout
    assert "running" in listed.stdout


def test_sigterm_ends_workers_and_what_is_there_can_be_read(home, tmp_path):
    process, pids = training(home, tmp_path / "out", "--jobs", "1")
    process.terminate()
    stdout, stderr = process.communicate()
    assert process.returncode == 143
    assert "Traceback" not in stderr + stdout
    assert not any(map(alive, pids))
    assert summary_of(tmp_path / "out")["status"] == "interrupted"
    assert len(trials_table(tmp_path / "out")) == 2
    assert run_nnlab("check", tmp_path / "out").exit_code == 1
    assert "2 trials, 0 done, 2 to run" in run_nnlab(
        "sweep", home / "long.yaml", "--out", tmp_path / "out", "--dry-run"
    ).stdout  # fmt: skip


def test_a_second_signal_ends_it_at_once(home, tmp_path):
    """However long the chunk takes that the first one lets the workers end."""
    endless = ("train.steps=600000000", "record.every.steps=50000000")
    process, pids = training(home, tmp_path / "out", "--jobs", "1", *endless)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    wait_until_gone(pids)


def half_done(home, out, monkeypatch, **other):
    """A trial of long.yaml that was interrupted, on a machine that differs from this one; its directory."""
    real = device.environment()
    monkeypatch.setattr(device, "environment", lambda: real | other)
    config = load(home / "long.yaml")
    directory = SweepDirectory(out)
    directory.begin_sweep(config, force=False)
    trial = trials_of(config)[0]

    def watch(number, chunk):
        os.kill(os.getpid(), signal.SIGTERM)

    [outcome] = run_together([RunTask(build_experiment(trial.config), directory.trial(trial))], watch)
    assert outcome.summary["status"] == "interrupted"
    return directory.trial(trial).path


def test_an_interrupted_trial_goes_on(home, undisturbed, tmp_path, monkeypatch):
    trial = half_done(home, tmp_path / "out", monkeypatch)
    swept(home / "long.yaml", "--out", tmp_path / "out", "--no-plots")
    assert "goes on from step" in (trial / "train.log").read_text()
    assert left_by(tmp_path / "out") == undisturbed


def test_a_trial_begun_elsewhere_is_refused_or_the_drift_recorded(home, tmp_path, monkeypatch):
    trial = half_done(home, tmp_path / "out", monkeypatch, processor="abacus")
    refused = run_nnlab("sweep", home / "long.yaml", "--out", tmp_path / "out", "--no-plots", "--quiet")
    assert refused.exit_code == 2
    assert f"{trial}: interrupted at step" in refused.stderr
    assert "processor was abacus and is " in refused.stderr
    assert "--allow-drift goes on" in refused.stderr
    swept(home / "long.yaml", "--out", tmp_path / "out", "--no-plots", "--allow-drift")
    [drift] = json.loads((trial / "environment.json").read_text())["drift"]
    assert (drift["what"], drift["was"]) == ("processor", "abacus")


def test_a_trial_that_is_given_up_keeps_its_checkpoints(home, tmp_path, monkeypatch):
    trial = half_done(home, tmp_path / "out", monkeypatch)
    before = sorted(trial.glob("checkpoints/*/*"))
    directory = SweepDirectory(tmp_path / "out")
    directory.record_failure(trials_of(load(home / "long.yaml"))[0], "its worker died")
    assert sorted(trial.glob("checkpoints/*/*")) == before != []
    assert summary_of(trial)["reason"] == "its worker died"


def test_a_trial_that_ended_before_its_worker_died_has_ended(copied, home):
    directory = SweepDirectory(copied)
    with directory.held() as lock:
        plan = make_plan(load(home / "tiny.yaml"), directory, ResumePolicy(resume=False))
        recorder = SweepRecorder(plan, directory, Claims(directory, lock, False, plan.trials))
        recorder.record(Event(plan.trials[0], status="failed", reason="its worker died"))
    assert recorder.summaries[plan.trials[0].id]["status"] == "complete"
    assert directory.outcome(plan.trials[0])["status"] == "complete"


def test_the_log_of_workers_is_not_written_through_a_link(home, tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.log").symlink_to(tmp_path / "mine")
    result = run_nnlab("sweep", home / "tiny.yaml", "--out", tmp_path / "out", "--quiet")
    assert (result.exit_code, "sweep.log: cannot be written: it is a symbolic link" in result.stderr) == (
        1,
        True,
    )
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_trial_that_leads_elsewhere_is_refused(copied, home, tmp_path):
    trial = next((copied / "trials").iterdir())
    trial.rename(tmp_path / "mine")
    trial.symlink_to(tmp_path / "mine")
    result = run_nnlab("sweep", home / "tiny.yaml", "--out", copied, "--quiet")
    assert (result.exit_code, "is a symbolic link" in result.stderr) == (2, True)


# --- large tables ----------------------------------------------------------------------------------------


def fabricated(folder, table, sweep):
    """A finished sweep directory with this trials.csv."""
    folder.mkdir()
    (folder / "sweep.yaml").write_text(f"{BASE}sweep: {sweep}\n")
    (folder / "summary.json").write_text('{"name": "tiny", "status": "complete"}')
    table.to_csv(folder / "trials.csv", index=False)
    return SweepDirectory(folder)


def test_ten_thousand_trials_are_summarized(tmp_path):
    chance = np.random.default_rng(0)
    width, seed = (part.ravel() for part in np.meshgrid(np.arange(1, 2001), np.arange(5), indexing="ij"))
    names = [f"{part}.{split}_{what}" for part in ("final", "best") for split in SPLITS
             for what in ("loss", "accuracy")]  # fmt: skip
    table = pandas.DataFrame({"trial": [f"t{i:011x}" for i in range(10_000)], "model.width": width})
    table = table.assign(seed=seed, status="complete", reason="", parameters=9, step=20)
    for name in names:
        table[name] = chance.standard_normal(10_000)
    table.loc[chance.random(10_000) < 0.01, "status"] = "diverged"
    directory = fabricated(tmp_path / "big", table, "{axes: {model.width: {range: [1, 2001]}}, seeds: 5}")
    write_summary(directory, ["model.width"])
    summary = pandas.read_csv(tmp_path / "big" / "summary.csv")
    assert len(summary) == 2000 * len(names)
    part = summary[summary["metric"] == "best.test_loss"].set_index("model.width").sort_index()
    expected = table[table["status"] == "complete"].groupby("model.width")["best.test_loss"]
    for name in ("mean", "std", "median", "min", "max", "count"):
        np.testing.assert_allclose(part[name], getattr(expected, name)(), rtol=1e-9, atol=1e-12)


def test_statistics_leave_out_gaps_and_count_what_is_there(tmp_path):
    table = pandas.DataFrame(
        {
            "trial": list("abcdef"),
            "model.width": [3, 3, 3, 4, 4, 4],
            "seed": [0, 1, 2] * 2,
            "status": ["complete", "complete", "complete", "complete", "diverged", "failed"],
            "reason": "",
            "final.test_loss": [1.0, np.nan, 2.0, 5.0, 99.0, np.nan],
            "flow.verdict": ["fine"] * 6,
        }
    )
    directory = fabricated(tmp_path / "some", table, "{axes: {model.width: [3, 4]}, seeds: 3}")
    write_summary(directory, ["model.width"])
    summary = pandas.read_csv(tmp_path / "some" / "summary.csv").set_index(["model.width", "metric"])
    assert list(summary.index) == [(3, "final.test_loss"), (4, "final.test_loss")]
    three, four = (summary.loc[(width, "final.test_loss")] for width in (3, 4))
    assert (three["mean"], three["count"], three["min"], three["max"]) == (1.5, 2, 1, 2)
    assert three["std"] == pytest.approx(np.sqrt(0.5))
    assert (four["mean"], four["count"]) == (5.0, 1)
    assert np.isnan(four["std"]), "one value does not vary"


def test_a_sweep_of_which_nothing_finished_has_an_empty_summary(tmp_path):
    table = pandas.DataFrame(
        {"trial": ["a"], "model.width": [3], "seed": [0], "status": ["failed"], "reason": "x"}
    )
    write_summary(fabricated(tmp_path / "none", table, "{axes: {model.width: [3]}}"), ["model.width"])
    summary = pandas.read_csv(tmp_path / "none" / "summary.csv")
    assert summary.columns.tolist()[:2] == ["model.width", "metric"]
    assert summary.empty


def test_names_of_classes_are_no_numbers_of_a_trial():
    summary = {"name": "n", "classes": 2, "class_names": {"0": "7", "1": "9"}, "final": {"step": 1}}
    row = row_of(SimpleNamespace(id="t", axes={}, seed=3), summary)
    assert row == {"trial": "t", "seed": 3, "status": "", "reason": "", "classes": 2, "final.step": 1}
