"""What a phenomenon is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from nnlab.config.sweep_keys import Sweep
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.probe import Probe
from nnlab.registry import register

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


MOST_LINES = 1_000  # of one figure: a legend of more cannot be read, and takes minutes to lay out
SPARSE = 10  # cells a row of a table
FEW_CELLS = 10**6


class Seen(Protocol):
    """What a detector or a figure sees of a run.

    summary: for a detector, what is known before it: status, classes, parameters, final and best metrics.
    """

    @property
    def label(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, pandas.DataFrame]: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...


class SeenSweep(Protocol):
    """What a detector or a figure sees of a sweep.

    axes: the paths that vary. trials: a row a complete trial, see trials.csv; table: of every trial.
    """

    @property
    def label(self) -> str: ...

    @property
    def axes(self) -> Sequence[str]: ...

    @property
    def trials(self) -> pandas.DataFrame: ...

    @property
    def table(self) -> pandas.DataFrame: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...

    def joined(self, table: str) -> pandas.DataFrame:
        """One table of every finished trial, below each other, beside the trial's axes and seed."""
        ...


class Phenomenon(NamedTuple):
    """probes: what training must record for it. numbers: the names of what the detector finds.

    scope: whether it is seen in a run or across a sweep. summarize: the run, or the sweep -> those numbers.
    figures: by name, each from runs (or sweeps) to a figure; several come on one axes where that is
    a comparison. axis: the path that a sweep must vary for it, if it names one; axes: others beside that;
    nothing else may vary but the seed. numeric: whether the values of `axis` must be numbers, as those of
    `axes` must. predictions: whether it reads the table that `record.predictions` keeps. fits: looks at the
    model and the data before training, swept: at the sweep; they raise InvalidValue where there is nothing
    of it to be seen in them. reads: other phenomena whose numbers it reads.
    """

    numbers: tuple[str, ...]
    summarize: Callable[[Any], Mapping[str, Any]]
    figures: Mapping[str, Callable[[Sequence[Any]], Figure]]
    probes: tuple[Probe, ...] = ()
    scope: Literal["run", "sweep"] = "run"
    axis: str | None = None
    axes: tuple[str, ...] = ()
    numeric: bool = True
    predictions: bool = False
    fits: Callable[[Setup, Data], Any] = lambda setup, data: None
    swept: Callable[[Sweep], Any] = lambda sweep: None
    reads: tuple[str, ...] = ()
    name: str = ""


phenomenon = register("phenomenon", label="name")
"""Register a function that returns a Phenomenon."""


def check_numbers(table: pandas.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table without these columns, or with words in them. Raises InvalidValue."""
    for column in columns:
        if column not in table or (len(table) and table[column].dtype.kind not in "fiub"):
            raise InvalidValue(f"there are no numbers '{column}'")


def check_lines(count: int, what: str) -> None:
    """Refuse to draw a line each of very many. Raises InvalidValue."""
    if count > MOST_LINES:
        raise InvalidValue(f"{count:,} {what} are too many to be drawn as a line each")


def check_grid(table: pandas.DataFrame, rows: str, columns: str) -> None:
    """Refuse to spread a table out over two of its columns where nearly all cells would be empty, and they
    many: a table of damaged keys could take all memory. Raises InvalidValue."""
    cells = table[rows].nunique() * table[columns].nunique()
    if cells > max(FEW_CELLS, SPARSE * len(table)):
        raise InvalidValue(f"a table by '{rows}' and '{columns}' has {cells:,} cells for {len(table):,} rows")


def sweep_column(sweep: SeenSweep, path: str) -> str:
    """The axis that moves a path, alone or with other paths. Raises InvalidValue."""
    for axis in sweep.axes:
        if path in [part.strip() for part in axis.split(",")]:
            return axis
    raise InvalidValue(f"'{path}' is no axis of the sweep {sweep.label}")


def examined(sweep: SeenSweep) -> pandas.DataFrame:
    """The trials that ended well or diverged. Raises InvalidValue where there are none."""
    trials = sweep.table[sweep.table["status"].isin(["complete", "diverged"])]
    if "complete" not in set(trials["status"]):
        raise InvalidValue("no trial is complete")
    return trials
