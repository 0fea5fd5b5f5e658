"""The tables of a sweep: trials.csv, a row a trial, and summary.csv, statistics over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnlab.config.document import dump
from nnlab.runs.results import SweepResult
from nnlab.storage.run_directory import table_text
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.trials import Trial

STATISTICS = ("mean", "std", "median", "min", "max", "count")


def row_of(trial: Trial, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """A trial's row: what names it, how it ended, every number of its summary as `final.test_loss`."""
    row: dict[str, Any] = {"trial": trial.id}
    row |= {path: plain(value) for path, value in trial.axes.items()}
    row |= {"seed": trial.seed, "status": "", "reason": ""}
    for key, value in (summary or {}).items():
        if isinstance(value, Mapping):
            row |= {f"{key}.{name}": number for name, number in value.items()}
        elif key != "name":
            row[key] = value
    return row


def write_trials(directory: SweepDirectory, axes: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """trials.csv, in the order of the trials."""
    listed = list(rows)
    head = ("trial", *axes, "seed", "status", "reason")
    columns = list(dict.fromkeys((*head, *(column for row in listed for column in row))))
    directory.write("trials.csv", table_text(columns, listed))


def write_summary(directory: SweepDirectory, axes: Sequence[str]) -> None:
    """summary.csv: for every point and number, its statistics over the seeds that finished there."""
    trials = SweepResult.of(directory.path).trials
    names = [str(name) for name in trials]
    numbers = [n for n in names if "." in n and n not in axes and trials[n].dtype.kind in "fiu"]
    columns = [*axes, "metric", *STATISTICS]
    if trials.empty or not numbers:
        directory.write("summary.csv", table_text(columns, []))
        return
    whole: Any = trials  # its stubs do not know what `stack` returns
    if axes:
        found = whole.groupby(list(axes), sort=False, dropna=False)[numbers].agg(list(STATISTICS))
        found = found.stack(0, future_stack=True)
    else:
        found = whole[numbers].agg(list(STATISTICS)).T
    found["count"] = found["count"].astype(int)
    rows = found.rename_axis([*axes, "metric"]).reset_index().to_dict("records")
    directory.write("summary.csv", table_text(columns, rows))


def plain(value: Any) -> Any:
    """As a cell: a mapping or list as one line of YAML."""
    return dump(value, inline=True).strip() if isinstance(value, (dict, list)) else value
