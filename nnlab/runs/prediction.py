"""The model of a finished run on new inputs."""

from __future__ import annotations

import dataclasses
import functools
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnlab.config import Config
from nnlab.errors import InvalidValue, UsageError
from nnlab.runs.generation import Writer
from nnlab.storage.checkpoints import Arrays
from nnlab.storage.results import read_json
from nnlab.system import device
from nnlab.text import one_line
from nnlab.training.blocks import EvalBlocks
from nnlab.training.cost import step_flops
from nnlab.training.experiment import Experiment, build_experiment
from nnlab.training.pretrained import weights_of_run
from nnlab.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Predictor:
    """Weights and predictions of the run in a directory. Data and model are built at the first prediction,
    and a program is compiled for each size of a block of examples."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config = path, config

    def weights(self) -> dict[str, np.ndarray]:
        """See `Run.weights`."""
        return {name: self._weights[name].copy() for name in sorted(self._weights)}

    def predict(self, inputs: ArrayLike) -> np.ndarray:
        """See `Run.predict`."""
        experiment, model = self._experiment, self._model
        examples = self._examples(inputs)
        size = max(1, min(len(examples), EvalBlocks.of(experiment).block_size))
        missing = -len(examples) % size
        padding = np.zeros((missing, *examples.shape[1:]), np.float32)
        blocks = np.concatenate([examples, padding]).reshape(-1, size, *examples.shape[1:])
        outputs = [model(block) for block in blocks]
        shape = (0, *experiment.model.setup.output_shape)
        return np.concatenate([np.zeros(shape, np.float32), *outputs])[: len(examples)]

    def sample(self, count: int, seed: int) -> np.ndarray:
        """See `Run.sample`."""
        whole = isinstance(count, Integral) and isinstance(seed, Integral)
        if not whole or count < 1 or not 0 <= seed < 2**32:
            raise UsageError("sample takes whole numbers, a count of 1 or more and a seed from 0 to 2^32 - 1")
        try:
            examples = self._model.sample(count, seed)
        except InvalidValue as error:
            raise UsageError(f"{self.path}: {error}") from None
        return examples.reshape(count, *self._experiment.data.train.inputs.shape[1:])

    @functools.cached_property
    def writer(self) -> Writer:
        """What the model of a text writes. Raises UsageError where the run is of none."""
        return Writer(self.path, self.config, self._weights)

    @functools.cached_property
    def _weights(self) -> Arrays:
        try:
            return weights_of_run(self.path)
        except InvalidValue as error:
            raise UsageError(str(error)) from None

    @functools.cached_property
    def _model(self) -> TrainedModel:
        return TrainedModel(self._experiment.plan, self._experiment.model, self._weights)

    @functools.cached_property
    def _experiment(self) -> Experiment:
        """The experiment without weights or a mask of another run, which may be gone. Raises NnlabError."""
        tree = self.config.tree | {"initialize": None, "prune": None}
        experiment = build_experiment(dataclasses.replace(self.config, tree=tree))
        recorded = read_json(self.path / "environment.json").get("data_sha256")
        if recorded != experiment.data_hash:
            raise UsageError(
                f"{self.path}: its data have changed since; inputs cannot be scaled as they were"
            )
        device.configure(step_flops=step_flops(experiment))
        return experiment

    def _examples(self, inputs: ArrayLike) -> np.ndarray:
        """Inputs as the model was trained on: scaled, then float32. Raises UsageError."""
        data = self._experiment.data
        expected = data.train.inputs.shape[1:]
        try:
            examples = np.asarray(inputs, np.float64)
        except (TypeError, ValueError) as error:
            reason = one_line(str(error))
            raise UsageError(f"{self.path}: the inputs are no array of numbers: {reason}") from None
        if examples.ndim == 0 or examples.shape[1:] != expected:
            wanted = ", ".join(["N", *map(str, expected)])
            raise UsageError(
                f"{self.path}: the inputs have the shape {list(examples.shape)}; the model takes [{wanted}]"
            )
        return data.scale(examples)
