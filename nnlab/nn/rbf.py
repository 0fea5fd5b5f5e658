"""Radial basis functions, the read-out of the original LeNet-5."""

from __future__ import annotations

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp


@layer
def rbf(units: Count) -> Layer:
    """Radial basis functions, y_k = -||x - w_k||^2, around fixed random codes w_k.

    Each code is of +1 and -1 with equal probability. The codes `[D, U]` are state, not parameters.
    Cross-entropy on these outputs is the criterion of LeCun et al. 1998, eq. 9, without its constant for
    rubbish. The paper's codes are drawn by hand, as pictures of the characters; it names random ones as the
    alternative.

    Shape:
        `[B, D] -> [B, U]`

    Args:
        units: U, the number of codes: one for each class, 2 or more.

    Reference:
        LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """

    if units < 2:
        raise InvalidValue(
            "a single output would never be positive; let there be one for each of two classes, and loss be "
            "cross_entropy"
        )

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(f"rbf takes inputs of one axis, not {list(input_shape)}; flatten them")
        return Setup((units,), state={"codes": Variable((input_shape[0], units), _signs)})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        codes = state["codes"].astype(x.dtype)
        shape = (x.shape[0], *codes.shape)
        differences = jnp.broadcast_to(x[:, :, None], shape) - jnp.broadcast_to(codes[None], shape)
        return Output(-jnp.square(differences).sum(1), state)

    return Layer(setup, apply)


def _signs(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return (2 * random.integers(0, 2, shape) - 1).astype(np.float32)
