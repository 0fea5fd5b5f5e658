"""The summary of a run: what is known before the training, and what its tables say at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnlab.errors import RunStatus
from nnlab.runs.results import Run
from nnlab.storage.results import JsonObject
from nnlab.storage.tables import read_table, read_tables
from nnlab.training.experiment import Experiment

if TYPE_CHECKING:
    import pandas

    from nnlab.optim.metrics import Better
    from nnlab.phenomena.base import RunPhenomenon


MAXIMUM_CLASS_NAMES = 1_000  # in a summary


def facts_of(experiment: Experiment) -> JsonObject:
    """What the summary of a run says before it is trained."""
    train = experiment.data.train
    names = train.printed_class_names[:MAXIMUM_CLASS_NAMES]
    named: JsonObject = (
        {"class_names": {str(number): name for number, name in enumerate(names)}} if names else {}
    )
    if train.positions:  # each token is one character
        named = {"vocabulary": "".join(train.class_names)}
    return {
        "name": experiment.plan.name,
        "parameters": experiment.model.setup.count("params"),
        "trained_parameters": experiment.trained_parameters,
        "classes": train.classes,
        **named,
    }


def summarize(experiment: Experiment, path: Path, status: RunStatus, step: int, stopped: int) -> JsonObject:
    """The summary of a run with records, from its tables: metrics, and the numbers of each phenomenon.

    Args:
        experiment: The experiment of the run.
        path: The run directory.
        status: How the run ended.
        step: The last step taken.
        stopped: The number of the stopping rule that ended it, counted from 1; 0 if none did.
    """
    metrics = read_table(path / "metrics.csv")
    summary = facts_of(experiment) | {"status": status, "step": step}
    if status is RunStatus.DIVERGED:
        summary["diverged_at"] = step
    summary["final"] = {name: metrics[name].iloc[-1] for name in metrics}
    if "round" in metrics:  # weights of earlier rounds are none that come out
        metrics = metrics[metrics["round"] == metrics["round"].iloc[-1]]
    summary["best"] = _best(metrics, experiment.metric_columns)
    summary["selected"] = _selected(metrics, experiment)
    if stopped:
        summary["stopped_by"] = experiment.stops[stopped - 1].name
    phenomena = experiment.plan.run_phenomena
    tables = read_tables(path) if phenomena else {}
    run = Run(path, experiment.config, summary, tables)
    return summary | {phenomenon.name: _numbers(phenomenon, run) for phenomenon in phenomena}


def _numbers(phenomenon: RunPhenomenon, run: Run) -> JsonObject:
    """A phenomenon's numbers; each is None where a table of the training's end is missing."""
    if phenomenon.end_tables <= run.tables.keys():
        return phenomenon.numbers_or_reason(run)
    diverged = run.status is RunStatus.DIVERGED
    return phenomenon.without_numbers("training diverged" if diverged else "training has not come to its end")


def _best(metrics: pandas.DataFrame, columns: Mapping[str, Better]) -> dict[str, float]:
    """The best value of each metric among the records all of whose numbers are finite."""
    finite = metrics[np.isfinite(metrics.to_numpy(np.float64)).all(axis=1)]
    return {n: finite[n].min() if better == "lower" else finite[n].max() for n, better in columns.items()}


def _selected(metrics: pandas.DataFrame, experiment: Experiment) -> dict[str, float]:
    """The record of the best weights: the first one that is best by the selection metric.

    Outputs that are no numbers have an accuracy all the same: where the loss is none, nothing is best.
    """
    name = experiment.selection_metric
    values, losses = (metrics[of].to_numpy(np.float64) for of in (name, experiment.selection_loss))
    costs = -values if experiment.metric_columns[name] == "higher" else values
    row = int(np.argmin(np.where(np.isfinite(costs) & np.isfinite(losses), costs, np.inf)))
    return {str(name): metrics[name].iloc[row] for name in metrics}
