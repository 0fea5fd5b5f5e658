"""Up to which curvature of the loss an optimizer's steps stay stable."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nnlab.system.imports import Array, PyTree, jnp


class Stability(NamedTuple):
    """What makes the steps of an optimizer grow on a quadratic loss, whose curvature is H.

    The step is w <- w - rate (F(P^-1 g) + decay w): P is diagonal, F a running average of gradients. Along an
    eigenvector of P^-1/2 H P^-1/2 the weights grow, from step to step with the other sign, where the
    eigenvalue is above (2 - rate decay) / (rate gain). For gradient descent that is 2 / rate, with heavy
    ball's momentum 2 (1 + momentum) / rate, for Adam 2 (1 + b1) / ((1 - b1) rate). It is the limit of many
    steps, in which P changes little and averages have lost their bias. Where the gradient is taken at
    w + radius g / |g|, as by SAM, an eigenvalue h counts as h + radius h^2 / |g|.

    Attributes:
        gain: What F makes of a gradient whose sign alternates from step to step, as a factor.
        preconditioner: Optimizer's state -> P, a tree like the weights; None where P is 1.
        decay: Decoupled weight decay.
        radius: How far up the slope the gradient is taken; 0 is at the weights themselves.

    Reference:
        Cohen et al. 2021, "Gradient descent on neural networks typically occurs at the edge of stability",
        appendix B; with a preconditioner Cohen et al. 2022, "Adaptive gradient methods at the edge of
        stability"; with a radius Long & Bartlett 2024, "Sharpness-aware minimization and the edge of
        stability".
    """

    gain: float = 1.0
    preconditioner: Callable[[PyTree], PyTree] | None = None
    decay: float = 0.0
    radius: float = 0.0

    def threshold(self, rate: Array, slope: Array | float) -> Array:
        """The greatest stable eigenvalue.

        Args:
            rate: The learning rate.
            slope: |g|, the length of the gradient at the weights; it counts where there is a radius.
        """
        counted = (2.0 - rate * self.decay) / (rate * self.gain)
        return 2.0 * counted / (1.0 + jnp.sqrt(1.0 + 4.0 * counted * self.radius / slope))


def gain_of_average(kept: float, nesterov: bool = False) -> float:
    """The `gain` of m <- kept m + (1 - kept) g.

    Args:
        kept: How much of m each step keeps.
        nesterov: Whether the step follows kept m + (1 - kept) g in place of m.
    """
    return (1.0 - kept) * (1.0 + 2.0 * kept if nesterov else 1.0) / (1.0 + kept)
