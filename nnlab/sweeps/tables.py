"""The tables of a sweep: trials.csv, a row per trial, and summary.csv, statistics over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nnlab.config.document import dump
from nnlab.runs.results import open_sweep
from nnlab.runs.sweep_points import COUNTED, STATISTICS, numbers_of, statistics_of_points
from nnlab.storage.tables import table_text
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Summary
from nnlab.sweeps.trials import Trial

NAMES = ("name", "class_names")  # in a summary; they are the same for all trials, and no numbers


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
        if key in NAMES:
            continue
        if isinstance(value, Mapping):
            row |= {f"{key}.{name}": number for name, number in value.items()}
        else:
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
    """Write summary.csv: a row for each point and number.

    It has statistics over the seeds that are complete there, and counts those that ended otherwise.
    """
    trials = open_sweep(directory.path).trials
    numbers = numbers_of(trials, axes)
    head = [*axes, "metric", *STATISTICS, *COUNTED]
    if trials.empty or not numbers:
        directory.write("summary.csv", table_text(head, []))
        return
    rows = []
    for point in statistics_of_points(trials, axes, numbers).to_dict("records"):
        for number in numbers:
            statistics = {name: float(point[f"{number}.{name}"]) for name in STATISTICS}
            statistics["count"] = int(statistics["count"])
            rows.append({str(n): value for n, value in point.items()} | {"metric": number} | statistics)
    directory.write("summary.csv", table_text(head, rows))


def plain(value: object) -> object:
    """A value as a table's cell: a mapping or list as one line of YAML."""
    return dump(value, inline=True).strip() if isinstance(value, (dict, list)) else value
