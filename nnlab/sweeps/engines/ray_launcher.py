"""Workers as actors of Ray: of a cluster that is there, or of one on this machine for the time of a sweep.

This process never imports Ray, which takes over signals and ends a process that loses its cluster. A relay
(`ray_relay`) is to Ray what `srun` is to Slurm: a command that starts its arguments elsewhere. Without an
address the cluster is a process of its own (`ray_head`), which leaves when its input ends.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from nnlab.errors import NnlabError, UsageError
from nnlab.sweeps.engines.launchers import ProcessLauncher, Worker, start_variables
from nnlab.system import files

OLDEST_RAY = (2, 54)  # those before run what they are sent by anyone: CVE-2025-62593, CVE-2026-27482
CONNECT_SECONDS = 30.0  # after which a cluster is taken for unreachable; Ray itself tries for two minutes
# Ray asks the network for its own address, and listens there, unless it takes this host for one of those
# whose firewall asks the user: then all of it, tasks too, listens on 127.0.0.1
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}


class RayLauncher:
    """Starts workers as actors of Ray, each on one CPU of the cluster; see `Launcher` for its methods.

    Args:
        address: That of the cluster, HOST:PORT; empty for one on this machine, which nothing else reaches.
        log: The file that takes what workers print.
        jobs: How many workers there are at most.
        gpus: Those that each worker is to have to itself.
    """

    def __init__(self, address: str, log: Path, jobs: int, gpus: int) -> None:
        self.address, self.log, self.jobs, self.gpus = address, log, jobs, gpus
        self._variables = dict(QUIET)
        self._head: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        if not self.address:
            self.address = self._start_head()
        relay = [*_module("ray_relay"), self.address, str(self.gpus), str(CONNECT_SECONDS)]
        return ProcessLauncher(self.log, relay, command_variables=self._variables).start()

    def close(self) -> None:
        if self._head is not None:
            self._head.communicate()

    def _start_head(self) -> str:
        """Begin a cluster on this machine; its address. Raises NnlabError."""
        self._variables |= ON_LOOPBACK | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with files.disk_errors(self.log):
            log = files.open_for_append(self.log)
        self._head = subprocess.Popen(  # noqa: S603 - this very interpreter
            [*_module("ray_head"), str(self.jobs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | start_variables() | self._variables,
            start_new_session=True,
        )
        os.close(log)
        assert self._head.stdout is not None  # noqa: S101 - a pipe
        address = self._head.stdout.readline().decode().strip()
        if not address:
            raise NnlabError(f"--engine ray: Ray does not start on this machine; see {self.log}")
        return address


def ray_address(engine: str) -> str | None:
    """The address in the name of an engine, empty for a cluster of its own; None where it is not Ray.

    Raises:
        UsageError: There is no such engine; Ray is missing or too old.
    """
    if engine == "local":
        return None
    name, separator, address = engine.partition("://")
    if name != "ray" or bool(separator) != bool(re.fullmatch(r"\S+:[0-9]+", address)):
        raise UsageError(f"--engine {engine}: there are 'local', 'ray' and 'ray://HOST:PORT'")
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        raise UsageError(f"--engine {engine}: Ray is not installed; pip install 'nnlab[ray]'") from None
    if tuple(map(int, re.findall("[0-9]+", version)[:2])) < OLDEST_RAY:
        oldest = ".".join(map(str, OLDEST_RAY))
        raise UsageError(
            f"--engine {engine}: Ray {version} lets others run code here (CVE-2026-27482); {oldest} is the "
            "oldest that is used: pip install --upgrade 'nnlab[ray]'"
        )
    return address


def _module(name: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"{__package__}.{name}"]
