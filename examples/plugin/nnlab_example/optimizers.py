"""Signum: the sign of the momentum."""

from __future__ import annotations

import optax

from nnlab.optim.parameter_groups import Optimizer
from nnlab.optim.schedules import ScheduleLike
from nnlab.registry import BelowOne, register


@register("optimizer")
def signum(learning_rate: ScheduleLike = 0.001, momentum: BelowOne = 0.9) -> Optimizer:
    """Every weight moves by the learning rate, in the direction of the sign of m.

    m <- momentum m + (1 - momentum) g, g being the gradient.

    Args:
        learning_rate: A number or a schedule.
        momentum: Rate of the running average, in [0, 1).

    Reference:
        Bernstein et al. 2018, "signSGD: compressed optimisation for non-convex problems".
    """

    def gradient_transform() -> optax.GradientTransformation:
        return optax.chain(optax.ema(momentum, debias=False), optax.scale_by_sign())

    return Optimizer(learning_rate, gradient_transform, slots=1)
