"""Learning-rate schedules: the rate at step t = 0, 1, ... of a training of T steps.

In a file, a bare number is a constant rate.
"""

from __future__ import annotations

from typing import Annotated

from nnlab.lazy import Array, jnp
from nnlab.registry import TRACED, Count, Fraction, NonNegative, register


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
