"""Augmentations that change the values of an example, or mix examples."""

from __future__ import annotations

from typing import Annotated

from nnlab.data.augment import Augmentation, Augmented, Factor, augmentation, draw_factors, per_example
from nnlab.registry import TRACED, NonNegative, Positive
from nnlab.system.imports import Array, jax, jnp


@augmentation
def brightness(delta: Annotated[NonNegative, TRACED] = 0.2) -> Augmentation:
    """Shifts the brightness of each example, x' = x + b with b uniform in [-delta, delta].

    Nothing is clipped at a greatest or least value.

    Args:
        delta: The largest change, in units of the inputs; 0 or more.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        changes = delta * jax.random.uniform(key, (len(inputs),), minval=-1.0)
        return Augmented(inputs + per_example(changes, inputs))

    return Augmentation(apply)


@augmentation
def contrast(factor: Annotated[Factor, TRACED] = 1.2) -> Augmentation:
    """Changes the contrast of each example, x' = m + f (x - m), where m is its mean.

    log f is uniform in [-log factor, log factor]. Of a signal this changes the height. Nothing is clipped at
    a greatest or least value.

    Args:
        factor: The largest f, 1 to 1000.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        increase = per_example(draw_factors(key, len(inputs), factor) - 1.0, inputs)
        mean = inputs.mean(range(1, inputs.ndim), keepdims=True)
        return Augmented(inputs + increase * (inputs - mean))

    return Augmentation(apply)


@augmentation
def noise(std: Annotated[NonNegative, TRACED] = 0.1) -> Augmentation:
    """Adds normal noise to each value, x' = x + N(0, std^2).

    For a linear network under squared_error this is a penalty: std^2 times the sum of squared weights.

    Args:
        std: The standard deviation, in units of the inputs; 0 or more.

    Reference:
        Bishop 1995, Training with noise is equivalent to Tikhonov regularization.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        return Augmented(inputs + std * jax.random.normal(key, inputs.shape))

    return Augmentation(apply)


@augmentation
def mixup(alpha: Positive = 0.2) -> Augmentation:
    """Mixes pairs of examples, x' = (1 - s) x + s x[partner] with s ~ Beta(alpha, alpha).

    The loss is mixed in the same way: (1 - s) loss(x', y) + s loss(x', y[partner]). The partner of an example
    lies a random number of examples further on in the batch, the same number for the whole batch. A batch of
    one example cannot be mixed.

    Args:
        alpha: Above 0. A small alpha leaves most examples nearly unmixed; 1 makes s uniform in [0, 1].

    Reference:
        Zhang et al. 2018, mixup: beyond empirical risk minimization.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        count = len(inputs)
        share_key, partner_key = jax.random.split(key)
        share = jax.random.beta(share_key, alpha, alpha, (count,))
        partner = (jnp.arange(count) + jax.random.randint(partner_key, (), 0, count)) % count
        return Augmented(inputs + per_example(share, inputs) * (inputs[partner] - inputs), partner, share)

    return Augmentation(apply, mixes=True, values="between")
