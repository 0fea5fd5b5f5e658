"""Running trials on worker processes, wherever a launcher starts them.

A worker outlives its trials: it starts once, and compiles a program once. Where one dies, its trials are run
once more, then given up.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnlab.errors import DiskError, NnlabError, RunStatus, UsageError
from nnlab.runs.resume import ResumePolicy
from nnlab.storage import lease
from nnlab.sweeps.engines.base import MAXIMUM_ATTEMPTS, Assignment, Event, TrialSource
from nnlab.sweeps.engines.launchers import Launcher, Worker
from nnlab.sweeps.trials import Trial
from nnlab.system import device, files

POLL_SECONDS = 1.0
STOP_TIMEOUT_SECONDS = 10.0  # for a worker that was told to leave to end its chunk
EXIT_TIMEOUT_SECONDS = 1.0  # for an idle worker to leave
READ_BYTES = 2**16

Message = Mapping[str, Any]


class WorkerEngine:
    """Runs trials on persistent workers; see `Engine` for its methods.

    On CPU there is one worker per core, with one XLA thread each. On accelerators a worker runs the trials of
    a group as lanes of one program, spread over the devices that it sees: its share of the GPUs.

    Args:
        folder: The sweep's directory, which must be the same for all workers; trials go to trials/ID in it.
        launcher: Starts the workers.
        jobs: Number of workers; None for the machine's default.
        platform: `auto`, `cpu`, `gpu` or `tpu`.
        policy: When trials write checkpoints, and whether they resume.
        modules: What workers import, for the components that it registers.
        deterministic: Whether GPUs are to compute the same bits each time.
        gpus: Those of this machine, to be divided among the workers, one by one or in groups, one for each
            worker where `jobs` is None; none leaves each what it sees.
    """

    def __init__(
        self,
        folder: Path,
        launcher: Launcher,
        jobs: int | None,
        platform: str,
        policy: ResumePolicy,
        modules: Sequence[str] = (),
        deterministic: bool = False,
        gpus: Sequence[str] = (),
    ) -> None:
        self.folder, self.launcher, self.platform, self.policy = folder, launcher, platform, policy
        self.modules, self.jobs_are_given = tuple(modules), jobs is not None
        self.deterministic, self.gpus = deterministic, gpus
        self.jobs = jobs or len(gpus) or device.worker_count(platform)
        self.channels: list[_Channel] = []
        self.stopping = False
        self.failed_starts = 0  # in a row
        self._nonce = secrets.token_hex(16)

    def run(self, trials: TrialSource) -> Iterator[Event]:
        files.write_atomically(self._nonce_file, self._nonce.encode())
        with selectors.DefaultSelector() as selector:
            self._start_workers(trials, selector)
            while any(channel.trials for channel in self.channels) or (len(trials) and not self.stopping):
                for key, _ in selector.select(timeout=POLL_SECONDS):
                    channel: _Channel = key.data
                    messages = channel.read_messages()
                    for message in messages:
                        yield from self._handle_message(channel, message, trials)
                    if not messages and channel.has_ended:
                        selector.unregister(channel.worker.output)
                        self.channels.remove(channel)
                        yield from self._handle_death(channel, trials)
                if self.stopping:
                    continue
                self._start_workers(trials, selector)
                yield from trials.ended_elsewhere()
                for channel in self.channels:
                    if channel.ready and not channel.trials:
                        assignment = trials.next_assignment(channel.group, channel.memory_bytes)
                        if assignment is not None:
                            channel.assign(assignment, trials.prunes, self.policy)

    def stop(self) -> None:
        self.stopping = True
        for channel in self.channels:
            channel.send({"leave": True})

    def close(self) -> None:
        """End all workers; those that do not leave by themselves are killed."""
        for channel in self.channels:
            channel.worker.close_input()
        for channel in self.channels:
            channel.wait(STOP_TIMEOUT_SECONDS if self.stopping else EXIT_TIMEOUT_SECONDS)
        self.launcher.close()
        with contextlib.suppress(DiskError):
            files.remove(self._nonce_file)

    def kill(self) -> None:
        for channel in self.channels:
            channel.worker.kill()

    @property
    def _nonce_file(self) -> Path:
        """The file by which workers show that they see the sweep's directory. No host knows its name yet, so
        that none answers from what it remembers of the directory."""
        return self.folder / f".nonce-{self._nonce[:8]}"

    def _start_workers(self, trials: TrialSource, selector: selectors.BaseSelector) -> None:
        """Start as many workers as are allowed and can be used."""
        idle = sum(not channel.trials for channel in self.channels)
        while len(self.channels) < self.jobs and idle < len(trials):
            number = min({*range(self.jobs)} - {channel.number for channel in self.channels})
            channel = _Channel(self.launcher.start(), number)
            self.channels.append(channel)
            selector.register(channel.worker.output, selectors.EVENT_READ, channel)
            channel.send(
                {
                    "working_directory": os.getcwd(),  # noqa: PTH109
                    "folder": str(self.folder),
                    "nonce": self._nonce_file.name,
                    "platform": self.platform,
                    "deterministic": self.deterministic,
                    "modules": self.modules,
                    "stale_seconds": lease.STALE_SECONDS,
                    "environment": device.settings()
                    | {"PJRT_NPROC": "1"}
                    | device.share_of_gpus(self.gpus, number, self.jobs),
                }
            )
            idle += 1

    def _handle_message(self, channel: _Channel, message: Message, trials: TrialSource) -> Iterator[Event]:
        if "error" in message:
            raise (UsageError if message["usage"] else NnlabError)(message["error"])
        if "ready" in message:
            if message["nonce"] != self._nonce:
                raise UsageError(
                    f"{self.folder}: is another folder for a worker on {message['host']}; name an --out that "
                    "all hosts share"
                )
            channel.ready, channel.memory_bytes, self.failed_starts = True, message["memory"], 0
            if message["cpu"] and not self.jobs_are_given:  # an accelerator's packages, no accelerator
                self.jobs = device.core_count()
            return
        trial = channel.trials[message["trial"]]
        if "records" in message:
            channel.send({"stop": trials.prune_step(trial, message["records"])})
        share = message["step"] / max(1, message.get("total", 1))
        yield Event(trial, share, message.get("status", ""), message.get("reason", ""))
        if message.get("last"):
            channel.trials = []

    def _handle_death(self, channel: _Channel, trials: TrialSource) -> Iterator[Event]:
        """Put the trials of a dead worker back into the queue, or give them up."""
        channel.worker.close_input()
        cause = channel.wait(STOP_TIMEOUT_SECONDS)
        for trial in channel.trials:
            if self.stopping:
                yield Event(trial, status=RunStatus.INTERRUPTED)
            elif not trials.retry(trial):
                reason = f"its worker died {MAXIMUM_ATTEMPTS} times, last by {cause}"
                yield Event(trial, status=RunStatus.FAILED, reason=reason)
        if not channel.ready and not self.stopping:
            self.failed_starts += 1
            if self.failed_starts >= MAXIMUM_ATTEMPTS:
                raise NnlabError(f"workers die before they are ready ({cause}); see {self.folder}/sweep.log")


class _Channel:
    """A worker, what it says and is told, and the trials that it is running; its number is no other's."""

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker, self.number = worker, number
        self.trials: Sequence[Trial] = []
        self.group = ""
        self.ready = False
        self.memory_bytes: int | None = None
        self.has_ended = False
        self._incomplete_line = b""

    def assign(self, assignment: Assignment, prunes: bool, policy: ResumePolicy) -> None:
        """Let it run trials of one group side by side; prunes: it asks whether to go on with them."""
        self.group, self.trials = assignment.group, assignment.trials
        trials = [
            {"id": trial.id, "tree": trial.config.tree, "lease": [lease.folder.name, lease.content]}
            for trial, lease in zip(assignment.trials, assignment.leases, strict=True)
        ]
        self.send({"trials": trials, "prunes": prunes, "policy": policy})

    def read_messages(self) -> list[Message]:
        """The messages that have come since; notes the end of its output."""
        received = os.read(self.worker.output, READ_BYTES)
        self.has_ended = not received
        *lines, self._incomplete_line = (self._incomplete_line + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, message: Message) -> None:
        self.worker.send(json.dumps(message).encode() + b"\n")

    def wait(self, seconds: float) -> str:
        """How it ended, in words; it is killed where that takes longer."""
        cause = self.worker.wait(seconds)
        if cause is None:
            self.worker.kill()
            cause = self.worker.wait()
        return cause or "nothing that is known"
