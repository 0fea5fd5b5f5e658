"""Train an experiment into a run directory: what `nnlab.train` and the command `nnlab train` do."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from nnlab.config import Config
from nnlab.config.from_python import DICT_SOURCE
from nnlab.errors import Interrupted
from nnlab.runs.figures import draw
from nnlab.runs.progress import ChunkCallback, progress_bar
from nnlab.runs.results import Run, open_run
from nnlab.runs.resume import Notify, ResumePolicy, ignore
from nnlab.runs.reuse import is_finished
from nnlab.runs.run import Outcome, run
from nnlab.runs.together import Settings, train_with_others
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device
from nnlab.training.cost import step_flops
from nnlab.training.experiment import Experiment, build_experiment
from nnlab.training.processes import dismiss


def train(
    experiment: Config,
    out: str | Path | None = None,
    *,
    resume: bool = True,
    allow_drift: bool = False,
    checkpoint_every: float = 60.0,
    platform: str = "auto",
    threads: int | None = None,
    deterministic: bool = False,
    process: str | None = None,
    plots: bool = True,
    progress: bool | ChunkCallback = False,
    notify: Notify = ignore,
) -> Run:
    """Train an experiment, or open its run where it was trained before.

    It leaves the bytes that the command `nnlab train` leaves, if JAX was not used in the process before: its
    first use settles the threads. In the main thread SIGINT (a notebook's stop button), SIGTERM and SIGHUP
    end it at a checkpoint, within seconds; a second one is handled as it would be without a training.

    Args:
        experiment: An experiment that is no sweep, from `nnlab.load` or `nnlab.experiment`.
        out: The run directory; by default results/<name>-<first 8 digits of the config's hash>.
        resume: Whether to open a finished run and continue an interrupted one, or to train anew.
        allow_drift: Continue even if config, data, versions, device or threads differ; that is recorded.
        checkpoint_every: Seconds between checkpoints, 0 for one after every chunk.
        platform: `auto`, `cpu`, `gpu` or `tpu`; without effect once JAX has been used.
        threads: Threads on CPU, 1 for the bytes of a sweep's trial; None: by the size of a step.
        deterministic: Whether a GPU computes the same bits each time, which is slower; a CPU does so anyway.
        process: `K/N@HOST:PORT` for process K of N that train together; `slurm` for a task of srun's.
        plots: Whether to draw the figures of a finished run into its folder plots/.
        progress: Whether to show a bar, or a function that is called with each chunk of the training.
        notify: Called with each line that is worth knowing: that the run was finished before, say.

    Returns:
        The run, complete or diverged as its `status` says.

    Raises:
        ConfigError: The parts of the experiment do not fit together, or it is a sweep.
        UsageError: The directory holds something else, is in use, or JAX has begun with other settings.
        DriftError, DiskError: The run was begun where other numbers come out; it cannot be written.
        Interrupted: A signal ended the training. It is a KeyboardInterrupt; the same call continues.
    """
    if not isinstance(experiment, Config):
        raise TypeError(f"nnlab.train takes an experiment of nnlab.load, not {type(experiment).__name__}")
    check_single(experiment)
    bound = build_experiment(experiment)
    directory = RunDirectory(Path(out) if out is not None else default_directory(experiment))
    policy = ResumePolicy(checkpoint_every, resume, allow_drift)
    settings = Settings(platform, step_flops(bound), threads, deterministic)

    def train_here() -> Run:
        return _train(bound, directory, policy, settings, plots, progress, notify)

    return (
        train_here()
        if process is None
        else train_with_others(process, bound, directory, settings, train_here)
    )


def _train(
    experiment: Experiment,
    directory: RunDirectory,
    policy: ResumePolicy,
    settings: Settings,
    plots: bool,
    progress: bool | ChunkCallback,
    notify: Notify,
) -> Run:
    if is_finished(directory, experiment, policy):
        return _reuse(directory, plots, notify)
    device.configure(*settings)
    with directory.held():
        if is_finished(directory, experiment, policy):  # by another process, in the meantime
            return _reuse(directory, plots, notify)
        outcome = _run(experiment, directory, policy, progress, notify)
        if outcome.signal:
            raise Interrupted(directory.path, outcome.signal)
        return _opened(directory, plots, notify)


def check_single(experiment: Config) -> None:
    """Refuse an experiment that is a sweep. Raises ConfigError."""
    if experiment.tree["sweep"] is not None:
        source = experiment.document.source
        command = "nnlab.sweep" if source == DICT_SOURCE else f"nnlab sweep {source}"
        raise experiment.error(("sweep",), f"describes many runs: `{command}` runs them")


def default_directory(experiment: Config) -> Path:
    """Where the run of an experiment goes: the same config is the same directory."""
    return Path("results") / experiment.directory_name


def _reuse(directory: RunDirectory, plots: bool, notify: Notify) -> Run:
    dismiss()
    notify(f"{directory.path}: finished before, nothing to do (--force trains anew)")
    return _opened(directory, plots and not (directory.path / "plots").exists(), notify)


def _opened(directory: RunDirectory, plots: bool, notify: Notify) -> Run:
    run = open_run(directory.path)
    return replace(run, plots=draw([run], run.path / "plots", notify=notify)) if plots else run


def _run(
    experiment: Experiment,
    directory: RunDirectory,
    policy: ResumePolicy,
    progress: bool | ChunkCallback,
    notify: Notify,
) -> Outcome:
    with contextlib.ExitStack() as stack:
        on_chunk = progress if callable(progress) else None
        if progress is True:
            on_chunk = stack.enter_context(progress_bar(experiment))
        return run(experiment, directory, on_chunk, policy, notify)
