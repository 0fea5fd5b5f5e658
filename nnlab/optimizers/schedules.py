"""Learning-rate schedules: the rate at step t = 0, 1, ... of a training of T steps.

In a file, a bare number is a constant rate.
"""

from __future__ import annotations

from typing import Annotated, Any

from nnlab.lazy import Array, jnp
from nnlab.registry import TRACED, Count, Fraction, NonNegative, Of, register


@register("schedule")
def constant(step: Array, total_steps: int, /, *, value: Annotated[NonNegative, TRACED]) -> Array:
    """The same rate throughout."""
    return jnp.asarray(value, jnp.float32)


@register("schedule")
def cosine(
    step: Array,
    total_steps: int,
    /,
    *,
    peak: Annotated[NonNegative, TRACED],
    floor: Annotated[Fraction, TRACED] = 0.0,
    steps: Count | None = None,
) -> Array:
    """Falls from `peak` to `floor` * peak along half a cosine (Loshchilov & Hutter 2016, without restarts).

    rate = peak (floor + (1 - floor) (1 + cos(pi min(t / steps, 1))) / 2). steps: null is the training's.
    """
    length = max(1, total_steps if steps is None else steps)
    progress = jnp.minimum(step.astype(jnp.float32) / length, 1.0)
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress)))


@register("schedule")
def warmup(
    step: Array, total_steps: int, /, *, steps: Count, then: Annotated[Any, Of("schedule")] = 0.001
) -> Array:
    """Rises in a straight line to the first rate of another schedule, which then runs from its beginning.

    rate = then(0) (t + 1) / (steps + 1) for t < steps, then(t - steps) of the T - steps steps that are left.
    """
    left = max(1, total_steps - steps)
    rising = jnp.minimum((step.astype(jnp.float32) + 1.0) / (steps + 1), 1.0)
    return rising * then(jnp.maximum(step - steps, 0), left)
