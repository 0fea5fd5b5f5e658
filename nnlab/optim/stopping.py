"""Stopping criteria: they see each record, in the compiled program, and end a training early.

`record` sets how far records lie apart. No criterion sees the test set, which never chooses anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from nnlab.registry import Count, NonNegative, Positive, register
from nnlab.system.imports import Array, PyTree, jnp

ROUNDING_MARGIN = 1e-6  # 1 - 0.9 is not 0.1 in binary

Metrics = Mapping[str, Array]
"""The losses and accuracies of a record, by column of metrics.csv."""

MonitoredLoss = Literal["train_loss", "validation_loss"]


class Stop(NamedTuple):
    """A stopping criterion.

    Attributes:
        init: () -> its state before the first record.
        update: (state, metrics of a record) -> (state, whether to end).
        metric: The metric that it monitors.
        restores: Whether training returns the weights at the record with the smallest validation loss.
        name: Its name in the registry.
    """

    init: Callable[[], PyTree]
    update: Callable[[PyTree, Metrics], tuple[PyTree, Array]]
    metric: str
    restores: bool = False
    name: str = ""


@register("stop")
def early_stopping(patience: Count = 20, min_delta: NonNegative = 0.0) -> Stop:
    """Ends when the validation loss has not fallen for `patience` records (lectures 002 and 004).

    Training returns the weights at the record with the smallest validation loss: best.safetensors, `selected`
    in the summary and predictions.csv are of them (no_decrease keeps the last ones). Keras's EarlyStopping
    with restore_best_weights, at min_delta 0.

    Args:
        patience: How many records to wait for a fall.
        min_delta: The loss must fall by more than this to count.
    """
    return _without_fall("validation_loss", patience, min_delta)._replace(restores=True)


@register("stop")
def no_decrease(
    patience: Count = 20, min_delta: NonNegative = 0.0, metric: MonitoredLoss = "train_loss"
) -> Stop:
    """Ends when a loss has not fallen by more than `min_delta` for `patience` records; the last weights stay.

    Lecture 002: "no decrease in error".

    Args:
        patience: How many records to wait for a fall.
        min_delta: The loss must fall by more than this to count.
        metric: The loss, of training or of validation.
    """
    return _without_fall(metric, patience, min_delta)


def _without_fall(metric: str, patience: int, min_delta: float) -> Stop:
    def init() -> PyTree:
        return {"best": np.float32(np.inf), "waited": np.int32(0)}

    def update(state: PyTree, metrics: Metrics) -> tuple[PyTree, Array]:
        fell = metrics[metric] < state["best"] - min_delta
        waited = jnp.where(fell, 0, state["waited"] + 1)
        best = jnp.where(fell, metrics[metric], state["best"])
        return {"best": best, "waited": waited}, waited >= patience

    return Stop(init, update, metric)


@register("stop")
def threshold(
    below: NonNegative,
    metric: Literal["train_error", "train_loss", "validation_error", "validation_loss"] = "train_error",
) -> Stop:
    """Ends at the first record at which a loss or error is `below` or less.

    Lecture 002: a threshold on the training error.

    Args:
        below: The threshold.
        metric: A loss, or an error: the share of examples that a classification gets wrong, 1 - accuracy.
    """
    name = metric.replace("_error", "_accuracy")

    def update(state: PyTree, metrics: Metrics) -> tuple[PyTree, Array]:
        value = 1.0 - metrics[name] if name != metric else metrics[name]
        return state, value <= below + ROUNDING_MARGIN

    return Stop(tuple, update, name)


@register("stop")
def rise(by: Positive = 0.1, metric: MonitoredLoss = "validation_loss") -> Stop:
    """Ends when a loss exceeds (1 + by) times its smallest value so far; the last weights stay.

    Lecture 002: "increased error on a validation set".

    Args:
        by: Prechelt's generalization loss, as a fraction.
        metric: The loss, of training or of validation.

    Reference:
        Prechelt 1998, "Early stopping - but when?".
    """

    def init() -> PyTree:
        return np.float32(np.inf)

    def update(smallest: Array, metrics: Metrics) -> tuple[PyTree, Array]:
        return jnp.minimum(smallest, metrics[metric]), metrics[metric] > (1.0 + by) * smallest

    return Stop(init, update, metric)
