"""The summary of a run: what is known before the training, and what its tables say at the end."""

from __future__ import annotations

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

    from nnlab.phenomena.base import RunPhenomenon


def facts_of(experiment: Experiment) -> JsonObject:
    """What the summary of a run says before it is trained."""
    return {
        "name": experiment.plan.name,
        "parameters": experiment.model.setup.count("params"),
        "trained_parameters": experiment.trained_parameters,
        "classes": experiment.data.train.classes,
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
    summary["best"] = _best(metrics)
    summary["selected"] = _selected(metrics, experiment.selection_metric)
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


def _best(metrics: pandas.DataFrame) -> dict[str, float]:
    """The best value of each loss and accuracy among the records all of whose numbers are finite."""
    finite = metrics[np.isfinite(metrics.to_numpy(np.float64)).all(axis=1)]
    measured = [str(name) for name in metrics if str(name).endswith(("_loss", "_accuracy"))]
    return {n: finite[n].min() if n.endswith("_loss") else finite[n].max() for n in measured}


def _selected(metrics: pandas.DataFrame, selection_metric: str) -> dict[str, float]:
    """The record of the best weights: the first one with the smallest loss of validation, else training."""
    losses = metrics[selection_metric].to_numpy(np.float64)
    row = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
    return {str(name): metrics[name].iloc[row] for name in metrics}
