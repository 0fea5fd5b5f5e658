"""Schedules that rise and fall, once or over and over; see `schedules` for t, T and lengths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated

from nnlab.errors import InvalidValue
from nnlab.optim.schedules import (
    Length,
    Schedule,
    Time,
    by_time,
    float_step,
    in_steps,
    not_both,
)
from nnlab.registry import TRACED, BelowOne, Count, Fraction, NonNegative, register
from nnlab.system.imports import Array, jnp

# (fraction of the training, fraction of the peak)
ONE_CYCLE_POINTS = ((0.0, 0.1), (0.45, 1.0), (0.9, 0.1), (1.0, 1e-4))
MINIMUM_CYCLE_STEPS = 10


@register("schedule")
def one_cycle(peak: Annotated[NonNegative, TRACED], momentum: list[BelowOne] | None = None) -> Schedule:
    """1cycle: up in a line from a tenth of the peak, down again, then to nearly 0.

    It rises over the first 45 % of the training, falls over the next 45 %, and over the last 10 % falls to a
    ten-thousandth of the peak. PyTorch's OneCycleLR with three_phase, linear, pct_start .45, div_factor 10
    and final_div_factor 1000. A training of fewer than 10 steps is taken for 10.

    Args:
        peak: The highest rate.
        momentum: [low, high], the momentum of sgd: it falls from high to low while the rate rises, rises as
            that falls, and stays high at the end; PyTorch's is [0.85, 0.95]. null leaves it as it is.

    Reference:
        Smith 2018, "A disciplined approach to neural network hyper-parameters: part 1".
    """

    if momentum is not None and (len(momentum) != 2 or momentum[0] > momentum[1]):
        raise InvalidValue("takes [low, high]", ("momentum",))

    def between(time: Time, heights: Sequence[float]) -> Array:
        """The heights at the points, and straight lines between them."""
        total = max(MINIMUM_CYCLE_STEPS, time.total)
        ends = [max(0.0, part * total - turn) for turn, (part, _) in enumerate(ONE_CYCLE_POINTS)]
        ends[-1] = total - 1.0
        return jnp.interp(float_step(time), *(jnp.array(values, jnp.float32) for values in (ends, heights)))

    def rate(time: Time) -> Array:
        return peak * between(time, [height for _, height in ONE_CYCLE_POINTS])

    schedule = by_time(rate)
    if momentum is None:
        return schedule
    low, high = momentum
    return schedule._replace(momentum=lambda time: between(time, [high, low, high, high]))


@register("schedule")
def triangular(
    low: Annotated[NonNegative, TRACED],
    high: Annotated[NonNegative, TRACED],
    steps: Count | None = None,
    epochs: Length | None = None,
    shrink: Fraction = 1.0,
) -> Schedule:
    """Rises from `low` to `high` in a straight line and falls back, over and over.

    PyTorch's CyclicLR; the momentum stays as it is.

    Args:
        low: The rate at the ends of each cycle.
        high: The rate in the middle of the first one.
        steps: The length of a cycle in steps; that of the training where neither is given.
        epochs: The length of a cycle in epochs, in place of steps.
        shrink: What the height, high - low, is multiplied by at each new cycle; 0.5 is triangular2.

    Reference:
        Smith 2015, "Cyclical learning rates for training neural networks".
    """
    not_both(steps, epochs)

    def rate(time: Time) -> Array:
        cycles = float_step(time) / in_steps(time, steps, epochs)
        number = jnp.floor(cycles)
        height = 1.0 - jnp.abs(2.0 * (cycles - number) - 1.0)
        return low + (high - low) * height * shrink**number

    return by_time(rate)


@register("schedule")
def cosine_restarts(
    peak: Annotated[NonNegative, TRACED],
    floor: Annotated[Fraction, TRACED] = 0.0,
    steps: Count | None = None,
    epochs: Length | None = None,
    growth: Count = 1,
) -> Schedule:
    """Falls from `peak` towards `floor` * peak along half a cosine, and begins anew from the peak.

    PyTorch's CosineAnnealingWarmRestarts.

    Args:
        peak: The rate at the first step, and at each restart.
        floor: The rate that a cycle falls towards, as a fraction of the peak.
        steps: The length of the first cycle in steps; a fifth of the training where neither is given.
        epochs: The length of the first cycle in epochs, in place of steps.
        growth: How many times as long each cycle is as the one before it; PyTorch's T_mult.

    Reference:
        Loshchilov & Hutter 2016, "SGDR: stochastic gradient descent with warm restarts".
    """
    not_both(steps, epochs)

    def rate(time: Time) -> Array:
        progress = _progress_of_cycle(
            float_step(time), in_steps(time, steps, epochs, 0.2), growth, time.total
        )
        return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))

    return by_time(rate)


def _progress_of_cycle(step: Array, first: float, growth: int, total: int) -> Array:
    """How much of its cycle has passed, 0 to 1, at a step of a training of `total` steps.

    Args:
        step: The step.
        first: The length of the first cycle.
        growth: How many times as long each cycle is as the one before it.
        total: The length of the training.
    """
    if growth == 1:
        return step / first - jnp.floor(step / first)
    restarts = int(math.log1p(total * (growth - 1) / first) / math.log(growth))
    lengths = [first * growth**number for number in range(restarts + 1)]
    starts = [0.0, *itertools.accumulate(lengths)][:-1]
    number = jnp.searchsorted(jnp.array(starts, jnp.float32), step, side="right") - 1
    begun, length = (jnp.array(values, jnp.float32)[number] for values in (starts, lengths))
    return jnp.minimum((step - begun) / length, 1.0)
