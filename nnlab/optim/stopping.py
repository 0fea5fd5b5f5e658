"""Stopping criteria: they see each record, in the compiled program, and end a training early.

`record` sets how far records lie apart. No criterion sees the test set, which never chooses anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.optim.metrics import Better
from nnlab.registry import Count, NonNegative, Positive, register
from nnlab.system.imports import Array, PyTree, jnp

ROUNDING_MARGIN = 1e-6  # 1 - 0.9 is not 0.1 in binary

Costs = Mapping[str, Array]
"""The metrics of a record by column of metrics.csv, such as validation_loss; those of which higher values are
better, such as validation_accuracy, are negated, so that the smaller is the better."""


class Stop(NamedTuple):
    """A stopping criterion.

    Attributes:
        init: () -> its state before the first record.
        update: (state, costs of a record) -> (state, whether to end).
        metric: The metric that it monitors.
        better: Which values of the metric must be better for it to make sense; None where it does not matter.
        restores: Whether training returns the weights at the record that is best by the metric.
        name: Its name in the registry.
    """

    init: Callable[[], PyTree]
    update: Callable[[PyTree, Costs], tuple[PyTree, Array]]
    metric: str
    better: Better | None = None
    restores: bool = False
    name: str = ""


@register("stop")
def early_stopping(
    patience: Count = 20, min_delta: NonNegative = 0.0, metric: str = "validation_loss"
) -> Stop:
    """Ends when the validation loss has not fallen for `patience` records (lectures 002 and 004).

    Training returns the weights at the record with the smallest validation loss: best.safetensors, `selected`
    in the summary and predictions.csv are of them (no_decrease keeps the last ones). Keras's EarlyStopping
    with restore_best_weights, at min_delta 0. With another metric, all of this goes by that one, and one that
    is better the higher it is must rise.

    Args:
        patience: How many records to wait for the metric to improve.
        min_delta: The metric must improve by more than this to count.
        metric: A loss or metric of train or validation, such as validation_accuracy, or validation_f1 with
            `metrics: [f1]`.
    """
    return _without_improvement(metric, patience, min_delta)._replace(restores=True)


@register("stop")
def no_decrease(patience: Count = 20, min_delta: NonNegative = 0.0, metric: str = "train_loss") -> Stop:
    """Ends when a loss has not fallen by more than `min_delta` for `patience` records; the last weights stay.

    Lecture 002: "no decrease in error". A metric that is better the higher it is must rise.

    Args:
        patience: How many records to wait for the metric to improve.
        min_delta: The metric must improve by more than this to count.
        metric: A loss or metric of train or validation.
    """
    return _without_improvement(metric, patience, min_delta)


def _without_improvement(metric: str, patience: int, min_delta: float) -> Stop:
    refuse_test_metric(metric)

    def init() -> PyTree:
        return {"best": np.float32(np.inf), "waited": np.int32(0)}

    def update(state: PyTree, costs: Costs) -> tuple[PyTree, Array]:
        fell = costs[metric] < state["best"] - min_delta
        waited = jnp.where(fell, 0, state["waited"] + 1)
        best = jnp.where(fell, costs[metric], state["best"])
        return {"best": best, "waited": waited}, waited >= patience

    return Stop(init, update, metric)


@register("stop")
def threshold(below: NonNegative, metric: str = "train_error") -> Stop:
    """Ends at the first record at which a loss or error is `below` or less.

    Lecture 002: a threshold on the training error. `reached` is that of a metric which is to be large.

    Args:
        below: The threshold.
        metric: A loss or metric of train or validation that is better the lower it is; or train_error or
            validation_error, the share of examples that a classification gets wrong, 1 - accuracy.
    """
    refuse_test_metric(metric)
    split, _, what = metric.partition("_")
    is_error = what == "error"
    name = f"{split}_accuracy" if is_error else metric

    def update(state: PyTree, costs: Costs) -> tuple[PyTree, Array]:
        cost = 1.0 + costs[name] if is_error else costs[name]
        return state, cost <= below + ROUNDING_MARGIN

    return Stop(tuple, update, name, "higher" if is_error else "lower")


@register("stop")
def reached(above: float, metric: str = "train_accuracy") -> Stop:
    """Ends at the first record at which a metric is `above` or more.

    Args:
        above: The threshold.
        metric: A metric of train or validation that is better the higher it is.
    """
    refuse_test_metric(metric)

    def update(state: PyTree, costs: Costs) -> tuple[PyTree, Array]:
        return state, -costs[metric] >= above - ROUNDING_MARGIN

    return Stop(tuple, update, metric, "higher")


@register("stop")
def rise(by: Positive = 0.1, metric: str = "validation_loss") -> Stop:
    """Ends when a loss exceeds (1 + by) times its smallest value so far; the last weights stay.

    Lecture 002: "increased error on a validation set".

    Args:
        by: Prechelt's generalization loss, as a fraction.
        metric: A loss or metric of train or validation that is better the lower it is.

    Reference:
        Prechelt 1998, "Early stopping - but when?".
    """
    refuse_test_metric(metric)

    def init() -> PyTree:
        return np.float32(np.inf)

    def update(smallest: Array, costs: Costs) -> tuple[PyTree, Array]:
        return jnp.minimum(smallest, costs[metric]), costs[metric] > (1.0 + by) * smallest

    return Stop(init, update, metric, "lower")


def refuse_test_metric(metric: str) -> None:
    """Refuse a metric of the test set. Raises InvalidValue."""
    if metric.startswith("test_"):
        raise InvalidValue(
            f"'{metric}' is of the test set, which never chooses anything; give train_... or validation_...",
            ("metric",),
        )
