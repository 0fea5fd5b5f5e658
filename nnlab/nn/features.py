"""Fixed features: layers without trained parameters, for a solver or a read-out that is trained on them.

They compute with NumPy's arrays as well as with JAX's, so that a closed-form study compiles nothing.
Random ReLU features need no layer of their own: [{type: dense, units: P}, relu, {type: dense, units: 1,
use_bias: false}] under a solver leaves the first weights as they are drawn.
"""

from __future__ import annotations

import functools
import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.initializers import normal
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, layer
from nnlab.registry import Count, Positive
from nnlab.system.imports import Array, jax, jnp

NUMPY_LAYERS = frozenset({"legendre", "random_fourier"})  # those whose `apply` takes NumPy's arrays too


@layer
def legendre(degree: Annotated[int, Ge(1), Le(10_000)], constant: bool = False) -> Layer:
    """Legendre polynomials P_1(x) .. P_degree(x) of one feature. `[B, 1] -> [B, degree]`.

    By the recurrence (n + 1) P_n+1 = (2n + 1) x P_n - n P_n-1 from P_0 = 1 and P_1 = x: orthogonal on
    [-1, 1], where the inputs should lie, since beyond it high degrees explode. constant: puts P_0 first,
    degree + 1 features.
    """

    def setup(input_shape: Shape) -> Setup:
        if input_shape != (1,):
            raise InvalidValue(f"legendre takes inputs of one feature, shape [1], not {list(input_shape)}")
        return Setup((degree + constant,))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        space = _space(x)
        first = space.ones_like(x)
        higher = _recurrence_on_host if space is np else _recurrence_compiled
        columns = [first] * constant + [x, *higher(first, x, degree)]
        return Output(space.concatenate(columns, axis=1))

    return Layer(setup, apply)


@layer
def random_fourier(units: Count, scale: Positive = 1.0) -> Layer:
    """y = sqrt(2 / P) cos(scale x V + b), V ~ N(0, 1), b ~ U(0, 2 pi), both fixed. `[B, D] -> [B, P]`.

    units: P. The inner product of two examples' features is, on average over V and b, the Gaussian kernel
    exp(-scale^2 ||x - x'||^2 / 2) (Rahimi & Recht 2007). V `[D, P]` and b `[P]` are state, not parameters:
    nothing trains them.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(
                f"random_fourier takes inputs of one axis, not {list(input_shape)}; put flatten before it"
            )
        directions = Variable((input_shape[0], units), functools.partial(normal, std=1.0))
        return Setup((units,), state={"directions": directions, "phases": Variable((units,), _phases)})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        space = _space(x)
        phases = space.broadcast_to(state["phases"], (x.shape[0], units))
        angles = x @ (scale * state["directions"]) + phases
        return Output(math.sqrt(2 / units) * space.cos(angles), state)

    return Layer(setup, apply)


def _phases(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return (2 * np.pi * random.random(shape)).astype(np.float32)


def _space(x: Any) -> Any:
    """The module whose functions take x."""
    return np if isinstance(x, np.ndarray) else jnp


def _next_legendre(n: Any, x: Any, last: Any, before: Any) -> Any:
    """P_n+1 of P_n and P_n-1."""
    return ((2 * n + 1) * x * last - n * before) / (n + 1)


def _recurrence_on_host(first: Any, x: Any, degree: int) -> list[Any]:
    """P_2 .. P_degree, `[B, 1]` each."""
    columns = [first, x]
    for n in range(1, degree):
        columns.append(_next_legendre(n, x, columns[-1], columns[-2]))
    return columns[2:]


def _recurrence_compiled(first: Any, x: Any, degree: int) -> list[Any]:
    """The same, `[B, degree - 1]` in one piece. A scan: unrolled, degree 200 compiles for a minute."""

    def step(carry: tuple[Any, Any], n: Any) -> tuple[tuple[Any, Any], Any]:
        last, before = carry
        found = _next_legendre(n, x, last, before)
        return (found, last), found

    _, columns = jax.lax.scan(step, (x, first), jnp.arange(1, degree, dtype=x.dtype))
    return [columns[:, :, 0].T]
