"""Regularizers: penalties on the weights, added to the loss that is trained, not to the one recorded.

They see arrays of two axes or more, kernels and embeddings; biases, scales and shifts are left alone. w
stands for one weight. Those listed together add up: l1 and l2 are the elastic net (Zou & Hastie 2005).
"""

from __future__ import annotations

from typing import Annotated

from nnlab.nn.layer import Tree
from nnlab.registry import TRACED, NonNegative, register
from nnlab.system.imports import Array, jax, jnp


@register("regularizer")
def l1(params: Tree, /, *, strength: Annotated[NonNegative, TRACED] = 0.01) -> Array:
    """strength * sum of |w|, which adds strength * sign(w) to the gradient, 0 where w is 0.

    It pulls a small weight as hard as a large one, so that weights of little use go to 0; plain gradient
    descent swings them about 0, by less than twice the rate times strength.

    Args:
        strength: The penalty of a weight of size 1. Keras's `l1(strength)`, which also has this default;
            PyTorch has none.

    Reference:
        Tibshirani 1996, "Regression shrinkage and selection via the lasso".
    """
    sizes = (w * jnp.sign(w) for w in _weights(params))  # |w|, but for the slope at 0: that of abs is 1
    return strength * sum((size.sum() for size in sizes), jnp.zeros((), jnp.float32))


@register("regularizer")
def l2(params: Tree, /, *, strength: Annotated[NonNegative, TRACED] = 0.01) -> Array:
    """strength / 2 * sum of w^2, which adds strength * w to the gradient: weight decay in the loss.

    With plain gradient descent these weights decay as adamw's do at the same number; an adaptive optimizer
    divides the penalty's gradient, like that of the loss, by the size of both together.

    Args:
        strength: The factor of w in the gradient. PyTorch's `weight_decay` is this, of all parameters;
            Keras's `l2(s)` has no half: s is strength / 2.
    """
    return 0.5 * strength * sum((jnp.square(w).sum() for w in _weights(params)), jnp.zeros((), jnp.float32))


def _weights(params: Tree) -> list[Array]:
    """The arrays that are penalized."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    # a bias with a value for each place has more than one axis too
    return [w for path, w in leaves if w.ndim > 1 and path[-1].key != "bias"]
