"""Radial basis functions, the read-out of the original LeNet-5."""

from __future__ import annotations

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp


@layer
def rbf(units: Count) -> Layer:
    """y_k = -||x - w_k||^2, the codes w_k being fixed, of +-1 with equal probability. `[B, D] -> [B, units]`.

    Cross-entropy on it is the criterion of LeCun et al. 1998, eq. 9, without its constant for rubbish. The
    paper's codes are drawn by hand, as pictures of the characters; it names random ones as the alternative.
    The codes `[D, units]` are state, not parameters.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(f"rbf takes inputs of one axis, not {list(input_shape)}; flatten them")
        return Setup((units,), state={"codes": Variable((input_shape[0], units), _signs)})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        codes = state["codes"]
        shape = (x.shape[0], *codes.shape)
        apart = jnp.broadcast_to(x[:, :, None], shape) - jnp.broadcast_to(codes[None], shape)
        return Output(-jnp.square(apart).sum(1), state)

    return Layer(setup, apply)


def _signs(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return (2 * random.integers(0, 2, shape) - 1).astype(np.float32)
