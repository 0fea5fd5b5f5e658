"""Probes: pure functions from a snapshot of training to named numbers, computed in the compiled program.

A probe fills columns of one table. The model fixes the table's rows; each record appends them once more.

Letters in shapes: B examples, K points of the weight path, L layers with parameters, P weights of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from nnlab.data.prepare import Data
from nnlab.nn.layer import Activation, Output, Setup, Tree
from nnlab.optim.losses import Loss
from nnlab.system.imports import Array, jax, jnp

WEIGHT_PATH_POINTS = 50  # records that a weight path keeps at most, beside its end
GRADIENT_PASSES = 3  # forward passes that a gradient costs: one forward, two of that size back
HESSIAN_PRODUCT_PASSES = 9  # that a product of Hessian and vector costs: the gradient, and its derivative
# above it, squares lost to underflow make less than half a unit in the last place of a sum of squares
MINIMUM_MEAN_SQUARE = np.finfo(np.float32).tiny / np.finfo(np.float32).eps

RowLabels = Mapping[str, Sequence[str | int | float | None]]
"""The columns that name the rows of a table, all of one length."""


class Batch(NamedTuple):
    """Some examples.

    Attributes:
        inputs: `[B, ...]`.
        targets: `[B, ...]`.
    """

    inputs: Array
    targets: Array


class WeightPath(NamedTuple):
    """The weights at some records, evenly spread over the training, and last those that training returns.

    Attributes:
        weights: `[K, P]`, all arrays of the model in one row.
        steps: `[K]`, the step of each row.
        filled: `[K]`, whether a row holds weights; fewer records than rows leave some empty.
        unravel: Turns a row into the tree of parameters.
    """

    weights: Array
    steps: Array
    filled: Array
    unravel: Callable[[Array], Tree]


class Updates(NamedTuple):
    """What a step adds to the weights: a factor times a direction.

    Attributes:
        direction: A tree like the weights; 0 for frozen layers.
        factor: By the path of a layer, what its part of the direction is multiplied by.
    """

    direction: Tree
    factor: Callable[[str], Array | float]


class StabilityBound(NamedTuple):
    """Up to which curvature a step is stable, see `nnlab.optim.stability`.

    Attributes:
        threshold: The greatest stable eigenvalue of P^-1/2 H P^-1/2, `[]`; NaN where it is not known.
        preconditioner: P, a tree like the weights, infinite for frozen layers; None where it is 1 for all.
    """

    threshold: Array
    preconditioner: Tree | None


class StepView(NamedTuple):
    """How a step is taken.

    Attributes:
        objective: (params, examples) -> what the step would minimize on these examples, `[]`: their mean loss
            with its penalties, in training mode, with the random changes of this step.
        stability: () -> up to which curvature the step is stable; computed where it is asked for.
    """

    objective: Callable[[Tree, Batch], Array]
    stability: Callable[[], StabilityBound]


class Snapshot(NamedTuple):
    """A training step as it is taken, at the step's weights and batch, or the weights after training.

    After training there is no step: gradients, updates and intermediates are empty, batch_loss is NaN.

    Attributes:
        params: The weights.
        initial_params: The weights of step 0.
        gradients: Of loss and penalties, a tree like params.
        updates: () -> what the step adds to the weights; computed where it is asked for.
        intermediates: See `nnlab.nn.layer.Output`.
        batch_loss: Mean loss of the batch in training mode, without penalties, `[]`.
        examples: All examples, by split.
        evaluate: (params, inputs) -> the model's Output in evaluation mode.
        augment: (key, inputs) -> the inputs with the random changes of training.
        loss: The loss that training minimizes.
        key: A random key.
        weight_path: Where a probe needs it.
        frozen: Whether the layer at a path keeps its first weights, and has gradients of 0.
        step: How the step is taken; None after training.
        sample: (key, count) -> examples that the model draws, `[count, ...]` like inputs of its last layer;
            for a model that does, see `nnlab.nn.model.sampling`.
    """

    params: Tree
    initial_params: Tree
    gradients: Tree
    updates: Callable[[], Updates]
    intermediates: Mapping[str, Mapping[str, Array]]
    batch_loss: Array
    examples: Mapping[str, Batch]
    evaluate: Callable[[Tree, Array], Output]
    augment: Callable[[Array, Array], Array]
    loss: Loss
    key: Array
    weight_path: WeightPath | None = None
    frozen: Callable[[str], bool] = lambda path: False
    step: StepView | None = None
    sample: Callable[[Array, int], Array] = lambda key, count: jnp.empty((0,))

    def outputs(self, inputs: Array) -> Array:
        """The model's outputs in evaluation mode, at these weights."""
        return self.evaluate(self.params, inputs).value

    def target_values(self, inputs: Array) -> Array:
        """The target values that the outputs stand for."""
        return self.loss.target_values(self.outputs(inputs))


class Probe(NamedTuple):
    """Some columns of a table. Probes of one table must agree in `rows`, `record_at` and `every`.

    Attributes:
        table: The table's name.
        rows: From the model's setup and the data, the columns that name the rows, such as layer and index.
        columns: Names of the measured columns.
        measure: From the setup and a snapshot, the measured columns, each with one value a row.
        record_at: Every record, only step 0, or only the end, with the weights that training returns.
        every: Of how many records it measures one, the first always among them, and the last of a training
            that is not stopped early.
        passes: From the data, what one measurement costs in forward passes of an example, see
            GRADIENT_PASSES; `--dry-run` tells it. None where it sees only what a step computes anyway.
        evaluates_all_examples: Whether it computes the outputs for all examples at once.
        needs_weight_path: Whether it reads `Snapshot.weight_path`.
    """

    table: str
    rows: Callable[[Setup, Data], RowLabels]
    columns: tuple[str, ...]
    measure: Callable[[Setup, Snapshot], tuple[Array, ...]]
    record_at: Literal["every_record", "start", "end"] = "every_record"
    every: int = 1
    passes: Callable[[Data], float] | None = None
    evaluates_all_examples: bool = False
    needs_weight_path: bool = False

    def measured(self, records: int) -> list[int]:
        """Which of so many records it measures, by their numbers from 0, where it does so at records."""
        return sorted({*range(0, records, self.every), records - 1})


class Stage(NamedTuple):
    """A layer with parameters and the layers that follow it up to the next one.

    Attributes:
        path: The path of the layer with parameters.
        setup: Its setup.
        last: The path of the layer whose outputs leave the stage.
        activation: f, where that layer is elementwise.
    """

    path: str
    setup: Setup
    last: str
    activation: Activation | None = None

    @property
    def has_kernel(self) -> bool:
        return "kernel" in self.setup.params


def stages(setup: Setup) -> list[Stage]:
    """The layers with parameters in the order of the data, each with the activation that follows it."""
    chain: list[Stage] = []
    for path, leaf in setup.leaves():
        if leaf.params:
            chain.append(Stage(path, leaf, path))
        elif chain and (leaf.activation or chain[-1].activation is None):
            chain[-1] = chain[-1]._replace(last=path, activation=leaf.activation)
    return chain


def layer_rows(setup: Setup, data: Data) -> RowLabels:
    """A row for each layer with parameters.

    Returns:
        The columns layer (its path), index (from 1) and fan_in (inputs of each unit; None without a kernel).
    """
    layers = stages(setup)
    kernels = [layer.setup.params.get("kernel") for layer in layers]
    return {
        "layer": [layer.path for layer in layers],
        "index": list(range(1, len(layers) + 1)),
        "fan_in": [kernel.size // kernel.shape[-1] if kernel else None for kernel in kernels],
    }


def subtree(tree: Tree, path: str) -> Tree:
    """The part of a nested mapping at a layer's path."""
    for name in path.split("/"):
        tree = tree[name]
    return tree


def measure_kernels(setup: Setup, params: Tree, measure: Callable[[Array], Array]) -> Array:
    """A number of the kernel of each layer with parameters, `[L]`; NaN where a layer has none."""
    return jnp.stack(
        [
            measure(subtree(params, layer.path)["kernel"]) if layer.has_kernel else jnp.full((), jnp.nan)
            for layer in stages(setup)
        ]
    )


def arrays_by_layer(tree: Tree, setup: Setup) -> list[list[Array]]:
    """The arrays of each layer with parameters."""
    return [jax.tree.leaves(subtree(tree, layer.path)) for layer in stages(setup)]


def layer_norms(arrays: list[list[Array]]) -> Array:
    """The Euclidean norm over each layer's arrays, `[L]`; 0 where it has none."""
    return jnp.sqrt(_sums_of_squares(arrays))


def layer_norms_without_underflow(arrays: list[list[Array]]) -> Array:
    """`layer_norms` for vanishing gradients, whose squares underflow in float32.

    Where a sum of squares is so small that those lost could be seen in it, the values are multiplied by 2^45
    before they are squared, so that norms from 1e-30 on are not lost.
    """
    plain = _sums_of_squares(arrays)
    sizes = np.array([sum(array.size for array in layer) for layer in arrays], np.float32)
    underflown = plain < sizes * MINIMUM_MEAN_SQUARE
    scaled = jax.lax.cond(
        underflown.any(),
        lambda: _sums_of_squares([[array * 2.0**45 for array in layer] for layer in arrays]),
        lambda: plain,
    )
    return jnp.where(underflown, jnp.sqrt(scaled) * 2.0**-45, jnp.sqrt(plain))


def _sums_of_squares(arrays: list[list[Array]]) -> Array:
    """The sum of squares of each layer's arrays, `[L]`."""
    flat = [array for layer in arrays for array in layer]
    vectors = iter(totals([jnp.square(array) for array in flat if array.ndim < 2]))
    zero = jnp.zeros(())
    # a product and no reduction, which XLA would make several kernels of, each of them to be compiled
    sums = [
        [next(vectors) if array.ndim < 2 else jnp.vdot(array, array) for array in layer] for layer in arrays
    ]
    return jnp.stack([sum(layer, start=zero) for layer in sums])


def totals(vectors: Sequence[Array]) -> list[Array]:
    """The sum of each vector's elements; of all those of one length, as one product."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, vector in enumerate(vectors):
        by_shape.setdefault(vector.shape, []).append(number)
    sums: dict[int, Array] = {}
    for shape, numbers in by_shape.items():
        rows = jnp.stack([vectors[number] for number in numbers])
        sums |= dict(zip(numbers, rows @ jnp.ones(shape, rows.dtype), strict=True))
    return [sums[number] for number in range(len(vectors))]
