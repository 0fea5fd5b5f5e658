"""Running trials on worker processes of this machine.

A worker outlives its trials: it starts once, and compiles a program once. Where one dies, its trials are run
once more, then given up.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nnlab
from nnlab.errors import NnlabError, RunStatus, UsageError
from nnlab.runs.resume import ResumePolicy
from nnlab.sweeps.engines.base import MAXIMUM_ATTEMPTS, Assignment, Event, TrialSource
from nnlab.sweeps.trials import Trial
from nnlab.system import device, files

POLL_SECONDS = 1.0
STOP_TIMEOUT_SECONDS = 10.0  # for a worker that was told to stop to end its chunk
EXIT_TIMEOUT_SECONDS = 1.0  # for an idle worker to leave
READ_BYTES = 2**16

Message = Mapping[str, Any]


class LocalEngine:
    """Runs trials on persistent workers; see `Engine` for its methods.

    On CPU there is one worker per core, with one XLA thread each; on an accelerator one worker runs the
    trials of a group as lanes of one program.

    Args:
        folder: The sweep's directory; trials go to trials/ID in it, what workers print to sweep.log.
        jobs: Number of workers; None for the machine's default.
        platform: `auto`, `cpu`, `gpu` or `tpu`.
        policy: When trials write checkpoints, and whether they resume.
        modules: What workers import, for the components that it registers.
        inherited_descriptors: Open files that the workers hold too, such as the directory's lock.
    """

    def __init__(
        self,
        folder: Path,
        jobs: int | None,
        platform: str,
        policy: ResumePolicy,
        modules: Sequence[str] = (),
        inherited_descriptors: Sequence[int] = (),
    ) -> None:
        self.folder, self.platform, self.policy = folder, platform, policy
        self.modules, self.inherited_descriptors = tuple(modules), tuple(inherited_descriptors)
        self.jobs_are_given = jobs is not None
        self.jobs = jobs or (1 if device.has_accelerator(platform) else device.core_count())
        self.workers: list[_Worker] = []
        self.stopping = False
        self.failed_starts = 0  # in a row

    def run(self, trials: TrialSource) -> Iterator[Event]:
        with selectors.DefaultSelector() as selector:
            self._start_workers(trials, selector)
            while any(worker.trials for worker in self.workers) or (len(trials) and not self.stopping):
                for key, _ in selector.select(timeout=POLL_SECONDS):
                    worker: _Worker = key.data
                    messages = worker.read_messages()
                    for message in messages:
                        yield from self._handle_message(worker, message, trials)
                    if not messages and worker.output_ended:
                        selector.unregister(worker.output)
                        worker.output.close()
                        worker.close_input()
                        self.workers.remove(worker)
                        yield from self._handle_death(worker, trials)
                if self.stopping:
                    continue
                self._start_workers(trials, selector)
                for worker in self.workers:
                    if worker.ready and not worker.trials:
                        assignment = trials.next_assignment(worker.group, worker.memory_bytes)
                        if assignment is not None:
                            worker.assign(assignment, trials.prunes, self.policy)

    def stop(self) -> None:
        self.stopping = True
        for worker in self.workers:
            worker.process.terminate()

    def close(self) -> None:
        """End all workers; those that do not leave by themselves are killed."""
        for worker in self.workers:
            worker.close_input()
        for worker in self.workers:
            try:
                worker.process.wait(STOP_TIMEOUT_SECONDS if self.stopping else EXIT_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.output.close()

    def kill(self) -> None:
        for worker in self.workers:
            worker.process.kill()

    def _start_workers(self, trials: TrialSource, selector: selectors.BaseSelector) -> None:
        """Start as many workers as are allowed and can be used."""
        idle = sum(not worker.trials for worker in self.workers)
        while len(self.workers) < self.jobs and idle < len(trials):
            worker = _Worker(self.folder, self.platform, self.modules, self.inherited_descriptors)
            self.workers.append(worker)
            selector.register(worker.output, selectors.EVENT_READ, worker)
            idle += 1

    def _handle_message(self, worker: _Worker, message: Message, trials: TrialSource) -> Iterator[Event]:
        if "error" in message:
            raise (UsageError if message["usage"] else NnlabError)(message["error"])
        if "ready" in message:
            worker.ready, worker.memory_bytes, self.failed_starts = True, message["memory"], 0
            if message["cpu"] and not self.jobs_are_given:  # an accelerator's packages, no accelerator
                self.jobs = device.core_count()
            return
        trial = worker.trials[message["trial"]]
        if "records" in message:
            worker.send({"stop": trials.prune_step(trial, message["records"])})
        share = message["step"] / max(1, message.get("total", 1))
        yield Event(trial, share, message.get("status", ""), message.get("reason", ""))
        if message.get("last"):
            worker.trials = []

    def _handle_death(self, worker: _Worker, trials: TrialSource) -> Iterator[Event]:
        """Put the trials of a dead worker back into the queue, or give them up."""
        code = worker.process.wait()
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        cause += " (is memory short?)" if code == -signal.SIGKILL else ""
        for trial in worker.trials:
            if self.stopping:
                yield Event(trial, status=RunStatus.INTERRUPTED)
            elif not trials.retry(trial):
                reason = f"its worker died {MAXIMUM_ATTEMPTS} times, last by {cause}"
                yield Event(trial, status=RunStatus.FAILED, reason=reason)
        if not worker.ready and not self.stopping:
            self.failed_starts += 1
            if self.failed_starts >= MAXIMUM_ATTEMPTS:
                raise NnlabError(f"workers die before they are ready ({cause}); see {self.folder}/sweep.log")


def _interpreter() -> list[str]:
    """The command of this Python; -P, so that a file in the working directory takes the place of no module,
    unless nnlab itself is imported from there."""
    is_source_tree = Path(nnlab.__file__).parents[1].samefile(os.curdir)
    return [sys.executable] if is_source_tree else [sys.executable, "-P"]


class _Worker:
    """A worker process, and the trials that it is running."""

    def __init__(
        self, folder: Path, platform: str, modules: tuple[str, ...], inherited_descriptors: tuple[int, ...]
    ) -> None:
        self.trials: Sequence[Trial] = []
        self.group = ""
        self.ready = False
        self.memory_bytes: int | None = None
        self.output_ended = False
        self._incomplete_line = b""
        environment = {"MALLOC_ARENA_MAX": "1"} | os.environ | {"PJRT_NPROC": "1"}  # one thread, one heap
        with files.disk_errors(folder / "sweep.log"):
            log = files.open_for_append(folder / "sweep.log")
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this very interpreter and a module of ours
                [*_interpreter(), "-m", "nnlab.sweeps.worker", str(folder), platform, *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                stderr=log,
                env=environment,
                pass_fds=inherited_descriptors,
                start_new_session=True,  # Ctrl-C is the sweep's to handle
            )
        finally:
            os.close(log)
        assert self.process.stdin is not None  # noqa: S101 - both are pipes
        assert self.process.stdout is not None  # noqa: S101
        self._input, self.output = self.process.stdin, self.process.stdout

    def assign(self, assignment: Assignment, prunes: bool, policy: ResumePolicy) -> None:
        """Let it run trials of one group side by side; prunes: it asks whether to go on with them."""
        self.group, self.trials = assignment
        trials = [{"id": trial.id, "tree": trial.config.tree} for trial in self.trials]
        self.send({"trials": trials, "prunes": prunes, "policy": policy})

    def close_input(self) -> None:
        """Close its input, at which it leaves."""
        try:
            self._input.close()
        except OSError:
            self.process.kill()

    def read_messages(self) -> list[Message]:
        """The messages that have come since; notes the end of its output."""
        received = os.read(self.output.fileno(), READ_BYTES)
        self.output_ended = not received
        *lines, self._incomplete_line = (self._incomplete_line + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, message: Message) -> None:
        try:
            self._input.write(json.dumps(message).encode() + b"\n")
            self._input.flush()
        except OSError:
            self.process.kill()  # its death is noticed at its output
