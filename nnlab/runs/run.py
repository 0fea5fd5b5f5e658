"""Running experiments into their directories: one, or several side by side in one compiled program."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from nnlab.errors import NnlabError, RunStatus
from nnlab.runs.progress import ChunkCallback
from nnlab.runs.recorder import RunRecorder
from nnlab.runs.resume import CheckpointTimer, Notify, ResumePolicy, RunTask, find_resume_points, ignore
from nnlab.runs.signals import collect_stop_signals
from nnlab.storage.checkpoints import Checkpoint
from nnlab.storage.results import JsonObject
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device
from nnlab.text import format_bytes
from nnlab.training.closed_form import fit
from nnlab.training.experiment import Experiment, SolvedExperiment, TrainedExperiment
from nnlab.training.loop import train_together
from nnlab.training.memory import largest_layers
from nnlab.training.placement import batch_devices
from nnlab.training.processes import dismiss, is_of_lost_process
from nnlab.training.record_tables import Chunk
from nnlab.training.state import ResumePoint

DEFAULT_POLICY = ResumePolicy()

LaneCallback = Callable[[int, Chunk], int | None]
"""Called with the number of a run and a chunk of it; may return a step at which to prune the run."""


class Outcome(NamedTuple):
    """How a training ended.

    Attributes:
        summary: The content of summary.json.
        signal: The number of the signal that interrupted it; 0 if none did.
    """

    summary: JsonObject
    signal: int


def run(
    experiment: Experiment,
    directory: RunDirectory,
    on_chunk: ChunkCallback | None = None,
    policy: ResumePolicy = DEFAULT_POLICY,
    notify: Notify = ignore,
) -> Outcome:
    """Train to the end, to divergence, or to SIGINT, SIGTERM or SIGHUP, writing records as they come; from a
    checkpoint on, where there is one.

    Args:
        experiment: What to train.
        directory: Where to write.
        on_chunk: Called with each chunk; after a resume, first with what was recorded before.
        policy: When to write checkpoints, and whether to resume.
        notify: Called with what is worth knowing of the resume, a line at a time.

    Returns:
        How it ended: complete, diverged or interrupted.

    Raises:
        ConfigError: The device has too little memory.
        DiskError: The directory cannot be written.
        UsageError: The checkpoint is that of something else.
    """

    def stop_never(_: int, chunk: Chunk) -> None:
        if on_chunk is not None:
            on_chunk(chunk)

    return run_together([RunTask(experiment, directory)], stop_never, policy, notify)[0]


def run_together(
    tasks: Sequence[RunTask],
    on_chunk: LaneCallback | None = None,
    policy: ResumePolicy = DEFAULT_POLICY,
    notify: Notify = ignore,
) -> list[Outcome]:
    """Run experiments that share a program side by side, as lanes of it; see `run`.

    Args:
        tasks: The experiments and their directories.
        on_chunk: Called with the number of a run and each chunk of it. Where it returns a step of that chunk,
            the run ends there, pruned: it leaves the first rows of what the complete run would have left.
        policy: See `run`.
        notify: See `run`.

    Returns:
        How each of them ended; `run` names the errors.
    """
    _check_device(tasks[0].experiment)
    runs = [RunRecorder(task, on_chunk and functools.partial(on_chunk, i)) for i, task in enumerate(tasks)]
    starts = find_resume_points(tasks, policy, notify)
    for number, run in enumerate(runs):
        run.create(starts[number] if starts else None, notify)
    with collect_stop_signals() as caught, _fail_together(runs):
        timer = CheckpointTimer(policy.every)
        for chunks in _chunks(runs, starts):
            active = {runs[i]: chunk for i, chunk in chunks.items() if runs[i].status is not RunStatus.PRUNED}
            for run, chunk in active.items():
                run.record(chunk)
            running = any(run.status is RunStatus.RUNNING for run in runs)
            completed = any(run.status is RunStatus.COMPLETE for run in active)
            interrupted = bool(caught)
            if interrupted or completed or timer.is_due():
                saved = (RunStatus.RUNNING, RunStatus.COMPLETE)
                timer.save([(run.task, chunk) for run, chunk in active.items() if run.status in saved])
            if interrupted or not running:
                break
    outcomes = []
    for run in runs:
        summary = run.finish()
        outcomes.append(Outcome(summary, caught[0] if run.status is RunStatus.INTERRUPTED else 0))
    return outcomes


def _check_device(experiment: Experiment) -> None:
    """There must be the devices that a training takes, and the memory on them. Raises ConfigError."""
    if isinstance(experiment, TrainedExperiment):
        batch_devices(experiment)
    needed, available = experiment.footprint.array_bytes, device.memory_limit_bytes()
    if available is not None and needed > available:
        raise experiment.config.error(
            ("model",),
            f"training needs about {format_bytes(needed)} of the device's memory, which has "
            f"{format_bytes(available)}; largest layers: {largest_layers(experiment.model.setup)}",
        )


def _chunks(runs: Sequence[RunRecorder], starts: Sequence[Checkpoint] | None) -> Iterator[dict[int, Chunk]]:
    """The chunks of all runs, by their numbers; experiments with a solver are fitted one after the other."""
    experiments = [run.task.experiment for run in runs]
    if all(run.status is RunStatus.COMPLETE for run in runs):  # killed before it could say so
        dismiss()
        return
    trained = [experiment for experiment in experiments if isinstance(experiment, TrainedExperiment)]
    if trained:  # all of them are
        points = [ResumePoint(s.meta.step, s.arrays, s.meta.stopped > 0) for s in starts or ()]
        yield from train_together(trained, points)
    for number, experiment in enumerate(experiments):
        if isinstance(experiment, SolvedExperiment):
            for chunk in fit(experiment):
                yield {number: chunk}


@contextlib.contextmanager
def _fail_together(runs: Sequence[RunRecorder]) -> Iterator[None]:
    """Where training fails, close the tables, and write the reason into the summaries unless nnlab raised it:
    a disk that is full, say. At a second signal, only close the tables."""
    try:
        yield
    except BaseException as error:
        for run in runs:
            run.task.directory.close()
        if isinstance(error, NnlabError) or not isinstance(error, Exception):
            raise
        explained = _out_of_memory(error, runs[0].task)
        if is_of_lost_process(error):
            explained = lost_process(runs[0].task.directory)
        for run in runs:
            run.fail(str(explained or f"{type(error).__name__}: {error}"))
        if explained is not None:
            raise explained from None
        raise


def lost_process(directory: RunDirectory) -> NnlabError:
    """The error where one of several processes that train together has ended before its time."""
    return NnlabError(
        f"{directory.path}: another process of this training has ended; the same commands go on from the "
        "last checkpoint"
    )


def _out_of_memory(error: Exception, task: RunTask) -> NnlabError | None:
    """An error of memory that ran out, in a line that names the largest layers; None for another one."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        largest = largest_layers(task.experiment.model.setup)
        return NnlabError(f"{task.directory.path}: out of memory; largest layers: {largest}")
    return None
