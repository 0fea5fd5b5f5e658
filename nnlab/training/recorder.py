"""A record: the metrics of all splits, the probes' tables, the best weights, and whether training stops."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from nnlab.data.augment import apply_augmentations
from nnlab.nn.layer import Output, Setup, Tree
from nnlab.optim.stopping import Costs
from nnlab.phenomena.probe import Batch, Probe, Snapshot, WeightPath
from nnlab.system.imports import Array, PyTree, jax, jnp
from nnlab.training.arguments import Arguments
from nnlab.training.evaluator import Evaluator
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.masks import share_left
from nnlab.training.program import Components
from nnlab.training.state import Best, MonitorState, State, WeightHistory
from nnlab.training.step_view import step_view
from nnlab.training.train_step import StepTrace, TrainStep, merge_frozen

Columns = dict[str, Array]


class Recorder:
    """Records a state: evaluates it, asks the probes, and remembers what the records have shown so far."""

    def __init__(
        self,
        experiment: TrainedExperiment,
        components: Components,
        arguments: Arguments,
        train_step: TrainStep,
        evaluator: Evaluator,
    ) -> None:
        self.components, self.arguments = components, arguments
        self.train_step, self.evaluator = train_step, evaluator
        self.optimizer, self.stops = components.optimizer, experiment.stops
        self.selection_loss, self.selection_metric = experiment.selection_loss, experiment.selection_metric
        self.better = experiment.metric_columns
        self.restores = any(stop.restores for stop in self.stops)
        # the weight norm of all layers is summed up on the host, where the table `layers` has them all
        self.measures_weight_norm = not experiment.plan.record.layers or experiment.frozen_prefix > 0
        self.probes = {
            time: [probe for probe in experiment.probes if probe.record_at == time]
            for time in ("every_record", "start", "end")
        }

    def record(
        self, state: State, sums: Array | tuple[()] = ()
    ) -> tuple[tuple[Best, MonitorState, WeightHistory | tuple[()]], Columns]:
        """Evaluate a state.

        Args:
            state: The state.
            sums: Those of all blocks, where examples are streamed.

        Returns:
            The best weights, what schedules and stops remember, and the path of the weights, all with this
            record unless the training is over; and the row of the table `metrics`.
        """
        metrics = self.evaluator.metrics(state, sums)
        costs = {name: -metrics[name] if b == "higher" else metrics[name] for name, b in self.better.items()}
        updated = self.update_monitors(state, costs)
        monitors = jax.lax.cond(state.running, lambda: updated, lambda: state.monitors)
        row = self.metrics_row(state._replace(monitors=updated), metrics)
        best = state.best.update(state.evaluated, state.layer_state, costs[self.selection_metric], state.step)
        path = state.path
        if path:
            path = path.append(ravel(state.params)[0], state.step, state.running)
        return (best, monitors, path), row

    def update_monitors(self, state: State, costs: Costs) -> MonitorState:
        """What schedules and stopping criteria remember after one more record."""
        before, time = state.monitors, self.train_step.time(state)
        schedules = tuple(
            schedule.update(memory, costs[schedule.metric or self.selection_loss], time)
            for schedule, memory in zip(self.optimizer.schedules, before.schedules, strict=True)
        )
        updates = [stop.update(s, costs) for stop, s in zip(self.stops, before.stops, strict=True)]
        stopped = before.stopped
        for number, (_, ends) in enumerate(updates, 1):
            stopped = jnp.where((stopped == 0) & ends, number, stopped)
        return MonitorState(schedules, tuple(memory for memory, _ in updates), stopped)

    def metrics_row(self, state: State, metrics: Columns) -> Columns:
        """The row of the table `metrics`."""
        time = self.train_step.time(state)
        rate = self.optimizer.learning_rate.rate(state.monitors.schedules[0], time)
        row = {"learning_rate": rate, **metrics}
        if state.mask:
            row["weights_left"] = share_left(state.mask)
        if self.measures_weight_norm:
            squares = sum(jnp.square(weights).sum() for weights in jax.tree.leaves(state.params))
            row["weight_norm"] = jnp.sqrt(squares)
        return row

    def at_start(self, state: State, batch: Batch) -> dict[str, Columns]:
        """The tables of the probes that see step 0 only, with its batch."""
        return self.measure("start", self.snapshot(state, self.train_step.trace(state, batch)))

    def at_end(self, state: State) -> dict[str, Columns]:
        """The tables of the probes that see the weights that the training returns."""
        return self.measure("end", self.snapshot(self.restore_best(state)))

    def observe(self, state: State, trace: StepTrace, record: Array) -> dict[str, Columns]:
        """The tables of the probes that see recorded steps, of the step taken from a state.

        Args:
            state: The state.
            trace: What the step computes.
            record: The number of the record; a probe that leaves it out has zeros in its columns.
        """
        return self.measure("every_record", self.snapshot(state, trace), record)

    def snapshot(self, state: State, trace: StepTrace | None = None) -> Snapshot:
        """What probes see of a state, and of the step taken from it, if any."""
        nan = jnp.full((), jnp.nan)
        step = step_view(self.train_step, state, trace) if trace else None
        trace = trace or StepTrace({}, {}, {}, nan, nan)
        gradients = trace.gradients
        if gradients:
            gradients = merge_frozen(gradients, jax.tree.map(jnp.zeros_like, state.params))

        def evaluate(params: Tree, inputs: Array) -> Output:
            return self.evaluator.apply(params, state.layer_state, inputs)

        def augment(key: Array, inputs: Array) -> Array:
            return apply_augmentations(self.components.augment, key, inputs).inputs

        return Snapshot(
            params=state.params,
            initial_params=self.arguments.initial_params,
            gradients=gradients,
            updates=lambda: self.train_step.updates(state, trace),
            intermediates=trace.intermediates,
            batch_loss=trace.batch_loss,
            examples=self.evaluator.blocks.examples(self.arguments.data),
            evaluate=evaluate,
            augment=augment,
            loss=self.components.loss,
            key=jax.random.key(self.arguments.seed),
            weight_path=self.weight_path(state),
            frozen=self.optimizer.frozen,
            step=step,
            sample=functools.partial(self.components.model.sample, state.params, state.layer_state),
        )

    def weight_path(self, state: State) -> WeightPath | None:
        """Where the weights were at past records, and last those that the training would return now."""
        history = state.path
        if not history:
            return None
        end, tree = ravel(self.restore_best(state).params)
        step = state.best.step if self.restores else state.step
        filled = jnp.arange(history.steps.shape[0]) < history.count
        return WeightPath(
            jnp.concatenate([history.weights, end[None]]),
            jnp.append(history.steps, step),
            jnp.append(filled, True),
            tree,
        )

    def measure(self, time: str, snapshot: Snapshot, record: Array | int = 0) -> dict[str, Columns]:
        """The tables of the probes that record at `time`."""
        return measure(self.probes[time], self.components.model.setup, snapshot, record)

    def restore_best(self, state: State) -> State:
        """The state with the weights that the training returns."""
        if not self.restores:
            return state._replace(params=state.evaluated, average=())
        return state._replace(params=state.best.params, layer_state=state.best.layer_state, average=())


def measure(
    probes: Sequence[Probe], setup: Setup, snapshot: Snapshot, record: Array | int
) -> dict[str, Columns]:
    """The tables of some probes.

    Args:
        probes: The probes.
        setup: The model's.
        snapshot: What they see.
        record: The number of the record; a probe that leaves it out has zeros in its columns.
    """
    tables: dict[str, Columns] = {}
    for probe in probes:

        def values_of(probe: Probe = probe) -> tuple[Array, ...]:
            return probe.measure(setup, snapshot)

        values = values_of() if probe.every == 1 else only_if(record % probe.every == 0, values_of)
        tables.setdefault(probe.table, {}).update(zip(probe.columns, values, strict=True))
    return tables


def only_if(wanted: Array | bool, compute: Callable[[], PyTree]) -> PyTree:
    """What `compute` gives where it is wanted, else zeros of that shape, which cost nothing."""
    return jax.lax.cond(wanted, compute, lambda: zeros(jax.eval_shape(compute)))


def zeros(shapes: PyTree) -> PyTree:
    """Arrays of zeros, of the shapes and types in a tree."""
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)


def ravel(tree: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """All arrays of a tree in one, `[P]`, and the function that gets the tree back."""
    from jax.flatten_util import ravel_pytree

    return ravel_pytree(tree)
