"""A worker of a sweep: `python -m nnlab.sweeps.worker`, which a launcher starts on this host or another.

It reads and writes lines of JSON. The first one says where it works: relative paths go by the working
directory, and the content of the file `nonce` in the sweep's folder shows that both ends see the same folder.

    reads   {"working_directory": ..., "folder": ..., "nonce": ".nonce-0123abcd", "platform": "auto",
             "deterministic": false, "modules": [...], "stale_seconds": 30.0,
             "environment": {"PJRT_NPROC": "1", ...}}
    writes  {"ready": true, "nonce": ..., "host": ..., "cpu": true, "memory": null}; or
            {"error": ..., "usage": true}                   where nothing can be run, or gone on with

Each other line is a job, trials to run side by side, which it trains into trials/ID of the folder. In its
answers a trial is its number in the job:

    reads   {"trials": [{"id": ..., "tree": ..., "lease": [".lease-0001", ...]}, ...],
             "prunes": false, "policy": [60.0, true, false]}
    writes  {"trial": 0, "step": 500, "total": 900}         after every chunk
            {"trial": 0, "step": 900, "total": 900, "status": ..., "last": true}    at a trial's end
            {"trial": 0, "step": 0, "status": "failed", "reason": ..., "last": true}

Where trials may be pruned, a chunk's message has its rows of metrics.csv too, and the worker waits for the
answer: the step of one of them at which to end the trial, or null:

    writes  {"trial": 0, "step": 500, "total": 900, "records": {"step": [...], "train_loss": [...], ...}}
    reads   {"stop": null}

At the line {"leave": true} it ends its chunk, writes checkpoints and leaves, as at SIGTERM, which may not
reach another host. It ends at once when its input ends: the sweep that it worked for is gone. It leaves, too,
where another process has taken the lease of a trial over (`nnlab.storage.lease`).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from nnlab.config import Config
from nnlab.config.document import Document
from nnlab.errors import DiskError, DriftError, NnlabError, RunStatus, UsageError
from nnlab.registry import import_module_beside
from nnlab.runs.resume import ResumePolicy, RunTask
from nnlab.runs.run import run_together
from nnlab.storage.lease import Lease, LeaseLostError, signs_of_life
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device, files
from nnlab.system.garbage import collect_seldom
from nnlab.training.experiment import build_experiment
from nnlab.training.record_tables import Chunk

Message = Mapping[str, Any]


class Send(Protocol):
    """Writes one message to the engine."""

    def __call__(self, **message: object) -> None: ...


def main() -> None:
    """Read jobs and run them until the input ends, or a signal or a line says to stop."""
    collect_seldom()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        os.dup2(2, 1)  # what a library prints is no message
        send = _sender(output)
        inbox: queue.Queue[Message] = queue.Queue()
        threading.Thread(target=_receive, args=(inbox,), daemon=True).start()
        setup = inbox.get()
        try:
            _set_up(setup)
        except NnlabError as error:
            send(error=str(error), usage=True)
            return
        import optax  # noqa: F401 - while there is nothing else to do
        import pandas  # noqa: F401

        folder = Path(setup["folder"])
        send(
            ready=True,
            nonce=_content(folder / setup["nonce"]),
            host=platform.node(),
            cpu=device.is_cpu(),
            memory=device.total_memory_bytes(),
        )
        while _run_job(folder, setup["stale_seconds"], inbox, send):
            pass


def log(line: str) -> None:
    """Write a line to sweep.log."""
    print(line, file=sys.stderr, flush=True)


def _sender(output: TextIO) -> Send:
    def send(**message: object) -> None:
        try:
            output.write(json.dumps(message) + "\n")
            output.flush()
        except OSError:  # nobody reads any longer
            os._exit(1)

    return send


def _receive(inbox: queue.Queue[Message]) -> None:
    """Pass messages on as they come; leave at once where the input ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if "leave" in message:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            inbox.put(message)
    os._exit(0)


def _set_up(setup: Message) -> None:
    """Go to where the sweep was begun, with its settings and components. Raises UsageError."""
    try:
        os.chdir(setup["working_directory"])
    except OSError as error:
        raise UsageError(
            f"{setup['working_directory']}: cannot be the working directory on {platform.node()}: "
            f"{error.strerror}; begin in one that all hosts share"
        ) from None
    os.environ.update(setup["environment"])
    device.configure(setup["platform"], deterministic=setup["deterministic"])
    for module in setup["modules"]:
        import_module_beside(module)


def _content(file: Path) -> str:
    """The content of a file; empty where it cannot be read."""
    try:
        return files.read_regular_file(file).decode()
    except OSError:
        return ""


def _run_job(folder: Path, stale_seconds: float, inbox: queue.Queue[Message], send: Send) -> bool:
    """Run the trials of the next job; False where the worker is to end."""
    job = inbox.get()
    trials: Sequence[Message] = job["trials"]
    last = len(trials) - 1

    def report(number: int, chunk: Chunk) -> int | None:
        progress = {"trial": number, "step": chunk.step, "total": tasks[number].experiment.total_steps}
        if not job["prunes"]:
            send(**progress)
            return None
        send(**progress, records=_records(chunk))
        return inbox.get()["stop"]

    directories = [_directory(folder, trial) for trial in trials]
    leases = [directory.lease for directory in directories if directory.lease is not None]
    try:
        with signs_of_life(leases, stale_seconds):
            tasks = [_task(*pair) for pair in zip(trials, directories, strict=True)]
            outcomes = run_together(tasks, report, ResumePolicy(*job["policy"]), log)
    except LeaseLostError as error:
        log(str(error))
        return False
    except (DriftError, DiskError) as error:  # true of all trials, most likely
        send(error=str(error), usage=isinstance(error, UsageError))
        return False
    except Exception as error:
        reason = str(error) if isinstance(error, NnlabError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())
        for number in range(len(trials)):
            send(trial=number, step=0, status=RunStatus.FAILED, reason=reason, last=number == last)
        return True
    for number, outcome in enumerate(outcomes):
        step, total = outcome.summary.get("step", 0), tasks[number].experiment.total_steps
        status = outcome.summary["status"]
        send(trial=number, step=step, total=total, status=status, last=number == last)
    return not any(outcome.signal for outcome in outcomes)


def _records(chunk: Chunk) -> dict[str, list[float]]:
    """The rows of metrics.csv of a chunk, as they read back from there."""
    return {column: [float(str(value)) for value in rows] for column, rows in chunk.tables["metrics"].items()}


def _directory(folder: Path, trial: Message) -> RunDirectory:
    path, (lease, content) = folder / "trials" / trial["id"], trial["lease"]
    return RunDirectory(path, Lease(path / lease, content))


def _task(trial: Message, directory: RunDirectory) -> RunTask:
    document = Document(trial["tree"], {}, {}, f"trial {trial['id']}")
    return RunTask(build_experiment(Config(trial["tree"], document)), directory)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
