"""The pure functions that training is made of, to be compiled.

`Steps.chunk` runs a whole chunk: a loop over segments, each of which first looks (evaluates all splits, and
takes one step with the probes on it) and then takes plain steps up to the segment's end. Where segments end
is data, not shape, so any schedule of records is the same program, and how a training is cut into chunks
does not change its numbers. So are the seed and the traced numbers of the config (learning rate, weight
decay): a sweep over them compiles once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nnlab.data import augment
from nnlab.data.examples import Examples
from nnlab.nn.layer import Output, TrainUnlessFrozen
from nnlab.nn.model import build_model
from nnlab.optim.parameter_groups import layer_of
from nnlab.optim.schedules import Time
from nnlab.phenomena.probe import Batch, Snapshot, WeightPath
from nnlab.system import device
from nnlab.system.imports import Array, jax, jnp
from nnlab.training.experiment import Experiment
from nnlab.training.memory import BLOCK_VALUES
from nnlab.training.state import State, Watch

AUGMENTING = 2**31  # of a step's keys, the augmentations'; those of the layers count from 0
# of a block, at most, that convolutions see on CPU: of more, XLA copies the windows over and over, and
# an example takes up to ten times as long
CONVOLVED = 32
BLOCK_COST = 64  # each block of evaluation costs as much as this many more examples


def ravelled(tree: Any) -> tuple[Array, Callable[[Array], Any]]:
    """All arrays of a tree in one, `[P]`, and how to get the tree back."""
    from jax.flatten_util import ravel_pytree

    return ravel_pytree(tree)


class Arguments(NamedTuple):
    """What a program takes beside its state: seed, traced numbers by path, first weights, examples."""

    seed: Any
    numbers: Any
    initial: Any
    data: Any


class EvalBlocks(NamedTuple):
    """How the examples of all splits lie in one array: each split filled up to whole blocks of `block`.

    spans: split -> (first block, number of blocks, number of examples).
    """

    block: int
    spans: Mapping[str, tuple[int, int, int]]

    @classmethod
    def of(cls, experiment: Experiment) -> EvalBlocks:
        counts = {name: len(part) for name, part in experiment.data.splits.items()}
        setup = experiment.model.setup
        most = max(1, BLOCK_VALUES // max(1, setup.values_per_example))
        if device.is_cpu() and any(leaf.workspace_values for _, leaf in setup.leaves()):
            most = min(most, CONVOLVED)
        sizes = {min(most, -(-count // parts)) for count in counts.values() for parts in range(1, 9)}

        def cost(size: int) -> int:
            return sum(-(-count // size) * (size + BLOCK_COST) for count in counts.values())

        block = min(sorted(sizes), key=cost)
        spans, first = {}, 0
        for name, count in counts.items():
            spans[name] = (first, -(-count // block), count)
            first += spans[name][1]
        return cls(block, spans)

    @property
    def blocks(self) -> int:
        return sum(blocks for _, blocks, _ in self.spans.values())


class DeviceData(NamedTuple):
    """Examples on the device, the training examples first: inputs `[R, ...]`, targets `[R, ...]`, and which
    rows are examples, `[R]`."""

    inputs: Any
    targets: Any
    real: Any

    @classmethod
    def of(cls, experiment: Experiment, layout: EvalBlocks) -> DeviceData:
        parts = experiment.data.splits

        def filled(what: Callable[[Examples], np.ndarray]) -> np.ndarray:
            rows = []
            for name, (_, blocks, count) in layout.spans.items():
                array = what(parts[name])
                fill = np.zeros((blocks * layout.block - count, *array.shape[1:]), array.dtype)
                rows += [array, fill]
            return np.concatenate(rows)

        return cls(
            filled(lambda e: e.inputs), filled(lambda e: e.targets), filled(lambda e: np.ones(len(e), bool))
        )


def whole(trained: Any, rest: Any) -> Any:
    """A tree by layers: `trained`, and where that has None, the leaves of `rest`."""

    def chosen(leaf: Any, other: Any) -> Any:
        return other if leaf is None else leaf

    return jax.tree.map(chosen, trained, rest, is_leaf=lambda leaf: leaf is None)


class Steps:
    """The pure functions that training is made of.

    arguments: what the program takes, traced or not.
    """

    def __init__(self, experiment: Experiment, arguments: Arguments) -> None:
        self.arguments = arguments
        parts = experiment.parts_with(arguments.numbers)
        net = build_model(parts["model"], experiment.data.train.inputs.shape[1:])
        self.cached = experiment.cached
        self.model = net.split_at(self.cached)[1] if self.cached else net
        self.loss, self.regularizers, self.constraints, self.augment = (
            parts[key] for key in ("loss", "regularizers", "constraints", "augment")
        )
        self.optimizer, self.stops = parts["optimizer"], experiment.stops
        self.direction = self.optimizer.gradient_transform()
        self.layout = EvalBlocks.of(experiment)
        self.total_steps, self.steps_per_epoch = experiment.total_steps, experiment.steps_per_epoch
        self.classes = experiment.data.train.classes
        self.selection_metric = experiment.selection_metric
        self.restores = any(stop.restores for stop in self.stops)
        self.layers = experiment.parts.record.layers
        self.keeps_path = experiment.keeps_path
        self.probes = {
            when: [probe for probe in experiment.probes if probe.record_at == when]
            for when in ("every_record", "start", "end")
        }

    def take(self, state: State, batch: Batch) -> tuple[State, Snapshot]:
        """One step of training, and what could be seen of it."""
        key = jax.random.fold_in(jax.random.key(self.arguments.seed), state.step)
        train = TrainUnlessFrozen(self.optimizer.frozen) if self.optimizer.groups else True
        weights = self.optimizer.trained(state.params)
        drawn = jax.random.fold_in(key, AUGMENTING)
        seen = augment.apply_augmentations(self.augment, drawn, batch.inputs)

        def mean_loss(trained: Any) -> tuple[Array, tuple[Output, Array]]:
            params = whole(trained, state.params)
            output = self.model.apply(params, state.layer_state, seen.inputs, key=key, train=train)
            loss = self.mixed_loss(output.value, batch.targets, seen).mean()
            return loss + sum(penalty(params) for penalty in self.regularizers), (output, loss)

        (loss, (output, batch_loss)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(weights)
        direction, optimizer_state = self.direction.update(gradients, state.optimizer_state, weights)
        moved, changes = self.moved(state, weights, direction)
        finite = jnp.isfinite(loss)
        step = state.step + finite.astype(jnp.int32)
        params = whole(moved, state.params)
        layer_state = {**state.layer_state, **output.state}  # of cached layers there is none
        after = state._replace(
            params=params, layer_state=layer_state, optimizer_state=optimizer_state, step=step, finite=finite
        )
        still = jax.tree.map(jnp.zeros_like, state.params)
        return after, self.snapshot(state)._replace(
            gradients=whole(gradients, still),
            updates=whole(changes, still),
            intermediates=output.intermediates,
            batch_loss=batch_loss,
        )

    def mixed_loss(self, outputs: Array, targets: Array, seen: augment.Augmented) -> Array:
        """The loss of each example, `[B]`, where another may be mixed into it."""
        losses = self.loss.per_example(outputs, targets)
        if seen.partner is None or seen.share is None:
            return losses
        others = self.loss.per_example(outputs, targets[seen.partner])
        return (1.0 - seen.share) * losses + seen.share * others

    def snapshot(self, state: State) -> Snapshot:
        """What can be seen without a step."""

        def evaluate(params: Any, inputs: Array) -> Output:
            return self.evaluated(state._replace(params=params), inputs)

        return Snapshot(
            params=state.params,
            initial_params=self.arguments.initial,
            gradients={},
            updates={},
            intermediates={},
            batch_loss=jnp.full((), jnp.nan),
            examples=self.examples(),
            evaluate=evaluate,
            augment=lambda key, inputs: augment.apply_augmentations(self.augment, key, inputs).inputs,
            loss=self.loss,
            key=jax.random.key(self.arguments.seed),
            weight_path=self.path(state) if self.keeps_path else None,
        )

    def path(self, state: State) -> WeightPath:
        """Where the weights were, and last where they come out."""
        past, (end, tree) = state.path, ravelled(self.restore_best(state).params)
        step = state.best.step if self.restores else state.step
        kept = jnp.arange(past.steps.shape[0]) < past.count
        return WeightPath(
            jnp.concatenate([past.weights, end[None]]),
            jnp.append(past.steps, step),
            jnp.append(kept, True),
            tree,
        )

    def moved(self, state: State, weights: Any, direction: Any) -> tuple[Any, Any]:
        """Weights after a step in a direction, and what it adds to them; none of them are frozen."""
        rate = self.optimizer.rates(state.watch.schedules, self.time(state))

        def change(path: Any, towards: Array) -> Array:
            return -rate(layer_of(path)) * towards

        changes = jax.tree_util.tree_map_with_path(change, direction)
        moved = jax.tree.map(jnp.add, weights, changes)
        if self.constraints:
            moved = jax.tree_util.tree_map_with_path(self.constrained, moved)
            changes = jax.tree.map(jnp.subtract, moved, weights)
        return moved, changes

    def constrained(self, path: Any, weights: Array) -> Array:
        """Weights as the constraints leave them: kernels are what they are for."""
        if path[-1].key == "kernel":
            for constraint in self.constraints:
                weights = constraint(weights)
        return weights

    def time(self, state: State) -> Time:
        return Time(state.step, self.total_steps, self.steps_per_epoch)

    def watched(self, watch: Watch, metrics: Mapping[str, Array], time: Time) -> Watch:
        """What is remembered after one more record."""
        pairs, loss = (
            zip(self.optimizer.schedules, watch.schedules, strict=True),
            metrics[self.selection_metric],
        )
        schedules = tuple(schedule.update(memory, loss, time) for schedule, memory in pairs)
        seen = [stop.update(m, metrics) for stop, m in zip(self.stops, watch.stops, strict=True)]
        stopped = watch.stopped
        for number, (_, ends) in enumerate(seen, 1):
            stopped = jnp.where((stopped == 0) & ends, number, stopped)
        return Watch(schedules, tuple(memory for memory, _ in seen), stopped)

    def look(self, state: State, batch: Callable[[], Batch]) -> tuple[State, Any]:
        """What is recorded at a step: metrics of all splits and the probes' tables. The probes need the step
        to be taken; without them it is left to be taken as a plain one."""
        evaluated = self.evaluate(state)
        state = state._replace(watch=self.watched(state.watch, evaluated, self.time(state)))
        rate = self.optimizer.learning_rate.rate(state.watch.schedules[0], self.time(state))
        metrics = {"learning_rate": rate, **evaluated}
        if not self.layers or self.cached:  # else it is summed up from theirs
            metrics["weight_norm"] = jnp.sqrt(sum(jnp.square(w).sum() for w in jax.tree.leaves(state.params)))
        if not self.probes["every_record"]:
            return state, {"step": state.step, "tables": {"metrics": metrics}}
        after, snapshot = self.take(state, batch())
        tables = {"metrics": metrics} | self.measured("every_record", snapshot)
        return after, {"step": state.step, "tables": tables}

    def start(self, state: State, rows: Array) -> Any:
        """The tables of the probes that look at step 0 only."""
        _, snapshot = self.take(state, self.batch(rows))
        return self.measured("start", snapshot)

    def end(self, state: State) -> Any:
        """The tables of the probes that look at the weights that come out of the training."""
        return self.measured("end", self.snapshot(self.restore_best(state)))

    def measured(self, when: str, snapshot: Snapshot) -> dict[str, dict[str, Array]]:
        tables: dict[str, dict[str, Array]] = {}
        for probe in self.probes[when]:
            found = probe.measure(self.model.setup, snapshot)
            tables.setdefault(probe.table, {}).update(zip(probe.columns, found, strict=True))
        return tables

    def evaluate(self, state: State) -> dict[str, Array]:
        """Mean loss, and for a classification accuracy, of each split, in evaluation mode."""

        def sums(block: DeviceData) -> tuple[Array, ...]:
            outputs = self.evaluated(state, block.inputs).value
            losses = self.loss.per_example(outputs, block.targets)
            correct = self.loss.correct(outputs, block.targets) if self.classes else losses
            return tuple(jnp.where(block.real, found, 0.0).sum() for found in (losses, correct))

        loss, correct = jax.lax.map(sums, self.blocks())
        found = {}
        for name, (first, blocks, count) in self.layout.spans.items():
            found[f"{name}_loss"] = loss[first : first + blocks].sum() / count
            if self.classes:  # XLA would multiply by 1 / count, and n of n would not be 1
                total = jax.lax.optimization_barrier(jnp.float32(count))
                found[f"{name}_accuracy"] = correct[first : first + blocks].sum() / total
        return found

    def outputs(self, state: State) -> dict[str, Array]:
        """The model's outputs for every example of each split, in evaluation mode, with the weights that come
        out of the training."""
        state = self.restore_best(state)
        found = jax.lax.map(lambda block: self.evaluated(state, block.inputs).value, self.blocks())
        return {
            name: found[first : first + blocks].reshape(-1, found.shape[-1])[:count]
            for name, (first, blocks, count) in self.layout.spans.items()
        }

    def restore_best(self, state: State) -> State:
        """A state with the weights that come out of the training."""
        if not self.restores:
            return state
        return state._replace(params=state.best.params, layer_state=state.best.layer_state)

    def evaluated(self, state: State, inputs: Array) -> Output:
        key = jax.random.key(self.arguments.seed)
        return self.model.apply(state.params, state.layer_state, inputs, key=key, train=False)

    def blocks(self) -> DeviceData:
        shape = (self.layout.blocks, self.layout.block)
        return jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), self.arguments.data)

    def examples(self) -> dict[str, Batch]:
        """All examples by split."""
        data, block = self.arguments.data, self.layout.block
        return {
            name: Batch(*(part[first * block :][:count] for part in (data.inputs, data.targets)))
            for name, (first, _, count) in self.layout.spans.items()
        }

    def batch(self, rows: Array) -> Batch:
        """The training examples at `rows`; all of them where rows are none."""
        data = self.arguments.data
        if rows.shape[0] == 0:
            return self.examples()["train"]
        return Batch(data.inputs[rows], data.targets[rows])

    def chunk(
        self, state: State, order: Array, base: Array, looks: Array, untils: Array, count: Array
    ) -> tuple[State, Any]:
        """Run the first `count` segments: at each that looks, one recorded step; then plain steps until its
        end."""
        full = self.batch(order[0]) if order.shape[1] == 0 else None  # outside the loops: copied once

        def batch(state: State) -> Batch:
            return full or self.batch(order[state.step - base])

        def plain(state: State) -> State:
            return self.take(state, batch(state))[0]

        def looked(state: State, until: Array) -> tuple[State, Any]:
            after, rows = self.look(state, lambda: batch(state))
            loss = rows["tables"]["metrics"][self.selection_metric]
            best = state.best.after(state.params, state.layer_state, loss, state.step)
            goes_on = state.going & (until > state.step)
            watch = jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), after.watch, state.watch)
            kept = goes_on & (watch.stopped == 0)
            after = jax.tree.map(lambda new, old: jnp.where(kept, new, old), after, state)
            path = state.path
            if self.keeps_path:
                path = path.after(ravelled(state.params)[0], state.step)
            return after._replace(best=best, watch=watch, path=path), rows | {"looked": state.going}

        _, shapes = jax.eval_shape(looked, state, untils[0])
        nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

        def segment(done: Array, carry: tuple[State, Any]) -> tuple[State, Any]:
            state, rows = carry
            until = untils[done]
            state, row = jax.lax.cond(looks[done], looked, lambda s, _: (s, nothing), state, until)
            rows = jax.tree.map(lambda all_rows, one: all_rows.at[done].set(one), rows, row)
            return jax.lax.while_loop(lambda s: (s.step < until) & s.going, plain, state), rows

        rows = jax.tree.map(lambda zero: jnp.zeros((len(looks), *zero.shape), zero.dtype), nothing)
        return jax.lax.fori_loop(0, count, segment, (state, rows))
