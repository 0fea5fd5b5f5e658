"""Layers that regularize: they act in training only."""

from __future__ import annotations

from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, layer
from nnlab.registry import BelowOne
from nnlab.system.imports import Array, jax, jnp


@layer
def dropout(rate: BelowOne) -> Layer:
    """Dropout: in training, sets values to 0 at random.

    Each value is set to 0 with probability `rate` and divided by 1 - rate otherwise, so that the expected
    output in training is the output in evaluation, which is the input unchanged. Lecture 001 says to scale by
    the dropout probability; it is the keep probability, 1 - rate.

    Shape:
        `[B, ...]`, which is kept.

    Args:
        rate: The probability of a 0, in [0, 1).

    Reference:
        Hinton et al. 2012, Improving neural networks by preventing co-adaptation of feature detectors, in
        the inverted form of Srivastava et al. 2014.
    """

    def setup(input_shape: Shape) -> Setup:
        return Setup(input_shape, random=True)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        if not train:
            return Output(x)
        keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
        return Output(jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x)))

    return Layer(setup, apply)
