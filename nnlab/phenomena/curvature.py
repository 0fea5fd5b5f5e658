"""The curvature of the loss: products of its Hessian with vectors, and from them its greatest eigenvalues.

The Hessian itself, `[P, P]` for P weights, is never there. In shapes, K stands for iterations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnlab.nn.layer import Tree
from nnlab.system.imports import Array, jax, jnp

# of the greatest eigenvalue: what is left of a vector below it is rounding
ROUNDING_SHARE = 10 * float(np.finfo(np.float32).eps)


def hessian_product(
    loss: Callable[[Tree], Array], params: Tree, preconditioner: Tree | None = None
) -> tuple[Callable[[Array], Array], int]:
    """v -> H v, or P^-1/2 H P^-1/2 v, H being the Hessian of a loss: the derivative of its gradient along v.

    Args:
        loss: Weights -> the loss, `[]`.
        params: The weights at which H is taken.
        preconditioner: P, a tree like them; 1 where it is None. Where it is infinite, H counts as 0.

    Returns:
        The function, of vectors `[P]`, and P.
    """
    from jax.flatten_util import ravel_pytree

    weights, unravel = ravel_pytree(params)
    scales = jnp.ones_like(weights) if preconditioner is None else ravel_pytree(preconditioner)[0] ** -0.5
    _, derivative = jax.linearize(jax.grad(lambda weights: loss(unravel(weights))), weights)
    return lambda vector: scales * derivative(scales * vector), weights.size


def greatest_eigenvalues(
    multiply: Callable[[Array], Array], size: int, count: int, iterations: int, key: Array
) -> Array:
    """The greatest eigenvalues of a symmetric matrix by Lanczos' iteration, `[count]`, the first one first.

    Each new vector is orthogonalized against all before, twice: without it, rounding makes copies of
    eigenvalues. Where the vectors span an invariant subspace, a random one takes the iteration out of it.

    Args:
        multiply: v `[size]` -> the matrix times v.
        size: Of the matrix.
        count: How many eigenvalues; NaN stands for those beyond the iterations.
        iterations: K, products with the matrix; `size` of them at most, which give it whole.
        key: Draws the first vector.

    Reference:
        Lanczos 1950; Golub & Van Loan 2013, "Matrix computations", section 10.3.
    """
    iterations = min(iterations, size)

    def unit(vector: Array) -> Array:
        return vector / jnp.sqrt(vector @ vector)

    def orthogonal(vector: Array, basis: Array) -> Array:
        for _ in range(2):
            vector = vector - (basis @ vector) @ basis
        return vector

    def step(number: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, diagonal, beside = carry
        product = multiply(basis[number])
        diagonal = diagonal.at[number].set(basis[number] @ product)
        rest = orthogonal(product, basis)
        length = jnp.sqrt(rest @ rest)
        goes_on = length > ROUNDING_SHARE * jnp.maximum(jnp.abs(diagonal).max(), beside.max())
        fresh = orthogonal(jax.random.normal(jax.random.fold_in(key, number), (size,)), basis)
        following = jnp.where(goes_on, rest / jnp.where(goes_on, length, 1.0), unit(fresh))
        beside = beside.at[number].set(jnp.where(goes_on, length, 0.0))
        return basis.at[number + 1].set(following), diagonal, beside  # beyond the last there is no row

    first = jnp.zeros((iterations, size)).at[0].set(unit(jax.random.normal(key, (size,))))
    empty = jnp.zeros(iterations)
    _, diagonal, beside = jax.lax.fori_loop(0, iterations, step, (first, empty, empty))
    tridiagonal = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    found = jnp.linalg.eigvalsh(tridiagonal)[::-1][:count]
    return jnp.pad(found, (0, count - found.shape[0]), constant_values=jnp.nan)
