"""Several processes on one sweep: each trial once, whoever is killed, put to sleep or interrupted."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import run_nnlab, written

import nnlab
from nnlab.storage import lease as leases
from nnlab.sweeps.claims import Claims
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.trials import trials_of

TINY = """\
name: tiny
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20}
record: {every: {steps: 10}}
sweep: {axes: {model.width: [3, 4]}, seeds: 4}
phenomena: [gradient_flow, {type: double_descent, capacity: model.width}]
"""
LONG = """\
name: long
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 60000}
record: {every: {steps: 5000}}
sweep: {seeds: 4}
"""
SECONDS = 4  # after which a process is taken for dead
HERE = f"""\
import sys
from nnlab.cli.main import cli
from nnlab.storage import lease
lease.STALE_SECONDS = {SECONDS}
cli(sys.argv[1:])
"""
# as on another host, with a file system on which locks exclude nobody
ELSEWHERE = """\
import os, platform
from nnlab.storage.lock import DirectoryLock
name = f"host{os.getpid()}"
platform.node = lambda: name
DirectoryLock._try = lambda lock, alone: True
"""


def joiner(config, out, *words, program=HERE):
    command = [sys.executable, "-c", program, "sweep", str(config), "--out", str(out), "--join"]
    command += ["--jobs", "1", "--no-plots", "--quiet", "--checkpoint-every", "0", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    """How a process ended: its exit code, and what it printed."""
    stdout, stderr = process.communicate()
    return process.returncode, stdout + stderr


def left(out):
    """What is written, but for what those leave by which a killed process showed its workers the folder."""
    files = written(out, last_checkpoints=True)
    return {path: content for path, content in files.items() if not path.startswith(".nonce-")}


def starts(out):
    """How often each trial was begun or gone on with, by its id."""
    logs = {trial.name: (trial / "train.log").read_text() for trial in (out / "trials").iterdir()}
    return {name: sum(line.startswith("nnlab ") for line in log.splitlines()) for name, log in logs.items()}


def training(out, *processes, until="checkpoints/step-*"):
    """The first of some processes that is in the middle of a trial, and the trial."""
    while all(process.poll() is None for process in processes):
        for file in out.glob("trials/*/.lease-*/holder"):
            holder = leases.holder(file.parents[1], out / ".lock")
            for process in processes:
                is_its_own = holder and f"process {process.pid} on " in holder.process
                if is_its_own and list(file.parents[1].glob(until)):
                    return process, file.parents[1]
        time.sleep(0.01)
    raise AssertionError([ended(process) for process in processes])


def family(process):
    """A process and its workers."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [process.pid, *map(int, listed.stdout.split())]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("join")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "long.yaml").write_text(LONG)
    return folder


@pytest.fixture(scope="module")
def alone(home):
    """What one process leaves that nobody disturbs, of both experiments; not to be changed."""
    for name in ("tiny", "long"):
        nnlab.sweep(nnlab.load(home / f"{name}.yaml"), home / name, jobs=1, plots=False)
    return {name: left(home / name) for name in ("tiny", "long")}


def test_processes_that_join_run_each_trial_once(home, alone, tmp_path):
    processes = [joiner(home / "tiny.yaml", tmp_path / "out") for _ in range(2)]
    assert [ended(process) for process in processes] == [(0, "")] * 2
    assert left(tmp_path / "out") == alone["tiny"]
    assert set(starts(tmp_path / "out").values()) == {1}


@pytest.mark.parametrize("program", [HERE, ELSEWHERE + HERE], ids=["here", "elsewhere"])
def test_the_trials_of_a_process_that_is_killed_are_taken_over(program, home, alone, tmp_path):
    out = tmp_path / "out"
    processes = [joiner(home / "long.yaml", out, program=program) for _ in range(4)]
    victim, trial = training(out, *processes)
    victim.kill()
    assert sorted(ended(process) for process in processes) == [(-signal.SIGKILL, "")] + [(0, "")] * 3
    assert left(out) == alone["long"]
    assert sorted(starts(out).values()) == [1, 1, 1, 2]
    assert "goes on from step" in (trial / "train.log").read_text()


def test_a_process_that_wakes_up_after_its_trial_was_taken_over_writes_nothing(home, alone, tmp_path):
    out = tmp_path / "out"
    sleeper = joiner(home / "long.yaml", out, "--checkpoint-every", "60")
    _, trial = training(out, sleeper, until="metrics.csv")
    asleep = family(sleeper)
    for process in asleep:
        os.kill(process, signal.SIGSTOP)
    assert ended(joiner(home / "long.yaml", out)) == (0, "")
    assert left(out) == alone["long"]
    when = {path: path.stat().st_mtime_ns for path in trial.rglob("*")}
    for process in reversed(asleep):
        os.kill(process, signal.SIGCONT)
    assert ended(sleeper) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in trial.rglob("*")} == when
    assert f"{trial}: another process has taken over here" in (out / "sweep.log").read_text()
    assert left(out) == alone["long"]


def test_who_is_interrupted_leaves_the_rest_to_the_others_and_the_last_one_says_so(home, alone, tmp_path):
    out = tmp_path / "out"
    processes = [joiner(home / "long.yaml", out) for _ in range(2)]
    for process, status in zip(processes, ("running", "interrupted"), strict=True):
        training(out, process)
        process.terminate()
        assert ended(process)[0] == 128 + signal.SIGTERM
        assert nnlab.open(out).status == status
    assert not list(out.glob("trials/*/.lease-*"))
    (out / ".nonce-0123abcd").write_text("of one that was killed")
    nnlab.sweep(nnlab.load(home / "long.yaml"), out, jobs=1, plots=False)  # without --join, too
    assert not list(out.glob(".nonce-*"))
    assert left(out) == alone["long"]


def test_a_sweep_alone_and_one_that_is_shared_exclude_each_other(home, tmp_path):
    config = home / "long.yaml"
    process = joiner(config, tmp_path / "shared")
    training(tmp_path / "shared", process)
    refused = run_nnlab("sweep", config, "--out", tmp_path / "shared")
    other = run_nnlab("sweep", config, "sweep.seeds=2", "--out", tmp_path / "shared", "--join")
    process.kill()
    process.communicate()
    at_work = f"another process is at work here (process {process.pid} on {os.uname().nodename})"
    assert (refused.exit_code, refused.stderr.count("\n"), at_work in refused.stderr) == (2, 1, True)
    assert (other.exit_code, other.stderr.count("\n")) == (2, 1)
    assert "other processes are at work here on other values of this sweep" in other.stderr
    directory = SweepDirectory(tmp_path / "alone")
    with directory.held():
        refused = run_nnlab("sweep", config, "--out", directory.path, "--join")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert f"another process is at work here (process {os.getpid()} on " in refused.stderr


SEARCH = """\
sweep:
  method: optuna
  random: {draws: 4, axes: {optimizer.learning_rate: {log_uniform: [1.0e-3, 1.0]}}}
"""


def test_what_cannot_be_shared_is_refused(home, tmp_path):
    (tmp_path / "search.yaml").write_text(TINY.split("sweep:")[0] + SEARCH)
    for words, message in (
        ([home / "tiny.yaml", "--force"], "--join: --force would remove what other processes run"),
        ([tmp_path / "search.yaml"], "--join: a search chooses each trial by those before"),
    ):
        refused = run_nnlab("sweep", *words, "--join", "--out", tmp_path / "out")
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert refused.stderr.startswith(message)
    assert not (tmp_path / "out").exists()


# --- where a lock excludes nobody, as on some network file systems ---------------------------------------


@pytest.fixture
def elsewhere(home, tmp_path):
    """A sweep of which a process on another host, that the lock does not keep out, has a trial."""
    directory = SweepDirectory(tmp_path / "out")
    trial = directory.trial(trials_of(nnlab.load(home / "tiny.yaml"))[0])
    folder = trial.path / ".lease-0001"
    folder.mkdir(parents=True)
    (folder / "holder").write_text("process 12 on elsewhere\n0123\n")
    directory.begin_sweep(nnlab.load(home / "tiny.yaml"), force=False)
    return folder


def test_a_sweep_alone_is_refused_while_another_host_is_at_work(elsewhere, home, sweeps_here):
    out = elsewhere.parents[2]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    refused = run_nnlab("sweep", home / "tiny.yaml", "--out", out)
    assert refused.exit_code == 2
    assert "another process is at work here (process 12 on elsewhere)" in refused.stderr
    assert before == {path: path.read_bytes() for path in before}
    then = time.time() - leases.STALE_SECONDS - 1
    os.utime(elsewhere / "holder", (then, then))
    assert nnlab.sweep(nnlab.load(home / "tiny.yaml"), out, plots=False).status == "complete"


def test_what_was_left_is_removed_but_not_through_a_link(home, tmp_path):
    directory, mine = SweepDirectory(tmp_path / "out"), tmp_path / "mine" / ".lease-0001"
    for folder in (mine, directory.path / "trials" / "a" / ".lease-0001"):
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    (directory.path / "trials" / "b").symlink_to(mine.parent)
    with directory.held() as lock:
        Claims(directory, lock, False, []).clear()
    assert mine.exists()
    assert list((directory.path / "trials" / "a").iterdir()) == []


def test_what_fails_elsewhere_while_a_process_is_at_work_has_failed(home, tmp_path):
    """What failed before is run again, as without others."""
    trial, *_ = trials_of(nnlab.load(home / "tiny.yaml"))
    directory = SweepDirectory(tmp_path / "out")
    directory.record_failure(trial, "before")
    with directory.held(shared=True) as lock:
        claims = Claims(directory, lock, True, [trial])
        assert claims.outcome_elsewhere(trial) is None
        directory.record_failure(trial, "meanwhile")
        assert claims.outcome_elsewhere(trial)["reason"] == "meanwhile"
