"""A worker of a sweep: `python -m nnlab.sweeps.worker FOLDER PLATFORM`, started by the engine.

It reads a line of JSON a job, trials to run side by side, trains them into FOLDER/trials/<id>, and writes
lines of JSON, in which a trial is its number in the job:

    reads   {"trials": [{"id": ..., "tree": ...}, ...], "judged": false, "keep": [60.0, true, false]}
    writes  {"ready": true, "cpu": true, "memory": null}            once, at the beginning; or
            {"error": ..., "usage": true}                           where nothing can be run, or gone on with
            {"trial": 0, "step": 500, "total": 900}                 after every chunk
            {"trial": 0, "step": 900, "status": ..., "last": true}  at a trial's end; a reason if it failed

Of a judged trial, a chunk's message has its rows of metrics.csv too, and the worker waits to hear whether to
end the trial at the step of one of them:

    writes  {"trial": 0, "step": 500, "total": 900, "records": {"step": [...], "train_loss": [...], ...}}
    reads   {"stop": null}

It ends where its input does, at once: the sweep that it worked for is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from nnlab.config import Config
from nnlab.config.document import Document
from nnlab.errors import DiskError, DriftError, NnlabError, UsageError
from nnlab.runs.resume import Keep, Lane
from nnlab.runs.run import run_together
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import Chunk

Say = Callable[..., None]


def main() -> None:
    """Read jobs and run them until the input ends, or a signal says to stop."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    folder, platform = Path(sys.argv[1]), sys.argv[2]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        os.dup2(2, 1)  # what a library prints is no message
        say = _speaker(output)
        heard: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=_listen, args=(heard,), daemon=True).start()
        try:
            device.configure(platform)
        except NnlabError as error:
            say(error=str(error), usage=True)
            return
        import optax  # noqa: F401 - while there is nothing else to do
        import pandas  # noqa: F401

        say(ready=True, cpu=device.is_cpu(), memory=device.memory_limit_bytes())
        while True:
            if _work(folder, heard, say):
                return


def _speaker(output: TextIO) -> Say:
    def say(**message: Any) -> None:
        try:
            output.write(json.dumps(message) + "\n")
            output.flush()
        except OSError:  # nobody listens any more
            os._exit(1)

    return say


def _listen(heard: queue.Queue[Any]) -> None:
    """Pass on what comes in; leave at once where the input ends."""
    for line in sys.stdin:
        heard.put(json.loads(line))
    os._exit(0)


def _work(folder: Path, heard: queue.Queue[Any], say: Say) -> bool:
    """Run the next job's trials; whether a signal ended it."""
    message = heard.get()
    job, judged = message["trials"], message["judged"]

    def watch(number: int, chunk: Chunk) -> int | None:
        if not judged:
            say(trial=number, step=chunk.step, total=lanes[number].experiment.total_steps)
            return None
        total = lanes[number].experiment.total_steps
        say(trial=number, step=chunk.step, total=total, records=_records(chunk))
        return heard.get()["stop"]

    try:
        lanes = [_lane(folder, entry) for entry in job]
        outcomes = run_together(lanes, watch, Keep(*message["keep"]), note)
    except (DriftError, DiskError) as error:  # true of all trials, most likely
        say(error=str(error), usage=isinstance(error, UsageError))
        return True
    except Exception as error:
        reason = str(error) if isinstance(error, NnlabError) else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())
        for number in range(len(job)):
            say(trial=number, step=0, status="failed", reason=reason, last=number == len(job) - 1)
        return False
    for number, outcome in enumerate(outcomes):
        status, step = outcome.summary["status"], outcome.summary.get("step", 0)
        say(trial=number, step=step, status=status, last=number == len(job) - 1)
    return any(outcome.signal for outcome in outcomes)


def note(line: str) -> None:
    """Into sweep.log."""
    print(line, file=sys.stderr, flush=True)


def _records(chunk: Chunk) -> dict[str, list[float]]:
    """A chunk's rows of metrics.csv, as they read back from there."""
    return {column: [float(str(value)) for value in rows] for column, rows in chunk.tables["metrics"].items()}


def _lane(folder: Path, entry: dict[str, Any]) -> Lane:
    document = Document(entry["tree"], {}, {}, f"trial {entry['id']}")
    directory = RunDirectory(folder / "trials" / entry["id"])
    return Lane(build_experiment(Config(entry["tree"], document)), directory)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
