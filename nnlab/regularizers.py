"""Regularizers: penalties on the weights that are added to the loss that is trained, not to the one recorded.

They see the weights proper, arrays of two axes or more: kernels and embeddings; biases, scales and shifts are
left alone. w stands for one weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from nnlab.lazy import Array, jax, jnp
from nnlab.registry import TRACED, NonNegative, register


@register("regularizer")
def l2(params: Mapping[str, Any], /, *, strength: Annotated[NonNegative, TRACED] = 0.01) -> Array:
    """strength / 2 * sum of w^2, which adds strength * w to the gradient: weight decay in the loss.

    With plain gradient descent that is decoupled decay (see adamw) at the same number; an adaptive optimizer
    divides it by the gradient's size like all else. PyTorch's `weight_decay` is this; Keras's `l2(s)` has no
    half: s is strength / 2.
    """
    weights = [w for w in jax.tree.leaves(params) if w.ndim > 1]
    return 0.5 * strength * sum((jnp.square(w).sum() for w in weights), jnp.zeros((), jnp.float32))
