"""When training ends before its time: criteria that look at each record, in the compiled program.

How far records lie apart is `record`'s. None of them sees the test set: it never chooses anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from nnlab.registry import Count, NonNegative, Positive, register
from nnlab.system.imports import Array, jnp

ROUNDING = 1e-6  # 1 - 0.9 is not 0.1 in binary

Metrics = Mapping[str, Array]
Watched = Literal["train_loss", "validation_loss"]


class Stop(NamedTuple):
    """begin: () -> what it remembers. observe: (memory, metrics of a record) -> (memory, whether to end).

    metric: the one that it looks at. restores: whether the weights at the record with the smallest validation
    loss are what comes out of the training.
    """

    begin: Callable[[], Any]
    observe: Callable[[Any, Metrics], tuple[Any, Array]]
    metric: str
    restores: bool = False
    name: str = ""


_stop = register("stop", label="name")


@_stop
def early_stopping(patience: Count = 20, min_delta: NonNegative = 0.0) -> Stop:
    """Ends where the validation loss has not fallen for `patience` records (lectures 002 and 004).

    min_delta: it must fall by more than this to count. What comes out are the weights at the record with the
    smallest validation loss: best.safetensors, `selected` in the summary and predictions.csv are of them
    (no_decrease keeps the last ones). Keras's EarlyStopping with restore_best_weights, at min_delta 0.
    """
    return _without_fall("validation_loss", patience, min_delta)._replace(restores=True)


@_stop
def no_decrease(patience: Count = 20, min_delta: NonNegative = 0.0, metric: Watched = "train_loss") -> Stop:
    """Ends where a loss has not fallen by more than `min_delta` for `patience` records (lecture 002: "no
    decrease in error"); the last weights are kept."""
    return _without_fall(metric, patience, min_delta)


def _without_fall(metric: str, patience: int, min_delta: float) -> Stop:
    def begin() -> Any:
        return {"best": np.float32(np.inf), "waited": np.int32(0)}

    def observe(memory: Any, metrics: Metrics) -> tuple[Any, Array]:
        fell = metrics[metric] < memory["best"] - min_delta
        waited = jnp.where(fell, 0, memory["waited"] + 1)
        best = jnp.where(fell, metrics[metric], memory["best"])
        return {"best": best, "waited": waited}, waited >= patience

    return Stop(begin, observe, metric)


@_stop
def threshold(
    below: NonNegative,
    metric: Literal["train_error", "train_loss", "validation_error", "validation_loss"] = "train_error",
) -> Stop:
    """Ends at the first record at which a loss or error is `below` or less (lecture 002: a threshold on the
    training error).

    An error is the share of examples that a classification gets wrong, 1 - accuracy.
    """
    name = metric.replace("_error", "_accuracy")

    def observe(memory: Any, metrics: Metrics) -> tuple[Any, Array]:
        value = 1.0 - metrics[name] if name != metric else metrics[name]
        return memory, value <= below + ROUNDING

    return Stop(tuple, observe, name)


@_stop
def rise(by: Positive = 0.1, metric: Watched = "validation_loss") -> Stop:
    """Ends where a loss lies more than `by` of its smallest value so far above that (lecture 002: "increased
    error on a validation set"); the last weights are kept.

    Prechelt's (1998) generalisation loss, as a fraction.
    """

    def begin() -> Any:
        return np.float32(np.inf)

    def observe(least: Any, metrics: Metrics) -> tuple[Any, Array]:
        return jnp.minimum(least, metrics[metric]), metrics[metric] > (1.0 + by) * least

    return Stop(begin, observe, metric)
