"""Fixed features: layers without trained parameters, for a solver or a trained read-out on top.

They compute with NumPy arrays as well as with JAX arrays, so that a closed-form study compiles nothing.
Random ReLU features need no layer of their own: under a solver, [{type: dense, units: P}, relu, {type: dense,
units: 1, use_bias: false}] keeps the first weights as they are drawn.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Annotated, TypeVar

import numpy as np
from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.initializers import normal
from nnlab.nn.layer import Layer, Output, Setup, Shape, Tree, Variable, at_least_float32, layer
from nnlab.registry import Count, Positive
from nnlab.system.imports import Array, jax, jnp

AnyArray = TypeVar("AnyArray", Array, np.ndarray)

NUMPY_LAYERS = frozenset({"legendre", "random_fourier"})  # layers whose `apply` takes NumPy arrays too


@layer
def legendre(degree: Annotated[int, Ge(1), Le(10_000)], constant: bool = False) -> Layer:
    """Legendre polynomials P_1(x) .. P_degree(x) of one feature x.

    They follow from the recurrence (n + 1) P_n+1 = (2n + 1) x P_n - n P_n-1 with P_0 = 1 and P_1 = x. They
    are orthogonal on [-1, 1], where the inputs should lie: outside, high degrees explode.

    Shape:
        `[B, 1] -> [B, degree]`, or `[B, degree + 1]` with `constant`.

    Args:
        degree: The highest degree, 1 to 10,000.
        constant: Whether P_0 = 1 comes first.
    """

    def setup(input_shape: Shape) -> Setup:
        if input_shape != (1,):
            raise InvalidValue(f"legendre takes inputs of one feature, shape [1], not {list(input_shape)}")
        return Setup((degree + constant,))

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        array_module, values = _array_module(x), at_least_float32(x)
        first = array_module.ones_like(values)
        if isinstance(values, np.ndarray):
            higher = _recurrence_on_host(first, values, degree)
        else:
            higher = _recurrence_compiled(first, values, degree)
        columns = [first] * constant + [values, *higher]
        return Output(array_module.concatenate(columns, axis=1).astype(x.dtype))

    return Layer(setup, apply)


@layer
def random_fourier(units: Count, scale: Positive = 1.0) -> Layer:
    """Random Fourier features, y = sqrt(2 / P) cos(scale x V + b) with fixed random V and b.

    V `[D, P]` is drawn from N(0, 1), b `[P]` from U(0, 2 pi). Both are state, not parameters: nothing trains
    them. The expected inner product of two examples' features is the Gaussian kernel
    exp(-scale^2 ||x - x'||^2 / 2).

    Shape:
        `[B, D] -> [B, P]`

    Args:
        units: P, the number of features.
        scale: The inverse of the kernel's width, in inverse units of x; above 0.

    Reference:
        Rahimi & Recht 2007, Random features for large-scale kernel machines.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(
                f"random_fourier takes inputs of one axis, not {list(input_shape)}; put flatten before it"
            )
        directions = Variable((input_shape[0], units), functools.partial(normal, std=1.0))
        return Setup((units,), state={"directions": directions, "phases": Variable((units,), _phases)})

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        array_module = _array_module(x)
        phases = array_module.broadcast_to(state["phases"], (x.shape[0], units))
        angles = at_least_float32(x) @ (scale * state["directions"]) + phases
        return Output((math.sqrt(2 / units) * array_module.cos(angles)).astype(x.dtype), state)

    return Layer(setup, apply)


def _phases(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return (2 * np.pi * random.random(shape)).astype(np.float32)


def _array_module(x: Array | np.ndarray) -> ModuleType:
    """The module whose functions take x: NumPy or jax.numpy."""
    return np if isinstance(x, np.ndarray) else jnp


def _next_legendre(n: int | AnyArray, x: AnyArray, last: AnyArray, before: AnyArray) -> AnyArray:
    """P_n+1 from P_n and P_n-1."""
    return ((2 * n + 1) * x * last - n * before) / (n + 1)


def _recurrence_on_host(first: np.ndarray, x: np.ndarray, degree: int) -> list[np.ndarray]:
    """P_2 .. P_degree, `[B, 1]` each."""
    columns = [first, x]
    for n in range(1, degree):
        columns.append(_next_legendre(n, x, columns[-1], columns[-2]))
    return columns[2:]


def _recurrence_compiled(first: Array, x: Array, degree: int) -> list[Array]:
    """The same, in one array `[B, degree - 1]`. A scan, since degree 200 unrolled compiles for a minute."""

    def step(carry: tuple[Array, Array], n: Array) -> tuple[tuple[Array, Array], Array]:
        last, before = carry
        following = _next_legendre(n, x, last, before)
        return (following, last), following

    _, columns = jax.lax.scan(step, (x, first), jnp.arange(1, degree, dtype=x.dtype))
    return [columns[:, :, 0].T]
