"""The straight line between two sets of weights, and what the model is worth along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab.nn.permutation import matched_units
from nnlab.storage.checkpoints import Arrays
from nnlab.system.imports import Array, jax
from nnlab.training.chunk import build_core
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.lanes import Lanes
from nnlab.training.pretrained import PretrainedWeights
from nnlab.training.state import State

if TYPE_CHECKING:
    from nnlab.nn.layer import Tree
    from nnlab.training.arguments import Arguments


class _End(NamedTuple):
    """An end of a line.

    Attributes:
        params: Its weights by layer.
        layer_state: The running averages of its normalizations.
    """

    params: Tree
    layer_state: Tree


class Lines:
    """Evaluates models along lines; what is compiled for one serves the others of the same program."""

    def __init__(self) -> None:
        self._programs: dict[str, Callable[..., Mapping[str, Array]]] = {}

    def between(
        self, experiment: TrainedExperiment, start: Arrays, end: Arrays, shares: np.ndarray, match: bool
    ) -> dict[str, np.ndarray]:
        """Losses, accuracies and metrics at points of a line.

        Args:
            experiment: Of the model and the data; nothing of it is computed once or streamed.
            start: The arrays that the line begins at, by path.
            end: Those that it leads to.
            shares: `[P]`, how far the points lie on the way, 0 to 1.
            match: Whether the units of `end` are matched to those of `start` first.

        Returns:
            `[P]` by column of the table `metrics`, in its order.

        Raises:
            InvalidValue: Units are to be matched in a model that is no chain of dense layers.
        """
        lanes = Lanes([experiment])
        template = lanes.first_states(lambda params: ())
        first, last = (_end_of(arrays, template) for arrays in (start, end))
        if match:
            last = last._replace(params=matched_units(experiment.model.setup, first.params, last.params))
        if experiment.program_key not in self._programs:
            self._programs[experiment.program_key] = jax.jit(_measures(experiment))
        measure = self._programs[experiment.program_key]
        found = jax.device_get(measure(lanes.arguments, template, first, last, shares.astype(np.float32)))
        return {column: found[column] for column in experiment.metric_columns}


def _end_of(arrays: Arrays, template: State) -> _End:
    params, layer_state = jax.device_get((template.params, template.layer_state))
    weights = PretrainedWeights(arrays, "")
    return _End(weights.replace_in(params), weights.replace_in(layer_state))


def _measures(experiment: TrainedExperiment) -> Callable[..., Mapping[str, Array]]:
    """(arguments, any state, start, end, shares) -> the columns, of an experiment's program."""

    def measure(
        arguments: Arguments, template: State, start: _End, end: _End, shares: Array
    ) -> Mapping[str, Array]:
        evaluator = build_core(experiment, arguments).evaluator

        def at(share: Array) -> Mapping[str, Array]:
            def between(a: Array, b: Array) -> Array:
                return (1.0 - share) * a + share * b

            point = jax.tree.map(between, start, end)
            return evaluator.metrics(template._replace(average=(), **point._asdict()))

        with jax.default_matmul_precision(experiment.plan.precision.matmul):
            return jax.lax.map(at, shares)

    return measure
