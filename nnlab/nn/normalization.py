"""Normalization to zero mean and unit variance, then a learned scale and shift.

`B` is the batch, `D` the number of features.
"""

from __future__ import annotations

import math

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.initializers import constant, zeros
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, at_least_float32, layer
from nnlab.registry import BelowOne, Count, Positive
from nnlab.system.imports import Array, jax, jnp


def _ones(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return constant(random, shape, value=1.0)


@layer
def batch_norm(momentum: BelowOne = 0.99, epsilon: Positive = 1e-3) -> Layer:
    """Batch normalization: y = scale (x - mean) / sqrt(variance + epsilon) + shift, for each feature.

    In training, mean and (biased) variance are the batch's, over every axis but the last; in evaluation,
    running averages, moved in each training step as running = momentum * running + (1 - momentum) * batch.
    Two parameters a feature are learned (scale, shift), two are tracked (mean, variance); lecture 004 counts
    four as learned.

    Shape:
        `[B, ..., D]`, which is kept. A batch must hold more than one value of a feature: of one, the variance
        is 0 and y the shift.

    Args:
        momentum: Weight of the running averages in each update, in [0, 1). PyTorch's `momentum` is
            1 - momentum, and its running variance is unbiased: of N values a feature it takes N / (N - 1)
            times ours.
        epsilon: Added to the variance, in squares of the inputs' units. Both defaults are those of Keras.

    Reference:
        Ioffe & Szegedy 2015, Batch normalization.
    """

    def setup(input_shape: Shape) -> Setup:
        if not input_shape:
            raise InvalidValue("batch_norm needs inputs with at least one axis")
        features = input_shape[-1:]
        params = {"scale": Variable(features, _ones), "shift": Variable(features, zeros)}
        state = {"mean": Variable(features, zeros), "variance": Variable(features, _ones)}
        return Setup(input_shape, params, state)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        if train:
            axes, values = tuple(range(x.ndim - 1)), at_least_float32(x)
            mean, variance = values.mean(axes), values.var(axes)
            state = {
                "mean": momentum * state["mean"] + (1.0 - momentum) * mean,
                "variance": momentum * state["variance"] + (1.0 - momentum) * variance,
            }
        else:
            mean, variance = state["mean"], state["variance"]
        return Output(_scaled(x, mean, variance, epsilon, params), state)

    return Layer(setup, apply)


@layer
def layer_norm(epsilon: Positive = 1e-5) -> Layer:
    """Layer normalization: y = scale (x - mean) / sqrt(variance + epsilon) + shift, for each example.

    Mean and (biased) variance are over the last axis, the same in training and evaluation.

    Shape:
        `[B, ..., D]`, which is kept.

    Args:
        epsilon: Added to the variance. The default is that of PyTorch (Keras: 1e-3).

    Reference:
        Ba et al. 2016, Layer normalization.
    """

    def setup(input_shape: Shape) -> Setup:
        if not input_shape:
            raise InvalidValue("layer_norm needs inputs with at least one axis")
        features = input_shape[-1:]
        if features == (1,):
            raise InvalidValue("of one feature is 0 whatever it is; leave it out")
        return Setup(input_shape, {"scale": Variable(features, _ones), "shift": Variable(features, zeros)})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        values = at_least_float32(x)
        mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
        return Output(_scaled(x, mean, variance, epsilon, params))

    return Layer(setup, apply)


@layer
def group_norm(groups: Count, epsilon: Positive = 1e-5) -> Layer:
    """Group normalization: y = scale (x - mean) / sqrt(variance + epsilon) + shift, by groups of features.

    Mean and (biased) variance are taken for each example, over a group's features and every axis between
    batch and features, the same in training and evaluation. Each feature has its own scale and shift. With
    one group of `[B, D]` it is layer_norm.

    Shape:
        `[B, ..., D]`, which is kept.

    Args:
        groups: The number of groups of D / groups consecutive features; must divide D.
        epsilon: Added to the variance. The default is that of PyTorch (Keras: 1e-3).

    Reference:
        Wu & He 2018, Group normalization.
    """

    def setup(input_shape: Shape) -> Setup:
        if not input_shape:
            raise InvalidValue("group_norm needs inputs with at least one axis")
        features = input_shape[-1:]
        if features[0] % groups:
            raise InvalidValue(f"{groups} groups must divide the {features[0]} features")
        if math.prod(input_shape) == groups:
            raise InvalidValue(
                f"of one value in each of {groups} groups is 0 whatever it is; let there be fewer"
            )
        return Setup(input_shape, {"scale": Variable(features, _ones), "shift": Variable(features, zeros)})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        grouped = at_least_float32(x).reshape(*x.shape[:-1], groups, -1)
        axes = (*range(1, x.ndim - 1), -1)
        mean, variance = (
            jnp.broadcast_to(term, grouped.shape).reshape(x.shape)
            for term in (grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True))
        )
        return Output(_scaled(x, mean, variance, epsilon, params))

    return Layer(setup, apply)


def _scaled(x: Array, mean: Array, variance: Array, epsilon: float, params: Tree) -> Array:
    """The common formula; every term is broadcast to x's shape."""
    values = at_least_float32(x)
    mean, variance, scale, shift = (
        at_least_float32(jnp.broadcast_to(term, x.shape))
        for term in (mean, variance, params["scale"], params["shift"])
    )
    return (scale * (values - mean) * jax.lax.rsqrt(variance + epsilon) + shift).astype(x.dtype)
