"""What a report shows of one run or one sweep, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nnlab.reports.curves import Curves
from nnlab.reports.figures import Drawing
from nnlab.reports.model import Weights, weights_of
from nnlab.reports.origin import command_of, environment_of
from nnlab.reports.outcomes import Outcome, outcomes_of
from nnlab.reports.settings import Line, lines_of
from nnlab.reports.trial_curves import trial_curves_of
from nnlab.reports.trials import Parallel, Trials, parallel_of, trials_of
from nnlab.runs.results import Run, Sweep
from nnlab.runs.sweep_points import PointTable, sweep_points
from nnlab.storage.results import JsonObject
from nnlab.text import RECORDS, name_in_words, one_line, short_value

COUNTS = ("trials", "complete", "diverged", "pruned", "failed", "missing")


class Share(NamedTuple):
    """How much of a page one part may take.

    Attributes:
        curve_values: Numbers of its curves; with 0 they are not read.
        trial_rows: Rows of its table of trials.
    """

    curve_values: int
    trial_rows: int


class SweepPart(NamedTuple):
    """What a page shows of a sweep beyond what it shows of a run.

    Attributes:
        points: What each point came to.
        trials: The trials.
        parallel: The points across three axes or more; None where fewer vary.
        curves: Those of the trials; None where none has a record.
    """

    points: PointTable
    trials: Trials
    parallel: Parallel | None
    curves: Curves | None


class Part(NamedTuple):
    """What a page shows of one run or sweep.

    Attributes:
        label: Its name, told apart from the others of the page.
        path: Where it lies.
        status: How it ended, or that it goes on.
        progress: How far it is, in words.
        outcomes: Its expectations, judged.
        metrics: Its metrics, in words, and their values at the records of `records`.
        records: Which records those are: final, best, selected.
        sweep: What there is of a sweep alone; None for a run.
        drawings: Its figures.
        settings: Its config.
        model: Of a run, its weights by layer; empty where they are not kept.
        facts: What is known of the model, as rows.
        environment: What it was made with, as rows.
        command: Makes it again.
    """

    label: str
    path: str
    status: str
    progress: str
    outcomes: list[Outcome]
    metrics: list[tuple[str, list[str]]]
    records: list[str]
    sweep: SweepPart | None
    drawings: list[Drawing]
    settings: list[Line]
    model: list[Weights]
    facts: list[tuple[str, str]]
    environment: list[tuple[str, str]]
    command: str


def part_of(
    result: Run | Sweep, label: str, drawings: list[Drawing], differing: frozenset[str], share: Share
) -> Part:
    """What a page shows of a run or a sweep.

    Args:
        result: The run or the sweep.
        label: Its name on the page.
        drawings: Its figures.
        differing: The paths in which its config differs from others on the page.
        share: How much of the page it may take.

    Raises:
        UsageError: What its directory holds is damaged.
    """
    is_sweep = isinstance(result, Sweep)
    environment = environment_of(result)
    records = [record for record in RECORDS if isinstance(result.summary.get(record), Mapping)]
    return Part(
        label,
        str(result.path),
        result.status,
        _progress(result),
        outcomes_of(result, result.check()),
        [] if is_sweep else _metrics(result.summary, records),
        records,
        _sweep_part(result, share) if isinstance(result, Sweep) else None,
        drawings,
        lines_of(result.config.tree, differing),
        weights_of(result) if isinstance(result, Run) else [],
        _facts(result.summary),
        [(name_in_words(name), _in_words(value)) for name, value in environment.items()],
        command_of(result, environment),
    )


def _sweep_part(sweep: Sweep, share: Share) -> SweepPart:
    points = sweep_points(sweep)
    return SweepPart(
        points.in_words(),
        trials_of(sweep, points, share.trial_rows),
        parallel_of(sweep, points),
        trial_curves_of(sweep, share.curve_values) if share.curve_values else None,
    )


def _progress(result: Run | Sweep) -> str:
    """`step 4000`, or of a sweep how its trials ended."""
    if isinstance(result, Run):
        return f"step {result.summary.get('step', 0)}"
    ended = result.trials["status"].value_counts()
    counts = [f"{count} {status}" for status, count in ended.items() if isinstance(status, str) and status]
    return ", ".join([f"{len(result.trials)} trials", *counts])


def _metrics(summary: JsonObject, records: list[str]) -> list[tuple[str, list[str]]]:
    """The metrics of a run, each with its value at the last, the best and the selected record."""
    names = dict.fromkeys(name for record in records for name in summary[record])
    return [
        (name_in_words(name), [_in_words(summary[record].get(name)) for record in records]) for name in names
    ]


def _facts(summary: JsonObject) -> list[tuple[str, str]]:
    """What a summary says beside the metrics and the numbers of phenomena."""
    plain = {name: value for name, value in summary.items() if not isinstance(value, (Mapping, list))}
    return [
        (name_in_words(name), _in_words(value))
        for name, value in plain.items()
        if name not in ("name", "status", *COUNTS)
    ]


def _in_words(value: object) -> str:
    if isinstance(value, list):
        return one_line(", ".join(map(_in_words, value)))
    if isinstance(value, Mapping):
        return one_line(", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items())) or "none"
    return one_line(short_value(value))
