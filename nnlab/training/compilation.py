"""The compiled programs of trainings. One serves all that differ in seed, traced values and data only."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from nnlab.nn.layer import Shape
from nnlab.system.garbage import return_freed_memory
from nnlab.system.imports import Array, PyTree, jax
from nnlab.training.arguments import Arguments
from nnlab.training.chunk import Core, Record, build_core, run_chunk
from nnlab.training.lanes import Lanes
from nnlab.training.recorder import Columns
from nnlab.training.segments import batch_orders, chunk_inputs
from nnlab.training.state import State
from nnlab.training.streamed_blocks import Evaluate, StreamedBlocks

MAXIMUM_PROGRAMS = 4  # so many compiled programs are kept

P = ParamSpec("P")
R = TypeVar("R")


class Programs(NamedTuple):
    """The compiled functions of an experiment.

    Attributes:
        init: params -> optimizer state.
        chunk: (arguments, state, *ChunkInputs, sums) -> (state, records), see `chunk.run_chunk`.
        start: (arguments, state, order, stored) -> tables of the probes that record at step 0 only, where
            there are any; the latter two as of a chunk, of one batch.
        end: (arguments, state) -> tables of the probes that record at the end, where there are any.
        outputs: (arguments, state) -> the model's outputs by split.
        evaluate: (arguments, state, inputs of some blocks, the first of them) -> their sums, where examples
            are streamed, see `Evaluator.streamed_sums`.
    """

    init: Callable[[PyTree], PyTree]
    chunk: Callable[..., tuple[State, Record]]
    start: Callable[[Arguments, State, Array, PyTree], dict[str, Columns]] | None
    end: Callable[[Arguments, State], dict[str, Columns]] | None
    outputs: Callable[[Arguments, State], dict[str, Array]]
    evaluate: Evaluate | None


_compiled: OrderedDict[tuple[str, int, bool, Shape | None, bool], Programs] = OrderedDict()


def programs_for(lanes: Lanes) -> Programs:
    """The programs of these lanes, compiled unless they are among those used last."""
    key = (lanes.lead.program_key, lanes.count, lanes.shares_data, lanes.table_shape, lanes.streamed)
    if key not in _compiled:
        _compiled[key] = _compile(lanes)
        return_freed_memory()
        if len(_compiled) > MAXIMUM_PROGRAMS:
            _compiled.popitem(last=False)
    _compiled.move_to_end(key)
    return _compiled[key]


def _compile(lanes: Lanes) -> Programs:
    lead = lanes.lead

    def core(arguments: Arguments) -> Core:
        return build_core(lead, arguments, lanes.placement)

    def chunk(arguments: Arguments, state: State, *inputs: Array) -> tuple[State, Record]:
        return run_chunk(core(arguments), state, *inputs)

    def start(arguments: Arguments, state: State, rows: Array, stored: PyTree) -> dict[str, Columns]:
        first = jax.tree.map(lambda batches: batches[0], (rows, stored))
        whole = core(arguments)
        return whole.recorder.at_start(state, whole.batch(state.step, *first))

    def end(arguments: Arguments, state: State) -> dict[str, Columns]:
        return core(arguments).recorder.at_end(state)

    def outputs(arguments: Arguments, state: State) -> dict[str, Array]:
        return core(arguments).outputs(state)

    def program(
        function: Callable, in_axes: tuple[PyTree, ...], donated: tuple[int, ...] = ()
    ) -> jax.stages.Wrapped:
        precise = _with_matmul_precision(lead.plan.precision.matmul, lanes.vmap(function, in_axes))
        return jax.jit(precise, donate_argnums=donated, out_shardings=lanes.placement.of_results)

    def block_sums(arguments: Arguments, state: State, inputs: Array, first: Array) -> Array:
        return core(arguments).evaluator.streamed_sums(state, inputs, first)

    lane_axes: list[PyTree] = [0, 0, 0, None if lanes.shares_data else 0, 0]
    axes = Arguments(*lane_axes)
    init = program(lead.optimizer.init, (0,))
    inputs, state = chunk_inputs(lanes, batch_orders(lanes), 0, []), lanes.first_states(init)
    evaluate: Evaluate | None = None
    sums: PyTree = ()
    if lanes.streamed:
        blocks = StreamedBlocks(lanes)
        evaluates = program(block_sums, (axes, 0, None if lanes.shares_data else 0, None))
        lowered = evaluates.lower(lanes.arguments, state, blocks.example, np.int32(0))
        evaluate, sums = lowered.compile(), blocks.example_of_all(lowered.out_info)
    chunks = program(chunk, (axes, 0, 0, 0, None, None, None, None, 0), donated=(1,))
    compiled = chunks.lower(lanes.arguments, state, *inputs, sums).compile()
    times = {probe.record_at for probe in lead.probes}
    return Programs(
        init=init,
        chunk=compiled,
        start=program(start, (axes, 0, 0, 0)) if "start" in times else None,
        end=program(end, (axes, 0)) if "end" in times else None,
        outputs=program(outputs, (axes, 0)),
        evaluate=evaluate,
    )


def _with_matmul_precision(precision: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function, all of whose matrix products and convolutions are traced with a precision."""

    @functools.wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.default_matmul_precision(precision):
            return function(*args, **kwargs)

    return traced
