"""Optimizers: how the weights follow the gradient g at the learning rate eta(t).

Each is an optax transformation of g to a direction, and a schedule; the weights move by
w <- w - eta(t) * direction. A bare number for the learning rate is a constant one. m and s are running
averages of g and of g^2 (rates b1, b2), which begin at 0; freed of their bias, they are divided by 1 - b^t at
the t-th step. The defaults are PyTorch's unless it says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from nnlab.errors import InvalidValue
from nnlab.optim.parameter_groups import Optimizer
from nnlab.optim.schedules import ScheduleLike
from nnlab.registry import TRACED, BelowOne, ComponentOf, NonNegative, Positive, register
from nnlab.system.imports import jax, jnp, optax

Decay = Annotated[NonNegative, TRACED]


@register("optimizer")
def sgd(
    learning_rate: ScheduleLike = 0.01,
    momentum: BelowOne = 0.0,
    nesterov: bool = False,
    form: Literal["accumulated", "average"] = "accumulated",
) -> Optimizer:
    """Stochastic gradient descent. Velocity v <- momentum * v + g; direction v, or g without momentum.

    nesterov: direction g + momentum * v, which looks one step ahead. form: `accumulated` is lecture 004's
    (and PyTorch's and Keras's), `average` lecture 002's, v <- momentum * v + (1 - momentum) * g, which at the
    same rate moves 1 - momentum times as far, a tenth at 0.9. Both lectures, and Keras, have the rate inside
    the velocity; as in PyTorch it is outside, which is the same for a constant rate. The default rate is
    Keras's (PyTorch: 0.001).
    """
    if nesterov and not momentum:
        raise InvalidValue("needs a momentum above 0", ("nesterov",))

    def direction() -> Any:
        if not momentum:
            return optax.identity()
        velocity = optax.trace(momentum, nesterov)
        return optax.chain(velocity, optax.scale(1.0 - momentum)) if form == "average" else velocity

    return Optimizer(learning_rate, direction, int(bool(momentum)))


@register("optimizer")
def adagrad(
    learning_rate: ScheduleLike = 0.01, initial: NonNegative = 0.0, epsilon: Positive = 1e-7
) -> Optimizer:
    """AdaGrad (Duchi et al. 2011). s <- s + g^2, from `initial`; direction g / sqrt(s + epsilon).

    Lecture 004 multiplies by the root; it divides. Its steps only ever shorten. epsilon is lecture 004's and
    Keras's, under the root (PyTorch: 1e-10, added to it); Keras's `initial` is 0.1.
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_rss(initial, epsilon), 1)


@register("optimizer")
def rmsprop(
    learning_rate: ScheduleLike = 0.001, decay: BelowOne = 0.9, epsilon: Positive = 1e-7
) -> Optimizer:
    """RMSProp (Hinton 2012). s is a running average of g^2, of rate `decay`; direction g / sqrt(s + epsilon).

    Defaults and the place of epsilon are lecture 004's and Keras's; PyTorch's are 0.01, 0.99 and 1e-8, which
    it adds to the root.
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_rms(decay, epsilon), 1)


@register("optimizer")
def adam(
    learning_rate: ScheduleLike = 0.001, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """Adam (Kingma & Ba 2014). m and s freed of their bias; direction m / (sqrt(s) + epsilon).

    Keras's epsilon is 1e-7, and is added before s is freed of its bias.
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_adam(b1, b2, epsilon), 2)


@register("optimizer")
def nadam(
    learning_rate: ScheduleLike = 0.001, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """Adam with Nesterov's look ahead (Dozat 2016): direction (b1 m' + (1 - b1) g') / (sqrt(s) + epsilon).

    m' = m / (1 - b1^(t + 1)), g' = g / (1 - b1^t), s freed of its bias. b1 is constant; PyTorch's NAdam and
    Keras's Nadam let it rise over the training (momentum_decay 0.004; rate 0.96), and PyTorch's learning rate
    is 0.002. In PyTorch's, a momentum_decay so large that 0.96^momentum_decay is 0 is this one.
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_adam(b1, b2, epsilon, nesterov=True), 2)


@register("optimizer")
def adamax(
    learning_rate: ScheduleLike = 0.002, b1: BelowOne = 0.9, b2: BelowOne = 0.999, epsilon: Positive = 1e-8
) -> Optimizer:
    """AdaMax (Kingma & Ba 2014, section 7.1): direction m / u, u <- max(b2 u, |g| + epsilon).

    m is freed of its bias, u needs none. The rate is PyTorch's and the paper's (Keras: 0.001).
    """
    return Optimizer(learning_rate, lambda: optax.scale_by_adamax(b1, b2, epsilon), 2)


@register("optimizer")
def adamw(
    learning_rate: ScheduleLike = 0.001,
    b1: BelowOne = 0.9,
    b2: BelowOne = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: Decay = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017): Adam's direction + weight_decay * w.

    Every weight decays by eta * weight_decay of itself a step, biases too. The defaults are PyTorch's.
    """

    def direction() -> Any:
        return optax.chain(optax.scale_by_adam(b1, b2, epsilon), optax.add_decayed_weights(weight_decay))

    return Optimizer(learning_rate, direction, 2)


@register("optimizer")
def lion(
    learning_rate: ScheduleLike = 0.0001, b1: BelowOne = 0.9, b2: BelowOne = 0.99, weight_decay: Decay = 0.0
) -> Optimizer:
    """Lion (Chen et al. 2023): direction sign(b1 m + (1 - b1) g) + weight_decay * w.

    Then m <- b2 m + (1 - b2) g. Every weight moves by the same length, so that the rate should be 3 to 10
    times smaller than Adam's, and the decay, which is decoupled, as many times larger. The defaults are the
    paper's; Keras's rate is 0.001.
    """

    def direction() -> Any:
        return optax.chain(optax.scale_by_lion(b1, b2), optax.add_decayed_weights(weight_decay))

    return Optimizer(learning_rate, direction, 1)


@register("optimizer")
def grokfast(
    optimizer: Annotated[Any, ComponentOf("optimizer")] = "adamw",
    amplification: Annotated[NonNegative, TRACED] = 2.0,
    momentum: BelowOne = 0.98,
) -> Optimizer:
    """Grokfast-EMA: amplifies what in the gradient changes slowly, then hands it to another optimizer.

    m <- momentum m + (1 - momentum) g, from m = g at the first step; the optimizer gets g + amplification m.
    amplification 0 is the optimizer by itself. Lee et al. 2024, whose lambda and alpha these are.
    """

    if optimizer.groups:
        raise InvalidValue("stand beside it, among grokfast's own keys", ("optimizer", "groups"))

    def direction() -> Any:
        return optax.chain(_slow_gradient(amplification, momentum), optimizer.direction())

    return optimizer._replace(direction=direction, slots=optimizer.slots + 1)


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
