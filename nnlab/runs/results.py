"""Runs and sweeps read back from their directories: tables, numbers, verdicts, figures, predictions."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

from nnlab.config import Config
from nnlab.errors import RunStatus, UsageError
from nnlab.runs.expectations import Value, Verdicts, run_reasons, run_verdicts, sweep_reasons, sweep_verdicts
from nnlab.runs.html import html_heading, html_table
from nnlab.runs.saved_config import saved_config
from nnlab.runs.sweep_points import PointTable, sweep_points
from nnlab.storage.results import JsonObject, read_summary
from nnlab.storage.run_directory import is_being_written
from nnlab.storage.tables import joined_table, read_tables, read_trials
from nnlab.text import join_words, name_in_words, one_line, short_value, suggestion

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from nnlab.runs.prediction import Predictor


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run, finished or not, read from its directory.

    `nnlab.train` and `nnlab.open` return one. A notebook shows it as a table of its numbers and verdicts.

    Attributes:
        path: The run directory.
        config: The experiment, complete with every default.
        summary: The content of summary.json: `status`, `step`, `parameters`, metrics by name under `final`,
            `best` and `selected`, and the numbers of each phenomenon under its name.
        tables: The tables by name, each with one row or more for every record.
        title: The name in figures, in place of the experiment's.
        plots: The files of the figures that were drawn as it was trained; empty where it was opened.
    """

    path: Path
    config: Config
    summary: JsonObject
    tables: Mapping[str, pandas.DataFrame]
    title: str = ""
    plots: Sequence[Path] = ()

    @property
    def label(self) -> str:
        """The name in figures."""
        return self.title or self.config.name

    @property
    def loss(self) -> str:
        """What is trained for, with its unit: `cross entropy, nats`."""
        return _loss_in_words(self.config)

    @property
    def status(self) -> RunStatus:
        """Whether it is running, complete, interrupted, diverged, pruned or failed, now; one that was killed
        is interrupted, though its summary has it running."""
        return _status(self.path, self.summary)

    @property
    def metrics(self) -> pandas.DataFrame:
        """The table `metrics`: for every record its step, and loss and accuracy of each split."""
        return self.table("metrics")

    @property
    def layers(self) -> pandas.DataFrame:
        """The table `layers`: for every record and layer the norms of gradient and weights, activations."""
        return self.table("layers")

    def table(self, name: str) -> pandas.DataFrame:
        """Return a table, such as `metrics`, `layers` or `timing`.

        Raises:
            UsageError: The run has no such table; the message names those that it has.
        """
        if name not in self.tables:
            known = f"there are {join_words(list(self.tables), 'and')}" if self.tables else "there are none"
            raise UsageError(f"{self.path}: no table '{name}'{suggestion(name, self.tables) or ';'} {known}")
        return self.tables[name]

    @property
    def numbers(self) -> dict[str, Value]:
        """The numbers of the phenomena by the keys of `expect:`, such as `grokking.delay_ratio`; in `summary`
        they are nested: `run.summary["grokking"]["delay_ratio"]`."""
        return _numbers(self.config, self.summary)

    def check(self) -> Verdicts:
        """Return the verdicts on the run's expectations; true where it is finished and all of them hold."""
        reasons = run_reasons(self.config, self.summary)
        return Verdicts(run_verdicts(self.config, self.summary), self.status, reasons)

    def figure(self, name: str = "") -> Figure:
        """Draw a figure, such as `training_curves` or one of a phenomenon.

        Args:
            name: The figure's name; without one, the error lists those that there are.

        Returns:
            A matplotlib figure, which a notebook shows. pyplot does not know it, so nothing is left open.

        Raises:
            UsageError: There is no such figure, or the run has nothing for it to show.
        """
        from nnlab.runs.figures import draw_figure

        return draw_figure([self], name)

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights that came out of the training, and the layers' running averages, by path.

        Returns:
            The arrays, `dense_1/kernel` say; those of the best record where the experiment restores them.

        Raises:
            UsageError: The run has not come to its end, or keeps no weights.
        """
        return self._predictor.weights()

    def predict(self, inputs: ArrayLike) -> np.ndarray:
        """Return the model's outputs for new inputs, in evaluation mode, with the weights that came out.

        Args:
            inputs: `[N, ...]` examples in the form of the data set before `normalize`, which is applied as it
                was in training, with the statistics of the training inputs.

        Returns:
            The outputs, `[N, K]` float32: for a classification the logits of the K classes.

        Raises:
            UsageError: The inputs have another shape, the run has no weights, or its data have changed.
        """
        return self._predictor.predict(inputs)

    def generate(
        self,
        prompt: str,
        length: int = 200,
        temperature: float = 1.0,
        seed: int = 0,
        top_k: int | None = None,
    ) -> str:
        """Return what the model of a text writes behind a prompt, by the last tokens that fit its window.

        Args:
            prompt: One token or more, of those in the training part.
            length: How many tokens to write.
            temperature: What the outputs are divided by; 0 takes the likeliest token.
            seed: Of the draws.
            top_k: Of how many likeliest tokens each is drawn; None is all.
        """
        return self._predictor.writer.write(prompt, length, temperature, seed, top_k)

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Return examples that the model draws, like its inputs after `normalize`, or raise UsageError."""
        return self._predictor.sample(count, seed)

    @functools.cached_property
    def _predictor(self) -> Predictor:
        from nnlab.runs.prediction import Predictor

        return Predictor(self.path, self.config)

    def with_title(self, title: str) -> Run:
        """The same run under another name in figures."""
        return replace(self, title=title)

    def __repr__(self) -> str:
        return f"<Run {self.config.name}: {_progress(self)}, in {self.path}>"

    def _repr_html_(self) -> str:
        return _html(self.config.name, _progress(self), self.path, self.numbers, self.check())


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """A sweep, finished or not, read from its directory.

    Attributes:
        path: The sweep directory.
        config: The experiment with its sweep.
        summary: The content of summary.json: `status`, how many trials ended how, and the numbers of each
            phenomenon across the sweep under its name.
        trials: A row for every trial, as in trials.csv.
        title: The name in figures, in place of the experiment's.
        plots: The files of the figures that were drawn as it was run; empty where it was opened.
    """

    path: Path
    config: Config
    summary: JsonObject
    trials: pandas.DataFrame
    title: str = ""
    plots: Sequence[Path] = ()

    @functools.cached_property
    def completed_trials(self) -> pandas.DataFrame:
        """The rows of `trials` that are complete, numbered from 0."""
        return self.trials[self.trials["status"] == "complete"].reset_index(drop=True)

    @property
    def label(self) -> str:
        """The name in figures."""
        return self.title or self.config.name

    @property
    def loss(self) -> str:
        """What is trained for, with its unit: `cross entropy, nats`."""
        return _loss_in_words(self.config)

    @property
    def axes(self) -> list[str]:
        """The paths of the config that vary."""
        sweep = self.config.build().sweep
        return sweep.paths if sweep else []

    @property
    def status(self) -> RunStatus:
        """Whether it is running, complete, interrupted or failed, now; see `Run.status`."""
        return _status(self.path, self.summary)

    @property
    def numbers(self) -> dict[str, Value]:
        """The numbers of the phenomena across the sweep by the keys of `expect:`."""
        return _numbers(self.config, self.summary)

    @property
    def points(self) -> pandas.DataFrame:
        """A row for each point of the sweep, in its order.

        Columns: the axes; mean and sample standard deviation over the seeds, and the folds of a
        cross-validation, of the number that the best point is chosen by and of the one that is reported, such
        as `final.validation_accuracy.mean`; how many trials that is the mean of, `count`, and how many are
        `diverged`, `failed`, `pruned` and `missing`; and whether the point is `best`.

        The number is the metric of a search, else the accuracy of a classification, else the loss: at the
        last record (`final.`), or at the best where early stopping restores its weights (`selected.`). The
        best point is chosen on the validation set, else on the training set, never on the test set, which is
        reported. A point with a diverged trial is best only where there is no other.
        """
        return sweep_points(self).table

    @property
    def points_in_words(self) -> PointTable:
        """`points` as the command `nnlab sweep` prints them."""
        return sweep_points(self).in_words()

    def check(self) -> Verdicts:
        """Return the verdicts on its expectations; true where the sweep is complete and all of them hold."""
        return Verdicts(sweep_verdicts(self), self.status, sweep_reasons(self))

    def figure(self, name: str = "") -> Figure:
        """Draw a figure; see `Run.figure`."""
        from nnlab.runs.figures import draw_figure

        return draw_figure([self], name)

    def with_title(self, title: str) -> Sweep:
        """The same sweep under another name in figures."""
        return replace(self, title=title)

    @property
    def runs(self) -> SweepRuns:
        """The runs of all trials, in the order of `trials`; each is read when it is asked for."""
        return SweepRuns([self.path / "trials" / str(name) for name in self.trials["trial"]])

    def joined(self, table: str) -> pandas.DataFrame:
        """Return a table of every complete trial, one below the other, with columns for trial, axes, seed; or
        the table `between`, with those of the trial that each line begins at.

        Raises:
            InvalidValue: No trial is complete, or one has no such table.
            UsageError: A table is damaged.
        """
        if table not in self._joined_tables:
            of_trials = self.completed_trials[["trial", *self.axes, "seed"]]
            self._joined_tables[table] = joined_table(self.path, table, of_trials)
        return self._joined_tables[table]

    @functools.cached_property
    def _joined_tables(self) -> dict[str, pandas.DataFrame]:
        return {}

    def __repr__(self) -> str:
        return f"<Sweep {self.config.name}: {self.status}, {len(self.trials)} trials, in {self.path}>"

    def _repr_html_(self) -> str:
        status, table = f"{self.status}, {len(self.trials)} trials", self.points_in_words
        shown = _html(self.config.name, status, self.path, self.numbers, self.check())
        return f"{shown}{html_heading(table.title)}{html_table(table.head, table.rows)}"


class SweepRuns(Sequence[Run]):
    """The runs of a sweep; each one is read from its directory when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> SweepRuns: ...

    def __getitem__(self, index: int | slice) -> Run | SweepRuns:
        """Open a run, or take some of them. Raises UsageError where a trial was not begun yet."""
        if isinstance(index, slice):
            return SweepRuns(self._paths[index])
        return open_run(self._paths[index])

    def __repr__(self) -> str:
        return f"<{len(self)} runs>"


def open(path: str | Path) -> Run | Sweep:
    """Open the directory of a run or of a sweep, finished or still running.

    Raises:
        UsageError: The path is neither, or what it holds is damaged.
    """
    directory = Path(path)
    return open_sweep(directory) if (directory / "sweep.yaml").exists() else open_run(directory)


def open_run(path: Path) -> Run:
    """Read a run directory. Raises UsageError where it is none."""
    if not path.is_dir():
        what = "is a file, no run directory" if path.exists() else "no such run directory"
        raise UsageError(f"{one_line(str(path))}: {what}; `nnlab runs` lists them")
    if not (path / "config.yaml").exists():
        is_sweep = (path / "sweep.yaml").exists()
        what = "is a sweep; its runs lie in trials/" if is_sweep else "has no config.yaml"
        raise UsageError(f"{path}: no run directory: it {what}")
    config = saved_config(path / "config.yaml")
    tables = read_tables(path)
    return Run(path, config, read_summary(path), tables)


def open_sweep(path: Path) -> Sweep:
    """Read a sweep directory. Raises UsageError where it is damaged."""
    config, summary = saved_config(path / "sweep.yaml"), read_summary(path)
    return Sweep(path, config, summary, read_trials(path / "trials.csv"))


def _status(path: Path, summary: JsonObject) -> RunStatus:
    status = RunStatus(summary["status"])
    was_killed = status is RunStatus.RUNNING and not is_being_written(path)
    return RunStatus.INTERRUPTED if was_killed else status


def _progress(run: Run) -> str:
    return f"{run.status} at step {run.summary.get('step', 0)}"


def _loss_in_words(config: Config) -> str:
    loss, unit = config.tree["loss"], config.build().loss.unit
    words = name_in_words(loss if isinstance(loss, str) else loss["type"])
    return f"{words}, {unit}" if unit else words


def _numbers(config: Config, summary: JsonObject) -> dict[str, Value]:
    numbers: dict[str, Value] = {}
    for phenomenon in config.build().phenomena:
        values = summary.get(phenomenon.name)
        if isinstance(values, Mapping):  # else it has not been measured yet
            numbers |= {f"{phenomenon.name}.{name}": cast(Value, value) for name, value in values.items()}
    return numbers


def _html(name: str, status: str, path: Path, numbers: Mapping[str, Value], verdicts: Verdicts) -> str:
    numbers_table = html_table(("number", "value"), [(k, short_value(v)) for k, v in numbers.items()])
    return html_heading(name, status, str(path)) + numbers_table + verdicts._repr_html_()
