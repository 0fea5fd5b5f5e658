"""Running trials on worker processes of this machine.

A worker outlives its trials, so that it starts once and compiles a program once. Its death costs the trials
it was at: they are tried once more, then given up. An engine for a cluster is another `Engine`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nnlab.errors import NnlabError, UsageError
from nnlab.runs.resume import Keep
from nnlab.sweeps.queue import TRIES, Work
from nnlab.sweeps.trials import Trial
from nnlab.system import device, files

STOP_SECONDS = 10.0  # a worker that was told to stop has so long to end its chunk


class Event(NamedTuple):
    """What became of a trial. share: of its steps, how many it has taken; status: how it ended, empty while
    it runs; reason: of its failing, where its own directory does not tell."""

    trial: Trial
    share: float = 0.0
    status: str = ""
    reason: str = ""


class Engine(Protocol):
    """What runs an agenda, here or elsewhere. stopping: whether it was told to stop."""

    stopping: bool

    def run(self, agenda: Work) -> Iterator[Event]:
        """Run every trial of the agenda once, and tell what becomes of them."""
        ...

    def stop(self) -> None:
        """Let what runs come to its next record, and begin nothing more."""
        ...

    def kill(self) -> None:
        """End all that runs at once."""
        ...

    def close(self) -> None:
        """Leave nothing behind that runs."""
        ...


class LocalEngine:
    """Persistent workers, one a core with one XLA thread each; on an accelerator one worker, which runs the
    trials of a group as lanes of one program."""

    def __init__(
        self, folder: Path, jobs: int | None, platform: str, keep: Keep, keep_open: Sequence[int] = ()
    ) -> None:
        self.folder, self.platform, self.keep, self.keep_open = folder, platform, keep, tuple(keep_open)
        self.asked = jobs is not None
        self.jobs = jobs or (1 if device.has_accelerator(platform) else device.core_count())
        self.workers: list[_Worker] = []
        self.stopping, self.unready = False, 0

    def run(self, agenda: Work) -> Iterator[Event]:
        """Run every trial of the agenda once, and tell what becomes of them. What is done with an event may
        add to the agenda."""
        with selectors.DefaultSelector() as selector:
            self._staff(agenda, selector)
            while any(worker.slice for worker in self.workers) or (len(agenda) and not self.stopping):
                for key, _ in selector.select(timeout=1.0):
                    worker = key.data
                    messages = worker.messages()
                    for message in messages:
                        yield from self._heard(worker, message, agenda)
                    if not messages and worker.gone:
                        selector.unregister(worker.output)
                        worker.output.close()
                        worker.leave()
                        self.workers.remove(worker)
                        yield from self._lost(worker, agenda)
                if not self.stopping:
                    self._staff(agenda, selector)
                for worker in self.workers:
                    if worker.ready and not worker.slice and not self.stopping:
                        worker.take(agenda.next_for(worker.group, worker.memory), agenda.judges, self.keep)

    def stop(self) -> None:
        """Let the workers end their chunk and leave it at that."""
        self.stopping = True
        for worker in self.workers:
            worker.process.terminate()

    def close(self) -> None:
        """End all workers; those that do not go by themselves are killed."""
        for worker in self.workers:
            worker.leave()
        for worker in self.workers:
            try:
                worker.process.wait(STOP_SECONDS if self.stopping else 1.0)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.output.close()

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.process.kill()

    def _staff(self, agenda: Work, selector: selectors.BaseSelector) -> None:
        """Start workers, as many as there may be and the agenda can use."""
        idle = sum(not worker.slice for worker in self.workers)
        while len(self.workers) < self.jobs and idle < len(agenda):
            self.workers.append(_Worker(self.folder, self.platform, self.keep_open))
            selector.register(self.workers[-1].output, selectors.EVENT_READ, self.workers[-1])
            idle += 1

    def _heard(self, worker: _Worker, message: dict[str, Any], agenda: Work) -> Iterator[Event]:
        if "error" in message:
            raise (UsageError if message["usage"] else NnlabError)(message["error"])
        if "ready" in message:
            worker.ready, worker.memory, self.unready = True, message["memory"], 0
            if message["cpu"] and not self.asked:  # an accelerator's packages without an accelerator
                self.jobs = device.core_count()
            return
        trial = worker.slice[message["trial"]]
        if "records" in message:
            worker.send({"stop": agenda.stop_at(trial, message["records"])})
        share = message["step"] / max(1, message.get("total", 1))
        yield Event(trial, share, message.get("status", ""), message.get("reason", ""))
        if message.get("last"):
            worker.slice = []

    def _lost(self, worker: _Worker, agenda: Work) -> Iterator[Event]:
        """A worker died: its trials go back onto the agenda, or are given up."""
        code = worker.process.wait()
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        cause += " (is memory short?)" if code == -signal.SIGKILL else ""
        for trial in worker.slice:
            if self.stopping:
                yield Event(trial, status="interrupted")
            elif not agenda.again(trial):
                yield Event(trial, status="failed", reason=f"its worker died {TRIES} times, last by {cause}")
        if not worker.ready and not self.stopping:
            self.unready += 1
            if self.unready >= TRIES:
                raise NnlabError(f"workers die before they are ready ({cause}); see {self.folder}/sweep.log")


class _Worker:
    """A worker process, and the trials that it is at."""

    def __init__(self, folder: Path, platform: str, keep_open: tuple[int, ...]) -> None:
        self.slice: list[Trial] = []
        self.group = ""
        self.ready, self.memory = False, None
        self.gone, self.heard = False, b""
        environment = os.environ | {"PJRT_NPROC": "1"}
        with files.disk_errors(folder / "sweep.log"):
            log = files.open_for_append(folder / "sweep.log")
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this very interpreter and a module of ours
                [sys.executable, "-m", "nnlab.sweeps.worker", str(folder), platform],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                stderr=log,
                env=environment,
                pass_fds=keep_open,
                start_new_session=True,  # Ctrl-C is the sweep's to handle
            )
        finally:
            os.close(log)
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        self.output = self.process.stdout

    def take(self, work: tuple[str, list[Trial]] | None, judged: bool, keep: Keep) -> None:
        """Give it trials of one group to run side by side; judged: it asks whether to go on with them."""
        if work is None:
            return
        self.group, self.slice = work
        trials = [{"id": trial.id, "tree": trial.config.tree} for trial in self.slice]
        self.send({"trials": trials, "judged": judged, "keep": keep})

    def leave(self) -> None:
        """Close its input, at which it ends."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self.process.stdin.close()
        except OSError:
            self.process.kill()

    def messages(self) -> list[dict[str, Any]]:
        """What it has said since; notes when it is gone."""
        read = os.read(self.output.fileno(), 2**16)
        self.gone = not read
        *lines, self.heard = (self.heard + read).split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            self.process.kill()  # its death is noticed at its output
