"""Layers that regularize: they act in training only."""

from __future__ import annotations

from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, layer
from nnlab.registry import BelowOne
from nnlab.system.imports import Array, jax, jnp


@layer
def dropout(rate: BelowOne) -> Layer:
    """In training each value is 0 with probability `rate`, else divided by 1 - rate; in evaluation as it is.

    So the expected output equals the evaluation's (Hinton et al. 2012, in Srivastava's inverted form).
    Lecture 001 says to scale by the dropout probability; it is the keep probability, 1 - rate.
    """

    def setup(input_shape: Shape) -> Setup:
        return Setup(input_shape, random=True)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        if not train:
            return Output(x)
        kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
        return Output(jnp.where(kept, x / (1.0 - rate), jnp.zeros_like(x)))

    return Layer(setup, apply)
