"""Regularizers: penalties on the weights that are added to the loss that is trained, not to the one recorded.

They see the weights proper, arrays of two axes or more: kernels and embeddings; biases, scales and shifts are
left alone. w stands for one weight. Those listed together add up: l1 and l2 are the elastic net (Zou & Hastie
2005).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from nnlab.registry import TRACED, NonNegative, register
from nnlab.system.imports import Array, jax, jnp


@register("regularizer")
def l1(params: Mapping[str, Any], /, *, strength: Annotated[NonNegative, TRACED] = 0.01) -> Array:
    """strength * sum of |w|, which adds strength * sign(w) to the gradient, 0 where w is 0.

    It pulls a small weight as hard as a large one, so that weights of little use go to 0 (Tibshirani 1996);
    plain gradient descent swings them about it, by less than twice the rate times strength. Keras's `l1(s)`
    is this at the same number; PyTorch has none.
    """
    sizes = (w * jnp.sign(w) for w in _weights(params))  # |w|, but for the slope at 0: that of abs is 1
    return strength * sum((size.sum() for size in sizes), jnp.zeros((), jnp.float32))


@register("regularizer")
def l2(params: Mapping[str, Any], /, *, strength: Annotated[NonNegative, TRACED] = 0.01) -> Array:
    """strength / 2 * sum of w^2, which adds strength * w to the gradient: weight decay in the loss.

    With plain gradient descent these weights decay as adamw's do at the same number; an adaptive optimizer
    divides the penalty's gradient by the size of the whole like all else. PyTorch's `weight_decay` is this,
    of all parameters; Keras's `l2(s)` has no half: s is strength / 2.
    """
    return 0.5 * strength * sum((jnp.square(w).sum() for w in _weights(params)), jnp.zeros((), jnp.float32))


def _weights(params: Mapping[str, Any]) -> list[Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [w for path, w in leaves if w.ndim > 1 and path[-1].key != "bias"]  # one for each place has axes
