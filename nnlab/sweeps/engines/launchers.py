"""What starts the workers of a sweep: the seam between the engine and the machines that it uses.

A worker is a process of `python -m nnlab.sweeps.worker`, wherever it runs: it reads lines and writes lines,
as that module says. A `Launcher` starts one and hands out a `Worker`, its two ends and its life. Nothing else
depends on where it runs: what a worker is told, which trial it gets, when it is to leave and what becomes of
its trials when it dies are the engine's (`workers`). The engine ends workers by what it writes to them, and
kills those alone that do not hear: a signal to the command that reaches another host may end what runs there
without a checkpoint. A new launcher has the five members of `Worker` to provide, `start` and `close`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import nnlab
from nnlab.errors import UsageError
from nnlab.system import files

MODULE = "nnlab.sweeps.worker"


class Worker(Protocol):
    """A worker that was started.

    Attributes:
        output: A descriptor that can be waited for with `select`, from which its lines are read. It ends when
            the worker has, or cannot be reached any longer.
    """

    output: int

    def send(self, line: bytes) -> None:
        """Pass a line on to its input. A worker that cannot be reached is killed, and raises nothing here."""
        ...

    def close_input(self) -> None:
        """End its input, at which it leaves at once."""
        ...

    def kill(self) -> None:
        """End it at once, as far as that can be done from here."""
        ...

    def wait(self, seconds: float | None = None) -> str | None:
        """Wait until it has ended, and close `output`.

        Args:
            seconds: How long to wait; None for as long as it takes.

        Returns:
            How it ended, such as `exit code 1`; None where it has not ended in time.
        """
        ...


class Launcher(Protocol):
    """Starts workers, here or elsewhere."""

    def start(self) -> Worker:
        """Start a worker. Raises NnlabError where that cannot be done."""
        ...

    def close(self) -> None:
        """End what was started for the workers beside them, once they have ended."""
        ...


class ProcessLauncher:
    """Starts workers as processes of this machine, or by a command that starts its arguments elsewhere.

    Args:
        log: The file that takes what workers print.
        prefix: The words of that command, such as `srun -n1`; none for processes here.
        inherited_descriptors: Open files that the processes hold too, such as the directory's lock.
        command_variables: Environment variables for that command alone.
    """

    def __init__(
        self,
        log: Path,
        prefix: Sequence[str] = (),
        inherited_descriptors: Sequence[int] = (),
        command_variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.log, self.prefix, self.inherited_descriptors = log, prefix, tuple(inherited_descriptors)
        self.command_variables = command_variables

    def start(self) -> Worker:
        variables = start_variables()
        command = [sys.executable, "-P", "-m", MODULE]
        if self.prefix:  # which may not pass the environment on
            passed = ["env", *(f"{name}={value}" for name, value in variables.items())]
            command = [*_until_death(), *self.prefix, *passed, *command]
        with files.disk_errors(self.log):
            log = files.open_for_append(self.log)
        try:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter, by a command of the user's
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                stderr=log,
                env={**os.environ, **variables, **self.command_variables},
                pass_fds=self.inherited_descriptors,
                start_new_session=True,  # Ctrl-C is the sweep's to handle
            )
        except OSError as error:
            raise UsageError(f"{command[0]}: cannot be started: {error.strerror}") from None
        finally:
            os.close(log)
        return _ProcessWorker(process)

    def close(self) -> None:
        """There is nothing beside the workers."""


def split_command(launcher: str) -> list[str]:
    """The words of a command that starts its arguments elsewhere. Raises UsageError where it is none."""
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise UsageError(f"--launcher {launcher!r}: {str(error).lower()}") from None
    if not words:
        raise UsageError("--launcher: names no command; 'srun -n1 -c1 --exact' is one, or 'ssh host'")
    if shutil.which(words[0]) is None:
        raise UsageError(f"--launcher {launcher!r}: there is no command '{words[0]}' here")
    return words


def start_variables() -> dict[str, str]:
    """Environment variables that a process must be started with.

    It gets one heap, and finds nnlab where this process did; not by its working directory, in which a file
    could take the place of a module (-P).
    """
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100 - keeps links
    if Path(nnlab.__file__).parents[1].samefile(os.curdir):
        paths.insert(0, os.getcwd())  # noqa: PTH109
    variables = {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "1")}
    return variables | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def _until_death() -> list[str]:
    """The words before a command that is to end when this process is killed; without them one that waits in
    a queue, and does not read its input there, would stay in it."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


class _ProcessWorker:
    """A process and the pipes to it; see `Worker`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        self._process, self._input, self._output = process, process.stdin, process.stdout
        self.output = process.stdout.fileno()

    def send(self, line: bytes) -> None:
        try:
            while line:  # a signal may cut a write short
                line = line[self._input.write(line) :]
        except OSError:
            self.kill()  # its death is noticed at its output

    def close_input(self) -> None:
        try:
            self._input.close()
        except OSError:
            self.kill()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float | None = None) -> str | None:
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._output.close()
        if code >= 0:
            return f"exit code {code}"
        memory = " (is memory short?)" if code == -signal.SIGKILL else ""
        return f"signal {signal.Signals(-code).name}{memory}"
