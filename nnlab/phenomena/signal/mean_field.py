"""The theory of signals in wide random nets: each layer's pre-activations are normal, and three maps say how.

A layer is z_l = W_l phi(z_l-1) + b_l with W_l from N(0, sigma_w^2 / fan_in) and b_l from N(0, sigma_b^2). For
two inputs, q is the mean square of z, c the correlation of the two z, and u, v are normal with variance q and
correlation c:

    q' = sigma_w^2 E phi(u)^2 + sigma_b^2                 the variance, one layer up
    c' = (sigma_w^2 E phi(u) phi(v) + sigma_b^2) / q'     the correlation, one layer up
    chi = sigma_w^2 E phi'(u)^2                           the squared gradient, one layer down

q, c and chi settle at q*, c* and that chi of q*. It is below 1 in the ordered phase, where c* is 1 and
gradients vanish, and above 1 in the chaotic phase, where they explode. Expectations are Gauss-Hermite sums.

Reference:
    Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos;
    Schoenholz et al. 2017, Deep information propagation.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from nnlab.nn.layer import Activation
from nnlab.system.imports import Array, jax, jnp

NODES = 100  # of a sum; an even number has none at 0, where functions such as relu have a kink
SMALLEST_VARIANCE, LARGEST_VARIANCE = 1e-30, 1e30  # at which one that falls or grows for ever is held
CRITICAL_VARIANCES = np.geomspace(1e-6, 30.0, 200).astype(np.float32)


class Trajectory(NamedTuple):
    """What the theory says of each layer, `[L]` each.

    Attributes:
        variance: q.
        correlation: c.
        chi: The factor on the squared gradient from the layer's pre-activations to those before.
        correlation_slope: dc'/dc, by which a small distance of c from c* is multiplied a layer.
    """

    variance: Array
    correlation: Array
    chi: Array
    correlation_slope: Array


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the mean over a standard normal variable, `[NODES]` each."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return nodes.astype(np.float32), (weights / weights.sum()).astype(np.float32)


def _with_slope(activation: Activation, z: Array) -> tuple[Array, Array]:
    """phi(z) and phi'(z)."""
    return jax.jvp(activation, (z,), (jnp.ones_like(z),))


def trajectory(
    activation: Activation,
    sigma_w_squared: Array,
    sigma_b_squared: Array,
    input_variance: float,
    input_correlation: float,
    depth: int,
) -> Trajectory:
    """Follow two inputs through the layers.

    Args:
        activation: phi.
        sigma_w_squared: Variance of the weights times fan_in, `[]`.
        sigma_b_squared: Variance of the biases, `[]`.
        input_variance: Mean square of an input's values.
        input_correlation: Correlation of the two inputs.
        depth: L, how many layers.
    """
    nodes, weights = (jnp.asarray(values) for values in _nodes())
    across, along = (jnp.broadcast_to(z, (NODES, NODES)) for z in (nodes[:, None], nodes[None, :]))

    def layer(signal: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Trajectory]:
        q, c = signal
        size = jnp.sqrt(q)
        values, slopes = _with_slope(activation, size * nodes)
        others, slopes_of_others = _with_slope(activation, size * (c * across + jnp.sqrt(1 - c**2) * along))
        following = sigma_w_squared * (weights @ values**2) + sigma_b_squared
        covariance = sigma_w_squared * ((weights * values) @ others @ weights) + sigma_b_squared
        chi = sigma_w_squared * (weights @ slopes**2)
        slope = sigma_w_squared * ((weights * slopes) @ slopes_of_others @ weights) * q / following
        held = jnp.clip(following, SMALLEST_VARIANCE, LARGEST_VARIANCE)
        return (held, jnp.clip(covariance / following, -1.0, 1.0)), Trajectory(q, c, chi, slope)

    first = sigma_w_squared * input_variance + sigma_b_squared
    first_correlation = (sigma_w_squared * input_variance * input_correlation + sigma_b_squared) / first
    _, layers = jax.lax.scan(layer, (first, first_correlation), None, length=depth)
    return layers


def critical_line(activation: Activation) -> tuple[Array, Array]:
    """sigma_w^2 and sigma_b^2 at which chi is 1, for each q* of CRITICAL_VARIANCES; either may be below 0 or
    infinite, where no net has this q*."""
    nodes, weights = (jnp.asarray(values) for values in _nodes())
    q = jnp.asarray(CRITICAL_VARIANCES)
    values, slopes = _with_slope(activation, jnp.outer(jnp.sqrt(q), nodes))
    sigma_w_squared = 1 / (slopes**2 @ weights)
    return sigma_w_squared, q - sigma_w_squared * (values**2 @ weights)
