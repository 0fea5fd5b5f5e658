"""Embedding of tokens."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import InitializerLike, Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp


@layer
def embedding(
    vocabulary: Count,
    units: Count,
    positions: Literal["none", "learned", "sinusoidal"] = "none",
    embedding_init: InitializerLike = "uniform",
) -> Layer:
    """y_t = E[token_t] + P[t]: a learned vector for each token, and for its place. `[B, T] -> [B, T, D]`.

    vocabulary: the number V of tokens, whole numbers from 0 to V - 1. units: D. positions: P is `learned`,
    `[T, D]`; `sinusoidal`, P[t, 2i] = sin(t / 10000^(2i / D)) and P[t, 2i + 1] = cos of the same (Vaswani et
    al. 2017); or there is `none`. V D parameters, and T D for learned positions. embedding_init: of E and P;
    Keras's default (PyTorch: normal with std 1).
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(f"embedding takes a sequence of tokens, shape [T], not {list(input_shape)}")
        params = {"embedding": Variable((vocabulary, units), embedding_init)}
        if positions == "learned":
            params["positions"] = Variable((*input_shape, units), embedding_init)
        return Setup((*input_shape, units), params, vocabulary=vocabulary)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        y = params["embedding"][x.astype(jnp.int32)]
        if positions == "none":
            return Output(y)
        places = params["positions"] if positions == "learned" else _sinusoids(*y.shape[1:])
        return Output(y + jnp.broadcast_to(places, y.shape))

    return Layer(setup, apply)


def _sinusoids(length: int, units: int) -> np.ndarray:
    """`[T, D]`, see `embedding`."""
    pair = np.arange(units) // 2
    angles = np.arange(length)[:, None] / 10_000.0 ** (2 * pair / units)
    return np.where(np.arange(units) % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
