"""Optimizers that set the length of a step for each array of weights as a whole."""

from __future__ import annotations

from nnlab.optim.optimizers import Decay
from nnlab.optim.parameter_groups import Optimizer
from nnlab.optim.schedules import ScheduleLike
from nnlab.registry import BelowOne, Positive, register
from nnlab.system.imports import optax


@register("optimizer")
def lamb(
    learning_rate: ScheduleLike = 0.001,
    b1: BelowOne = 0.9,
    b2: BelowOne = 0.999,
    epsilon: Positive = 1e-6,
    weight_decay: Decay = 0.01,
) -> Optimizer:
    """LAMB: AdamW's direction d, as long as the array of weights it belongs to: |w| d / |d|.

    Where |w| or |d| is 0 the direction is d itself. It keeps large batches stable; every array moves by the
    same share of its length.

    Args:
        learning_rate: eta(t), a number or a schedule; the share of its length that an array moves by.
        b1: How much of m each step keeps, see adam.
        b2: How much of s each step keeps.
        epsilon: Keeps the division finite.
        weight_decay: Added to d, weight_decay * w, before its length is taken.

    Reference:
        You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes".
    """

    def gradient_transform() -> optax.GradientTransformation:
        adamw = (optax.scale_by_adam(b1, b2, epsilon), optax.add_decayed_weights(weight_decay))
        return optax.chain(*adamw, optax.scale_by_trust_ratio())

    return Optimizer(learning_rate, gradient_transform, 2)


@register("optimizer")
def muon(
    learning_rate: ScheduleLike = 0.02,
    momentum: BelowOne = 0.95,
    weight_decay: Decay = 0.0,
    b1: BelowOne = 0.9,
    b2: BelowOne = 0.999,
) -> Optimizer:
    """Muon: the direction of a matrix is its velocity with all singular values brought to about 1.

    Of a matrix `[I, O]` the direction is sqrt(max(1, O / I)) U V^T + weight_decay * w, where U S V^T is the
    singular value decomposition of Nesterov's velocity; U V^T is found by five steps of Newton and Schulz,
    which leave singular values between 0.7 and 1.2. Arrays that are no matrices (biases, kernels of
    convolutions, scales of normalizations) follow nadam at the same rate, with the decay.
    optax.contrib.muon.

    Args:
        learning_rate: eta(t), a number or a schedule. Some ten times that of AdamW.
        momentum: How much of a matrix's velocity each step keeps.
        weight_decay: Every weight loses eta * weight_decay of itself at each step.
        b1: Of nadam.
        b2: Of nadam.

    Reference:
        Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """

    def gradient_transform() -> optax.GradientTransformation:
        steps = optax.contrib.muon(
            1.0,
            beta=momentum,
            weight_decay=weight_decay,
            adam_b1=b1,
            adam_b2=b2,
            adam_weight_decay=weight_decay,
        )
        return optax.chain(steps, optax.scale(-1.0))  # it gives what is added to the weights

    return Optimizer(learning_rate, gradient_transform, 1)
