"""A frozen prefix of the model, computed once: its outputs for each example take the place of the inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnlab.data.inputs import Inputs
from nnlab.nn.layer import Tree
from nnlab.system.imports import Array, jax
from nnlab.training.experiment import TrainedExperiment

BLOCK_EXAMPLES = 1024  # computed at once


def with_frozen_features(experiment: TrainedExperiment) -> TrainedExperiment:
    """The experiment with the outputs of its frozen prefix as inputs; unchanged where it has none."""
    if not experiment.frozen_prefix:
        return experiment
    prefix, _ = experiment.model.split_at(experiment.frozen_prefix)
    params, state = jax.device_put(experiment.first_weights())
    key = jax.random.key(experiment.plan.seed)

    @jax.jit
    def outputs(params: Tree, state: Tree, inputs: Array) -> Array:
        with jax.default_matmul_precision(experiment.plan.precision.matmul):
            return prefix.apply(params, state, inputs, key=key, train=False).value

    def features(inputs: Inputs) -> np.ndarray:
        blocks = [inputs[first : first + BLOCK_EXAMPLES] for first in range(0, len(inputs), BLOCK_EXAMPLES)]
        return np.concatenate([np.asarray(outputs(params, state, np.asarray(block))) for block in blocks])

    splits = experiment.data.splits.items()
    computed = {name: replace(part, inputs=features(part.inputs)) for name, part in splits}
    return replace(experiment, data=experiment.data.with_splits(computed))
