"""Two processes that train one run together over the loopback: one run is left, also where one dies."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from support import run_nnlab

from nnlab.errors import UsageError
from nnlab.storage.results import read_summary
from nnlab.storage.tables import read_table
from nnlab.system.process import SLURM_VARIABLES, Process

FILE = """\
name: shared
data: {type: mnist1d, examples: 200, batch_size: 20}
model: [{type: dense, units: 8}, batch_norm, relu, {type: dropout, rate: 0.2}, {type: dense, units: 10}]
optimizer: {type: sgd, learning_rate: 0.05, momentum: 0.9}
train: {steps: 300, devices: all}
record: {every: {steps: 20}, layers: false}
"""


def started(folder, out, *words):
    """`nnlab train` in two processes, that of number 0 first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "nnlab", "train", "file.yaml", "--out", out, "--no-plots", *words]
    return [
        subprocess.Popen(
            [*command, "--process", f"{number}/2@{address}"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]


def ended(processes):
    """Exit code and stderr of each."""
    texts = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


def wait_for_rows(file, count, processes):
    while not (file.exists() and file.read_text().count("\n") > count):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run of two processes, and the same of one process with two devices."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "file.yaml").write_text(FILE)
    (leader, _), (follower, _) = ended(started(folder, "whole"))
    assert (leader, follower) == (0, 0)
    command = [sys.executable, "-m", "nnlab", "train", "file.yaml", "--out", "one", "--no-plots"]
    subprocess.run(command, cwd=folder, env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"}, check=True)
    return folder


def test_two_processes_leave_the_run_of_one(home):
    one, two = (read_table(home / name / "metrics.csv") for name in ("one", "whole"))
    np.testing.assert_allclose(two, one, rtol=1e-5)
    assert two["train_loss"].iloc[-1] < 0.8 * two["train_loss"].iloc[0]
    assert read_summary(home / "whole")["status"] == "complete"


def test_a_finished_run_is_not_trained_again_by_any_of_them(home):
    before = (home / "whole" / "timing.csv").read_bytes()
    (leader, text), (follower, _) = ended(started(home, "whole"))
    assert (leader, follower) == (0, 0)
    assert "finished before, nothing to do" in text
    assert (home / "whole" / "timing.csv").read_bytes() == before


@pytest.mark.parametrize("victim", [0, 1])
def test_what_is_left_where_one_dies_goes_on_to_the_same_bytes(home, victim):
    out = f"killed-{victim}"
    processes = started(home, out, "--checkpoint-every", "0")
    wait_for_rows(home / out / "metrics.csv", 4, processes)
    processes[victim].kill()
    (leader, text), (follower, _) = ended(processes)
    assert leader != 0
    assert follower != 0
    if victim == 1:
        assert f"{out}: another process of this training has ended; the same commands go on" in text
        assert leader == 1
    (leader, text), (follower, _) = ended(started(home, out))
    assert (leader, follower) == (0, 0), text
    assert "goes on from step" in text
    assert (home / out / "metrics.csv").read_bytes() == (home / "whole" / "metrics.csv").read_bytes()


def test_all_of_them_end_at_a_checkpoint_where_the_first_is_interrupted(home):
    processes = started(home, "interrupted")
    wait_for_rows(home / "interrupted" / "metrics.csv", 3, processes)
    processes[0].send_signal(signal.SIGINT)
    assert [code for code, _ in ended(processes)] == [130, 130]
    assert read_summary(home / "interrupted")["status"] == "interrupted"
    assert list((home / "interrupted" / "checkpoints").iterdir())


@pytest.mark.parametrize(
    "words", ["2/2@127.0.0.1:1", "0@127.0.0.1:1", "0/2", "a/b@c:1", "0/2@host", "0/2@h:0", "0/2@h:99999"]
)
def test_a_process_that_is_none_of_n_is_refused(words):
    with pytest.raises(UsageError, match=r"must be K/N@HOST:PORT, with K from 0 to N - 1, or 'slurm'"):
        Process.of(words)


def test_a_task_of_slurm_is_asked_for_outside_of_one(home, monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    done = run_nnlab("train", home / "file.yaml", "--process", "slurm", "--out", home / "none")
    assert done.exit_code == 2
    assert done.stderr == "--process slurm: SLURM_PROCID is not set; start the processes by srun\n"
    assert not (home / "none").exists()


def test_what_slurm_says_of_a_task_is_checked(monkeypatch):
    for name in SLURM_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_PROCID", "abc")
    with pytest.raises(UsageError, match="SLURM_PROCID is no number"):
        Process.of("slurm")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="scontrol does not name the nodes"):
        Process.of("slurm")


def test_processes_must_come_before_jax_starts(home):
    done = run_nnlab("train", home / "file.yaml", "--process", "0/2@127.0.0.1:1", "--out", home / "late")
    assert done.exit_code == 2
    assert "JAX has started alone in this process" in done.stderr
    assert not (home / "late").exists()
