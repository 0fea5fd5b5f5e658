"""A model with the weights that came out of a training, as a function of its inputs."""

from __future__ import annotations

import numpy as np

from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.nn.layer import Shape, Tree
from nnlab.nn.model import Model, build_model
from nnlab.storage.checkpoints import Arrays
from nnlab.system.imports import Array, jax
from nnlab.training.pretrained import PretrainedWeights


class TrainedModel:
    """The model in evaluation mode. A program is compiled for each number of inputs."""

    def __init__(self, plan: ExperimentPlan, model: Model, arrays: Arrays) -> None:
        """Put weights, and the layers' running averages, in the place of the model's own.

        Args:
            plan: The components of its experiment.
            model: Set up for its inputs.
            arrays: By path, such as dense_1/kernel.
        """

        def outputs(params: Tree, state: Tree, inputs: Array) -> Array:
            with jax.default_matmul_precision(plan.precision.matmul):
                return model.apply(params, state, inputs, key=jax.random.key(plan.seed), train=False).value

        def sample(params: Tree, state: Tree, seed: Array, count: int) -> Array:
            with jax.default_matmul_precision(plan.precision.matmul):
                return model.sample(params, state, jax.random.key(seed), count)

        weights, (params, state) = PretrainedWeights(arrays, ""), model.init(plan.seed)
        self.weights = weights.replace_in(params), weights.replace_in(state)
        self.program = jax.jit(outputs)
        self.draws = jax.jit(sample, static_argnums=3)

    @classmethod
    def of_shape(cls, plan: ExperimentPlan, input_shape: Shape, arrays: Arrays) -> TrainedModel:
        """The model for inputs of a shape, where there are no data to set it up for."""
        return cls(plan, build_model(plan.model, input_shape, plan.precision.compute), arrays)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """The outputs `[B, ...]` for inputs `[B, ...]`, which are scaled as in training."""
        return np.asarray(self.program(*self.weights, inputs))

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Examples that the model draws, see `Model.sample`. Raises InvalidValue where it draws none."""
        return np.asarray(self.draws(*self.weights, np.uint32(seed), count))
