"""What a phenomenon is: numbers and figures that tell whether a run, or a sweep, shows something.

Where there is nothing to see, a number is null, and so is a verdict: beside them the summary has `reason`, a
text that says why. So it is with a number that is not finite. A detector that can find none of its numbers
raises InvalidValue, whose message is the reason. One that finds some leaves the others None, and its result
has a last field `reason`, a text or None, which comes into the summary where it is a text. An expectation of
a number that is null fails, with the reason.

A figure that has nothing to show raises InvalidValue, and is not drawn.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from nnlab.config.experiment_keys import REASON
from nnlab.config.sweep_keys import SweepDefinition, axis_values, split_path
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.probe import Probe
from nnlab.registry import ConfigValue, register
from nnlab.text import join_words, suggestion

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


MAXIMUM_LINES = 1_000  # of a figure: a legend of more cannot be read, and takes minutes to lay out
MAXIMUM_CELLS_PER_ROW = 10
SMALL_GRID_CELLS = 10**6  # up to here a grid is drawn however few of its cells are filled


class RunView(Protocol):
    """What a detector or a figure sees of a run.

    Attributes:
        label: The run in a few words.
        loss: What is trained for, with its unit: `cross entropy, nats`.
        tables: The recorded tables by name; each has a column `step`.
        summary: For a detector, what is known before it: status, classes and their names, parameters, final
            and best metrics.
    """

    @property
    def label(self) -> str: ...

    @property
    def loss(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, pandas.DataFrame]: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...


class SweepView(Protocol):
    """What a detector or a figure sees of a sweep.

    Attributes:
        label: The sweep in a few words.
        loss: What is trained for, with its unit: `cross entropy, nats`.
        axes: The paths that vary.
        trials: A row for every trial, as in trials.csv.
        completed_trials: The rows of the trials that are complete.
        summary: As in summary.json.
    """

    @property
    def label(self) -> str: ...

    @property
    def loss(self) -> str: ...

    @property
    def axes(self) -> Sequence[str]: ...

    @property
    def trials(self) -> pandas.DataFrame: ...

    @property
    def completed_trials(self) -> pandas.DataFrame: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...

    def joined(self, table: str) -> pandas.DataFrame:
        """One table of every finished trial, below each other, beside the trial's axes and seed; or the table
        `between`, see `Between`, beside those of the trial that each line begins at."""
        ...


class Between(NamedTuple):
    """Straight lines between the weights of trials, at points of which the model is evaluated: the table
    `between` of a sweep, a row for each point.

    Its columns are `along`, `trial` and `other` of the ends, `matched`, 1 where the other's units were
    matched first, the `share` of the way, 0 to 1, and loss, accuracy and metrics of each split.

    Attributes:
        along: The ends differ in this alone: an axis of the sweep, or `seed`.
        match: Whether each line is drawn a second time, to the other end with its units matched.
        points: Of a line.
    """

    along: str
    match: bool = False
    points: int = 21


View = TypeVar("View", RunView, SweepView)


@dataclass(frozen=True, kw_only=True)
class Phenomenon(Generic[View]):
    """What the phenomena of a run and those of a sweep have in common.

    Attributes:
        result: The class of the detector's result; its fields are the phenomenon's numbers, and perhaps the
            reason why some of them are null.
        detect: Computes the result from a run or a sweep. Raises InvalidValue where there is nothing to see.
        figures: By name, each drawn from several runs or sweeps; they share axes where that is a comparison.
            Each raises InvalidValue where it has nothing to show.
        depends_on: Other phenomena whose numbers it uses.
        needs_predictions: Whether it uses the table that `record.predictions` keeps.
        name: Its name in the registry.
    """

    spans_sweep: ClassVar[bool]

    result: type[NamedTuple]
    detect: Callable[[View], NamedTuple]
    figures: Mapping[str, Callable[[Sequence[View]], Figure]]
    depends_on: tuple[str, ...] = ()
    needs_predictions: bool = False
    name: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its numbers."""
        return tuple(name for name in self.result._fields if name != REASON)

    def summarize(self, view: View) -> dict[str, Any]:
        """Its numbers by name, and the reason where one is null. Raises InvalidValue where there are none."""
        with quietly():
            numbers = self.detect(view)._asdict()
        reason = numbers.pop(REASON, None)
        endless = [n for n, value in numbers.items() if isinstance(value, float) and not math.isfinite(value)]
        if endless:
            words = f"{join_words(endless, 'and')} {'is' if len(endless) == 1 else 'are'} not finite"
            numbers |= dict.fromkeys(endless)
            reason = f"{reason}; {words}" if reason else words
        return numbers | ({REASON: reason} if reason else {})

    def numbers_or_reason(self, view: View) -> dict[str, Any]:
        """What comes into summary.json: its numbers, or why there are none."""
        try:
            return self.summarize(view)
        except InvalidValue as error:
            return self.without_numbers(str(error))

    def without_numbers(self, reason: str) -> dict[str, Any]:
        """What comes into summary.json where none of its numbers can be found."""
        return {**dict.fromkeys(self.fields), REASON: reason}


@dataclass(frozen=True, kw_only=True)
class RunPhenomenon(Phenomenon[RunView]):
    """A phenomenon of a single run.

    Attributes:
        probes: What training must record for it.
        validate: Checks before training that model and data can show it. Raises InvalidValue.
        class_fields: Those of its numbers that are the numbers of classes.
        reads_directions: Whether it uses the table `directions`, which a solver leaves where one does.
    """

    spans_sweep = False

    probes: tuple[Probe, ...] = ()
    class_fields: tuple[str, ...] = ()
    reads_directions: bool = False
    validate: Callable[[Setup, Data], object] = lambda setup, data: None

    @property
    def looks_at_examples(self) -> bool:
        """Whether its probes may read inputs; those of records see what a step gives."""
        times = {probe.record_at for probe in self.probes}
        at_once = any(probe.evaluates_all_examples for probe in self.probes)
        return at_once or "end" in times or times == {"start"}

    @property
    def end_tables(self) -> set[str]:
        """The tables that are recorded only when training has come to its end."""
        probed = {probe.table for probe in self.probes if probe.record_at == "end"}
        solved = {"directions"} if self.reads_directions else set()
        return probed | solved | ({"predictions"} if self.needs_predictions else set())


@dataclass(frozen=True, kw_only=True)
class SweepPhenomenon(Phenomenon[SweepView]):
    """A phenomenon that appears across the trials of a sweep.

    Attributes:
        axis: The path that the sweep must vary, if there is one. Apart from seeds, nothing may vary but
            this and `other_axes`.
        other_axes: Further paths that it must vary, with numbers as their values.
        numeric_axis: Whether the values of `axis` must be numbers.
        validate_sweep: Checks the sweep beyond that. Raises InvalidValue.
        between: The lines between trials that it looks at, if any.
    """

    spans_sweep = True

    axis: str | None = None
    other_axes: tuple[str, ...] = ()
    numeric_axis: bool = True
    validate_sweep: Callable[[SweepDefinition], object] = lambda sweep: None
    between: Between | None = None

    def check_sweep(self, sweep: SweepDefinition | None) -> None:
        """Refuse a sweep that varies other paths than the phenomenon names. Raises InvalidValue."""
        if sweep is None:
            raise InvalidValue(f"{self.name} is seen across a sweep; add a 'sweep:' block")
        axes = [name for path in sweep.paths for name in split_path(path)]
        named = [path for path in (self.axis, *self.other_axes) if path is not None]
        for path in named:
            if path not in ("epochs", *axes):
                near = suggestion(path, axes) or ";"
                raise InvalidValue(
                    f"'{path}' is no axis of the sweep{near} its axes are {', '.join(axes) or 'none'}"
                )
        for path in named if self.numeric_axis else self.other_axes:
            self._refuse_words_along(path, sweep)
        along = [path for path in sweep.paths if set(named) & set(split_path(path))]
        if any(path in along and _all_differ(values) for path, values in sweep.zip.items()):
            along += sweep.zip  # zipped paths belong to an axis whose values identify the points
        others = [path for path in sweep.paths if path not in along]
        if others:
            expected = join_words([f"'{path}'" for path in named], "and") or "seeds alone"
            raise InvalidValue(
                f"{self.name} is seen along {expected}; '{others[0]}' varies too"
                + suggestion(others[0], named)
            )
        self.validate_sweep(sweep)

    def _refuse_words_along(self, axis: str, sweep: SweepDefinition) -> None:
        sampled = sweep.random.axes if sweep.random else {}
        choices = {path: how.get("choice") for path, how in sampled.items()}
        for path, values in {**sweep.axes, **sweep.zip, **choices}.items():
            if not isinstance(values, list) or axis not in split_path(path):
                continue
            words = [v for v in values if isinstance(v, bool) or not isinstance(v, (int, float))]
            if words:
                raise InvalidValue(
                    f"{self.name} reads along numbers, and '{path}' has the value '{words[0]}'"
                )


def _all_differ(values: ConfigValue) -> bool:
    points = axis_values(values, as_integers=False)
    return all(point not in points[:place] for place, point in enumerate(points))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without NumPy's warnings of what is not finite: a number that comes of it is null, and told of."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


phenomenon = register("phenomenon")
"""Register a function that returns a RunPhenomenon or a SweepPhenomenon."""


def refuse_non_numeric(table: pandas.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table in which a column is missing or holds text. Raises InvalidValue."""
    for column in columns:
        if column not in table or (len(table) and table[column].dtype.kind not in "fiub"):
            raise InvalidValue(f"there are no numbers '{column}'")


def refuse_too_many_lines(count: int, what: str) -> None:
    """Refuse to draw more lines than a figure can show. Raises InvalidValue."""
    if count > MAXIMUM_LINES:
        raise InvalidValue(f"{count:,} {what} are too many to be drawn as a line each")


def refuse_sparse_grid(table: pandas.DataFrame, rows: str, columns: str) -> None:
    """Refuse to pivot a table by two columns into a large grid with mostly empty cells.

    A table of damaged keys could take all memory. Raises InvalidValue.
    """
    cells = table[rows].nunique() * table[columns].nunique()
    if cells > max(SMALL_GRID_CELLS, MAXIMUM_CELLS_PER_ROW * len(table)):
        raise InvalidValue(f"a table by '{rows}' and '{columns}' has {cells:,} cells for {len(table):,} rows")


def loss_label(views: Sequence[RunView] | Sequence[SweepView], split: str = "") -> str:
    """What an axis of losses is called: `mean training cross entropy, nats`; of different ones `mean loss`.

    Args:
        views: The runs or sweeps that are drawn.
        split: The split whose losses they are, in words, where it is one.
    """
    losses = {view.loss for view in views}
    return " ".join(word for word in ("mean", split, losses.pop() if len(losses) == 1 else "loss") if word)


def sweep_column(sweep: SweepView, path: str) -> str:
    """The axis that moves a path, alone or with other paths. Raises InvalidValue."""
    for axis in sweep.axes:
        if path in [part.strip() for part in axis.split(",")]:
            return axis
    raise InvalidValue(f"'{path}' is no axis of the sweep {sweep.label}")


def finished_trials(sweep: SweepView) -> pandas.DataFrame:
    """The trials that are complete or diverged. Raises InvalidValue where none is complete."""
    trials = sweep.trials[sweep.trials["status"].isin(["complete", "diverged"])]
    if "complete" not in set(trials["status"]):
        raise InvalidValue("no trial is complete")
    return trials
