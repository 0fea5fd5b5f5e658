"""Training as compiled programs. Knows nothing of disks and terminals: it yields records, chunk by chunk.

One program runs a chunk of many steps (see `chunk`), of one training or, as lanes, of several side by side.
First weights and the order of examples are drawn on the host, from the seed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nnlab.system.imports import PyTree, jax
from nnlab.training.compilation import Programs, programs_for
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.lanes import Lanes
from nnlab.training.predictions import predictions_table
from nnlab.training.processes import NOTHING_LEFT, agree
from nnlab.training.record_tables import Chunk, ChunkOutcome, Table, chunk_of, flat_table
from nnlab.training.segments import NO_RECORD, ChunkPlan, batch_orders
from nnlab.training.state import ResumePoint, State
from nnlab.training.streamed_blocks import StreamedEvaluation


def train(experiment: TrainedExperiment, resume_point: ResumePoint | None = None) -> Iterator[Chunk]:
    """Train one experiment, see `train_together`.

    Yields:
        What each chunk came to. A training that diverges ends early.
    """
    for chunks in train_together([experiment], [resume_point] if resume_point else []):
        yield from chunks.values()


def train_together(
    experiments: Sequence[TrainedExperiment], resume_points: Sequence[ResumePoint] = ()
) -> Iterator[dict[int, Chunk]]:
    """Train experiments of one program side by side, as lanes of it; a single one as the plain program.

    Args:
        experiments: All with the same program key.
        resume_points: Where each training goes on, all at the same step but for those that finished early;
            empty to begin at step 0.

    Yields:
        What each lane came to in a chunk, by its index. A lane that diverged or was stopped is left out from
        then on, and the others go on.

    Raises:
        InvalidValue: A resume point belongs to another model.
    """
    finished = [n for n, point in enumerate(resume_points) if point.finished_early]
    running = [n for n in range(len(experiments)) if n not in finished]
    start = int(agree(np.int32(resume_points[running[0]].step if resume_points else -1)))
    if start == NOTHING_LEFT:
        return
    began = time.perf_counter()
    lanes = Lanes(experiments)
    programs = programs_for(lanes)
    compiling = time.perf_counter() - began
    state = lanes.first_states(programs.init)
    if start >= 0:
        state = lanes.restored_states(resume_points, state)
    start_tables = {} if start >= 0 else _tables_at_start(lanes, programs, state)
    plan = ChunkPlan(lanes, max(0, start))
    evaluation = StreamedEvaluation(lanes, programs.evaluate) if programs.evaluate else None
    while running and plan.goes_on():
        leg, base, inputs = plan.leg, plan.step, plan.next_chunk()
        sums = evaluation.sums(state, bool(inputs.records[0] != NO_RECORD)) if evaluation else ()
        called = time.perf_counter()
        state, records = programs.chunk(lanes.arguments, state, *inputs, sums)
        outcome = jax.device_get(ChunkOutcome(records, state.step, state.finite, state.monitors.stopped))
        now = time.perf_counter()
        plan.adapt(plan.step - base, now - called)
        outcomes, done = lanes.split(outcome), plan.is_over
        chunks = {
            n: chunk_of(experiments[n], outcomes[n], leg, start_tables.get(n, {}), done) for n in running
        }
        _add_tables_at_end(lanes, programs, state, chunks)
        running = [n for n in running if chunks[n].finite and not chunks[n].stopped]
        if not (plan.segments or done):
            state = _begin_leg(lanes, plan, programs, state, chunks)
        try:
            yield {
                n: chunk._replace(
                    seconds=now - began, compiling=compiling, state=functools.partial(lanes.part, state, n)
                )
                for n, chunk in chunks.items()
            }
        except GeneratorExit:
            if running:
                plan.end()
            raise
        began, compiling, start_tables = time.perf_counter(), 0.0, {}


def _tables_at_start(lanes: Lanes, programs: Programs, state: State) -> dict[int, dict[str, Table]]:
    """By lane, the tables of the probes that record at step 0 only."""
    if programs.start is None:
        return {}
    rows = [order.rows(0, 1) for order in batch_orders(lanes)]
    batch = lanes.stack(rows), lanes.read_batches(rows, 1)
    columns = lanes.split(jax.device_get(programs.start(lanes.arguments, state, *batch)))
    return {n: _flat_tables(lanes.experiments[n], 0, columns[n]) for n in range(lanes.count)}


def _begin_leg(
    lanes: Lanes, plan: ChunkPlan, programs: Programs, state: State, chunks: dict[int, Chunk]
) -> State:
    """The state at the beginning of the next leg, to which the chunks that end the one before it lead."""
    plan.begin_leg()
    for n, chunk in chunks.items():
        chunks[n] = chunk._replace(step=plan.leg.first_step) if chunk.finite else chunk
    return lanes.next_states(plan.leg, state, programs.init)


def _add_tables_at_end(lanes: Lanes, programs: Programs, state: State, chunks: Mapping[int, Chunk]) -> None:
    """Add predictions and end tables to the chunks that end a training; one that diverged has neither."""
    ready = [n for n, chunk in chunks.items() if chunk.done and chunk.finite]
    if ready and lanes.lead.plan.record.predictions:
        outputs = lanes.split(jax.device_get(programs.outputs(lanes.arguments, state)))
        for n in ready:
            chunks[n].tables["predictions"] = predictions_table(lanes.experiments[n].data, outputs[n])
    if ready and programs.end:
        columns = lanes.split(jax.device_get(programs.end(lanes.arguments, state)))
        for n in ready:
            chunks[n].tables.update(_flat_tables(lanes.experiments[n], chunks[n].step, columns[n]))


def _flat_tables(experiment: TrainedExperiment, step: int, tables: Mapping[str, PyTree]) -> dict[str, Table]:
    steps = np.full(1, step, np.int32)
    return {name: flat_table(experiment, name, steps, columns) for name, columns in tables.items()}
