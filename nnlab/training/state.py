"""The state of a training: all that one step hands to the next, and its form as named arrays, to be kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.system.imports import Array, jax, jnp

Arrays = Mapping[str, Mapping[str, np.ndarray]]  # by group, `weights`, `best` and `training`, and by name


class Best(NamedTuple):
    """The weights at the record with the smallest loss so far, of validation where there is any, else of
    training. loss: infinite before the first record."""

    params: Any
    layer_state: Any
    loss: Array
    step: Array

    def after(self, params: Any, layer_state: Any, loss: Array, step: Array) -> Best:
        """The better of these and others; what is no finite number is never better."""
        better = jnp.isfinite(loss) & (loss < self.loss)
        found = Best(params, layer_state, loss, step)
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), found, self)


class Watch(NamedTuple):
    """What is remembered of the records so far. schedules, stops: by those of the experiment that look at
    them. stopped: the number, from 1 on, of the criterion that ended the training; 0 where none did."""

    schedules: Any
    stops: Any
    stopped: Any


class WeightHistory(NamedTuple):
    """The weights at some records so far. weights: `[K, P]`; steps: `[K]`; count: how many rows are filled.
    records: how many there were, of which every `stride`-th is kept: where all rows are filled, every second
    is let go of and the stride doubled, so that it matters not how long the training will be."""

    weights: Any
    steps: Any
    count: Any
    records: Any
    stride: Any

    @classmethod
    def none(cls, points: int, weights: int) -> WeightHistory:
        """Before the first record."""
        zero = np.zeros((), np.int32)
        rows = np.zeros((points, weights), np.float32)
        return cls(rows, np.zeros(points, np.int32), zero, zero, np.ones((), np.int32))

    def after(self, weights: Array, step: Array) -> WeightHistory:
        """With one more record."""
        points = self.steps.shape[0]
        kept = self.records % self.stride == 0
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
            self.records + jnp.int32(1),
            jnp.where(full, self.stride + self.stride, self.stride),
        )


class State(NamedTuple):
    """All that one step hands to the next. finite: whether every loss so far was a number. path: a
    `WeightHistory`, where a probe asks for it."""

    params: Any
    layer_state: Any
    optimizer_state: Any
    step: Any
    finite: Any
    best: Best
    watch: Watch
    path: Any = ()

    @property
    def going(self) -> Array:
        """Whether the training neither diverged nor came to an end before its time."""
        return self.finite & (self.watch.stopped == 0)


class Start(NamedTuple):
    """Where a training goes on, beginning with the record at that step. arrays: () -> the state as arrays.
    ended: whether it came to its end before its time, and only those beside it go on."""

    step: int
    arrays: Callable[[], Arrays]
    ended: bool = False


def groups_of(state: State) -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    """A state as named arrays of the host, a group at a time: together they might not fit into memory."""
    best = state.best
    return {
        "weights": lambda: _weights(state.params, state.layer_state),
        "best": lambda: _weights(best.params, best.layer_state),
        "training": lambda: _named(_rest(state)),
    }


def state_from(arrays: Arrays, template: State) -> State:
    """The state that the arrays were made of; template: a state of the same training. Raises InvalidValue
    where they are those of another one."""
    weights, best, rest = (arrays.get(group, {}) for group in ("weights", "best", "training"))
    params, layer_state = _filled((template.params, template.layer_state), weights)
    best_params, best_state = _filled((template.params, template.layer_state), best)
    [(optimizer_state, step, loss, best_step, watch, path)] = _filled([_rest(template)], rest)
    found = Best(best_params, best_state, loss, best_step)
    return State(params, layer_state, optimizer_state, step, np.array(True), found, watch, path)


class _Rest(NamedTuple):
    optimizer: Any
    step: Any
    best_loss: Any
    best_step: Any
    watch: Watch
    path: Any


def _rest(state: State) -> _Rest:
    best = state.best
    return _Rest(state.optimizer_state, state.step, best.loss, best.step, state.watch, state.path)


def _weights(params: Any, layer_state: Any) -> dict[str, np.ndarray]:
    named = [_named(params), _named(layer_state)]
    assert named[0].keys().isdisjoint(named[1])  # noqa: S101 - a layer's variables have names of their own
    return named[0] | named[1]


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def _name(path: Sequence[Any]) -> str:
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def _filled(templates: Sequence[Any], named: Mapping[str, np.ndarray]) -> list[Any]:
    """The trees with the arrays of their names in the place of their leaves; all arrays must be used."""
    found, used = [], set()
    for template in templates:
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        chosen = []
        for path, leaf in leaves:
            name = _name(path)
            array = named.get(name)
            if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
                there = f"is {array.dtype} {list(array.shape)}" if array is not None else "is not there"
                raise InvalidValue(f"'{name}' {there}, not {leaf.dtype} {list(leaf.shape)}")
            chosen.append(array)
            used.add(name)
        found.append(jax.tree_util.tree_unflatten(structure, chosen))
    if extra := sorted(named.keys() - used):
        raise InvalidValue(f"there is no '{extra[0]}' in this model")
    return found
