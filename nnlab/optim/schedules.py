"""Learning-rate schedules: the rate at step t = 0, 1, ... of a training of T steps.

In a file, a bare number is a constant rate. Lengths are in `steps` or in `epochs`, one of the two; where
neither is given, they go by the length of the training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Gt, Le

from nnlab.errors import InvalidValue
from nnlab.registry import TRACED, BelowOne, ComponentOf, Count, Fraction, NonNegative, Positive, register
from nnlab.system.imports import Array, jax, jnp

ScheduleLike = Annotated[Any, ComponentOf("schedule")]
Length = Annotated[float, Gt(0.0), Le(1e9)]  # in epochs

CYCLE = ((0.0, 0.1), (0.45, 1.0), (0.9, 0.1), (1.0, 1e-4))  # (part of the training, part of the peak)
SHORTEST_CYCLE = 10  # steps


class Time(NamedTuple):
    """Where in the training: step t, total T steps, and how many an epoch has."""

    step: Any
    total: int
    per_epoch: int


class Schedule(NamedTuple):
    """rate: (memory, time) -> eta.

    begin, observe: what a schedule remembers of the records so far, where it goes by more than the time:
    () -> memory, and (memory, loss of the record, time) -> memory. The loss is that of validation where there
    is any, else of training.
    """

    rate: Callable[[Any, Time], Array]
    begin: Callable[[], Any] = tuple
    observe: Callable[[Any, Array, Time], Any] = lambda memory, loss, time: memory


def by_time(rate: Callable[[Time], Array]) -> Schedule:
    """A schedule that goes by the time alone."""
    return Schedule(lambda memory, time: rate(time))


@register("schedule")
def constant(value: Annotated[NonNegative, TRACED]) -> Schedule:
    """The same rate throughout."""
    return by_time(lambda time: jnp.asarray(value, jnp.float32))


@register("schedule")
def piecewise(
    values: list[NonNegative], steps: list[Count] | None = None, epochs: list[Length] | None = None
) -> Schedule:
    """A rate for each stretch of the training: values[i] from the i-th boundary on, values[0] before all.

    steps, epochs: the boundaries, ascending, one fewer than values; lecture 004's is {values: [0.1, 0.001],
    epochs: [50]}. Where neither is given, all stretches are of one length.
    """
    _not_both(steps, epochs)
    name, given = ("steps", steps) if epochs is None else ("epochs", epochs)
    if not values or (given is not None and len(values) != len(given) + 1):
        needed = len(given) + 1 if given else 1
        raise InvalidValue(f"{needed - 1} boundaries need {needed} values", ("values",))
    if given is not None and sorted(set(given)) != given:
        raise InvalidValue("boundaries must ascend", (name,))

    def rate(time: Time) -> Array:
        evenly = [time.total * (i + 1) / len(values) for i in range(len(values) - 1)]
        bounds = evenly if given is None else [_in_steps(time, **{name: bound}) for bound in given]
        passed = sum(((_float(time) >= bound).astype(jnp.int32) for bound in bounds), jnp.int32(0))
        return jnp.asarray(values, jnp.float32)[passed]

    return by_time(rate)


@register("schedule")
def exponential(
    start: Annotated[NonNegative, TRACED], steps: Count | None = None, epochs: Length | None = None
) -> Schedule:
    """rate = start 10^(-t / r): falls tenfold every r steps or epochs (lecture 004)."""
    _not_both(steps, epochs)
    return by_time(lambda time: start * 10.0 ** (-_float(time) / _in_steps(time, steps, epochs)))


@register("schedule")
def power(
    start: Annotated[NonNegative, TRACED],
    steps: Count | None = None,
    epochs: Length | None = None,
    exponent: Annotated[Positive, TRACED] = 1.0,
) -> Schedule:
    """rate = start (1 + t / r)^(-exponent), r in steps or epochs: to a half at r, to a third at 2 r.

    Lecture 004's c is the exponent.
    """
    _not_both(steps, epochs)
    return by_time(lambda time: start * (1.0 + _float(time) / _in_steps(time, steps, epochs)) ** -exponent)


@register("schedule")
def cosine(
    peak: Annotated[NonNegative, TRACED],
    floor: Annotated[Fraction, TRACED] = 0.0,
    steps: Count | None = None,
    epochs: Length | None = None,
) -> Schedule:
    """Falls from `peak` to `floor` * peak along half a cosine (Loshchilov & Hutter 2016, without restarts).

    rate = peak (floor + (1 - floor) (1 + cos(pi min(t / length, 1))) / 2).
    """
    _not_both(steps, epochs)

    def rate(time: Time) -> Array:
        progress = jnp.minimum(_float(time) / _in_steps(time, steps, epochs), 1.0)
        return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))

    return by_time(rate)


@register("schedule")
def one_cycle(peak: Annotated[NonNegative, TRACED]) -> Schedule:
    """1cycle (Smith 2018): up in a line from a tenth of the peak, down again, then to nearly 0.

    It rises over the first 45 % of the training, falls over the next 45 %, and over the last 10 % falls to a
    ten-thousandth of the peak. PyTorch's OneCycleLR with three_phase, linear, pct_start .45, div_factor 10
    and final_div_factor 1000; the momentum is left alone. A training of fewer than 10 steps is taken for 10.
    """

    def rate(time: Time) -> Array:
        total = max(SHORTEST_CYCLE, time.total)
        ends = [max(0.0, part * total - turn) for turn, (part, _) in enumerate(CYCLE)]
        ends[-1] = total - 1.0
        heights = jnp.array([height for _, height in CYCLE], jnp.float32)
        return peak * jnp.interp(_float(time), jnp.array(ends, jnp.float32), heights)

    return by_time(rate)


@register("schedule")
def warmup(steps: Count | None = None, epochs: Length | None = None, then: ScheduleLike = 0.001) -> Schedule:
    """Rises in a straight line to the first rate of another schedule, which then runs from its beginning.

    rate = then(0) (t + 1) / (n + 1) for t < n, the warm-up's steps, then(t - n) of the T - n steps that are
    left. n is a tenth of T where it is not given.
    """
    _not_both(steps, epochs)

    def steps_of(time: Time) -> int:
        given = steps is not None or epochs is not None
        return round(_in_steps(time, steps, epochs) if given else time.total / 10)

    def later(time: Time) -> Time:
        length = steps_of(time)
        return Time(jnp.maximum(time.step - length, 0), max(1, time.total - length), time.per_epoch)

    def rate(memory: Any, time: Time) -> Array:
        rising = jnp.minimum((_float(time) + 1.0) / (steps_of(time) + 1), 1.0)
        return rising * then.rate(memory, later(time))

    def observe(memory: Any, loss: Array, time: Time) -> Any:
        seen, begun = then.observe(memory, loss, later(time)), time.step >= steps_of(time)
        return jax.tree.map(lambda new, old: jnp.where(begun, new, old), seen, memory)

    return Schedule(rate, then.begin, observe)


@register("schedule")
def performance(
    start: Annotated[NonNegative, TRACED],
    factor: Annotated[BelowOne, TRACED] = 0.5,
    patience: Count = 5,
    minimum: Annotated[NonNegative, TRACED] = 0.0,
) -> Schedule:
    """Multiplies the rate by `factor` each time the loss has not fallen for `patience` records (lecture 004).

    The loss is that of validation where there is any, else of training; how far records lie apart is
    `record`'s. minimum: the rate goes no lower. Keras's ReduceLROnPlateau with min_delta 0; PyTorch's waits
    one record longer.
    """

    def begin() -> Any:
        return {"best": np.float32(np.inf), "waited": np.int32(0), "cuts": np.int32(0)}

    def observe(memory: Any, loss: Array, time: Time) -> Any:
        waited = jnp.where(loss < memory["best"], 0, memory["waited"] + 1)
        cut = waited >= patience
        return {
            "best": jnp.minimum(memory["best"], loss),
            "waited": jnp.where(cut, 0, waited),
            "cuts": memory["cuts"] + cut.astype(jnp.int32),
        }

    def rate(memory: Any, time: Time) -> Array:
        return jnp.maximum(start * factor ** memory["cuts"].astype(jnp.float32), minimum)

    return Schedule(rate, begin, observe)


@register("schedule")
def range_test(low: Positive = 1e-6, high: Positive = 10.0) -> Schedule:
    """rate = low (high / low)^(t / (T - 1)): rises by the same factor each step, from `low` at the first to
    `high` at the last, to find the rate at which training blows up (Smith 2015)."""
    if low >= high:
        raise InvalidValue(f"low {low:g} must lie below high {high:g}", ("low",))

    def rate(time: Time) -> Array:
        return low * (high / low) ** jnp.minimum(_float(time) / max(1, time.total - 1), 1.0)

    return by_time(rate)


def _not_both(steps: Any, epochs: Any) -> None:
    if steps is not None and epochs is not None:
        raise InvalidValue("give one of 'steps' and 'epochs'")


def _float(time: Time) -> Array:
    return jax.lax.convert_element_type(time.step, jnp.float32)


def _in_steps(time: Time, steps: float | None = None, epochs: float | None = None) -> float:
    """A length in steps; the training's where none is given."""
    length = time.total if steps is None else steps
    return max(1.0, length if epochs is None else epochs * time.per_epoch)
