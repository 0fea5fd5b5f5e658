"""Workers that Slurm starts: a controller and a node of this machine, where the packages are installed."""

import json
import os
import signal
import subprocess
import sys

import pytest
from clusters import LOOPBACK, SRUN, Slurm, closing, listening, why_no_slurm
from support import written

import nnlab

pytestmark = pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())
EXPERIMENT = """\
name: slurm
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 20000}
record: {every: {steps: 5000}}
sweep: {axes: {model.width: [3, 4]}, seeds: 2}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of this machine, which the commands of this process find."""
    with closing(Slurm(tmp_path_factory.mktemp("slurm"))) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    (folder / "slurm.yaml").write_text(EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def here(home):
    return nnlab.sweep(nnlab.load(home / "slurm.yaml"), home / "here", jobs=1, plots=False)


def test_workers_of_slurm_leave_the_bytes_of_local_ones_though_one_is_killed(slurm, here, tmp_path):
    killed = []

    def kill_one(event):
        if not killed and 0 < event.share < 1:
            killed.append(event)
            slurm.workers()[-1].kill()

    out = tmp_path / "out"
    result = nnlab.sweep(here.config, out, jobs=2, launcher=SRUN, plots=False, progress=kill_one)
    assert killed
    addresses = listening(slurm.processes())
    assert addresses
    assert addresses <= LOOPBACK
    assert result.status == "complete"
    assert written(out, last_checkpoints=True) == written(here.path, last_checkpoints=True)


def test_a_signal_ends_trials_at_a_checkpoint_from_which_they_go_on(slurm, here, tmp_path, default_signals):
    """Though the signal that ends `srun` ends what it runs at once."""
    began = []

    def interrupt(event):
        if not began and 0 < event.share < 1:
            began.append(event)
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "out"
    with pytest.raises(nnlab.Interrupted):
        nnlab.sweep(here.config, out, jobs=1, launcher=SRUN, plots=False, progress=interrupt)
    (trial,) = (out / "trials").iterdir()
    assert list((trial / "checkpoints").glob("step-*"))
    nnlab.sweep(here.config, out, jobs=2, launcher=SRUN, plots=False)
    assert "goes on from step" in (trial / "train.log").read_text()
    assert written(out, last_checkpoints=True) == written(here.path, last_checkpoints=True)


def test_tasks_of_a_step_train_one_run_together(slurm, tmp_path):
    """Each finds out by itself which one it is, and where the first one listens."""
    file = tmp_path / "shared.yaml"
    file.write_text(EXPERIMENT.partition("sweep:")[0].replace("{steps: 20000}", "{steps: 20, devices: all}"))
    words = [sys.executable, "-m", "nnlab", "train", file, "--out", tmp_path / "run", "--process", "slurm"]
    srun = ["srun", "--quiet", "-n2", "--overcommit", "--kill-on-bad-exit"]
    done = subprocess.run([*srun, *map(str, words), "--no-plots"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert nnlab.open(tmp_path / "run").status == "complete"
    assert len(json.loads((tmp_path / "run" / "environment.json").read_text())["devices"]) == 2
