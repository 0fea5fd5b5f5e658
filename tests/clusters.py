"""Clusters of this machine, one of Slurm and one of Ray, that listen on the loopback device alone.

What lives in them can be killed: a `worker` of a sweep, a `node` with all that runs on it, the `controller`
that knows of the nodes. `mend` puts back what was killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from nnlab.sweeps.engines.launchers import MODULE
from nnlab.sweeps.engines.ray_launcher import ON_LOOPBACK, QUIET

KINDS = ("worker", "node", "controller")
SRUN = "srun --quiet -n1 -c1 --exact"
SLURM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sinfo")
SLURM_CONFIGURATION = """\
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
InactiveLimit=10
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
RAY_NODES = 2
RAY_SCRIPT = """\
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}  # about the least that Ray takes
cluster = Cluster(initialize_head=True, head_node_args={**node, "gcs_server_port": int(sys.argv[1])})
print("a node is there", flush=True)
cluster.add_node(**node)
print("a node is there", flush=True)
for _ in sys.stdin:
    cluster.add_node(**node)
    print("a node is there", flush=True)
"""


class Cluster(ABC):
    """Daemons of this machine that make up a cluster.

    Attributes:
        variables: The environment in which its commands find it.
        mark: Which of them tells its processes from others.
        options: The words of `nnlab sweep` that use it.
    """

    def __init__(self, folder: Path, variables: dict[str, str], mark: str, options: Sequence[str]) -> None:
        self.folder, self.variables, self.mark, self.options = folder, variables, mark, options
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, words: Sequence[str], stdin: int = subprocess.DEVNULL) -> Path:
        """Start a daemon; the file that takes what it prints."""
        output = self.folder / f"{name}-{secrets.token_hex(4)}.output"
        with output.open("wb") as file:
            environment = {**os.environ, **self.variables}
            self.daemons[name] = subprocess.Popen(
                words, stdin=stdin, stdout=file, stderr=file, env=environment
            )
        return output

    def workers(self) -> list[psutil.Process]:
        return workers_among(self.processes())

    def processes(self) -> list[psutil.Process]:
        """Whatever was started by it or with it, known by its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(self.mark) == self.variables[self.mark]:
                    found.append(process)
        return found

    @abstractmethod
    def kill(self, kind: str, pick: random.Random) -> bool:
        """Kill one of a kind; whether there was one."""

    def kill_worker(self, pick: random.Random) -> bool:
        found = self.workers()
        if found:
            _kill([pick.choice(found)])
        return bool(found)

    @abstractmethod
    def mend(self) -> None:
        """Start what was killed anew, and wait until it works."""

    def close(self) -> None:
        """End all that was started."""
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            daemon.wait()
        _kill(self.processes())


class Slurm(Cluster):
    """A controller and a node, of Debian's packages slurmctld, slurmd, slurm-client and munge."""

    def __init__(self, folder: Path) -> None:
        variables = {"PATH": SLURM_PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        super().__init__(folder, variables, "SLURM_CONF", ["--launcher", SRUN])
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o400)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        ports = {"controller_port": free_port(), "node_port": free_port()}
        described = SLURM_CONFIGURATION.format(
            folder=folder, host=socket.gethostname(), cores=os.cpu_count(), **ports
        )
        (folder / "slurm.conf").write_text(described)
        munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self.start("munged", ["munged", "--foreground", "--force", *munge, f"--socket={folder}/munge.socket"])
        self.mend()

    def kill(self, kind: str, pick: random.Random) -> bool:
        if kind == "worker":
            return self.kill_worker(pick)
        name = {"node": "slurmd", "controller": "slurmctld"}[kind]
        lost = [psutil.Process(self.daemons.pop(name).pid)]
        if kind == "node":
            # a task's keeper leaves its daemon, and takes another name
            keepers = [process for process in self.processes() if process.name().startswith("slurmstepd")]
            lost += [part for keeper in keepers for part in [keeper, *keeper.children(recursive=True)]]
        _kill(lost)
        return True

    def mend(self) -> None:
        for name, words in {"slurmctld": ["-D"], "slurmd": ["-D", "-N", "localhost"]}.items():
            if name not in self.daemons:
                self.start(name, [name, *words])
        while not {"idle", "mixed", "allocated"} & set(self._node_state().split()):
            assert all(daemon.poll() is None for daemon in self.daemons.values()), self.folder
            time.sleep(0.1)

    def _node_state(self) -> str:
        words = ["sinfo", "--noheader", "--format=%T"]
        environment = {**os.environ, **self.variables}
        return subprocess.run(words, capture_output=True, text=True, env=environment).stdout


class Ray(Cluster):
    """A head and another node, each with one CPU."""

    def __init__(self, folder: Path) -> None:
        self.port, token = free_port(), secrets.token_hex(32)
        variables = {**ON_LOOPBACK, **QUIET, "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(folder)}
        super().__init__(folder, variables, "RAY_AUTH_TOKEN", ["--engine", f"ray://127.0.0.1:{self.port}"])
        self.mend()

    def kill(self, kind: str, pick: random.Random) -> bool:
        if kind == "worker":
            return self.kill_worker(pick)
        program = {"node": "raylet", "controller": "gcs_server"}[kind]
        found = self._living(program)[-1:]
        _kill(found)
        if kind == "controller":
            self.close()
        return bool(found)

    def mend(self) -> None:
        if "ray" not in self.daemons:
            self.output = self.start(
                "ray", [sys.executable, "-c", RAY_SCRIPT, str(self.port)], subprocess.PIPE
            )
            self.nodes_told = RAY_NODES
        elif len(self._living("raylet")) < RAY_NODES:
            self.nodes_told += 1
            stdin = self.daemons["ray"].stdin
            stdin.write(b"\n")
            stdin.flush()
        while self.output.read_text().count("a node is there") < self.nodes_told:
            assert self.daemons["ray"].poll() is None, self.output.read_text()
            time.sleep(0.1)

    def close(self) -> None:
        daemon = self.daemons.pop("ray")
        process = psutil.Process(daemon.pid)
        _kill([process, *process.children(recursive=True)])
        daemon.communicate()

    def _living(self, program: str) -> list[psutil.Process]:
        """Its processes of a program, that of the head first."""
        found = [process for process in self.processes() if process.name() == program]
        return sorted(found, key=psutil.Process.create_time)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def why_no_slurm() -> str:
    """Why a cluster of Slurm cannot be started here; empty where it can."""
    if not all(shutil.which(name, path=SLURM_PATH) for name in SLURM_PROGRAMS):
        return "Slurm is not installed (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.getuid() == 0 else "only root may start Slurm's daemons"


def workers_among(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that are workers of a sweep, and not the commands that start them."""
    return [process for process in processes if _words(process)[1:] == ["-P", "-m", MODULE]]


def listening(processes: Iterable[psutil.Process]) -> set[str]:
    """The addresses at which these processes wait for others to connect."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            sockets = process.net_connections("tcp")
            found |= {place.laddr.ip for place in sockets if place.status == psutil.CONN_LISTEN}
    return found


@contextlib.contextmanager
def closing(cluster: Cluster) -> Iterator[Cluster]:
    try:
        yield cluster
    finally:
        cluster.close()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    while any(_lives(process) for process in processes):
        time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that its parent has not asked after has, too."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
