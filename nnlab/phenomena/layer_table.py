"""The table `layers`: the state of every layer with parameters, at each record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Activation, Setup
from nnlab.phenomena.probe import (
    Probe,
    Snapshot,
    arrays_by_layer,
    layer_norms,
    layer_norms_without_underflow,
    layer_rows,
    stages,
    vector_means,
)
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas

ACTIVATION_COLUMNS = ("activation_mean", "activation_std", "dead_fraction", "saturated_fraction")
FLAT_SLOPE = 0.05  # an activation is flat below it: less than a twentieth of the gradient passes


def _measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of LAYER_PROBE.

    Laid out for speed, since it may run at every step: each array is first summed along its first axis,
    which XLA vectorizes, and the partial sums of all layers are then finished together.
    """
    layers = stages(setup)
    values = [snapshot.intermediates["outputs"][layer.last] for layer in layers]
    values = [value.reshape(-1, value.shape[-1]) for value in values]
    gradient = layer_norms_without_underflow(arrays_by_layer(snapshot.gradients, setup))
    weight = layer_norms(arrays_by_layer(snapshot.params, setup))
    update = layer_norms_without_underflow(arrays_by_layer(snapshot.updates, setup))
    unit_means = [value.mean(0) for value in values]
    mean = vector_means(unit_means)
    within = [_variances(value, unit_mean) for value, unit_mean in zip(values, unit_means, strict=True)]
    between = [jnp.square(unit_mean - mean[i]) for i, unit_mean in enumerate(unit_means)]
    std = jnp.sqrt(vector_means(within) + vector_means(between))
    flat = [
        _flat_counts(snapshot.intermediates, layer.last, value)
        for layer, value in zip(layers, values, strict=True)
    ]
    examples = values[0].shape[0]
    bounded = jnp.stack([_is_bounded(layer.activation) for layer in layers])
    saturated = jnp.where(bounded, jnp.minimum(vector_means(flat) / examples, 1.0), 0.0)
    dead = jnp.minimum(vector_means([(count == examples).astype(count.dtype) for count in flat]), 1.0)
    ratio = jnp.where(weight > 0, update / weight, jnp.nan)
    return gradient, weight, ratio, mean, std, dead, saturated


def _variances(values: Array, unit_means: Array) -> Array:
    """The variance of each unit's values `[B, U]` around its mean `[U]`."""
    return jnp.square(values - jnp.broadcast_to(unit_means, values.shape)).mean(0)


def _flat_counts(intermediates: Mapping[str, Mapping[str, Array]], path: str, values: Array) -> Array:
    """For each unit, for how many examples its activation is flat; 0 where there is none."""
    slopes = intermediates.get("slopes", {}).get(path)
    if slopes is None:
        return jnp.zeros_like(values[0])
    return (jnp.abs(slopes.reshape(values.shape)) < FLAT_SLOPE).astype(values.dtype).sum(0)


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
