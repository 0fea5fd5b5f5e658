"""The pure functions that training is made of, to be compiled.

`Steps.chunk` runs a whole chunk: a loop over segments, each of which first looks (evaluates all splits, and
takes one step with the probes on it) and then takes plain steps up to the segment's end. Where segments end
is data, not shape, so any schedule of records is the same program, and how a training is cut into chunks
does not change its numbers. So are the seed and the traced numbers of the config (learning rate, weight
decay): a sweep over them compiles once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.data.examples import Examples
from nnlab.experiment import Experiment
from nnlab.lazy import Array, jax, jnp
from nnlab.memory import BLOCK_VALUES
from nnlab.nn.layer import Output, Training
from nnlab.nn.model import model
from nnlab.optimizers.schedules import Time
from nnlab.probes import Batch, Probe, Snapshot
from nnlab.states import State, Watch

BLOCK_COST = 64  # each block of evaluation costs as much as this many more examples


class Arguments(NamedTuple):
    """What a program takes beside its state: seed, traced numbers by path, first weights, examples."""

    seed: Any
    numbers: Any
    initial: Any
    data: Any


class Layout(NamedTuple):
    """How the examples of all splits lie in one array: each split filled up to whole blocks of `block`.

    spans: split -> (first block, number of blocks, number of examples).
    """

    block: int
    spans: Mapping[str, tuple[int, int, int]]

    @classmethod
    def of(cls, experiment: Experiment) -> Layout:
        counts = {name: len(part) for name, part in experiment.data.splits.items()}
        values = sum(math.prod(leaf.output_shape) for _, leaf in experiment.model.setup.leaves())
        most = max(1, BLOCK_VALUES // max(1, values))
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


class Resident(NamedTuple):
    """Examples on the device, the training examples first: inputs `[R, ...]`, targets `[R, ...]`, and which
    rows are examples, `[R]`."""

    inputs: Any
    targets: Any
    real: Any

    @classmethod
    def of(cls, experiment: Experiment, layout: Layout) -> Resident:
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


def layer_of(path: Sequence[Any]) -> str:
    """The path of the layer that an array of a tree by layers belongs to."""
    return "/".join(part.key for part in path[:-1])


class Steps:
    """The pure functions that training is made of.

    arguments: what the program takes, traced or not.
    """

    def __init__(self, experiment: Experiment, arguments: Arguments) -> None:
        self.arguments = arguments
        parts = experiment.parts_with(arguments.numbers)
        self.model = model(parts["model"], experiment.data.train.inputs.shape[1:])
        self.loss, self.regularizers, self.constraints = (
            parts[key] for key in ("loss", "regularizers", "constraints")
        )
        self.optimizer, self.stops = parts["optimizer"], experiment.stops
        self.direction = self.optimizer.direction()
        self.layout = Layout.of(experiment)
        self.total_steps, self.steps_per_epoch = experiment.total_steps, experiment.steps_per_epoch
        self.classes = experiment.data.train.classes
        self.judged_by = experiment.judged_by
        self.restores = any(stop.restores for stop in self.stops)
        self.layers = experiment.parts.record.layers
        self.probes = [probe for probe in experiment.probes if not probe.at_start]
        self.start_probes = [probe for probe in experiment.probes if probe.at_start]

    def take(self, state: State, batch: Batch) -> tuple[State, Snapshot]:
        """One step of training, and what could be seen of it."""
        key = jax.random.fold_in(jax.random.key(self.arguments.seed), state.step)
        train = Training(self.optimizer.frozen) if self.optimizer.groups else True

        def mean_loss(params: Any) -> tuple[Array, tuple[Output, Array]]:
            params = self.with_frozen(params, jax.lax.stop_gradient)
            output = self.model.apply(params, state.layer_state, batch.inputs, key=key, train=train)
            loss = self.loss.per_example(output.value, batch.targets).mean()
            return loss + sum(penalty(params) for penalty in self.regularizers), (output, loss)

        (loss, (output, batch_loss)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        direction, optimizer_state = self.direction.update(gradients, state.optimizer_state, state.params)
        params, changes = self.moved(state, direction)
        finite = jnp.isfinite(loss)
        step = state.step + finite.astype(jnp.int32)
        after = State(params, output.state, optimizer_state, step, finite, state.best, state.watch)
        return after, Snapshot(
            params=state.params,
            initial=self.arguments.initial,
            gradients=gradients,
            changes=changes,
            inside=output.inside,
            examples=self.examples(),
            outputs=lambda inputs: self.evaluated(state, inputs),
            loss=self.loss,
            batch_loss=batch_loss,
        )

    def with_frozen(self, tree: Any, keep: Callable[..., Any], *others: Any) -> Any:
        """A tree by layers, with `keep(leaf, others' leaves)` in the place of the leaves of frozen layers."""

        def chosen(path: Any, leaf: Any, *rest: Any) -> Any:
            return keep(leaf, *rest) if self.optimizer.frozen(layer_of(path)) else leaf

        return jax.tree_util.tree_map_with_path(chosen, tree, *others)

    def moved(self, state: State, direction: Any) -> tuple[Any, Any]:
        """The weights after a step in a direction, and what it adds to them."""
        rate = self.optimizer.rates(state.watch.schedules, self.time(state))

        def change(path: Any, towards: Array) -> Array:
            layer = layer_of(path)
            return jnp.zeros_like(towards) if self.optimizer.frozen(layer) else -rate(layer) * towards

        changes = jax.tree_util.tree_map_with_path(change, direction)
        params = jax.tree.map(jnp.add, state.params, changes)
        if self.constraints:
            params = jax.tree_util.tree_map_with_path(self.constrained, params)
            changes = jax.tree.map(jnp.subtract, params, state.params)
        return self.with_frozen(params, lambda _, old: old, state.params), changes

    def constrained(self, path: Any, weights: Array) -> Array:
        """Weights as the constraints leave them: kernels are what they are for, but for frozen ones."""
        if path[-1].key == "kernel" and not self.optimizer.frozen(layer_of(path)):
            for constraint in self.constraints:
                weights = constraint(weights)
        return weights

    def time(self, state: State) -> Time:
        return Time(state.step, self.total_steps, self.steps_per_epoch)

    def watched(self, watch: Watch, metrics: Mapping[str, Array], time: Time) -> Watch:
        """What is remembered after one more record."""
        pairs, loss = zip(self.optimizer.schedules, watch.schedules, strict=True), metrics[self.judged_by]
        schedules = tuple(schedule.observe(memory, loss, time) for schedule, memory in pairs)
        seen = [stop.observe(m, metrics) for stop, m in zip(self.stops, watch.stops, strict=True)]
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
        if not self.layers:  # else it is summed up from theirs
            metrics["weight_norm"] = jnp.sqrt(sum(jnp.square(w).sum() for w in jax.tree.leaves(state.params)))
        if not self.probes:
            return state, {"step": state.step, "tables": {"metrics": metrics}}
        after, snapshot = self.take(state, batch())
        tables = {"metrics": metrics} | self.measured(self.probes, snapshot)
        return after, {"step": state.step, "tables": tables}

    def start(self, state: State, rows: Array) -> Any:
        """The tables of the probes that look at step 0 only."""
        _, snapshot = self.take(state, self.batch(rows))
        return self.measured(self.start_probes, snapshot)

    def measured(self, probes: list[Probe], snapshot: Snapshot) -> dict[str, dict[str, Array]]:
        tables: dict[str, dict[str, Array]] = {}
        for probe in probes:
            found = probe.measure(self.model.setup, snapshot)
            tables.setdefault(probe.table, {}).update(zip(probe.columns, found, strict=True))
        return tables

    def evaluate(self, state: State) -> dict[str, Array]:
        """Mean loss, and for a classification accuracy, of each split, in evaluation mode."""

        def sums(block: Resident) -> tuple[Array, ...]:
            outputs = self.evaluated(state, block.inputs)
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
        if self.restores:
            state = state._replace(params=state.best.params, layer_state=state.best.layer_state)
        found = jax.lax.map(lambda block: self.evaluated(state, block.inputs), self.blocks())
        return {
            name: found[first : first + blocks].reshape(-1, found.shape[-1])[:count]
            for name, (first, blocks, count) in self.layout.spans.items()
        }

    def evaluated(self, state: State, inputs: Array) -> Array:
        key = jax.random.key(self.arguments.seed)
        return self.model.apply(state.params, state.layer_state, inputs, key=key, train=False).value

    def blocks(self) -> Resident:
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
            loss = rows["tables"]["metrics"][self.judged_by]
            best = state.best.after(state.params, state.layer_state, loss, state.step)
            goes_on = state.going & (until > state.step)
            watch = jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), after.watch, state.watch)
            kept = goes_on & (watch.stopped == 0)
            after = jax.tree.map(lambda new, old: jnp.where(kept, new, old), after, state)
            return after._replace(best=best, watch=watch), rows | {"looked": state.going}

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
