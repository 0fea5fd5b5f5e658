"""Frozen layers, computed once: what they make of every example takes the place of the inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nnlab.system.imports import Array, jax
from nnlab.training.experiment import Experiment

BLOCK = 1024  # examples at once


def with_cached(experiment: Experiment) -> Experiment:
    """The experiment, its examples as its cached layers leave them; as it is where none are cached."""
    if not experiment.cached:
        return experiment
    head, _ = experiment.model.split_at(experiment.cached)
    params, state = jax.device_put(experiment.first_weights())
    key = jax.random.key(experiment.parts.seed)

    @jax.jit
    def outputs(params: Any, state: Any, inputs: Array) -> Array:
        return head.apply(params, state, inputs, key=key, train=False).value

    def computed(inputs: np.ndarray) -> np.ndarray:
        blocks = [inputs[first : first + BLOCK] for first in range(0, len(inputs), BLOCK)]
        return np.concatenate([np.asarray(outputs(params, state, block)) for block in blocks])

    parts = experiment.data.splits.items()
    found = {name: replace(part, inputs=computed(part.inputs)) for name, part in parts}
    return experiment._replace(data=experiment.data.with_splits(found))
