"""Constraints: what each kernel is brought back to after every step, so that it holds throughout a training.

A constraint takes one kernel, `[..., U]` for `U` units, and returns one of the same shape; biases, scales and
shifts are left alone.
"""

from __future__ import annotations

from typing import Annotated

from nnlab.registry import TRACED, Positive, register
from nnlab.system.imports import Array, jnp

ROUNDING_MARGIN = 1e-6  # relative; more than float32 rounds in measuring and shortening a vector


@register("constraint")
def max_norm(kernel: Array, /, *, limit: Annotated[Positive, TRACED] = 1.0) -> Array:
    """w <- w min(1, limit / |w|) for each unit's incoming weights w: longer ones are shortened to `limit`.

    |w| is the Euclidean length over all axes of the kernel `[..., U]` but the last. What is longer than
    limit (1 - 1e-6) is shortened to that, so that rounding leaves nothing above the limit. Keras's
    `max_norm(limit)` of a dense kernel, PyTorch's `renorm` over the output axis.

    Args:
        limit: The greatest length of a unit's incoming weights (Keras: 2).

    Reference:
        Srebro & Shraibman 2005, "Rank, trace-norm and max-norm"; beside dropout, Srivastava et al. 2014,
        "Dropout: a simple way to prevent neural networks from overfitting".
    """
    incoming = tuple(range(kernel.ndim - 1))
    largest = jnp.abs(kernel).max(incoming, keepdims=True)
    size = jnp.clip(largest, 2.0**-126, 2.0**126)  # 1 / size is a float32 too, and XLA may multiply by it
    scaled = kernel / size  # squares of the weights themselves would leave float32's range
    length = jnp.sqrt(jnp.square(scaled).sum(incoming, keepdims=True))
    bound = limit * (1.0 - ROUNDING_MARGIN)
    shortened = scaled * (bound / length)
    return jnp.where(length > bound / size, shortened, kernel)
