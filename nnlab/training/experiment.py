"""An experiment: a config bound to data, model and optimizer or solver. Nothing is compiled yet."""

from __future__ import annotations

import abc
import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.config.split_roles import selection_split
from nnlab.config.training_keys import Train
from nnlab.data.inputs import ByteInputs
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape, Tree
from nnlab.nn.model import Model, build_model
from nnlab.optim.metrics import Better, metric_columns
from nnlab.optim.parameter_groups import Optimizer
from nnlab.optim.solvers import Solver
from nnlab.optim.stopping import Stop
from nnlab.phenomena.layer_table import LAYER_PROBE
from nnlab.phenomena.probe import WEIGHT_PATH_POINTS, Probe
from nnlab.storage.checkpoints import Arrays
from nnlab.system.imports import Array
from nnlab.training.checks import (
    blame,
    check_data_and_model,
    check_memory,
    check_pruning,
    check_solver,
    check_streaming,
    check_training,
)
from nnlab.training.class_weights import class_weights
from nnlab.training.frozen_prefix import frozen_prefix
from nnlab.training.masks import given_mask
from nnlab.training.memory import FLOAT_BYTES, STREAMED_BYTES, Footprint
from nnlab.training.pretrained import NO_PRETRAINED_WEIGHTS, PretrainedWeights, load_pretrained
from nnlab.training.program import Components, build_components, group_key, traced_values
from nnlab.training.rounds import Rounds
from nnlab.training.turns import batch_size_of, task_starts, unreached_turns

MAXIMUM_STEPS = 2**31 - 1  # steps are counted in int32


@dataclass(frozen=True)
class Experiment(abc.ABC):
    """What a trained and a solved experiment have in common.

    Attributes:
        config: The checked config.
        plan: Its components, built.
        data: The examples by split.
        model: Set up for the data.
        pretrained: First weights that were trained before.
        batch_size: Examples of a step.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the whole training; 0 where the last layer is solved for.
        record_steps: Those of a round, ascending; its first and last among them.
    """

    config: Config
    plan: ExperimentPlan
    data: Data
    model: Model
    pretrained: PretrainedWeights
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    record_steps: list[int]

    def first_weights(self) -> tuple[Tree, Tree]:
        """Params and layer state before the first step, arrays of the host. Raises InvalidValue."""
        params, state = self.model.init(self.plan.seed)
        return self.pretrained.replace_in(params), self.pretrained.replace_in(state)

    @property
    @abc.abstractmethod
    def trained_parameters(self) -> int:
        """The number of parameters that are not frozen."""

    @property
    def record_count(self) -> int:
        """How many records there are."""
        return len(self.record_steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing of it."""
        return (*self.config.notes, *self.data.notes)

    @property
    def last_tables(self) -> set[str]:
        """The tables that are written once, after the training."""
        return {"predictions"}

    @functools.cached_property
    def metric_columns(self) -> dict[str, Better]:
        """The columns of metrics.csv that measure a split, and which values are better."""
        return metric_columns(self.plan.metrics, self.data.splits, self.data.train.classes)

    @property
    def selection_loss(self) -> str:
        """The loss that drives schedules: never that of the test set."""
        return f"{selection_split(self.data.splits)}_loss"

    @property
    def selection_metric(self) -> str:
        """What selects the best weights: the metric of a criterion that returns them, else that loss."""
        return self.plan.restoring_metric or self.selection_loss

    @functools.cached_property
    def class_weights(self) -> np.ndarray | tuple[()]:
        """Those of the loss, `[C]`; empty where it has none. Raises InvalidValue."""
        if self.plan.loss.class_weights is None:
            return ()
        return class_weights(self.plan.loss.class_weights, self.data.train)

    @property
    def stops(self) -> Sequence[Stop]:
        """The criteria that may stop the training."""
        return ()

    @functools.cached_property
    def streamed(self) -> bool:
        """Whether inputs stay in their file, and go to the device as they are needed."""
        return self.data.streamed

    @functools.cached_property
    def data_hash(self) -> str:
        """SHA-256 over every array of the data."""
        return self.data.hash

    @functools.cached_property
    def footprint(self) -> Footprint:
        """What the memory of its training depends on."""
        splits = self.data.splits.values()
        data_bytes = sum(part.inputs.nbytes + part.targets.nbytes for part in splits)
        examples = sum(map(len, splits))
        inputs = self.data.train.inputs
        if isinstance(inputs, ByteInputs):  # what a step takes, or a probe, becomes numbers
            at_once = any(probe.evaluates_all_examples for probe in _phenomena_probes(self.plan))
            numbers = math.prod(inputs.shape[1:]) * (examples if at_once else self.batch_size)
            data_bytes += inputs.table.nbytes + FLOAT_BYTES * numbers
        if self.streamed:  # those of this chunk and of the next one, and likewise of blocks
            data_bytes += 4 * STREAMED_BYTES
        if self.plan.metrics:  # they are computed from the outputs of all examples
            data_bytes += FLOAT_BYTES * examples * math.prod(self.model.setup.output_shape)
        return _footprint(self.plan, self.model, self.batch_size, examples, data_bytes)


@dataclass(frozen=True)
class SolvedExperiment(Experiment):
    """An experiment whose last layer is solved for in closed form: one record, at step 0.

    Attributes:
        solver: Finds the kernel of the last layer.
    """

    solver: Solver

    @property
    def trained_parameters(self) -> int:
        """The number of parameters of the last layer."""
        *_, (_, last) = self.model.setup.leaves()
        return last.count("params")


@dataclass(frozen=True)
class TrainedExperiment(Experiment):
    """An experiment that is trained step by step.

    Attributes:
        optimizer: How the weights follow the gradient.
        train: How long to train.
        rounds: How its steps are divided; into one round where nothing is pruned.
        frozen_prefix: How many layers, the first ones of the chain, are frozen and computed once.
    """

    optimizer: Optimizer
    train: Train
    rounds: Rounds
    frozen_prefix: int = 0

    @functools.cached_property
    def trained_model(self) -> Model:
        """The model without its frozen prefix."""
        return self.model.split_at(self.frozen_prefix)[1] if self.frozen_prefix else self.model

    @functools.cached_property
    def task_starts(self) -> list[int]:
        """The step at which each task begins, ascending; [0] without a sequence of tasks."""
        return task_starts(self.plan, self.rounds.steps)

    @property
    def trained_parameters(self) -> int:
        """The number of parameters of the layers that are not frozen."""
        leaves = self.model.setup.leaves()
        return sum(leaf.count("params") for path, leaf in leaves if not self.optimizer.frozen(path))

    @property
    def pruned_layers(self) -> dict[str, Shape]:
        """The layers of whose kernels weights are pruned, if any are, those that are trained, by the kernels'
        shapes."""
        kernels = {path: leaf.params.get("kernel") for path, leaf in self.model.setup.leaves()}
        return {p: kernel.shape for p, kernel in kernels.items() if kernel and not self.optimizer.frozen(p)}

    @functools.cached_property
    def given_mask(self) -> Arrays:
        """Which weights are there at first, by path of the kernel; empty for all. Raises InvalidValue."""
        return given_mask(self.plan.prune, self.pruned_layers)

    @property
    def stops(self) -> Sequence[Stop]:
        """The criteria that may stop the training."""
        return self.train.stop

    @functools.cached_property
    def probes(self) -> list[Probe]:
        """The probes of the layer table and of the phenomena."""
        layers = [LAYER_PROBE] if self.plan.record.layers else []
        return [*layers, *_phenomena_probes(self.plan)]

    @property
    def record_count(self) -> int:
        """How many records there are in a training that is not stopped early."""
        return self.rounds.records(self.record_steps)

    @property
    def keeps_path(self) -> bool:
        """Whether a probe needs the path of the weights."""
        return any(probe.needs_weight_path for probe in self.probes)

    @property
    def last_tables(self) -> set[str]:
        """The tables that are written once, after the training."""
        return {"predictions", *(probe.table for probe in self.probes if probe.record_at == "end")}

    @functools.cached_property
    def footprint(self) -> Footprint:
        """What the memory of its training depends on, the outputs of a frozen prefix included."""
        footprint = super().footprint
        if not self.frozen_prefix:
            return footprint
        shape = self.model.split_at(self.frozen_prefix)[0].setup.output_shape
        feature_bytes = FLOAT_BYTES * math.prod(shape) * footprint.examples
        return footprint._replace(data_bytes=footprint.data_bytes + feature_bytes)

    @functools.cached_property
    def traced_values(self) -> dict[str, float]:
        """The numbers that the compiled program takes as arguments, by their path in the config."""
        return traced_values(self.config)

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of its data, and what of learning rates, tasks and order the training is too short for."""
        schedules = self.optimizer.schedules
        steps = self.rounds.steps
        unreached = [schedule.unreached(steps, self.steps_per_epoch) for schedule in schedules]
        told = (f"learning_rate: {words} in a training of {steps:,}" for words in unreached if words)
        return (*super().notes, *dict.fromkeys(told), *unreached_turns(self.plan, steps))

    def build_components(self, values: Mapping[str, Array]) -> Components:
        """The components of the program.

        Args:
            values: What takes the place of its traced values, by path.
        """
        return build_components(self.config, values, self.data.train.inputs.shape[1:], self.frozen_prefix)

    @functools.cached_property
    def program_key(self) -> str:
        """Equal for two experiments that one compiled program serves."""
        shapes = {name: (p.inputs.shape, p.targets.shape, p.classes) for name, p in self.data.splits.items()}
        sizes = (self.batch_size, self.plan.data.batch_size, self.steps_per_epoch, self.total_steps)
        return f"{group_key(self.config)} {shapes} {sizes}"


def build_experiment(config: Config) -> Experiment:
    """Load the data, set up the model and check that all parts fit together.

    Args:
        config: A checked config.

    Returns:
        A `TrainedExperiment`, or a `SolvedExperiment` where the config has a solver.

    Raises:
        ConfigError: Two parts do not fit, or memory is short.
    """
    plan = config.build()
    with contextlib.suppress(InvalidValue):  # what is too large for one feature need not wait for the data
        check_memory(config, _footprint(plan, build_model(plan.model, (1,)), 1, 1, 0), "at least")
    with blame(config, "data"):
        data = plan.data.load(plan.seed)
        if not plan.loss.takes_targets:
            data = data.with_classes_as_values()
    with blame(config, "model"):
        model = build_model(plan.model, data.train.inputs.shape[1:], plan.precision.compute)
        model.check_initializers()
    if data.streamed:
        check_streaming(config, plan)
    check_data_and_model(config, plan, data, model)
    pretrained = _pretrained(config, plan, data, model)
    if plan.train is None:  # then there is a solver
        check_solver(config, model)
        size = len(data.train)
        return SolvedExperiment(config, plan, data, model, pretrained, size, 1, 0, [0], plan.solver)
    return _build_trained(config, plan, data, model, pretrained, plan.train)


def _build_trained(
    config: Config,
    plan: ExperimentPlan,
    data: Data,
    model: Model,
    pretrained: PretrainedWeights,
    train: Train,
) -> TrainedExperiment:
    batch_size = batch_size_of(config, plan, data)
    steps_per_epoch = max(1, len(data.train) // batch_size)
    check_training(config, plan, data, model, batch_size)
    round_steps = train.steps
    if round_steps is None:
        round_steps = max(1, round((train.epochs or 0.0) * steps_per_epoch))
    rounds = Rounds.of(round_steps, plan.prune)
    if rounds.total_steps >= MAXIMUM_STEPS:
        message = f"comes to {rounds.total_steps:.3g} steps; there can be fewer than {MAXIMUM_STEPS:,}"
        raise config.error(("train",), message)
    with blame(config, "record"):
        turns = [rounds.rewind, *task_starts(plan, round_steps)]
        record_steps = sorted({*plan.record.steps(round_steps, steps_per_epoch), *turns})
    experiment = TrainedExperiment(
        config=config,
        plan=plan,
        data=data,
        model=model,
        pretrained=pretrained,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        total_steps=rounds.total_steps,
        record_steps=record_steps,
        optimizer=plan.optimizer,
        train=train,
        rounds=rounds,
        frozen_prefix=frozen_prefix(config, plan, model),
    )
    if plan.prune is not None:
        check_pruning(config, plan.prune, list(experiment.pruned_layers), round_steps)
        with blame(config, "prune", "mask"):
            _ = experiment.given_mask
    check_memory(config, experiment.footprint, "about")
    with blame(config, "loss", "class_weights"):
        _ = experiment.class_weights
    return experiment


def _pretrained(config: Config, plan: ExperimentPlan, data: Data, model: Model) -> PretrainedWeights:
    """The first weights that the file asks for."""
    if plan.initialize is None:
        return NO_PRETRAINED_WEIGHTS
    with blame(config, "initialize"):
        return load_pretrained(plan.initialize, model.setup, data.train.inputs.shape[1:])


def _phenomena_probes(plan: ExperimentPlan) -> list[Probe]:
    return [probe for phenomenon in plan.run_phenomena for probe in phenomenon.probes]


def _footprint(plan: ExperimentPlan, model: Model, batch: int, examples: int, data: int) -> Footprint:
    slots = (plan.optimizer.slots if plan.optimizer else 0) + (plan.prune is not None)
    at_once = any(probe.evaluates_all_examples for probe in _phenomena_probes(plan))
    path = WEIGHT_PATH_POINTS * any(probe.needs_weight_path for probe in _phenomena_probes(plan))
    return Footprint(model.setup, slots, batch, examples, data, plan.record.layers, at_once, path)
