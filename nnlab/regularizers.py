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

    With plain gradient descent these weights decay as adamw's do at the same number; an adaptive optimizer
    divides the penalty's gradient by the size of the whole like all else. PyTorch's `weight_decay` is this,
    of all parameters; Keras's `l2(s)` has no half: s is strength / 2.
    """
    weights = [w for w in jax.tree.leaves(params) if w.ndim > 1]
    return 0.5 * strength * sum((jnp.square(w).sum() for w in weights), jnp.zeros((), jnp.float32))
