"""Points between the weights of two runs."""

from __future__ import annotations

import dataclasses
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from nnlab.errors import InvalidValue, UsageError
from nnlab.runs.results import Run
from nnlab.storage.results import read_json
from nnlab.system import device
from nnlab.training.cost import step_flops
from nnlab.training.experiment import TrainedExperiment, build_experiment
from nnlab.training.lines import Lines
from nnlab.training.pretrained import weights_of_run

if TYPE_CHECKING:
    import pandas

MAXIMUM_POINTS = 10_000


def interpolate(run_a: Run, run_b: Run, points: int = 21, match: bool = False) -> pandas.DataFrame:
    """Evaluate the model at points of the straight line between the weights of two runs.

    At a share `a` of the way its weights are (1 - a) A + a B, and so are the running averages of its
    normalizations; they are not measured anew. At the ends that is what the runs themselves came to.

    Args:
        run_a: A finished run. Its experiment evaluates all points.
        run_b: A finished run of the same model on the same data.
        points: How many, the two ends among them, at equal distances; 2 to 10,000.
        match: Whether the hidden units of B are brought into the order in which its weights are nearest to
            A's, see `nnlab.nn.permutation`; the function of B stays what it is.

    Returns:
        A table with a row for each point, whose columns are its `share`, 0 to 1, and loss, accuracy of a
        classification and the metrics of the file for each split, by the names of metrics.csv.

    Raises:
        UsageError: The runs differ in model or data, have not come to their end or keep no weights; the data
            have changed, or stay in their file; units are to be matched in a model that is no chain of dense
            layers.
    """
    if not isinstance(points, Integral) or not 2 <= points <= MAXIMUM_POINTS:
        raise UsageError(f"points: {points}; a line has from 2 to {MAXIMUM_POINTS:,}, a whole number")
    return line_between(run_a, run_b, points, match, Lines())


def line_between(run_a: Run, run_b: Run, points: int, match: bool, lines: Lines) -> pandas.DataFrame:
    """The same, by a program of `lines` where it has one that serves. Raises UsageError."""
    import pandas

    experiment = _experiment_of(run_a, run_b)
    shares = np.linspace(0.0, 1.0, points)
    try:
        ends = weights_of_run(run_a.path), weights_of_run(run_b.path)
        columns = lines.between(experiment, *ends, shares, match)
    except InvalidValue as error:
        raise UsageError(str(error)) from None
    return pandas.DataFrame({"share": shares} | columns)


def _experiment_of(run_a: Run, run_b: Run) -> TrainedExperiment:
    """What both runs are evaluated by: A's experiment, of all layers on one device. Raises UsageError."""
    if run_a.config.tree["model"] != run_b.config.tree["model"]:
        raise UsageError(f"{run_b.path}: has another model than {run_a.path}, and so other weights")
    tree = run_a.config.tree | {"initialize": None, "prune": None}
    if tree["train"] is not None:
        tree["train"] = tree["train"] | {"cache_frozen": False, "devices": 1}
    experiment = build_experiment(dataclasses.replace(run_a.config, tree=tree))
    if not isinstance(experiment, TrainedExperiment):
        raise UsageError(f"{run_a.path}: was solved for; such a run keeps no weights")
    hashes = [read_json(run.path / "environment.json").get("data_sha256") for run in (run_a, run_b)]
    if hashes[0] != experiment.data_hash:
        raise UsageError(f"{run_a.path}: its data have changed since; it cannot be evaluated as it was")
    if hashes[1] != hashes[0]:
        raise UsageError(
            f"{run_b.path}: has other data than {run_a.path}; give data.split.seed where seeds draw them"
        )
    if experiment.streamed:
        raise UsageError(f"{run_a.path}: its data stay in their file; give data.limit")
    device.configure(step_flops=step_flops(experiment))
    return experiment
