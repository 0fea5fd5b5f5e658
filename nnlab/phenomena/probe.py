"""Probes: pure functions from a snapshot of training to named numbers, computed in the compiled program.

A probe fills columns of one table. Its rows are fixed by the model; each record adds them once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from nnlab.data.prepare import Data
from nnlab.nn.layer import Output, Setup
from nnlab.optim.losses import Loss
from nnlab.system.imports import Array, jax, jnp

PATH_POINTS = 50  # of the path of the weights, at most, beside its end
FLAT = 0.05  # a slope below this passes less than a twentieth of the gradient


class Batch(NamedTuple):
    """Some examples: inputs `[B, ...]`, targets `[B, ...]`."""

    inputs: Any
    targets: Any


class WeightPath(NamedTuple):
    """Weights at some records, evenly spread over the training, and last those that come out of it. weights:
    `[K, P]`, a row a record, all arrays in one; steps: `[K]`; visited: `[K]`, which rows are some. tree: row
    -> the weights as the tree that they are."""

    weights: Any
    steps: Any
    visited: Any
    tree: Callable[[Array], Any]


class Snapshot(NamedTuple):
    """One training step as it is taken, at the step's weights and batch.

    params, initial, gradients, changes: trees of one structure; initial are the weights of step 0, changes
    what the step adds to the weights. intermediates: see `Output`. batch_loss: the batch's mean loss in
    training mode, without penalties. After the training there is no step: the four of it are None. examples:
    all of them, by split. evaluated: (params, inputs) -> the model's Output in evaluation mode. augmented:
    (key, inputs) -> the inputs as training changes them at random. loss: what is trained for. key: for what
    is drawn. path: where a probe asks for it.
    """

    params: Any
    initial: Any
    gradients: Any
    changes: Any
    intermediates: Any
    batch_loss: Any
    examples: Mapping[str, Batch]
    evaluated: Callable[[Any, Array], Output]
    augmented: Callable[[Array, Array], Array]
    loss: Loss
    key: Any
    path: WeightPath | None = None

    def outputs(self, inputs: Array) -> Array:
        """The model's outputs in evaluation mode, at these weights."""
        return self.evaluated(self.params, inputs).value


class Probe(NamedTuple):
    """rows: the model's setup and the data -> the columns that name the rows, such as layer and index.
    columns, measure: the measured columns' names, and (setup, snapshot) -> their arrays `[rows]`.
    when: it looks at every record; only at the start, at step 0; or at the end, with the weights that come
    out of the training. whole: it computes the outputs for all examples at once. path: it looks at the path
    of the weights. Probes of one table must name the same rows and look at the same times.
    """

    table: str
    rows: Callable[[Setup, Data], dict[str, list[Any]]]
    columns: tuple[str, ...]
    measure: Callable[[Setup, Snapshot], tuple[Array, ...]]
    when: Literal["records", "start", "end"] = "records"
    whole: bool = False
    path: bool = False


class Unit(NamedTuple):
    """A layer with parameters and what follows it up to the next one.

    last: the path of the layer where its values come out; activation: f, where that layer is one.
    """

    path: str
    setup: Setup
    last: str
    activation: Callable[[Array], Array] | None = None


def units(setup: Setup) -> list[Unit]:
    """The layers with parameters in the order of the data, each with the activation that follows it."""
    found: list[Unit] = []
    for path, leaf in setup.leaves():
        if leaf.params:
            found.append(Unit(path, leaf, path))
        elif found and (leaf.activation or found[-1].activation is None):
            found[-1] = found[-1]._replace(last=path, activation=leaf.activation)
    return found


def layer_rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
    """layer, index (from 1) and fan_in: inputs of each unit, empty where a layer has no kernel."""
    layers = units(setup)
    kernels = [unit.setup.params.get("kernel") for unit in layers]
    return {
        "layer": [unit.path for unit in layers],
        "index": list(range(1, len(layers) + 1)),
        "fan_in": [kernel.size // kernel.shape[-1] if kernel else None for kernel in kernels],
    }


def at(tree: Any, path: str) -> Any:
    """The part of a nested dict at a layer's path."""
    for name in path.split("/"):
        tree = tree[name]
    return tree


def norms(arrays: list[list[Array]]) -> Array:
    """The Euclidean norm over each layer's arrays, `[layers]`; 0 where it has none."""
    return jnp.sqrt(_squares(arrays))


def tiny_norms(arrays: list[list[Array]]) -> Array:
    """`norms` that survive float32 where gradients vanish: squares are taken of the values times 2^45, so
    that norms from 1e-30 on are seen; where that overflows (norms beyond 1e5), of the values themselves."""
    lifted = _squares([[array * 2.0**45 for array in layer] for layer in arrays])
    overflown = ~jnp.isfinite(lifted)
    plain = jax.lax.cond(overflown.any(), lambda: _squares(arrays), lambda: lifted)
    return jnp.where(overflown, jnp.sqrt(plain), jnp.sqrt(lifted) * 2.0**-45)


def by_layer(tree: Any, setup: Setup) -> list[list[Array]]:
    """The arrays of each layer with parameters."""
    return [jax.tree.leaves(at(tree, unit.path)) for unit in units(setup)]


def _inside_view(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of INSIDE_VIEW.

    Laid out for speed, since it may run at every step: each array is first summed along its first axis,
    which XLA vectorizes, and the partial sums of all layers are then finished together.
    """
    layers = units(setup)
    values = [snapshot.intermediates["outputs"][unit.last] for unit in layers]
    values = [value.reshape(-1, value.shape[-1]) for value in values]
    gradient = tiny_norms(by_layer(snapshot.gradients, setup))
    weight, change = norms(by_layer(snapshot.params, setup)), tiny_norms(by_layer(snapshot.changes, setup))
    unit_means = [value.mean(0) for value in values]
    mean = _means(unit_means)
    within = [_variances(value, unit_mean) for value, unit_mean in zip(values, unit_means, strict=True)]
    between = [jnp.square(unit_mean - mean[i]) for i, unit_mean in enumerate(unit_means)]
    std = jnp.sqrt(_means(within) + _means(between))
    flat = [
        _flat_counts(snapshot.intermediates, u.last, value) for u, value in zip(layers, values, strict=True)
    ]
    examples = values[0].shape[0]
    squashes = jnp.stack([_squashes(unit.activation) for unit in layers])
    saturated = jnp.where(squashes, jnp.minimum(_means(flat) / examples, 1.0), 0.0)
    dead = jnp.minimum(_means([(count == examples).astype(count.dtype) for count in flat]), 1.0)
    ratio = jnp.where(weight > 0, change / weight, jnp.nan)
    return gradient, weight, ratio, mean, std, dead, saturated


def _squares(arrays: list[list[Array]]) -> Array:
    """The sum of squares of each layer's arrays, `[layers]`."""
    columns = [jnp.square(a.reshape(-1, a.shape[-1])).sum(0) for layer in arrays for a in layer]
    owner = np.repeat(np.arange(len(arrays)), [len(layer) for layer in arrays])
    belongs = np.arange(len(arrays))[:, None] == owner[None, :]
    sums = jnp.broadcast_to(_sums(columns), belongs.shape)
    return jnp.where(belongs, sums, 0.0).sum(-1)  # no product: an infinite layer is not to spoil the others


def _sums(vectors: list[Array]) -> Array:
    """The sum of each vector, those of one length together."""
    lengths = [vector.shape[0] for vector in vectors]
    order: list[int] = []
    parts = []
    for length in dict.fromkeys(lengths):
        members = [i for i, found in enumerate(lengths) if found == length]
        parts.append(jnp.stack([vectors[i] for i in members]).sum(-1))
        order += members
    return jnp.concatenate(parts)[np.argsort(order)]


def _means(vectors: list[Array]) -> Array:
    return _sums(vectors) / np.array([vector.shape[0] for vector in vectors], np.float32)


def _variances(values: Array, unit_means: Array) -> Array:
    """The variance of each unit's values `[B, U]` around its mean."""
    return jnp.square(values - jnp.broadcast_to(unit_means, values.shape)).mean(0)


def _flat_counts(intermediates: Any, path: str, values: Array) -> Array:
    """For each unit, for how many examples its activation is flat; 0 where there is none."""
    slopes = intermediates.get("slopes", {}).get(path)
    if slopes is None:
        return jnp.zeros_like(values[0])
    return (jnp.abs(slopes.reshape(values.shape)) < FLAT).astype(values.dtype).sum(0)


def _squashes(activation: Callable[[Array], Array] | None) -> Array:
    """Whether a function is bounded on both sides."""
    if activation is None:
        return jnp.array(False)
    return (jnp.abs(activation(jnp.array([-1e4, 1e4], jnp.float32))) < 1e3).all()


INSIDE_VIEW = Probe(
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
    _inside_view,
)
"""The table `layers`: for every layer with parameters, on the batch and weights of the recorded step,

grad_norm: of the gradient of loss and penalties by all of the layer's parameters. weight_norm: of those.
update_ratio: norm of what the step adds to them over weight_norm. activation_mean, activation_std: over batch
and units, after the activation that follows the layer. dead_fraction: of the units, those whose slope |f'(z)|
is below 0.05 for every example of the batch, so that next to no gradient passes. saturated_fraction: of all
values, those with such a slope, where the activation is bounded on both sides (sigmoid, tanh); 0
elsewhere.
"""
