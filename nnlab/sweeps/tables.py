"""The tables of a sweep: trials.csv, a row per trial, and summary.csv, statistics over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from nnlab.config.document import dump
from nnlab.runs.results import open_sweep
from nnlab.storage.tables import table_text
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Summary
from nnlab.sweeps.trials import Trial

if TYPE_CHECKING:
    import pandas

STATISTICS = ("mean", "std", "median", "min", "max", "count")


def row_of(trial: Trial, summary: Summary | None) -> dict[str, object]:
    """The row of a trial in trials.csv.

    Args:
        trial: The trial; its id, axes and seed come first.
        summary: Of its run, None where it has not ended. Its numbers get columns like `final.test_loss`.
    """
    row: dict[str, object] = {"trial": trial.id}
    row |= {path: plain(value) for path, value in trial.axes.items()}
    row |= {"seed": trial.seed, "status": "", "reason": ""}
    for key, value in (summary or {}).items():
        if isinstance(value, Mapping):
            row |= {f"{key}.{name}": number for name, number in value.items()}
        elif key != "name":
            row[key] = value
    return row


def write_trials(
    directory: SweepDirectory, axes: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Write trials.csv, in the order of the trials."""
    listed = list(rows)
    first = ("trial", *axes, "seed", "status", "reason")
    columns = list(dict.fromkeys((*first, *(column for row in listed for column in row))))
    directory.write("trials.csv", table_text(columns, listed))


def write_summary(directory: SweepDirectory, axes: Sequence[str]) -> None:
    """Write summary.csv: for each point and number, statistics over the seeds that are complete there."""
    trials = open_sweep(directory.path).completed_trials
    columns = [str(name) for name in trials]
    metrics = [n for n in columns if "." in n and n not in axes and trials[n].dtype.kind in "fiu"]
    head = [*axes, "metric", *STATISTICS]
    if trials.empty or not metrics:
        directory.write("summary.csv", table_text(head, []))
        return
    statistics = _statistics(trials, axes, metrics)
    statistics["count"] = statistics["count"].astype(int)
    rows = statistics.rename_axis([*axes, "metric"]).reset_index().to_dict("records")
    directory.write("summary.csv", table_text(head, [{str(n): v for n, v in row.items()} for row in rows]))


def _statistics(trials: pandas.DataFrame, axes: Sequence[str], metrics: list[str]) -> pandas.DataFrame:
    """A row per point and metric, a column per statistic."""
    import pandas

    if not axes:
        return trials[metrics].agg(list(STATISTICS)).T
    points = trials.groupby(list(axes), sort=False, dropna=False)
    stacked = points[metrics].agg(list(STATISTICS)).stack(0, future_stack=True)
    assert isinstance(stacked, pandas.DataFrame)  # noqa: S101 - of two levels of columns, one is left
    return stacked


def plain(value: object) -> object:
    """A value as a table's cell: a mapping or list as one line of YAML."""
    return dump(value, inline=True).strip() if isinstance(value, (dict, list)) else value
