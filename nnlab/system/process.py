"""Which of several processes this one is, that compute together: told by a word, or by Slurm."""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

from nnlab.errors import UsageError

SLURM = "slurm"
LAST_PORT = 65535
FIRST_PORT, PORTS = 61440, 4096  # beyond those that Linux hands out by itself
SLURM_NUMBERS = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_ID", "SLURM_STEP_ID")
SLURM_VARIABLES = (*SLURM_NUMBERS, "SLURM_STEP_NODELIST")


class Process(NamedTuple):
    """One of several processes.

    Attributes:
        number: Of this one, from 0.
        total: How many there are.
        address: `HOST:PORT` at which the others reach process 0.
    """

    number: int
    total: int
    address: str

    @classmethod
    def of(cls, text: str) -> Process:
        """The process that a text names: `K/N@HOST:PORT`, or `slurm` for this task of a step of Slurm.

        Raises:
            UsageError: It names none, or there is no step of Slurm.
        """
        if text == SLURM:
            return _task_of_step()
        words = re.fullmatch(r"(\d+)/(\d+)@(.+:(\d{1,5}))", text)
        if words is None or not int(words[1]) < int(words[2]) or not 0 < int(words[4]) <= LAST_PORT:
            raise UsageError(f"--process {text}: must be K/N@HOST:PORT, with K from 0 to N - 1, or 'slurm'")
        return cls(int(words[1]), int(words[2]), words[3])


def _task_of_step() -> Process:
    missing = [name for name in SLURM_VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(f"--process {SLURM}: {missing[0]} is not set; start the processes by srun")
    wrong = [name for name in SLURM_NUMBERS if not os.environ[name].isdecimal()]
    if wrong:
        raise UsageError(f"--process {SLURM}: {wrong[0]} is no number; start the processes by srun")
    number, total, job, step, nodes = (os.environ[name] for name in SLURM_VARIABLES)
    try:
        words = ["scontrol", "show", "hostnames", nodes]
        listed = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - Slurm's own
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"--process {SLURM}: scontrol does not name the nodes: {error}") from None
    if not listed.stdout.split():
        raise UsageError(f"--process {SLURM}: scontrol does not name the nodes")
    # all tasks come to one port without a word; steps of a job at one time have different ones
    port = FIRST_PORT + (int(job) + int(step)) % PORTS
    return Process(int(number), int(total), f"{listed.stdout.split()[0]}:{port}")
