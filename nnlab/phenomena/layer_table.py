"""The table `layers`: the state of every layer with parameters, at each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.activations import slope
from nnlab.nn.layer import Activation, Setup
from nnlab.phenomena.probe import (
    Probe,
    Snapshot,
    Stage,
    arrays_by_layer,
    layer_norms,
    layer_norms_without_underflow,
    layer_rows,
    stages,
    totals,
)
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas

ACTIVATION_COLUMNS = ("activation_mean", "activation_std", "dead_fraction", "saturated_fraction")
FLAT_SLOPE = 0.05  # an activation is flat below it: less than a twentieth of the gradient passes


def _measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of LAYER_PROBE."""
    layers = stages(setup)
    gradient = layer_norms_without_underflow(arrays_by_layer(snapshot.gradients, setup))
    weight = layer_norms(arrays_by_layer(snapshot.params, setup))
    updates = snapshot.updates()
    factors = jnp.stack([jnp.abs(jnp.asarray(updates.factor(layer.path))) for layer in layers])
    update = factors * layer_norms_without_underflow(arrays_by_layer(updates.direction, setup))
    ratio = jnp.where(weight > 0, update / weight, jnp.nan)
    values = [snapshot.intermediates["outputs"][layer.last] for layer in layers]
    values = [value.reshape(-1, value.shape[-1]) for value in values]
    mean, std = _means_and_deviations(values)
    dead, flat = _flat_shares(layers, snapshot.intermediates.get("inputs", {}), values)
    bounded = jnp.stack([_is_bounded(layer.activation) for layer in layers])
    return gradient, weight, ratio, mean, std, dead, jnp.where(bounded, flat, 0.0)


def _means_and_deviations(values: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and standard deviation, `[L]`, of all values of each layer, `[N, U]`; the latter of deviations
    from the mean, corrected for the rounding of the mean, so that it is exact where it is small beside the
    mean."""
    sizes = np.array([value.size for value in values], np.float32)
    means = jnp.stack(totals([_unit_sums(value) for value in values])) / sizes
    deviations = [value - mean for value, mean in zip(values, means, strict=True)]
    squares = jnp.stack([jnp.vdot(deviation, deviation) for deviation in deviations])
    rounding = jnp.stack(totals([_unit_sums(deviation) for deviation in deviations]))
    variances = squares / sizes - jnp.square(rounding / sizes)
    return means, jnp.sqrt(jnp.maximum(variances, 0.0))


def _unit_sums(values: Array) -> Array:
    """The sum over all examples for each unit, `[U]` of `[N, U]`."""
    return jnp.ones(len(values), values.dtype) @ values


def _flat_shares(
    layers: Sequence[Stage], inputs: Mapping[str, Array], values: Sequence[Array]
) -> tuple[Array, Array]:
    """For each layer, `[L]`, the share of the units whose activation is flat for every example, and that of
    all values `[N, U]` for which it is; 0 where there is no activation."""
    counts = [
        jnp.zeros(value.shape[1])
        if layer.activation is None
        else _unit_sums(_is_flat(layer.activation, inputs[layer.last].reshape(value.shape), value))
        for layer, value in zip(layers, values, strict=True)
    ]
    dead_units = [(n == len(value)).astype(n.dtype) for n, value in zip(counts, values, strict=True)]
    units = np.array([value.shape[1] for value in values], np.float32)
    sizes = np.array([value.size for value in values], np.float32)
    shares = jnp.stack(totals(dead_units)) / units, jnp.stack(totals(counts)) / sizes
    return jnp.minimum(shares[0], 1.0), jnp.minimum(shares[1], 1.0)


def _is_flat(activation: Activation, inputs: Array, outputs: Array) -> Array:
    """1 where the activation's slope is flat, else 0."""
    return (jnp.abs(slope(activation, inputs, outputs)) < FLAT_SLOPE).astype(outputs.dtype)


def _is_bounded(activation: Activation | None) -> Array:
    """Whether a function is bounded on both sides."""
    if activation is None:
        return jnp.array(False)
    return (jnp.abs(activation(jnp.array([-1e4, 1e4], jnp.float32))) < 1e3).all()


LAYER_PROBE = Probe(
    "layers",
    layer_rows,
    (
        "grad_norm",
        "weight_norm",
        "update_ratio",
        "activation_mean",
        "activation_std",
        "dead_fraction",
        "saturated_fraction",
    ),
    _measure,
)
"""For every layer with parameters, on the batch and at the weights of the recorded step:

grad_norm: norm of the gradient of loss and penalties with respect to all of the layer's parameters.
weight_norm: norm of these parameters.
update_ratio: norm of what the step adds to them, divided by weight_norm.
activation_mean, activation_std: over batch and units, after the activation that follows the layer.
dead_fraction: share of the units whose slope |f'(z)| is below 0.05 for every example of the batch, so that
next to no gradient passes; 0 to 1.
saturated_fraction: share of all values with such a slope, where the activation is bounded on both sides
(sigmoid, tanh), 0 elsewhere; 0 to 1.
"""


def hidden_layers(layers: pandas.DataFrame) -> pandas.DataFrame:
    """The hidden layers in the table `layers`, a row for each step and layer.

    A hidden layer is a layer with a kernel and what follows it up to the next kernel, such as dense,
    batch_norm and sigmoid; the last one is the read-out, and left out. Activation columns are taken from the
    end of this group, all others from the layer with the kernel; `depth` counts the groups from 1. Raises
    InvalidValue where there is none.
    """
    has_kernel = layers["fan_in"].notna()
    rows = layers.assign(depth=has_kernel.groupby(layers["step"]).cumsum())
    rows = rows[rows["depth"] > 0]
    firsts = rows.drop_duplicates(["step", "depth"], keep="first").reset_index(drop=True)
    lasts = rows.drop_duplicates(["step", "depth"], keep="last").reset_index(drop=True)
    columns = [name for name in ACTIVATION_COLUMNS if name in layers]
    firsts[columns] = lasts[columns]
    hidden = firsts[firsts["depth"] < firsts["depth"].max()]
    if hidden.empty:
        raise InvalidValue("the model has no hidden layer")
    return hidden
