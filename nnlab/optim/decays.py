"""Schedules that fall from the first step to the last; see `schedules` for t, T and lengths."""

from __future__ import annotations

from typing import Annotated

from nnlab.optim.schedules import (
    Length,
    Schedule,
    Time,
    by_time,
    float_step,
    in_steps,
    not_both,
)
from nnlab.registry import TRACED, Count, Fraction, NonNegative, Positive, register
from nnlab.system.imports import Array, jnp


@register("schedule")
def exponential(
    start: Annotated[NonNegative, TRACED], steps: Count | None = None, epochs: Length | None = None
) -> Schedule:
    """rate = start 10^(-t / r): falls tenfold every r steps or epochs (lecture 004).

    Args:
        start: The rate at the first step.
        steps: r in steps; the length of the training where neither is given.
        epochs: r in epochs, in place of steps.
    """
    not_both(steps, epochs)
    return by_time(lambda time: start * 10.0 ** (-float_step(time) / in_steps(time, steps, epochs)))


@register("schedule")
def power(
    start: Annotated[NonNegative, TRACED],
    steps: Count | None = None,
    epochs: Length | None = None,
    exponent: Annotated[Positive, TRACED] = 1.0,
) -> Schedule:
    """rate = start (1 + t / r)^(-exponent): with exponent 1 a half at r, a third at 2 r.

    Args:
        start: The rate at the first step.
        steps: r in steps; the length of the training where neither is given.
        epochs: r in epochs, in place of steps.
        exponent: Lecture 004's c.
    """
    not_both(steps, epochs)
    return by_time(lambda time: start * (1.0 + float_step(time) / in_steps(time, steps, epochs)) ** -exponent)


@register("schedule")
def inverse_square_root(
    start: Annotated[NonNegative, TRACED], steps: Count | None = None, epochs: Length | None = None
) -> Schedule:
    """rate = start / sqrt(1 + floor(t / L)): a stair whose n-th tread has the rate start / sqrt(n).

    Nakkiran et al. train by it, with treads of 512 steps. Without treads it is `power` with exponent 0.5, and
    after a warm-up that of Vaswani et al. 2017.

    Args:
        start: The rate at the first step.
        steps: L in steps; a tenth of the training where neither is given.
        epochs: L in epochs, in place of steps.

    Reference:
        Nakkiran et al. 2019, "Deep double descent", appendix B.
    """
    not_both(steps, epochs)

    def rate(time: Time) -> Array:
        return start / jnp.sqrt(1.0 + jnp.floor(float_step(time) / in_steps(time, steps, epochs, 0.1)))

    return by_time(rate)


@register("schedule")
def linear(
    start: Annotated[NonNegative, TRACED],
    floor: Annotated[Fraction, TRACED] = 0.0,
    steps: Count | None = None,
    epochs: Length | None = None,
) -> Schedule:
    """Falls from `start` to `floor` * start in a straight line, and stays there.

    Args:
        start: The rate at the first step.
        floor: The last rate, as a fraction of the first.
        steps: The length in steps; that of the training where neither is given.
        epochs: The length in epochs, in place of steps.
    """
    return polynomial(start, 1.0, floor, steps, epochs)


@register("schedule")
def polynomial(
    start: Annotated[NonNegative, TRACED],
    exponent: Annotated[Positive, TRACED] = 2.0,
    floor: Annotated[Fraction, TRACED] = 0.0,
    steps: Count | None = None,
    epochs: Length | None = None,
) -> Schedule:
    """rate = start (floor + (1 - floor) (1 - min(t / length, 1))^exponent): steep first, flat at its end.

    Args:
        start: The rate at the first step.
        exponent: 1 is a straight line, `linear`.
        floor: The last rate, as a fraction of the first.
        steps: The length in steps; that of the training where neither is given.
        epochs: The length in epochs, in place of steps.
    """
    not_both(steps, epochs)

    def rate(time: Time) -> Array:
        left = jnp.maximum(1.0 - float_step(time) / in_steps(time, steps, epochs), 0.0)
        return start * (floor + (1.0 - floor) * left**exponent)

    return by_time(rate, lambda total, per_epoch: _unreached("rate", steps, epochs, total, per_epoch))


@register("schedule")
def cosine(
    peak: Annotated[NonNegative, TRACED],
    floor: Annotated[Fraction, TRACED] = 0.0,
    steps: Count | None = None,
    epochs: Length | None = None,
) -> Schedule:
    """Falls from `peak` to `floor` * peak along half a cosine, without restarts.

    rate = peak (floor + (1 - floor) (1 + cos(pi min(t / length, 1))) / 2).

    Args:
        peak: The rate at the first step.
        floor: The last rate, as a fraction of the peak.
        steps: The length in steps; that of the training where neither is given.
        epochs: The length in epochs, in place of steps.

    Reference:
        Loshchilov & Hutter 2016, "SGDR: stochastic gradient descent with warm restarts".
    """
    not_both(steps, epochs)

    def rate(time: Time) -> Array:
        progress = jnp.minimum(float_step(time) / in_steps(time, steps, epochs), 1.0)
        return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))

    return by_time(rate, lambda total, per_epoch: _unreached("cosine", steps, epochs, total, per_epoch))


def _unreached(what: str, steps: float | None, epochs: float | None, total: int, per_epoch: int) -> str:
    """What to say where the length of a fall is greater than that of the training, else an empty text."""
    length = steps or (epochs or 0.0) * per_epoch
    return f"the {what} falls for {length:g} steps and does not come to its floor" if length > total else ""
