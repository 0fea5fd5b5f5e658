"""Learning-rate schedules: the rate at step t = 0, 1, ... of a training of T steps.

In a file, a bare number is a constant rate. A length is given in `steps` or in `epochs`; where neither is
given, it is that of the training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Gt, Le

from nnlab.errors import InvalidValue
from nnlab.optim.stopping import refuse_test_metric
from nnlab.registry import TRACED, BelowOne, ComponentOf, Count, NonNegative, Positive, register
from nnlab.system.imports import Array, PyTree, jax, jnp

ScheduleLike = Annotated[Any, ComponentOf("schedule")]
Length = Annotated[float, Gt(0.0), Le(1e9)]  # in epochs


class Time(NamedTuple):
    """A moment of the training.

    Attributes:
        step: t, a traced int32.
        total: T, the steps of the training.
        per_epoch: The steps of an epoch.
    """

    step: Array
    total: int
    per_epoch: int


class Schedule(NamedTuple):
    """A learning-rate schedule. One that depends on more than the time keeps a state, updated at each record.

    Attributes:
        rate: (state, time) -> eta.
        init: () -> state before the first record.
        update: (state, cost of the record, time) -> state. The cost is its metric, negated where higher
            values are better.
        metric: What it watches, a column of metrics.csv; empty for the loss of the validation split where
            there is one, else of the training split.
        unreached: (T, steps of an epoch) -> what of the schedule lies beyond the end of the training, in
            words; empty where nothing does.
        momentum: time -> the momentum of the optimizer, where the schedule sets that too.
    """

    rate: Callable[[PyTree, Time], Array]
    init: Callable[[], PyTree] = tuple
    update: Callable[[PyTree, Array, Time], PyTree] = lambda state, cost, time: state
    metric: str = ""
    unreached: Callable[[int, int], str] = lambda total, per_epoch: ""
    momentum: Callable[[Time], Array] | None = None


def by_time(
    rate: Callable[[Time], Array], unreached: Callable[[int, int], str] = lambda total, per_epoch: ""
) -> Schedule:
    """A schedule that depends on the time alone.

    Args:
        rate: time -> eta.
        unreached: See `Schedule`.
    """
    return Schedule(lambda state, time: rate(time), unreached=unreached)


@register("schedule")
def constant(value: Annotated[NonNegative, TRACED]) -> Schedule:
    """The same rate throughout.

    Args:
        value: The rate.
    """
    return by_time(lambda time: jnp.asarray(value, jnp.float32))


@register("schedule")
def piecewise(
    values: list[NonNegative], steps: list[Count] | None = None, epochs: list[Length] | None = None
) -> Schedule:
    """A rate for each stretch of the training: values[i] from the i-th boundary on, values[0] before all.

    Lecture 004's is {values: [0.1, 0.001], epochs: [50]}. Without boundaries all stretches have one length.

    Args:
        values: The rates.
        steps: The boundaries in steps, ascending, one fewer than values.
        epochs: The boundaries in epochs, in place of steps.
    """
    not_both(steps, epochs)
    name, boundaries = ("steps", steps) if epochs is None else ("epochs", epochs)
    if not values or (boundaries is not None and len(values) != len(boundaries) + 1):
        needed = len(boundaries) + 1 if boundaries else 1
        raise InvalidValue(f"{needed - 1} boundaries need {needed} values", ("values",))
    if boundaries is not None and sorted(set(boundaries)) != boundaries:
        raise InvalidValue("boundaries must ascend", (name,))

    def rate(time: Time) -> Array:
        evenly = [time.total * (i + 1) / len(values) for i in range(len(values) - 1)]
        bounds = evenly if boundaries is None else [in_steps(time, **{name: bound}) for bound in boundaries]
        passed = sum(((float_step(time) >= bound).astype(jnp.int32) for bound in bounds), jnp.int32(0))
        return jnp.asarray(values, jnp.float32)[passed]

    def unreached(total: int, per_epoch: int) -> str:
        scale = 1.0 if epochs is None else per_epoch
        beyond = [bound for bound in boundaries or () if bound * scale >= total]
        return f"the boundary at {beyond[0]:g} {name} is beyond the end" if beyond else ""

    return by_time(rate, unreached)


@register("schedule")
def warmup(steps: Count | None = None, epochs: Length | None = None, then: ScheduleLike = 0.001) -> Schedule:
    """Rises in a straight line to the first rate of another schedule, which then runs from its beginning.

    rate = then(0) (t + 1) / (n + 1) for the warm-up's steps, t < n, and then(t - n) for the T - n steps that
    are left.

    Args:
        steps: n in steps; a tenth of the training where neither is given.
        epochs: n in epochs, in place of steps.
        then: The schedule after the warm-up, a number or a schedule.
    """
    not_both(steps, epochs)

    def steps_of(time: Time) -> int:
        if steps is None and epochs is None:
            return round(time.total / 10)
        return round(in_steps(time, steps, epochs))

    def later(time: Time) -> Time:
        length = steps_of(time)
        return Time(jnp.maximum(time.step - length, 0), max(1, time.total - length), time.per_epoch)

    def rate(state: PyTree, time: Time) -> Array:
        rising = jnp.minimum((float_step(time) + 1.0) / (steps_of(time) + 1), 1.0)
        return rising * then.rate(state, later(time))

    def update(state: PyTree, cost: Array, time: Time) -> PyTree:
        updated, begun = then.update(state, cost, later(time)), time.step >= steps_of(time)
        return jax.tree.map(lambda new, old: jnp.where(begun, new, old), updated, state)

    def unreached(total: int, per_epoch: int) -> str:
        length = steps or round((epochs or 0.0) * per_epoch) or round(total / 10)
        if length < total:
            return then.unreached(total - length, per_epoch)
        return f"the warm-up takes {length:,} steps and never ends"

    momentum = then.momentum and (lambda time: then.momentum(later(time)))
    return Schedule(rate, then.init, update, then.metric, unreached, momentum)


@register("schedule")
def performance(
    start: Annotated[NonNegative, TRACED],
    factor: Annotated[BelowOne, TRACED] = 0.5,
    patience: Count = 5,
    minimum: Annotated[NonNegative, TRACED] = 0.0,
    metric: str | None = None,
) -> Schedule:
    """Multiplies the rate by `factor` each time the loss has not fallen for `patience` records (lecture 004).

    The loss is that of validation where there is any, else of training; `record` sets how far records lie
    apart. Keras's ReduceLROnPlateau with min_delta 0; PyTorch's waits one record longer.

    Args:
        start: The first rate.
        factor: Of the rate, at each cut.
        patience: How many records to wait for a fall.
        minimum: The rate goes no lower.
        metric: What to watch in place of that loss: a loss or metric of train or validation, such as
            validation_accuracy; one that is better the higher it is must rise.
    """
    refuse_test_metric(metric or "")

    def init() -> PyTree:
        return {"best": np.float32(np.inf), "waited": np.int32(0), "cuts": np.int32(0)}

    def update(state: PyTree, cost: Array, time: Time) -> PyTree:
        waited = jnp.where(cost < state["best"], 0, state["waited"] + 1)
        cut = waited >= patience
        return {
            "best": jnp.minimum(state["best"], cost),
            "waited": jnp.where(cut, 0, waited),
            "cuts": state["cuts"] + cut.astype(jnp.int32),
        }

    def rate(state: PyTree, time: Time) -> Array:
        return jnp.maximum(start * factor ** state["cuts"].astype(jnp.float32), minimum)

    return Schedule(rate, init, update, metric or "")


@register("schedule")
def range_test(low: Positive = 1e-6, high: Positive = 10.0) -> Schedule:
    """rate = low (high / low)^(t / (T - 1)): rises by the same factor each step.

    It finds the rate at which training blows up.

    Args:
        low: The rate at the first step.
        high: The rate at the last step.

    Reference:
        Smith 2015, "Cyclical learning rates for training neural networks".
    """
    if low >= high:
        raise InvalidValue(f"low {low:g} must lie below high {high:g}", ("low",))

    def rate(time: Time) -> Array:
        return low * (high / low) ** jnp.minimum(float_step(time) / max(1, time.total - 1), 1.0)

    return by_time(rate)


def not_both(steps: object, epochs: object) -> None:
    """Refuse a length that is given twice. Raises InvalidValue."""
    if steps is not None and epochs is not None:
        raise InvalidValue("give one of 'steps' and 'epochs'")


def float_step(time: Time) -> Array:
    """t as a number that may be divided."""
    return jax.lax.convert_element_type(time.step, jnp.float32)


def in_steps(
    time: Time, steps: float | None = None, epochs: float | None = None, share: float = 1.0
) -> float:
    """A length in steps; where none is given, a share of that of the training."""
    length = share * time.total if steps is None else steps
    return max(1.0, length if epochs is None else epochs * time.per_epoch)
