"""A bar that shows how a training goes."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab.config.split_roles import recorded_splits, selection_split
from nnlab.training.experiment import Experiment
from nnlab.training.record_tables import Chunk

if TYPE_CHECKING:
    from rich.console import Console

BAR_WIDTH = 20  # characters

ChunkCallback = Callable[[Chunk], None]
"""Called with each chunk of a training as it ends; after a resume, first with what was recorded before."""


@contextlib.contextmanager
def progress_bar(experiment: Experiment) -> Iterator[ChunkCallback]:
    """A bar on stderr, or in a notebook below the cell: loss, accuracy, steps per second, time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", table_column=Column(no_wrap=True, ratio=1)),  # cut where need be
    )
    with Progress(*columns, console=progress_console(), expand=True) as bar:
        task = bar.add_task(experiment.config.name, total=experiment.total_steps, shown="compiling")
        before, values = 0, list[str]()

        def show(chunk: Chunk) -> None:
            nonlocal before
            seconds = chunk.seconds - chunk.compiling
            rate = (chunk.step - before) / seconds if seconds > 0 else 0.0
            before = chunk.step
            metrics = chunk.tables["metrics"]
            if len(metrics["step"]):
                titles = [metric.title for metric in experiment.plan.metrics]
                values[:] = [f"{name} {metrics[name][-1]:.4g}" for name in _headline(metrics, titles)]
            bar.update(task, completed=chunk.step, shown="  ".join([*values, f"{rate:,.0f} steps/s"]))

        yield show


def progress_console() -> Console:
    """Where a bar is drawn: in a notebook as a widget, or without ipywidgets as text that is overwritten."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        return Console(stderr=True, force_jupyter=False, force_terminal=True)
    return console


def _headline(metrics: Mapping[str, np.ndarray], titles: Sequence[str]) -> list[str]:
    """What to show while training: losses and other metrics, of the validation set where there is one."""
    split = selection_split(recorded_splits(metrics, "loss"))
    names = ["train_loss", *(f"{split}_{title}" for title in ("loss", "accuracy", *titles))]
    return [name for name in dict.fromkeys(names) if name in metrics]
