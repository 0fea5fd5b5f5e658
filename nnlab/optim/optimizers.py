"""Optimizers: how the weights follow the gradient g at the learning rate eta(t).

Each is an optax transformation of g to a direction, and a schedule; the weights move by
w <- w - eta(t) * direction. A bare number for the learning rate is a constant one. m and s are running
averages of g and of g^2 (rates b1, b2) that begin at 0; corrected for this bias, they are divided by 1 - b^t
at the t-th step. The defaults are PyTorch's unless a docstring says otherwise.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal

from nnlab.errors import InvalidValue
from nnlab.optim.parameter_groups import Optimizer
from nnlab.optim.schedules import ScheduleLike
from nnlab.optim.stability import Stability, gain_of_average
from nnlab.registry import TRACED, BelowOne, NonNegative, Positive, register
from nnlab.system.imports import Array, PyTree, jax, jnp, optax

Decay = Annotated[NonNegative, TRACED]


@register("optimizer")
def sgd(
    learning_rate: ScheduleLike = 0.01,
    momentum: BelowOne = 0.0,
    nesterov: bool = False,
    form: Literal["accumulated", "average"] = "accumulated",
) -> Optimizer:
    """Stochastic gradient descent: the direction is the velocity v, or g without momentum.

    v <- momentum * v + g. Lectures 002 and 004, and Keras, have the rate inside the velocity; here, as in
    PyTorch, it is outside, which is the same for a constant rate.

    Args:
        learning_rate: eta(t), a number or a schedule. The default is Keras's (PyTorch: 0.001).
        momentum: How much of the velocity each step keeps; a schedule that sets it, as one_cycle can, does so
            in its place.
        nesterov: The direction is g + momentum * v, which looks one step ahead; needs a momentum above 0.
        form: `accumulated` is the velocity above, lecture 004's, PyTorch's and Keras's; `average` is lecture
            002's, v <- momentum * v + (1 - momentum) * g, which at the same rate moves 1 - momentum times as
            far, a tenth at 0.9.
    """
    cycled = learning_rate.momentum is not None
    if cycled and momentum:
        raise InvalidValue("is set by the learning rate's schedule; leave it out", ("momentum",))
    if nesterov and not (momentum or cycled):
        raise InvalidValue("needs a momentum above 0", ("nesterov",))
    if cycled:
        velocity = functools.partial(_cycled_velocity, nesterov, form == "average")
        return Optimizer(learning_rate, velocity, 1, takes_momentum=True)

    def gradient_transform() -> optax.GradientTransformation:
        if not momentum:
            return optax.identity()
        velocity = optax.trace(momentum, nesterov)
        return optax.chain(velocity, optax.scale(1.0 - momentum)) if form == "average" else velocity

    scale = 1.0 if form == "average" else 1.0 / (1.0 - momentum)
    stability = Stability(scale * gain_of_average(momentum, nesterov))
    return Optimizer(learning_rate, gradient_transform, int(bool(momentum)), stability=stability)


@register("optimizer")
def adagrad(
    learning_rate: ScheduleLike = 0.01, initial: NonNegative = 0.0, epsilon: Positive = 1e-7
) -> Optimizer:
    """AdaGrad: the direction is g / sqrt(s + epsilon), s <- s + g^2, so that steps only ever shorten.

    Lecture 004 multiplies by the root; AdaGrad divides.

    Args:
        learning_rate: eta(t), a number or a schedule.
        initial: s before the first step (Keras: 0.1).
        epsilon: Keeps the division finite. Value and place, under the root, are lecture 004's and Keras's
            (PyTorch: 1e-10, added to the root).

    Reference:
        Duchi et al. 2011, "Adaptive subgradient methods for online learning and stochastic optimization".
    """

    def preconditioner(state: PyTree) -> PyTree:
        return jax.tree.map(lambda s: jnp.sqrt(s + epsilon), state.sum_of_squares)

    stability = Stability(preconditioner=preconditioner)
    return Optimizer(learning_rate, lambda: optax.scale_by_rss(initial, epsilon), 1, stability=stability)


@register("optimizer")
def rmsprop(
    learning_rate: ScheduleLike = 0.001, decay: BelowOne = 0.9, epsilon: Positive = 1e-7
) -> Optimizer:
    """RMSProp: the direction is g / sqrt(s + epsilon), s being a running average of g^2.

    The defaults and the place of epsilon are lecture 004's and Keras's; PyTorch's are 0.01, 0.99 and 1e-8,
    which it adds to the root.

    Args:
        learning_rate: eta(t), a number or a schedule.
        decay: How much of s each step keeps.
        epsilon: Keeps the division finite.

    Reference:
        Hinton 2012, "Neural networks for machine learning", lecture 6e.
    """

    def preconditioner(state: PyTree) -> PyTree:
        return jax.tree.map(lambda s: jnp.sqrt(s + epsilon), state.nu)

    stability = Stability(preconditioner=preconditioner)
    return Optimizer(learning_rate, lambda: optax.scale_by_rms(decay, epsilon), 1, stability=stability)


@register("optimizer")
def adadelta(learning_rate: ScheduleLike = 1.0, decay: BelowOne = 0.9, epsilon: Positive = 1e-6) -> Optimizer:
    """AdaDelta: the direction is d = g sqrt(u + epsilon) / sqrt(s + epsilon), in the unit of the weights.

    s and u are running averages of g^2 and of d^2, the latter up to the step before. The defaults are
    PyTorch's (Keras: rate 0.001, decay 0.95, epsilon 1e-7).

    Args:
        learning_rate: eta(t), a number or a schedule.
        decay: How much of s and u each step keeps.
        epsilon: Keeps the division finite, and sets the length of the first steps.

    Reference:
        Zeiler 2012, "ADADELTA: an adaptive learning rate method".
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_adadelta(decay, epsilon), 2)


@register("optimizer")
def adam(
    learning_rate: ScheduleLike = 0.001, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """Adam: the direction is m / (sqrt(s) + epsilon).

    m and s are running averages of g and of g^2, corrected for their bias: divided by 1 - b1^t and 1 - b2^t
    at the t-th step. The defaults are PyTorch's.

    Args:
        learning_rate: eta(t), a number or a schedule.
        b1: How much of m each step keeps.
        b2: How much of s each step keeps.
        epsilon: Keeps the division finite (Keras: 1e-7, added before s is corrected).

    Reference:
        Kingma & Ba 2014, "Adam: a method for stochastic optimization".
    """
    stability = Stability(gain_of_average(b1), lambda state: _adam_preconditioner(state, b2, epsilon))
    return Optimizer(learning_rate, lambda: optax.scale_by_adam(b1, b2, epsilon), 2, stability=stability)


@register("optimizer")
def nadam(
    learning_rate: ScheduleLike = 0.001, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """Adam with Nesterov's look ahead: the direction is (b1 m' + (1 - b1) g') / (sqrt(s) + epsilon).

    m' = m / (1 - b1^(t + 1)), g' = g / (1 - b1^t), and s is corrected for its bias. b1 is constant; in
    PyTorch's NAdam and Keras's Nadam it rises over the training (momentum_decay 0.004; rate 0.96). PyTorch's
    with a momentum_decay so large that 0.96^momentum_decay is 0 is this one.

    Args:
        learning_rate: eta(t), a number or a schedule (PyTorch: 0.002).
        b1: How much of m each step keeps.
        b2: How much of s each step keeps.
        epsilon: Keeps the division finite.

    Reference:
        Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """
    gain = gain_of_average(b1, nesterov=True)
    stability = Stability(gain, lambda state: _adam_preconditioner(state, b2, epsilon))

    def gradient_transform() -> optax.GradientTransformation:
        return optax.scale_by_adam(b1, b2, epsilon, nesterov=True)

    return Optimizer(learning_rate, gradient_transform, 2, stability=stability)


@register("optimizer")
def radam(
    learning_rate: ScheduleLike = 0.001, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """Rectified Adam: Adam's direction times a factor that rises to 1 as s comes to rest on enough gradients.

    In the first steps, five at b2 0.999, the variance of s is not defined, and the direction is m alone,
    corrected for its bias: a warm-up without a length to choose. The defaults are PyTorch's.

    Args:
        learning_rate: eta(t), a number or a schedule.
        b1: How much of m each step keeps, see adam.
        b2: How much of s each step keeps.
        epsilon: Keeps the division finite (PyTorch adds it before s is corrected).

    Reference:
        Liu et al. 2020, "On the variance of the adaptive learning rate and beyond".
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_radam(b1, b2, epsilon), 2)


@register("optimizer")
def adamax(
    learning_rate: ScheduleLike = 0.002, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """AdaMax: the direction is m / u, u <- max(b2 u, |g| + epsilon).

    m is corrected for its bias, u needs no correction.

    Args:
        learning_rate: eta(t), a number or a schedule. The default is PyTorch's and the paper's (Keras:
            0.001).
        b1: How much of m each step keeps.
        b2: How fast u forgets a large gradient.
        epsilon: Keeps the division finite.

    Reference:
        Kingma & Ba 2014, "Adam: a method for stochastic optimization", section 7.1.
    """
    stability = Stability(gain_of_average(b1), lambda state: state.nu)
    return Optimizer(learning_rate, lambda: optax.scale_by_adamax(b1, b2, epsilon), 2, stability=stability)


@register("optimizer")
def adamw(
    learning_rate: ScheduleLike = 0.001,
    b1: BelowOne = 0.9,
    b2: BelowOne = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: Decay = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay: the direction is Adam's + weight_decay * w.

    The defaults are PyTorch's.

    Args:
        learning_rate: eta(t), a number or a schedule.
        b1: How much of m each step keeps, see adam.
        b2: How much of s each step keeps.
        epsilon: Keeps the division finite.
        weight_decay: Every weight, biases too, loses eta * weight_decay of itself at each step.

    Reference:
        Loshchilov & Hutter 2017, "Decoupled weight decay regularization".
    """

    def gradient_transform() -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_adam(b1, b2, epsilon), optax.add_decayed_weights(weight_decay))

    def preconditioner(state: PyTree) -> PyTree:
        return _adam_preconditioner(state[0], b2, epsilon)

    stability = Stability(gain_of_average(b1), preconditioner, weight_decay)
    return Optimizer(learning_rate, gradient_transform, 2, stability=stability)


@register("optimizer")
def lion(
    learning_rate: ScheduleLike = 0.0001, b1: BelowOne = 0.9, b2: BelowOne = 0.99, weight_decay: Decay = 0.0
) -> Optimizer:
    """Lion: the direction is sign(b1 m + (1 - b1) g) + weight_decay * w, then m <- b2 m + (1 - b2) g.

    Every weight moves by the same length, so that the rate should be 3 to 10 times smaller than Adam's, and
    the decay, which is decoupled, as many times larger. The defaults are the paper's.

    Args:
        learning_rate: eta(t), a number or a schedule (Keras: 0.001).
        b1: The share of m in the sign.
        b2: How much of m each step keeps.
        weight_decay: Every weight loses eta * weight_decay of itself at each step.

    Reference:
        Chen et al. 2023, "Symbolic discovery of optimization algorithms".
    """

    def gradient_transform() -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_lion(b1, b2), optax.add_decayed_weights(weight_decay))

    return Optimizer(learning_rate, gradient_transform, 1)


def _cycled_velocity(nesterov: bool, averages: bool) -> optax.GradientTransformationExtraArgs:
    """The velocity, or what looks ahead of it, with a momentum for each step."""

    def update(
        gradients: PyTree, velocity: PyTree, params: PyTree = None, *, momentum: Array, **_: object
    ) -> tuple[PyTree, PyTree]:
        share = 1.0 - momentum if averages else 1.0

        def follow(v: Array, g: Array) -> Array:
            return momentum * v + share * g

        velocity = jax.tree.map(follow, velocity, gradients)
        return jax.tree.map(follow, velocity, gradients) if nesterov else velocity, velocity

    return optax.GradientTransformationExtraArgs(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def _adam_preconditioner(state: optax.ScaleByAdamState, b2: float, epsilon: float) -> PyTree:
    """sqrt(s) + epsilon, s being corrected for its bias."""
    corrected = 1.0 - b2 ** state.count.astype(jnp.float32)
    return jax.tree.map(lambda s: jnp.sqrt(s / corrected) + epsilon, state.nu)
