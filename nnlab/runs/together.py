"""A run that several processes train together: process 0 writes it, the others compute their part."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nnlab.config import Config
from nnlab.errors import Interrupted, UsageError
from nnlab.runs.results import Run, open_run
from nnlab.runs.run import lost_process
from nnlab.runs.signals import collect_stop_signals
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device
from nnlab.training.experiment import Experiment, TrainedExperiment
from nnlab.training.loop import train
from nnlab.training.processes import agree_at_the_end, is_of_lost_process, leads


class Settings(NamedTuple):
    """The arguments of `device.configure`."""

    platform: str
    step_flops: float
    threads: int | None
    deterministic: bool


def refuse_drawn_seed(experiment: Config, option: str) -> None:
    """Refuse an experiment that several processes load, each with a seed of its own. Raises UsageError."""
    if experiment.document.has_drawn_seed:
        raise UsageError(
            f"{option}: each process would draw a seed of its own; give them one, such as seed=0"
        )


def train_with_others(
    process: str,
    experiment: Experiment,
    directory: RunDirectory,
    settings: Settings,
    train_here: Callable[[], Run],
) -> Run:
    """Train an experiment in this and other processes.

    Args:
        process: Which of them this is, see `device.join`.
        experiment: What to train.
        directory: Its run directory, which all of them see.
        settings: Those of the device.
        train_here: Trains it and writes it, for process 0.

    Returns:
        The run, in each process once it is written.

    Raises:
        ConfigError: It is no training.
        UsageError: Each process has drawn a seed of its own.
        Interrupted: Process 0 was interrupted.
        NnlabError: Another process has ended, or what `train_here` raises.
    """
    if not isinstance(experiment, TrainedExperiment):
        raise experiment.config.error(("solver",), "is worked out by one process; leave --process out")
    refuse_drawn_seed(experiment.config, "--process")
    device.join(process)
    device.configure(*settings)
    if leads():
        try:
            run = train_here()
        except Interrupted as interruption:
            _tell(interruption.signal)
            raise
        _tell(0)
        return run
    try:
        with collect_stop_signals():  # process 0 says when to end
            for _ in train(experiment):
                pass
            signal = int(agree_at_the_end(np.int32(0)))
    except Exception as error:
        if is_of_lost_process(error):
            raise lost_process(directory) from None
        raise
    if signal:
        raise Interrupted(directory.path, signal)
    return open_run(directory.path)


def _tell(signal: int) -> None:
    """Let the others know that the run is written, and by which signal it was interrupted, if by one."""
    try:
        agree_at_the_end(np.int32(signal))
    except Exception as error:
        if not is_of_lost_process(error):  # one that has ended need not know
            raise
