"""Runs of a folder: conditions, sorting, near misses, and which of them a process is still at work on."""

import json
import shutil
import subprocess
import sys
import time

import pytest
from support import TINY, run_nnlab

import nnlab
from nnlab.errors import RunStatus, UsageError
from nnlab.runs.catalogue import find_entries, parse_condition
from nnlab.storage.lease import take
from nnlab.storage.run_directory import RunDirectory


@pytest.fixture
def results(folder, finished):
    """Five runs: a, b and c complete with accuracies 0.5, 0.9 and none, d diverged, e damaged."""

    def copy(name, *overrides, **summary):
        place = shutil.copytree(finished, folder / "results" / name)
        old = json.loads((place / "summary.json").read_text())
        (place / "summary.json").write_text(json.dumps(old | summary))
        (place / "config.yaml").write_text(nnlab.load(place / "config.yaml", *overrides).text)
        return place

    copy("a", final={"step": 20, "train_loss": 0.5, "test_accuracy": 0.5})
    copy("b", final={"step": 20, "train_loss": 0.1, "test_accuracy": 0.9})
    copy("c", "seed=7", final={"step": 20})
    copy("d", "optimizer={type: adam, learning_rate: 0.1}", status="diverged", final={"step": 20})
    (copy("e") / "config.yaml").write_text("name: [")
    return folder / "results"


def names(results, *conditions, **options):
    return [entry.path.name for entry in find_entries(results, conditions, **options)]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], "abcde"),
        (["status=diverged"], "d"),
        (["status != complete"], "de"),
        (["status=damaged"], "e"),
        (["final.test_accuracy>0.5"], "b"),
        (["final.test_accuracy>=0.5"], "ab"),
        (["final.test_accuracy<9e-1"], "a"),
        (["final.test_accuracy<=0.9", "run!=a"], "b"),
        (["final.test_accuracy=null"], "cde"),
        (["final.test_accuracy=0.90"], "b"),
        (["seed=7"], "c"),
        (["optimizer=sgd", "seed==0"], "ab"),
        (["optimizer.type=sgd"], "abc"),
        (["optimizer.learning_rate=0.1", "status=complete"], "abc"),
        (["data.batch_size=8", "expectations=fail"], "cd"),
        (["expectations=hold"], "ab"),
        (["run=a"], "a"),
        (["optimizer.nesterov=false"], "abc"),
        (["seed=false"], ""),
    ],
)
def test_conditions(results, conditions, expected):
    assert names(results, *conditions) == list(expected)


def test_sorting_puts_what_has_nothing_last(results):
    assert names(results, sort="final.test_accuracy") == list("abcde")
    assert names(results, sort="final.test_accuracy", descending=True) == list("bacde")
    assert names(results, sort="status", descending=True) == list("deabc")
    assert next(run.path.name for run in nnlab.find_runs(results, "seed=0", sort="final.train_loss")) == "b"
    assert [run.path.name for run in nnlab.find_runs(results)] == list("abcd"), "what is damaged is left out"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            "final.tset_accuracy>0.9",
            "no run has a field 'final.tset_accuracy'; did you mean 'final.test_accuracy'?",
        ),
        (
            "zzz=1",
            "no run has a field 'zzz'; fields are run, status, expectations, the values of summary.json",
        ),
        (" " * 5_000, "is no condition"),
        ("expectations=holds", "expectations is never that; did you mean 'hold'?"),
        ("status=divergd", "status is never that; did you mean 'diverged'? there are running, complete"),
        ("final.test_accuracy>high", "> compares numbers; for words there are = and !="),
        (
            "final.test_accuracy",
            "'final.test_accuracy' is no condition: write FIELD=VALUE, or !=, <, <=, > or >=",
        ),
        ("=3", "is no condition"),
        ("", "is no condition"),
        ("seed=[", "is no condition: its value is not YAML"),
    ],
)
def test_a_condition_that_cannot_be_costs_a_line(results, condition, message):
    for command in ("runs", "remove"):
        result = run_nnlab(command, results, "--where", condition)
        (line,) = result.stderr.splitlines()
        assert result.exit_code == 2
        assert message in line
    with pytest.raises(UsageError):
        nnlab.find_runs(results, condition)


def test_an_unknown_field_to_sort_by_is_told(results):
    result = run_nnlab("runs", "--sort", "stats")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "did you mean 'status'?" in result.stderr
    result = run_nnlab("runs", "--descending")
    assert (result.exit_code, result.stderr) == (2, "--descending: by what? --sort names a field\n")


def test_what_is_asked_for_is_a_column(results):
    result = run_nnlab("runs", "--where", "seed=0", "--sort", "final.test_accuracy", "--descending")
    head, _, *rows = (line.split() for line in result.stdout.splitlines() if line.strip())
    assert head[:7] == ["run", "status", "steps", "expectations", "seed", "final.test_accuracy", "final"]
    assert [row[0] for row in rows] == ["b", "a", "d"]
    assert [row[7:9] for row in rows] == [["0", "0.9"], ["0", "0.5"], ["0", "-"]], "after '2 of 2 hold'"


def test_a_folder_without_runs_has_any_field(folder):
    (folder / "results").mkdir()
    assert nnlab.find_runs("results", "final.test_accuracy>0.9", sort="zzz") == []


def test_condition_words():
    assert parse_condition("a.b = c d")[:3] == ("a.b", "=", "c d")
    assert parse_condition("a<=-1e-3")[:3] == ("a", "<=", "-1e-3")


# --- which runs are under way ------------------------------------------------------------------------------


@pytest.fixture
def running(results):
    """A run whose summary has it running."""
    summary = json.loads((results / "a" / "summary.json").read_text())
    (results / "a" / "summary.json").write_text(json.dumps(summary | {"status": "running"}))
    return results / "a"


def test_a_run_that_was_killed_is_interrupted(running):
    assert nnlab.open(running).status is RunStatus.INTERRUPTED
    assert names(running.parent, "status=interrupted") == ["a"]
    row = next(line for line in run_nnlab("runs").stdout.splitlines() if line.startswith(" a "))
    assert row.split()[1] == "interrupted"


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_that_is_being_written_is_running(running, shared):
    with RunDirectory(running).held(shared):
        assert nnlab.open(running).status is RunStatus.RUNNING
    assert nnlab.open(running).status is RunStatus.INTERRUPTED


def test_looking_leaves_no_trace(running):
    with RunDirectory(running).held():
        pass
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in running.rglob("*")}
    assert nnlab.open(running).status is RunStatus.INTERRUPTED
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in running.rglob("*")} == before


def test_of_a_run_on_another_host_it_is_not_known(running):
    (running / ".lock").write_text("process 1 on some-other-host\n")
    assert nnlab.open(running).status is RunStatus.RUNNING


def test_a_trial_is_running_as_long_as_its_lease_shows_life(running, folder):
    (folder / "clock").write_text("")
    lease = take(running, folder / "clock", lambda _: False)
    assert nnlab.open(running).status is RunStatus.RUNNING
    script = "import os; print(f'process {os.getpid()} on {os.uname().nodename}')"
    gone = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    (lease.folder / "holder").write_text(gone)
    assert nnlab.open(running).status is RunStatus.INTERRUPTED


def test_a_training_that_was_killed_shows_as_interrupted(folder, nnlab_process):
    (folder / "long.yaml").write_text(TINY.replace("steps: 20", "steps: 2000000"))
    command = [sys.executable, "-m", "nnlab", "train", "long.yaml", "--out", "results/long", "--quiet"]
    process = subprocess.Popen(command)
    try:
        while not (folder / "results" / "long" / "metrics.csv").exists():
            assert process.poll() is None
            time.sleep(0.05)
        assert nnlab.open("results/long").status is RunStatus.RUNNING
        refused = run_nnlab("remove", "results/long", "--yes")
    finally:
        process.kill()
        process.wait()
    assert refused.exit_code == 2
    assert refused.stderr == "results/long: a process is at work here; wait for it, or end it\n"
    assert json.loads((folder / "results" / "long" / "summary.json").read_text())["status"] == "running"
    assert nnlab.open("results/long").status is RunStatus.INTERRUPTED
    assert run_nnlab("remove", "results/long", "--yes").exit_code == 0
    assert list((folder / "results").iterdir()) == []
