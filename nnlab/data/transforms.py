"""Scaling of inputs: from the training inputs `[N, ...]` to a function of any inputs.

Statistics are of the training examples alone, so that nothing of validation and test leaks in
(lectures 001 and 002).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnlab.errors import ValueDoesNotFit
from nnlab.registry import register

Scaling = Callable[[np.ndarray], np.ndarray]


@register("transform")
def standardize(train: np.ndarray, /) -> Scaling:
    """(x - mean) / std, feature by feature; a constant feature becomes 0."""
    exact = train.astype(np.float64)
    mean, std = exact.mean(0), exact.std(0)
    std = np.where(std > 0, std, 1.0)
    return lambda inputs: (inputs - mean) / std


@register("transform")
def min_max(train: np.ndarray, /, *, low: float = 0.0, high: float = 1.0) -> Scaling:
    """Maps each feature's training range to [low, high]; a constant feature becomes low."""
    exact = train.astype(np.float64)
    least, span = exact.min(0), np.ptp(exact, 0)
    span = np.where(span > 0, span, 1.0)
    if low >= high:
        raise ValueDoesNotFit(f"min_max: low {low:g} must lie below high {high:g}", ("normalize",))
    return lambda inputs: low + (high - low) * (inputs - least) / span
