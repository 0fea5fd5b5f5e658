"""Solvers: the last layer's kernel in closed form, in float64 NumPy.

`N` training examples, `P` features, `K` targets: features X `[N, P]`, targets Y `[N, K]`, kernel W `[P, K]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nnlab.registry import Count, NonNegative, register


class Solution(NamedTuple):
    """What a solver returns.

    Attributes:
        kernel: W, `[P, K]`.
        left: U, `[N, R]`, R = min(N, P).
        singular_values: s, all of X's, `[R]`, falling.
        right: V', `[R, P]`.
        gains: What each direction of Y is multiplied by, `[R]`: W = V diag(gains) U' Y.
        project: Maps validation and test features `[M, P]` before they are multiplied by the kernel.
    """

    kernel: np.ndarray
    left: np.ndarray
    singular_values: np.ndarray
    right: np.ndarray
    gains: np.ndarray
    project: Callable[[np.ndarray], np.ndarray]


class Solver(NamedTuple):
    """A solver.

    Attributes:
        solve: (features `[N, P]`, targets `[N, K]`), both float64 -> Solution.
    """

    solve: Callable[[np.ndarray, np.ndarray], Solution]


@register("solver")
def least_squares(
    ridge: NonNegative = 0.0, singular_value_cutoff: NonNegative = 0.0, test_modes: Count | None = None
) -> Solver:
    """W = V diag(s / (s^2 + ridge)) U' Y, X = U diag(s) V' being the training features.

    It minimizes ||X W - Y||^2 + ridge ||W||^2, sums over examples and targets, not means. With ridge 0 it is
    the least-squares solution of smallest norm, pinv(X) Y, which interpolates where P >= N.

    Args:
        ridge: The factor of the squared weights.
        singular_value_cutoff: Directions with s below it are left out of W; those below rounding,
            max(N, P) * 2.2e-16 * largest s, always are.
        test_modes: Validation and test features are projected onto this many right singular vectors (columns
            of V), the directions in which the training features vary most; null is no projection.

    Reference:
        Cutoff and projection are the ablations of Schaeffer et al. 2023, "Double descent demystified".
    """

    def solve(features: np.ndarray, targets: np.ndarray) -> Solution:
        if not np.isfinite(features).all():  # the decomposition would not end
            return _no_solution(features, targets)
        u, s, vt = np.linalg.svd(features, full_matrices=False)
        rounding = max(features.shape) * np.finfo(s.dtype).eps * s[0]
        kept = (s > rounding) & (s >= singular_value_cutoff)
        gains = np.zeros_like(s)
        gains[kept] = s[kept] / (s[kept] ** 2 + ridge)
        kernel = vt.T @ (gains[:, None] * (u.T @ targets))
        modes = vt[:test_modes]

        def project(others: np.ndarray) -> np.ndarray:
            return others if test_modes is None else others @ modes.T @ modes

        return Solution(kernel, u, s, vt, gains, project)

    return Solver(solve)


def _no_solution(features: np.ndarray, targets: np.ndarray) -> Solution:
    """NaN throughout."""
    kernel = np.full((features.shape[1], targets.shape[1]), np.nan)
    count = min(features.shape)
    left, right = np.full((len(features), count), np.nan), np.full((count, features.shape[1]), np.nan)
    return Solution(
        kernel, left, np.full(count, np.nan), right, np.full(count, np.nan), lambda others: others
    )
