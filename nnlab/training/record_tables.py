"""What a chunk of training comes to, on the host: the rows of its records, as flat columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nnlab.system.imports import Array
from nnlab.training.chunk import Record
from nnlab.training.evaluator import task_column
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.packing import unpack
from nnlab.training.rounds import Leg
from nnlab.training.state import State

Table = dict[str, np.ndarray]
"""Columns by name, all of one length."""


class Chunk(NamedTuple):
    """What a chunk of training came to.

    Attributes:
        step: Where it ended.
        tables: The new rows by table.
        finite: False where the loss, or another metric of a record, stopped being finite, at `step`.
        done: Whether nothing is left to train.
        seconds: Its wall-clock time.
        compiling: How much of that went into compiling.
        state: () -> the state at its end, which is valid until the next chunk is asked for; None where the
            last layer was solved for.
        stopped: The number, from 1 on, of the criterion that stopped the training; else 0.
    """

    step: int
    tables: dict[str, Table]
    finite: bool
    done: bool
    seconds: float
    compiling: float
    state: Callable[[], State] | None = None
    stopped: int = 0


class ChunkOutcome(NamedTuple):
    """What the compiled chunk returned, brought to the host.

    Attributes:
        records: One for each segment, see `Record`.
        step: Where it ended.
        finite: Whether every loss was finite.
        stopped: The number of the criterion that stopped the training; else 0.
    """

    records: Record
    step: Array
    finite: Array
    stopped: Array


def chunk_of(
    experiment: TrainedExperiment,
    outcome: ChunkOutcome,
    leg: Leg,
    start_tables: dict[str, Table],
    done: bool,
) -> Chunk:
    """One lane's chunk, without its times and state.

    Args:
        experiment: The experiment of the lane.
        outcome: What the compiled chunk returned for it.
        leg: That the chunk is a part of.
        start_tables: Rows of the probes that recorded at step 0 only.
        done: Whether no segments are left.
    """
    tables = _tables(experiment, outcome.records, leg) | start_tables
    step, finite = leg.offset + int(outcome.step), bool(outcome.finite)
    measured = [column for name, column in tables["metrics"].items() if name != "learning_rate"]
    sound = np.all([np.isfinite(column) for column in measured], axis=0)
    bad = np.flatnonzero(~sound)
    if bad.size:
        step, finite = int(tables["metrics"]["step"][bad[0]]), False
        tables = {name: _up_to(step, table) for name, table in tables.items()}
    stopped = int(outcome.stopped)
    return Chunk(step, tables, finite, done or bool(stopped), 0.0, 0.0, stopped=stopped)


def _tables(experiment: TrainedExperiment, records: Record, leg: Leg) -> dict[str, Table]:
    """The rows of a chunk's records as flat columns: the step, what names a row, the numbers."""
    steps = np.asarray(records.step)
    kept = steps >= 0
    steps = steps[kept]
    tables = {
        name: {column: np.asarray(values)[kept] for column, values in columns.items()}
        for name, columns in unpack(records.tables).items()
    }
    recorded = {"metrics": _metrics(experiment, steps, leg, tables)}
    if experiment.plan.data.tasks is not None:
        recorded["tasks"] = _tasks(experiment, steps, leg, tables["metrics"])
    del tables["metrics"]
    probes = {probe.table: probe for probe in experiment.probes}
    numbers = np.searchsorted(experiment.record_steps, steps)
    probed = {}
    for name, columns in tables.items():
        measured = np.isin(numbers, probes[name].measured(len(experiment.record_steps)))
        columns = {column: values[measured] for column, values in columns.items()}
        probed[name] = flat_table(experiment, name, leg.offset + steps[measured], columns)
    return recorded | probed


def _metrics(
    experiment: TrainedExperiment, steps: np.ndarray, leg: Leg, tables: Mapping[str, Table]
) -> Table:
    """The columns of the table `metrics`; norms are summed up from those of the layers, where there are."""
    measured = tables["metrics"]
    table: Table = {"step": leg.offset + steps, "epoch": steps / experiment.steps_per_epoch}
    if "weights_left" in measured:
        rounds = {"round": np.full_like(steps, leg.round), "round_step": steps}
        table |= {**rounds, "weights_left": measured["weights_left"]}
    table |= {column: measured[column] for column in ["learning_rate", *experiment.metric_columns]}
    for column in ("grad_norm", "weight_norm") if "layers" in tables else ():
        squares = np.square(tables["layers"][column].astype(np.float64))
        table[column] = np.sqrt(squares.sum(-1)).astype(np.float32)
    if "weight_norm" in measured:
        table["weight_norm"] = measured["weight_norm"]
    return table


def _tasks(experiment: TrainedExperiment, steps: np.ndarray, leg: Leg, measured: Table) -> Table:
    """The table `tasks`: a row for each record, split and task; tasks are counted from 1. `current_task` is
    that of the step which led to the record, at step 0 the first."""
    starts, splits = experiment.task_starts, list(experiment.data.splits)
    current = np.maximum(np.searchsorted(starts, steps), 1)
    shape = len(steps), len(splits), len(starts)
    numbers = {
        "step": leg.offset + steps[:, None, None],
        "current_task": current[:, None, None],
        "split": np.array(splits, object)[:, None],
        "task": np.arange(1, len(starts) + 1),
    }
    table = {name: np.broadcast_to(values, shape).reshape(-1) for name, values in numbers.items()}
    for measure in ("loss", "accuracy") if experiment.data.train.classes else ("loss",):
        values = [measured[task_column(split, measure)] for split in splits]
        table[measure] = np.stack(values, 1).reshape(-1)
    return table


def flat_table(
    experiment: TrainedExperiment, table: str, steps: np.ndarray, columns: Mapping[str, np.ndarray]
) -> Table:
    """The rows of a table that probes measure, one record below the other.

    Args:
        experiment: The experiment, whose probes name the rows.
        table: The name of the table.
        steps: The step of each record, `[R]`.
        columns: What was measured, `[R, rows]` each.

    Returns:
        The step, what names a row, and the measured columns, `[R * rows]` each.
    """
    probes = [probe for probe in experiment.probes if probe.table == table]
    names = probes[0].rows(experiment.trained_model.setup, experiment.data)
    count = len(next(iter(names.values())))
    labels = {name: np.tile(np.array(values, dtype=object), len(steps)) for name, values in names.items()}
    measured = {column: columns[column].reshape(-1) for probe in probes for column in probe.columns}
    return {"step": np.repeat(steps, count), **labels, **measured}


def _up_to(step: int, table: Table) -> Table:
    """The rows up to a step."""
    kept = table["step"] <= step
    return {column: values[kept] for column, values in table.items()}
