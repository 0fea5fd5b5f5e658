"""Optimizers around another one: they change the gradient that it gets, or what comes of its weights."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Gt, Lt

from nnlab.errors import InvalidValue
from nnlab.optim.parameter_groups import Optimizer
from nnlab.registry import TRACED, BelowOne, ComponentOf, NonNegative, register
from nnlab.system.imports import Array, PyTree, jax, jnp, optax


@register("optimizer")
def grokfast(
    optimizer: Annotated[Any, ComponentOf("optimizer")] = "adamw",
    amplification: Annotated[NonNegative, TRACED] = 2.0,
    momentum: BelowOne = 0.98,
) -> Optimizer:
    """Grokfast-EMA: amplifies what changes slowly in the gradient, then hands it to another optimizer.

    m <- momentum m + (1 - momentum) g, from m = g at the first step; the optimizer gets g + amplification m.

    Args:
        optimizer: The optimizer that gets the amplified gradient; its groups are given beside it, among
            grokfast's own keys.
        amplification: The paper's lambda; 0 is the optimizer by itself.
        momentum: The paper's alpha, how much of m each step keeps.

    Reference:
        Lee et al. 2024, "Grokfast: accelerated grokking by amplifying slow gradients".
    """

    _refuse_groups(optimizer, "grokfast")

    def gradient_transform() -> optax.GradientTransformation:
        return optax.chain(_amplify_slow_gradient(amplification, momentum), optimizer.gradient_transform())

    return optimizer._replace(
        gradient_transform=gradient_transform, slots=optimizer.slots + 1, stability=None
    )


@register("optimizer")
def sam(
    optimizer: Annotated[Any, ComponentOf("optimizer")] = "sgd",
    radius: Annotated[NonNegative, TRACED] = 0.05,
) -> Optimizer:
    """Sharpness-aware minimization: another optimizer gets the gradient of where the loss is greatest nearby.

    The gradient is taken at w + radius g / |g|, where g is the gradient at w and |g| its length over all
    arrays; the step is taken from w. So minima around which the loss rises steeply are left. A step takes
    two gradients. The loss that is recorded is that at w, the gradient the one that it steps by.

    Args:
        optimizer: The optimizer that gets the gradient; its groups are given beside it, among sam's own keys.
        radius: The paper's rho, a length in the space of weights; 0 is the optimizer by itself.

    Reference:
        Foret et al. 2021, "Sharpness-aware minimization for efficiently improving generalization".
    """
    _refuse_groups(optimizer, "sam")
    if optimizer.ascent is not None:
        raise InvalidValue("steps by the gradient of another place already, as sam does", ("optimizer",))

    def ascent(params: PyTree, gradients: PyTree) -> PyTree:
        length = optax.tree.norm(gradients)
        share = radius / jnp.where(length > 0, length, 1.0)
        return jax.tree.map(lambda w, g: w + share * g, params, gradients)

    stability = optimizer.stability
    known = stability is not None and stability.preconditioner is None
    return optimizer._replace(ascent=ascent, stability=stability._replace(radius=radius) if known else None)


@register("optimizer")
def moving_average(
    optimizer: Annotated[Any, ComponentOf("optimizer")] = "sgd", decay: BelowOne = 0.999
) -> Optimizer:
    """Trains by another optimizer, and evaluates and returns the running average of its weights.

    a <- decay a + (1 - decay) w after each step, from a = w after the first. Metrics, predictions, the best
    and the last weights are those of a; layers, gradients and what else is seen of a step are of w. The
    running averages of batch normalization are those of w. PyTorch's AveragedModel with
    get_ema_multi_avg_fn.

    Args:
        optimizer: The optimizer that trains; its groups are given beside it, among moving_average's own keys.
        decay: How much of a each step keeps: about the last 1 / (1 - decay) steps count.

    Reference:
        Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """
    _refuse_groups(optimizer, "moving_average")
    _refuse_average(optimizer)

    def average(so_far: PyTree, step: Array, params: PyTree, state: PyTree) -> PyTree:
        kept = jnp.where(step == 0, 0.0, decay)
        return jax.tree.map(lambda a, w: w + kept * (a - w), so_far, params)

    return optimizer._replace(average=average, slots=optimizer.slots + 1)


@register("optimizer")
def schedule_free(
    optimizer: Annotated[Any, ComponentOf("optimizer")] = "sgd",
    momentum: Annotated[float, Gt(0.0), Lt(1.0)] = 0.9,
) -> Optimizer:
    """Schedule-free learning: an average of all weights in place of a rate that falls.

    Another optimizer moves z by the gradient at y = (1 - momentum) z + momentum x, where x is the average of
    z over the steps so far, each weighted by the square of the largest rate up to it. The gradient, and what
    is seen of a step, is that at y; x is evaluated and returned, and the running averages of batch
    normalization are those of y. The other optimizer should have no momentum of its own, and its rate should
    not fall: {type: adamw, b1: 0} with a warm-up is the paper's AdamW. optax.contrib.schedule_free.

    Args:
        optimizer: The optimizer that moves z; its groups are given beside it, among schedule_free's own keys.
        momentum: The paper's beta, the share of x in y.

    Reference:
        Defazio et al. 2024, "The road less scheduled".
    """
    _refuse_groups(optimizer, "schedule_free")
    _refuse_average(optimizer)

    def average(so_far: PyTree, step: Array, params: PyTree, state: PyTree) -> PyTree:
        z = optax.tree.get(state, "z")
        return jax.tree.map(lambda y, z: (y - (1.0 - momentum) * z) / momentum, params, z)

    return optimizer._replace(
        gradient_transform=lambda: _schedule_free(optimizer, momentum),
        average=average,
        slots=optimizer.slots + 2,
        stability=None,
    )


def _refuse_groups(optimizer: Optimizer, name: str) -> None:
    """Refuse an inner optimizer that has groups of layers. Raises InvalidValue."""
    if optimizer.groups:
        raise InvalidValue(f"stand beside it, among {name}'s own keys", ("optimizer", "groups"))


def _refuse_average(optimizer: Optimizer) -> None:
    """Refuse an inner optimizer that averages the weights already. Raises InvalidValue."""
    if optimizer.average is not None:
        raise InvalidValue("averages the weights already; one average is enough", ("optimizer",))


def _schedule_free(optimizer: Optimizer, momentum: float) -> optax.GradientTransformationExtraArgs:
    """From gradients at y to the direction of y, see `schedule_free`."""
    inner = optax.with_extra_args_support(optimizer.gradient_transform())

    def at_rates(rate: Array | float, rates: PyTree) -> optax.GradientTransformationExtraArgs:
        """From gradients at y to what is added to it."""

        def update(*arguments: PyTree, **extra: Any) -> tuple[PyTree, PyTree]:
            direction, state = inner.update(*arguments, **extra)
            return jax.tree.map(lambda eta, d: -eta * d, rates, direction), state

        moves_z = optax.GradientTransformationExtraArgs(inner.init, update)
        return optax.contrib.schedule_free(moves_z, rate, momentum)

    def update(
        gradients: PyTree, state: PyTree, params: PyTree = None, *, rate: Array, rates: PyTree, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        moves, state = at_rates(rate, rates).update(gradients, state, params, rate=rate, rates=rates, **extra)
        return jax.tree.map(lambda eta, move: -move / jnp.where(eta > 0, eta, 1.0), rates, moves), state

    return optax.GradientTransformationExtraArgs(at_rates(0.0, None).init, update)


def _amplify_slow_gradient(amplification: float, momentum: float) -> optax.GradientTransformation:
    """The gradient and its amplified running average, see `grokfast`."""

    def init(params: PyTree) -> tuple[Array, PyTree]:
        return jnp.zeros((), bool), jax.tree.map(jnp.zeros_like, params)

    def update(
        gradients: PyTree, state: tuple[Array, PyTree], params: PyTree = None
    ) -> tuple[PyTree, tuple[Array, PyTree]]:
        begun, average = state
        kept = jnp.where(begun, momentum, 0.0)
        average = jax.tree.map(lambda m, g: kept * m + (1.0 - kept) * g, average, gradients)
        amplified = jax.tree.map(lambda g, m: g + amplification * m, gradients, average)
        return amplified, (jnp.ones((), bool), average)

    return optax.GradientTransformation(init, update)
