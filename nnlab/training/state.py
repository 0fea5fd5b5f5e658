"""The state of a training: all that one step hands to the next, and its form as named arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Tree
from nnlab.system.imports import Array, PyTree, jax, jnp

ArrayGroups = Mapping[str, Mapping[str, np.ndarray]]
"""A state as arrays: by group (`weights`, `best`, `training`, and perhaps others), then by name."""


class Best(NamedTuple):
    """The weights at the record that is best by the selection metric so far.

    Attributes:
        params: The weights.
        layer_state: What the layers carry along.
        cost: The metric there, negated where higher is better; infinite before the first record.
        step: The step of the record.
    """

    params: Tree
    layer_state: Tree
    cost: Array
    step: Array

    def update(self, params: Tree, layer_state: Tree, cost: Array, step: Array) -> Best:
        """The better of these weights and others; a cost that is not finite is never better.

        Args:
            params: The other weights.
            layer_state: What their layers carry along.
            cost: Their selection metric, negated where higher is better.
            step: The step of their record.
        """
        better = jnp.isfinite(cost) & (cost < self.cost)
        other = Best(params, layer_state, cost, step)
        return jax.lax.cond(better, lambda: other, lambda: self)


class MonitorState(NamedTuple):
    """What the schedules and the stopping criteria remember of the records so far.

    Attributes:
        schedules: The state of each schedule.
        stops: The state of each criterion.
        stopped: The number, from 1 on, of the criterion that ended the training; 0 while none has.
    """

    schedules: tuple[PyTree, ...]
    stops: tuple[PyTree, ...]
    stopped: Array


class WeightHistory(NamedTuple):
    """The weights at every `stride`-th record, `[K, P]` for at most K records and P weights.

    When all rows are filled, every second one is dropped and the stride doubled, so that the rows do not
    depend on how long the training will be.

    Attributes:
        weights: `[K, P]`.
        steps: `[K]`, the step of each row.
        count: How many rows are filled.
        records: How many records there were.
        stride: Of how many records one is kept.
    """

    weights: Array
    steps: Array
    count: PyTree  # an Array, under the name of a method of tuples
    records: Array
    stride: Array

    @classmethod
    def empty(cls, points: int, weights: int) -> WeightHistory:
        """The history before the first record, arrays of the host."""
        zero: PyTree = np.zeros((), np.int32)
        rows: PyTree = np.zeros((points, weights), np.float32)
        steps: PyTree = np.zeros(points, np.int32)
        stride: PyTree = np.ones((), np.int32)
        return cls(rows, steps, zero, zero, stride)

    def append(self, weights: Array, step: Array, running: Array) -> WeightHistory:
        """The history with one more record, unless the training is over."""
        points = self.steps.shape[0]
        kept = running & (self.records % self.stride == 0)
        row = jnp.where(kept, self.count, jnp.int32(points))  # past the end: dropped
        rows = self.weights.at[row].set(weights, mode="drop")
        steps = self.steps.at[row].set(step, mode="drop")
        count = self.count + (row < points).astype(jnp.int32)
        full = count == points
        half = np.minimum(2 * np.arange(points), points - 1)
        return WeightHistory(
            jax.lax.cond(full, lambda: rows[half], lambda: rows),
            jnp.where(full, steps[half], steps),
            jnp.where(full, jnp.int32((points + 1) // 2), count),
            self.records + running.astype(jnp.int32),
            jnp.where(full, self.stride + self.stride, self.stride),
        )


Mask = Mapping[str, Array]
"""Which weights of each kernel are left, by its path, `dense_1/kernel` say."""


class RoundMemory(NamedTuple):
    """What rounds of a training need of those before.

    Attributes:
        rewind: The weights that they go back to, and what the layers carried along then; empty where they go
            on from those of the round before.
        sizes: By path of each kernel, those of its weights after the first round, where they decide which
            weights are pruned, 0 before its end; else empty.
    """

    rewind: tuple[Tree, Tree] | tuple[()] = ()
    sizes: Mapping[str, Array] = {}


class State(NamedTuple):
    """All that one step hands to the next.

    Attributes:
        params: The weights by layer.
        layer_state: What the layers carry along, such as running averages.
        optimizer_state: See `optax.GradientTransformation`.
        step: The step of the round, from 0; that of the training where there is one round.
        finite: Whether every loss so far was finite.
        best: The best weights so far.
        monitors: What schedules and stopping criteria remember.
        path: The weights at some records, where a probe asks for them; else an empty tuple.
        average: That of the weights, where it is evaluated and returned in their place; else an empty tuple.
        mask: Which weights are left, all others are 0; empty where none is ever pruned.
        memory: What later rounds need.
    """

    params: Tree
    layer_state: Tree
    optimizer_state: PyTree
    step: Array
    finite: Array
    best: Best
    monitors: MonitorState
    path: WeightHistory | tuple[()] = ()
    average: Tree | tuple[()] = ()
    mask: Mask = {}  # noqa: RUF012 - never changed
    memory: RoundMemory = RoundMemory()

    @property
    def evaluated(self) -> Tree:
        """The weights that are evaluated."""
        return self.params if isinstance(self.average, tuple) else self.average

    @property
    def running(self) -> Array:
        """Whether the training neither diverged nor was stopped."""
        return self.finite & (self.monitors.stopped == 0)


class ResumePoint(NamedTuple):
    """Where a training goes on.

    Attributes:
        step: The training goes on with the record at this step.
        arrays: () -> the state as arrays.
        finished_early: Whether a criterion stopped it, so that only the trainings beside it go on.
    """

    step: int
    arrays: Callable[[], ArrayGroups]
    finished_early: bool = False


def array_groups(state: State) -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    """A state as named arrays of the host, to be had one group at a time: together they might not fit into
    memory."""
    best = state.best
    groups = {
        "weights": lambda: _named_weights(state.params, state.layer_state),
        "best": lambda: _named_weights(best.params, best.layer_state),
        "training": lambda: _named(_remainder(state)),
    }
    if not isinstance(state.average, tuple):
        groups["average"] = lambda: _named_weights(state.evaluated, state.layer_state)
    if state.mask:
        groups["mask"] = lambda: _named(state.mask)
    return groups


def restore_state(arrays: ArrayGroups, template: State) -> State:
    """The state that arrays were made of.

    Args:
        arrays: A state as arrays.
        template: A state of the same training, for structure, shapes and types.

    Raises:
        InvalidValue: The arrays belong to another training.
    """
    weights, best, training = (arrays.get(group, {}) for group in ("weights", "best", "training"))
    params, layer_state = _filled((template.params, template.layer_state), weights)
    best_params, best_state = _filled((template.params, template.layer_state), best)
    [rest] = _filled([_remainder(template)], training)
    finite: PyTree = np.array(True)
    restored = Best(best_params, best_state, rest.best_loss, rest.best_step)
    average: Tree | tuple[()] = ()
    if not isinstance(template.average, tuple):
        average, _ = _filled((template.average, template.layer_state), arrays.get("average", {}))
    [mask] = _filled([template.mask], arrays.get("mask", {}))
    return State(
        params,
        layer_state,
        rest.optimizer,
        rest.step,
        finite,
        restored,
        rest.watch,
        rest.path,
        average,
        mask,
        rest.memory,
    )


class _Remainder(NamedTuple):
    """What the group `training` holds; checkpoints name its arrays after these fields."""

    optimizer: PyTree
    step: Array
    best_loss: Array
    best_step: Array
    watch: MonitorState
    path: WeightHistory | tuple[()]
    memory: RoundMemory


def _remainder(state: State) -> _Remainder:
    best = state.best
    return _Remainder(
        state.optimizer_state, state.step, best.cost, best.step, state.monitors, state.path, state.memory
    )


def _named_weights(params: Tree, layer_state: Tree) -> dict[str, np.ndarray]:
    """Weights and layer states in one; a layer's variables all have different names."""
    return _named(params) | _named(layer_state)


def _named(tree: PyTree) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def _name(path: Sequence[object]) -> str:
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def _filled(templates: Sequence[PyTree], named: Mapping[str, np.ndarray]) -> list[PyTree]:
    """The trees with the arrays of their names in place of their leaves. All arrays must be used."""
    trees: list[PyTree] = []
    used: set[str] = set()
    for template in templates:
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        arrays = []
        for path, leaf in leaves:
            name = _name(path)
            array = named.get(name)
            if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
                problem = "is not there" if array is None else f"is {array.dtype} {list(array.shape)}"
                raise InvalidValue(f"'{name}' {problem}, not {leaf.dtype} {list(leaf.shape)}")
            arrays.append(array)
            used.add(name)
        trees.append(jax.tree_util.tree_unflatten(structure, arrays))
    if unused := sorted(named.keys() - used):
        raise InvalidValue(f"there is no '{unused[0]}' in this model")
    return trees
