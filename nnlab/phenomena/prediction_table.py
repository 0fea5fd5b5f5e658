"""The table `predictions_over_training`: a split's outputs beside its targets, at each record."""

from __future__ import annotations

import math

import numpy as np

from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.examples import MAXIMUM_TABLE_VALUES
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.system.imports import Array


def prediction_probe(split: str = "train") -> Probe:
    """A probe of the outputs for all examples of a split of values to regress, in evaluation mode.

    Its rows are the examples' outputs: the columns example, output, input (where inputs have one feature),
    target and, as measured, prediction.

    Args:
        split: `train`, `validation` or `test`.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        examples = data.splits[split]
        count, outputs = examples.targets.shape
        if count * outputs > MAXIMUM_TABLE_VALUES:
            raise InvalidValue(
                f"would keep {count * outputs:,} predictions a record, of at most {MAXIMUM_TABLE_VALUES:,}"
            )
        labels = {"example": np.repeat(np.arange(count), outputs).tolist()}
        labels["output"] = np.tile(np.arange(outputs), count).tolist()
        columns: dict[str, list[float]] = {"target": examples.targets.reshape(-1).tolist()}
        if math.prod(examples.inputs.shape[1:]) == 1:
            columns["input"] = np.repeat(np.asarray(examples.inputs).reshape(-1), outputs).tolist()
        return labels | columns

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        return (snapshot.target_values(snapshot.examples[split].inputs).reshape(-1),)

    return Probe(
        "predictions_over_training",
        rows,
        ("prediction",),
        measure,
        passes=lambda data: float(len(data.splits[split])),
        evaluates_all_examples=True,
    )
