"""Which weights are pruned between two rounds of a training, and what the next one begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.config.training_keys import Prune
from nnlab.nn.layer import Tree, path_matches
from nnlab.optim.parameter_groups import layer_of
from nnlab.phenomena.probe import subtree
from nnlab.system.imports import jax
from nnlab.system.random import generator
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.masks import masked
from nnlab.training.state import Mask, RoundMemory, State


class RoundStart(NamedTuple):
    """What a round begins with, arrays of the host.

    Attributes:
        params: The weights.
        layer_state: What the layers carry along.
        mask: Which weights are left; empty where none is ever pruned.
        memory: What the rounds after it need of those before.
    """

    params: Tree
    layer_state: Tree
    mask: Mask = {}  # noqa: RUF012 - never changed
    memory: RoundMemory = RoundMemory()


def first_round(experiment: TrainedExperiment) -> RoundStart:
    """What a training begins with; every weight is there, unless a mask is given."""
    params, layer_state = experiment.first_weights()
    prune = experiment.plan.prune
    if prune is None:
        return RoundStart(params, layer_state)
    kernels = _kernels(experiment, params)
    every: dict[str, Any] = {name: np.ones(kernel.shape, bool) for name, kernel in kernels.items()}
    mask = every | dict(experiment.given_mask)
    sizes: dict[str, Any] = {name: np.zeros_like(kernel) for name, kernel in kernels.items()}
    rewound = () if prune.rewind is None else (params, layer_state)
    memory = RoundMemory(rewound, sizes if prune.criterion == "one_shot" else {})
    return RoundStart(masked(params, mask), layer_state, mask, memory)


def with_rewind_point(state: State) -> State:
    """A state of the host with its weights as those that later rounds go back to."""
    point = jax.tree.map(np.copy, (state.params, state.layer_state))
    return state._replace(memory=state.memory._replace(rewind=point))


def next_round(experiment: TrainedExperiment, state: State, number: int) -> RoundStart:
    """Prune at the end of a round, and go back to what the next one begins with.

    Args:
        experiment: The experiment.
        state: At that end, of the host.
        number: Of the next round, from 1 on.
    """
    prune, memory, seed = experiment.plan.prune, state.memory, experiment.plan.seed
    assert prune is not None  # noqa: S101 - else there is no next round
    kernels = _kernels(experiment, state.params)
    if prune.criterion == "one_shot" and number == 1:
        first_sizes: dict[str, Any] = {name: np.abs(kernel) for name, kernel in kernels.items()}
        memory = memory._replace(sizes=first_sizes)
    mask: dict[str, Any] = {}
    for name, left in state.mask.items():
        sizes = np.asarray(memory.sizes[name] if memory.sizes else np.abs(kernels[name]))
        if prune.criterion == "random":
            sizes = generator(seed, "prune", name, number).random(left.shape)
        mask[name] = without_smallest(np.asarray(left), sizes, fraction_of(prune, name.rpartition("/")[0]))
    params, layer_state = memory.rewind or (state.params, state.layer_state)
    is_last = number == experiment.rounds.prunings
    if is_last and prune.last_round == "shuffled":
        for name, left in mask.items():
            mask[name] = generator(seed, "shuffle", name).permutation(left.ravel()).reshape(left.shape)
    if is_last and prune.last_round == "redrawn":
        params, layer_state = _redrawn(experiment, params, layer_state)
    return RoundStart(masked(params, mask), layer_state, mask, memory)


def without_smallest(left: np.ndarray, sizes: np.ndarray, fraction: float) -> np.ndarray:
    """A mask without a fraction of its weights, the smallest; of several as small, the first ones.

    Args:
        left: The mask.
        sizes: Of each weight.
        fraction: How many go, of those that are left, rounded to a whole number; one always stays.
    """
    places = np.flatnonzero(left)
    order = np.argsort(sizes.ravel()[places], kind="stable")
    kept = left.ravel().copy()
    kept[places[order[: min(round(fraction * len(places)), len(places) - 1)]]] = False
    return kept.reshape(left.shape)


def fraction_of(prune: Prune, path: str) -> float:
    """How many of a layer's weights go each time, of those that are left."""
    matching = (share for pattern, share in prune.layers.items() if path_matches(path, [pattern]))
    return next(matching, prune.fraction)


def _kernels(experiment: TrainedExperiment, params: Tree) -> dict[str, np.ndarray]:
    """The kernels that are trained, by path."""
    return {f"{path}/kernel": subtree(params, path)["kernel"] for path in experiment.pruned_layers}


def _redrawn(experiment: TrainedExperiment, params: Tree, layer_state: Tree) -> tuple[Tree, Tree]:
    """New first weights, drawn as the first ones were, of all layers that are trained."""
    drawn = experiment.model.init(int(generator(experiment.plan.seed, "redraw").integers(2**32)))

    def unless_frozen(path: Sequence[Any], new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return old if experiment.optimizer.frozen(layer_of(path)) else new

    new_params, new_state = (
        jax.tree_util.tree_map_with_path(unless_frozen, new, old)
        for new, old in zip(drawn, (params, layer_state), strict=True)
    )
    return new_params, new_state
