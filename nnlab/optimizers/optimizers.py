"""Optimizers: how the weights follow the gradient g at the learning rate eta(t).

Each is an optax transformation of g to a direction, and a schedule; the weights move by
w <- w - eta(t) * direction. A bare number for the learning rate is a constant one.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from nnlab.errors import ValueDoesNotFit
from nnlab.lazy import jax, jnp, optax
from nnlab.registry import TRACED, BelowOne, NonNegative, Of, Positive, register

ScheduleLike = Annotated[Any, Of("schedule")]


class Optimizer(NamedTuple):
    """learning_rate: (step, total steps) -> eta; direction: () -> `optax.GradientTransformation`.

    slots: arrays of the size of the weights that it remembers.
    """

    learning_rate: Any
    direction: Any
    slots: int


@register("optimizer")
def sgd(learning_rate: ScheduleLike = 0.01, momentum: BelowOne = 0.0, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent. Velocity v <- momentum * v + g; direction v, or g without momentum.

    nesterov: direction g + momentum * v, which looks one step ahead. This is lecture 004's accumulated form
    for a constant rate (as in PyTorch, the rate is outside the velocity): with momentum 0.9 it moves ten
    times as far as lecture 002's average form at the same rate.
    """
    if nesterov and not momentum:
        raise ValueDoesNotFit("needs a momentum above 0", ("nesterov",))

    def direction() -> Any:
        return optax.trace(momentum, nesterov) if momentum else optax.identity()

    return Optimizer(learning_rate, direction, int(bool(momentum)))


@register("optimizer")
def adam(
    learning_rate: ScheduleLike = 0.001, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """Adam (Kingma & Ba 2014). m and s are running averages (rates b1, b2) of g and g^2, freed of their bias
    towards 0; direction m / (sqrt(s) + epsilon). epsilon is PyTorch's default (Keras: 1e-7)."""
    return Optimizer(learning_rate, lambda: optax.scale_by_adam(b1, b2, epsilon), 2)


@register("optimizer")
def adamw(
    learning_rate: ScheduleLike = 0.001,
    b1: BelowOne = 0.9,
    b2: BelowOne = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: Annotated[NonNegative, TRACED] = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017): Adam's direction + weight_decay * w.

    Every weight decays by eta * weight_decay of itself a step, biases too. The defaults are PyTorch's.
    """

    def direction() -> Any:
        return optax.chain(optax.scale_by_adam(b1, b2, epsilon), optax.add_decayed_weights(weight_decay))

    return Optimizer(learning_rate, direction, 2)


@register("optimizer")
def rmsprop(
    learning_rate: ScheduleLike = 0.001, decay: BelowOne = 0.9, epsilon: Positive = 1e-7
) -> Optimizer:
    """RMSProp (Hinton 2012). s is a running average of g^2; direction g / sqrt(s + epsilon).

    The rate and the place of epsilon are lecture 004's and Keras's; PyTorch adds it to the root.
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_rms(decay, epsilon), 1)


@register("optimizer")
def grokfast(
    optimizer: Annotated[Any, Of("optimizer")] = "adamw",
    amplification: Annotated[NonNegative, TRACED] = 2.0,
    momentum: BelowOne = 0.98,
) -> Optimizer:
    """Grokfast-EMA: amplifies what in the gradient changes slowly, then hands it to another optimizer.

    m <- momentum m + (1 - momentum) g, from m = g at the first step; the optimizer gets g + amplification m.
    amplification 0 is the optimizer by itself. Lee et al. 2024, whose lambda and alpha these are.
    """

    def direction() -> Any:
        return optax.chain(_slow_gradient(amplification, momentum), optimizer.direction())

    return Optimizer(optimizer.learning_rate, direction, optimizer.slots + 1)


def _slow_gradient(amplification: Any, momentum: float) -> Any:
    """The gradient and its amplified running average, see `grokfast`."""

    def init(params: Any) -> Any:
        return jnp.zeros((), bool), jax.tree.map(jnp.zeros_like, params)

    def update(gradients: Any, state: Any, params: Any = None) -> Any:
        begun, average = state
        kept = jnp.where(begun, momentum, 0.0)
        average = jax.tree.map(lambda m, g: kept * m + (1.0 - kept) * g, average, gradients)
        amplified = jax.tree.map(lambda g, m: g + amplification * m, gradients, average)
        return amplified, (jnp.ones((), bool), average)

    return optax.GradientTransformation(init, update)
