"""A chunk of training as one pure function: a loop over segments, to be compiled.

Each segment may begin with a record, at which the probes observe one step, and goes on with plain steps up to
its end. Where segments end is data, not shape, so that any schedule of records is the same program, and how a
training is cut into chunks does not change its numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from nnlab.phenomena.probe import Batch
from nnlab.system.imports import Array, jax, jnp
from nnlab.training.arguments import Arguments
from nnlab.training.blocks import EvalBlocks
from nnlab.training.evaluator import Evaluator
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.recorder import Record, Recorder
from nnlab.training.state import State
from nnlab.training.train_step import TrainStep


class Core(NamedTuple):
    """The pure functions that the training of an experiment is made of.

    Attributes:
        arguments: What its program takes beside the state, traced or not.
        blocks: How the examples are laid out.
        train_step: Takes one step.
        evaluator: Evaluates all splits.
        recorder: Records a state.
    """

    arguments: Arguments
    blocks: EvalBlocks
    train_step: TrainStep
    evaluator: Evaluator
    recorder: Recorder

    def outputs(self, state: State) -> dict[str, Array]:
        """The outputs of every example by split, with the weights that the training returns."""
        return self.evaluator.outputs(self.recorder.restore_best(state))


def build_core(experiment: TrainedExperiment, arguments: Arguments) -> Core:
    """The functions of an experiment, for arguments that may be traced."""
    components = experiment.build_components(arguments.traced_values)
    if not isinstance(arguments.class_weights, tuple):
        components = components._replace(loss=components.loss.weighted(arguments.class_weights))
    blocks, classes = EvalBlocks.of(experiment), experiment.data.train.classes
    total_steps, steps_per_epoch = experiment.total_steps, experiment.steps_per_epoch
    train_step = TrainStep(components, arguments.seed, total_steps, steps_per_epoch)
    evaluator = Evaluator(components, arguments.seed, arguments.data, blocks, classes)
    recorder = Recorder(experiment, components, arguments, train_step, evaluator)
    return Core(arguments, blocks, train_step, evaluator, recorder)


def run_chunk(
    core: Core, state: State, order: Array, base: Array, records: Array, untils: Array, count: Array
) -> tuple[State, Record]:
    """Run the first `count` of `S` segments.

    Args:
        core: The functions of the experiment.
        state: The state at step `base`.
        order: `[T, B]`, the rows of the batches from step `base` on; `[T, 0]` for full batches.
        base: The step at which the chunk begins.
        records: `[S]`, whether each segment begins with a record.
        untils: `[S]`, the step at which each segment ends.
        count: How many segments to run.

    Returns:
        The state after the last segment, and a record per segment, `[S, ...]`.
    """
    full = core.blocks.batch(core.arguments.data, order[0]) if order.shape[1] == 0 else None  # copied once

    def batch(state: State) -> Batch:
        return full or core.blocks.batch(core.arguments.data, order[state.step - base])

    def plain_step(state: State) -> State:
        return core.train_step(state, batch(state))[0]

    def record(state: State, until: Array) -> tuple[State, Record]:
        return core.recorder.record(state, until, lambda: batch(state))

    _, shapes = jax.eval_shape(record, state, untils[0])
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def segment(number: Array, carry: tuple[State, Record]) -> tuple[State, Record]:
        state, rows = carry
        until = untils[number]
        state, row = jax.lax.cond(records[number], record, lambda s, _: (s, nothing), state, until)
        rows = jax.tree.map(lambda all_rows, one: all_rows.at[number].set(one), rows, row)
        return jax.lax.while_loop(lambda s: (s.step < until) & s.running, plain_step, state), rows

    rows = jax.tree.map(lambda zero: jnp.zeros((len(records), *zero.shape), zero.dtype), nothing)
    return jax.lax.fori_loop(0, count, segment, (state, rows))
