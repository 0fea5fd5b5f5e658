"""Lanes: experiments of one program, trained side by side as one vmapped program."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import numpy as np

from nnlab.data.inputs import ByteInputs, Inputs
from nnlab.errors import InvalidValue
from nnlab.phenomena.probe import WEIGHT_PATH_POINTS
from nnlab.system.imports import Array, PyTree, jax
from nnlab.training.arguments import Arguments
from nnlab.training.blocks import EvalBlocks, read_stored
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.frozen_features import with_frozen_features
from nnlab.training.memory import FLOAT_BYTES
from nnlab.training.placement import Placement
from nnlab.training.processes import agree
from nnlab.training.pruning import RoundStart, first_round, next_round, with_rewind_point
from nnlab.training.rounds import Leg
from nnlab.training.state import (
    ArrayGroups,
    Best,
    MonitorState,
    ResumePoint,
    State,
    WeightHistory,
    restore_state,
)

Tree = TypeVar("Tree")
P = ParamSpec("P")
R = TypeVar("R")


class Lanes:
    """Experiments side by side: trees of each become one of all, with a leading axis where there are several.

    Attributes:
        experiments: One for each lane, all of one program.
        lead: The first of them, which stands for all where they are alike.
        count: Their number.
        shares_data: Whether all train on the same data, which is then on a device once.
        table_shape: Of what bytes stand for, where the inputs of all are bytes and stay so on the device.
        streamed: Whether inputs go to the device as they are needed.
        placement: The devices, and what is divided among them.
    """

    def __init__(self, experiments: Sequence[TrainedExperiment]) -> None:
        self.experiments, self.lead = experiments, experiments[0]
        self.count = len(experiments)
        same_data = len({e.data_hash for e in experiments}) == 1 and not self.lead.frozen_prefix
        self.shares_data = self.count == 1 or same_data
        self.streamed = any(experiment.streamed for experiment in experiments)
        shapes = {_table_shape(experiment.data.train.inputs) for experiment in experiments}
        self.table_shape = shapes.pop() if len(shapes) == 1 and not self.lead.frozen_prefix else None
        self.placement = Placement.of(self.lead, self.count)

    @property
    def as_bytes(self) -> bool:
        """Whether inputs are bytes on the device."""
        return self.table_shape is not None

    @property
    def example_bytes(self) -> int:
        """Bytes of the inputs of an example on the device."""
        values = math.prod(self.lead.data.train.inputs.shape[1:])
        return values if self.as_bytes else FLOAT_BYTES * values

    def stack(self, trees: Sequence[PyTree]) -> PyTree:
        """One tree of all lanes, from that of each, and the last one's again for devices without a lane."""
        if self.count == 1:
            return trees[0]
        filled = [*trees, *[trees[-1]] * (-self.count % self.placement.lane_multiple)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)

    def split(self, tree: Tree) -> list[Tree]:
        """The tree of each lane, from that of all."""
        return [self.part(tree, lane) for lane in range(self.count)]

    def part(self, tree: Tree, lane: int) -> Tree:
        """The tree of one lane, from that of all."""
        return tree if self.count == 1 else jax.tree.map(lambda leaf: leaf[lane], tree)

    def vmap(self, function: Callable[P, R], in_axes: tuple[PyTree, ...]) -> Callable[P, R]:
        """The function over all lanes; in_axes: which arguments have a lane axis, see `jax.vmap`."""
        if self.count == 1:
            return function
        return self.placement.spread(jax.vmap(function, in_axes=in_axes), in_axes)

    @functools.cached_property
    def arguments(self) -> Arguments:
        """The program's arguments, on the devices."""
        blocks = EvalBlocks.of(self.lead)
        sources = self.experiments[:1] if self.shares_data else self.experiments
        data = [blocks.arrange(with_frozen_features(each), self.as_bytes, self.streamed) for each in sources]
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and the run diverges
            values = [{k: np.float32(v) for k, v in e.traced_values.items()} for e in self.experiments]
        put = self.placement.put
        return Arguments(
            put(self.stack([np.uint32(e.plan.seed) for e in self.experiments])),
            put(self.stack(values)),
            put(self.stack([first_round(e).params for e in self.experiments])),
            put(data[0], by_lane=False) if self.shares_data else put(self.stack(data)),
            put(self.stack([e.class_weights for e in self.experiments])),
        )

    def read_batches(self, rows: Sequence[np.ndarray], count: int) -> np.ndarray | Array | tuple[()]:
        """The inputs of batches as they are stored, `[T, B, ...]`, of lanes with an axis in front; an empty
        tuple where they are on the device.

        Args:
            rows: Of the examples of each lane, `[T, B]`.
            count: How many batches are read; what follows them is any.
        """
        if not self.streamed:
            return ()
        shape, dtype = self.lead.data.train.inputs.shape[1:], np.uint8 if self.as_bytes else np.float32
        batches = []
        for experiment, order in zip(self.experiments, rows, strict=True):
            chosen = order[:count].reshape(-1)
            read = np.empty((order.size, *shape), dtype)
            read_stored(experiment.data.train.inputs[chosen], self.as_bytes, read[: len(chosen)])
            batches.append(read.reshape(*order.shape, *shape))
        return self.placement.put_early(self.stack(batches))

    def first_states(self, init: Callable[[PyTree], PyTree]) -> State:
        """The states before the first step.

        Args:
            init: params -> optimizer state, of all lanes.
        """
        return self._states_at(0, [first_round(e) for e in self.experiments], init)

    def next_states(self, leg: Leg, state: State, init: Callable[[PyTree], PyTree]) -> State:
        """The states at the beginning of a leg, from those at the end of the one before it.

        Args:
            leg: Not the first one.
            state: The states, of all lanes.
            init: See `first_states`.
        """
        states = self.split(jax.device_get(state))
        if not leg.round:
            return self.placement.put(self.stack([with_rewind_point(each) for each in states]))
        pairs = zip(self.experiments, states, strict=True)
        return self._states_at(leg.start, [next_round(e, s, leg.round) for e, s in pairs], init)

    def _states_at(self, begun: int, starts: Sequence[RoundStart], init: Callable[[PyTree], PyTree]) -> State:
        """The states at the beginning of a round, at the step `begun` of it; the optimizer starts anew."""
        params, layer_state, mask, memory = (
            self.stack([start[part] for start in starts]) for part in range(len(RoundStart._fields))
        )
        memory = jax.tree.map(np.copy, memory)  # each array is given away by itself
        step = self.stack([np.array(begun, np.int32)] * self.count)
        finite = self.stack([np.array(True)] * self.count)
        cost = self.stack([np.array(np.inf, np.float32)] * self.count)
        best = jax.tree.map(np.copy, Best(params, layer_state, cost, step))
        monitors = self.stack([_first_monitors(e) for e in self.experiments])
        path = self.stack([_empty_path(e) for e in self.experiments])
        average = () if self.lead.optimizer.average is None else jax.tree.map(np.copy, params)
        state = State(params, layer_state, (), step, finite, best, monitors, path, average, mask, memory)
        state = self.placement.put(state)
        return state._replace(optimizer_state=init(state.params))

    def restored_states(self, resume_points: Sequence[ResumePoint], template: State) -> State:
        """The states at which the lanes go on.

        Args:
            resume_points: One for each lane; none in a process that is told by another.
            template: The states before the first step.

        Raises:
            InvalidValue: A resume point belongs to another model.
        """
        states = self.split(jax.device_get(template))
        if resume_points:
            states = [restore_state(p.arrays(), like) for p, like in zip(resume_points, states, strict=True)]
        return self.placement.put(agree(self.stack(states)))


def validate_state(experiment: TrainedExperiment, arrays: ArrayGroups, step: int) -> None:
    """Check that a state kept as arrays is one of this experiment's, at a step.

    Raises:
        InvalidValue: It belongs to another one.
    """
    init = experiment.optimizer.init
    template = Lanes([experiment]).first_states(lambda params: jax.eval_shape(init, params))
    if restore_state(arrays, template).step != experiment.rounds.legs(step)[0].start:
        raise InvalidValue("its rounds have other lengths")


def _table_shape(inputs: Inputs) -> tuple[int, ...] | None:
    return inputs.table.shape if isinstance(inputs, ByteInputs) else None


def _first_monitors(experiment: TrainedExperiment) -> MonitorState:
    """What schedules and stopping criteria remember before the first record."""
    schedules = tuple(schedule.init() for schedule in experiment.optimizer.schedules)
    stops = tuple(stop.init() for stop in experiment.stops)
    stopped: PyTree = np.zeros((), np.int32)
    return MonitorState(schedules, stops, stopped)


def _empty_path(experiment: TrainedExperiment) -> WeightHistory | tuple[()]:
    weights = experiment.model.setup.count("params")
    return WeightHistory.empty(WEIGHT_PATH_POINTS, weights) if experiment.keeps_path else ()
