"""The table `between` of a sweep: what the model is worth on straight lines between its trials' weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nnlab.runs.interpolation import line_between
from nnlab.runs.results import Run, Sweep, open_run
from nnlab.storage.tables import header_and_rows
from nnlab.sweeps.directory import SweepDirectory
from nnlab.system import files
from nnlab.training.lines import Lines

if TYPE_CHECKING:
    import pandas

    from nnlab.phenomena.base import Between

FILE = "between.csv"


def write_between(directory: SweepDirectory, sweep: Sweep, wanted: Sequence[Between]) -> None:
    """Write the table `between`, in place of one of fewer trials; none where nothing is wanted.

    Args:
        directory: Of the sweep.
        sweep: It, all of whose trials have ended.
        wanted: The lines that its phenomena look at.

    Raises:
        UsageError: The model cannot be evaluated on one of the lines, see `nnlab.interpolate`.
    """
    import pandas

    if wanted:
        files.remove(directory.path / FILE)
    lines, tables = Lines(), []
    for between in dict.fromkeys(wanted):
        for trial, other in _pairs(sweep, between.along):
            for match in (False, True)[: 1 + between.match]:
                ends = _run_of(sweep, trial), _run_of(sweep, other)
                table = line_between(*ends, between.points, match, lines)
                named = {"along": between.along, "trial": trial, "other": other, "matched": int(match)}
                tables.append(pandas.DataFrame(named, table.index).join(table))
    if tables:
        table = pandas.concat(tables, ignore_index=True)
        columns = {str(name): column.to_numpy() for name, column in table.items()}
        directory.write(FILE, "".join(header_and_rows(columns)))


def _pairs(sweep: Sweep, along: str) -> Iterator[tuple[str, str]]:
    """The names of the complete trials that differ in one axis, or in the seed, alone, each pair once."""
    trials = sweep.completed_trials
    others = [column for column in (*sweep.axes, "seed") if column != along]
    groups: list[pandas.DataFrame] = (
        [alike for _, alike in trials.groupby(others, dropna=False)] if others else [trials]
    )
    for alike in groups:
        yield from itertools.combinations(alike.sort_values(along)["trial"], 2)


def _run_of(sweep: Sweep, trial: str) -> Run:
    return open_run(sweep.path / "trials" / trial)
