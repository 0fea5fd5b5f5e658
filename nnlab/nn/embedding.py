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
    """Token and position embeddings, y_t = E[token_t] + P[t].

    E is `[V, D]`, P `[T, D]`: V D parameters, and T D more for learned positions.

    Shape:
        `[B, T] -> [B, T, D]` for sequences of T tokens, whole numbers from 0 to V - 1.

    Args:
        vocabulary: V, the number of different tokens.
        units: D, the length of a token's vector.
        positions: `learned` trains P; `sinusoidal` is P[t, 2i] = sin(t / 10000^(2i / D)) and P[t, 2i + 1] =
            cos(t / 10000^(2i / D)); `none` leaves P out.
        embedding_init: Draws E and a learned P. The default is that of Keras; PyTorch draws from a normal
            distribution with standard deviation 1.

    Reference:
        Vaswani et al. 2017, Attention is all you need, for the sinusoids.
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
        vectors = params["positions"] if positions == "learned" else _sinusoids(*y.shape[1:])
        return Output(y + jnp.broadcast_to(vectors, y.shape).astype(y.dtype))

    return Layer(setup, apply)


def _sinusoids(length: int, units: int) -> np.ndarray:
    """Sinusoidal position embeddings `[T, D]`; see `embedding`."""
    pair = np.arange(units) // 2
    angles = np.arange(length)[:, None] / 10_000.0 ** (2 * pair / units)
    return np.where(np.arange(units) % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
