"""Workers that Slurm starts: a controller and a node of this machine, where the packages are installed."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from support import written

import nnlab

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sinfo")
pytestmark = [
    pytest.mark.skipif(
        not all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in PROGRAMS),
        reason="Slurm is not installed (Debian: slurmctld slurmd slurm-client munge)",
    ),
    pytest.mark.skipif(os.getuid() != 0, reason="only root may start Slurm's daemons"),
]
SRUN = "srun --quiet -n1 -c1 --exact"
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
EXPERIMENT = """\
name: slurm
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 20000}
record: {every: {steps: 5000}}
sweep: {axes: {model.width: [3, 4]}, seeds: 2}
"""


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of this machine, which the commands of this process find; its folder."""
    folder, started = tmp_path_factory.mktemp("slurm"), []
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host, cores = socket.gethostname(), os.cpu_count()
    ports = {"controller_port": free_port(), "node_port": free_port()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, cores=cores, **ports))
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    with pytest.MonkeyPatch.context() as patch, (folder / "output").open("wb") as output:
        patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        for words in (
            ["munged", "--foreground", "--force", *munge, f"--socket={folder}/munge.socket"],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", host],
        ):
            started.append(subprocess.Popen(words, stdout=output, stderr=output))
        while "idle" not in sinfo():
            assert all(process.poll() is None for process in started), (folder / "output").read_text()
            time.sleep(0.1)
        yield folder
        for process in reversed(started):
            process.terminate()
            process.wait()


def sinfo():
    done = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False)
    return done.stdout


def workers(folder):
    """The workers that run on this cluster: of Slurm's tasks those of a Python."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            of_slurm = f"SLURM_CONF={folder}/slurm.conf" in (process / "environ").read_text()
            words = (process / "cmdline").read_text().split("\0")
            if of_slurm and "python" in words[0] and "nnlab.sweeps.worker" in words:
                found.append(int(process.name))
    return found


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
            os.kill(workers(slurm)[-1], signal.SIGKILL)

    out = tmp_path / "out"
    result = nnlab.sweep(here.config, out, jobs=2, launcher=SRUN, plots=False, progress=kill_one)
    assert killed
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
