"""A chunk of training as one pure function: a loop over segments, to be compiled.

Each segment may begin with a record, and goes on with steps up to its end; where probes observe a record,
they see the first of these steps. Where segments end is data, not shape, so that any schedule of records is
the same program, and how a training is cut into chunks does not change its numbers.

Each different kernel of the program takes its share of a second to compile, and users wait for it. So a step
is there once, observed or not; what is computed for records only is behind a condition; and the columns of
one shape lie in one array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from nnlab.phenomena.probe import Batch
from nnlab.system.imports import Array, PyTree, jax, jnp
from nnlab.training.arguments import Arguments
from nnlab.training.blocks import EvalBlocks
from nnlab.training.evaluator import Evaluator
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.packing import PackedTables, pack
from nnlab.training.placement import ONE_DEVICE, Placement
from nnlab.training.recorder import Columns, Recorder, zeros
from nnlab.training.state import State
from nnlab.training.train_step import TrainStep

Tables = Mapping[str, Columns]
FRESH_KEY = 2**31 + 1  # of a step's keys, that of its examples where they are drawn anew


class Record(NamedTuple):
    """What is recorded at a step.

    Attributes:
        step: The step; -1 where nothing is recorded, as in a training that was over before.
        tables: The row, or rows, of each table.
    """

    step: Array
    tables: PackedTables


class Core(NamedTuple):
    """The pure functions that the training of an experiment is made of.

    Attributes:
        arguments: What its program takes beside the state, traced or not.
        blocks: How the examples are laid out.
        train_step: Takes one step.
        evaluator: Evaluates all splits.
        recorder: Records a state.
        fresh: key -> the examples of a step, where they are drawn anew.
    """

    arguments: Arguments
    blocks: EvalBlocks
    train_step: TrainStep
    evaluator: Evaluator
    recorder: Recorder
    fresh: Callable[[Array], Batch] | None

    def batch(self, step: Array, rows: Array, stored: Array | tuple[()]) -> Batch:
        """The examples of a step, drawn anew or those of some rows, see `EvalBlocks.batch`."""
        if self.fresh is None:
            return self.blocks.batch(self.arguments.data, rows, stored)
        key = jax.random.fold_in(jax.random.key(self.arguments.seed), step)
        return self.fresh(jax.random.fold_in(key, FRESH_KEY))

    def outputs(self, state: State) -> dict[str, Array]:
        """The outputs of every example by split, with the weights that the training returns."""
        return self.evaluator.outputs(self.recorder.restore_best(state))


def build_core(
    experiment: TrainedExperiment, arguments: Arguments, placement: Placement = ONE_DEVICE
) -> Core:
    """The functions of an experiment, for arguments that may be traced."""
    components = experiment.build_components(arguments.traced_values)
    if not isinstance(arguments.class_weights, tuple):
        components = components._replace(loss=components.loss.weighted(arguments.class_weights))
    if experiment.data.train.positions:
        components = components._replace(loss=components.loss.over_positions())
    blocks, classes = EvalBlocks.of(experiment), experiment.data.train.classes
    round_steps, steps_per_epoch = experiment.rounds.steps, experiment.steps_per_epoch
    train_step = TrainStep(components, arguments.seed, round_steps, steps_per_epoch, placement)
    tasks = experiment.plan.data.tasks.length if experiment.plan.data.tasks else 0
    evaluator = Evaluator(components, arguments.seed, arguments.data, blocks, classes, tasks)
    recorder = Recorder(experiment, components, arguments, train_step, evaluator)
    draw = experiment.plan.data.fresh
    fresh = draw and (lambda key: Batch(*draw(key, experiment.batch_size)))
    return Core(arguments, blocks, train_step, evaluator, recorder, fresh)


def run_chunk(
    core: Core,
    state: State,
    order: Array,
    stored: Array | tuple[()],
    base: Array,
    records: Array,
    untils: Array,
    count: Array,
    sums: Array | tuple[()],
) -> tuple[State, Record]:
    """Run the first `count` of `S` segments.

    Args:
        core: The functions of the experiment.
        state: The state at step `base`.
        order: `[T, B]`, the rows of the batches from step `base` on; `[T, 0]` for full batches and fresh
            examples.
        stored: `[T, B, ...]`, the inputs of these batches as they are stored, where they are streamed.
        base: The step at which the chunk begins.
        records: `[S]`, the number of the record that each segment begins with, see `Segment`; -1 for none.
        untils: `[S]`, the step at which each segment ends.
        count: How many segments to run.
        sums: Of the blocks at step `base`, see `Evaluator.metrics`, where examples are streamed; then a
            segment after the first does not begin with a record.

    Returns:
        The state after the last segment, and a record per segment, `[S, ...]`.
    """
    steps = Steps(core, order, stored, base)
    observes = bool(core.recorder.probes["every_record"])
    record = jax.jit(core.recorder.record)  # which keeps what it traced
    no_row = zeros(jax.eval_shape(record, state, sums)[1])

    def segment(number: Array, carry: tuple[State, Record]) -> tuple[State, Record]:
        before, rows = carry
        start, until = jnp.where(number == 0, base, untils[number - 1]), untils[number]
        step = jnp.where((records[number] >= 0) & before.running, before.step, -1)
        remembered = (before.best, before.monitors, before.path)
        (best, monitors, path), row = jax.lax.cond(
            records[number] >= 0, lambda: record(before, sums), lambda: (remembered, no_row)
        )
        state, tables = before._replace(best=best, monitors=monitors, path=path), {"metrics": row}
        if observes:
            state, more = steps.observed(state, start, until, records[number])
            tables |= more
        else:
            state = steps.plain(state, until)
        # a training that ends with this record may be made longer, and then takes it anew
        monitors = jax.lax.cond(until > start, lambda: state.monitors, lambda: before.monitors)
        new = Record(step, pack(tables))
        rows = jax.tree.map(
            lambda all_rows, one: jax.lax.dynamic_update_index_in_dim(all_rows, one, number, 0), rows, new
        )
        return state._replace(monitors=monitors), rows

    empty = pack({"metrics": no_row, **(steps.no_tables(state) if observes else {})})
    tables = jax.tree.map(lambda one: jnp.zeros((len(records), *one.shape), one.dtype), empty)
    rows = Record(jnp.full(len(records), -1, jnp.int32), tables)
    return jax.lax.fori_loop(0, count, segment, (state, rows))


class Steps:
    """The steps of a chunk.

    Args:
        core: The functions of the experiment.
        order: The rows of the batches, see `run_chunk`.
        stored: Their inputs, likewise.
        base: The step of the first of them.
    """

    def __init__(self, core: Core, order: Array, stored: Array | tuple[()], base: Array) -> None:
        self.core, self.order, self.stored, self.base = core, order, stored, base
        full_batch = order.shape[1] == 0 and core.fresh is None
        self.full = core.batch(base, order[0], ()) if full_batch else None  # copied once
        self.trace = jax.jit(lambda state: core.train_step.trace(state, self.batch(state)))  # traced once
        self.advance = jax.jit(core.train_step.advance)
        self.observe = jax.jit(core.recorder.observe)

    def batch(self, state: State) -> Batch:
        """The batch of a state's step."""
        if self.full:
            return self.full
        number = state.step - self.base
        stored = () if isinstance(self.stored, tuple) else self.stored[number]
        return self.core.batch(state.step, self.order[number], stored)

    def plain(self, state: State, until: Array) -> State:
        """The state at step `until`, or where the training is over."""

        def more(state: State) -> Array:
            return (state.step < until) & state.running

        return jax.lax.while_loop(more, lambda state: self.advance(state, self.trace(state)), state)

    def observed(
        self, state: State, start: Array, until: Array, record: Array
    ) -> tuple[State, Mapping[str, Columns]]:
        """The same, and what probes observe of the first step where `record` is the number of one; it is not
        taken where `until` is `start`.

        How many steps the loop takes is the same for all lanes, lest each of them observe every step.
        """
        observes = record >= 0

        def more(carry: tuple[Array, State, Tables]) -> Array:
            now, state, _ = carry
            return ((now < until) & any_lane(state.running)) | (observes & (now == start))

        def step(carry: tuple[Array, State, Tables]) -> tuple[Array, State, Tables]:
            now, state, tables = carry
            trace = self.trace(state)
            tables = jax.lax.cond(
                observes & (now == start), lambda: self.observe(state, trace, record), lambda: tables
            )
            moves = once_computed((tables, trace.gradients), state.running & (now < until))
            after = jax.lax.cond(moves, lambda: self.advance(state, trace), lambda: state)
            return now + 1, after, tables

        _, state, tables = jax.lax.while_loop(more, step, (start, state, self.no_tables(state)))
        return state, tables

    def no_tables(self, state: State) -> Tables:
        """Zeros in place of what probes observe."""
        return zeros(jax.eval_shape(self.observe, state, jax.eval_shape(self.trace, state), 0))


def once_computed(arrays: PyTree, flag: Array) -> Array:
    """The flag, which the program has only when all of these arrays are computed.

    What follows from it may be written over what they are computed from; else XLA copies that at every step.
    """
    firsts = [array.ravel()[0].astype(jnp.float32) for array in jax.tree.leaves(arrays) if array.size]
    odd = [jax.lax.bitcast_convert_type(first, jnp.int32) & 1 for first in firsts]
    return flag & (sum(odd) <= len(odd))  # which XLA does not see to be true


def any_lane(flag: Array) -> Array:
    """Whether a flag is set in any lane: one value for all of them."""

    @jax.custom_batching.custom_vmap
    def reduce(flag: Array) -> Array:
        return flag

    @reduce.def_vmap
    def reduce_lanes(size: int, batched: list[bool], flags: Array) -> tuple[Array, bool]:
        return flags.any(), False

    return reduce(flag)
