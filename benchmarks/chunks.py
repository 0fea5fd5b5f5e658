"""The compiled chunk of nnlab as a contestant: what `nnlab train` runs between two writes of its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.training import compilation
from nnlab.training.batches import BatchOrder
from nnlab.training.experiment import Experiment, build_experiment
from nnlab.training.lanes import Lanes
from nnlab.training.segments import MAXIMUM_SEGMENTS, NO_RECORD, Segment, chunk_inputs


def experiment(text: str) -> Experiment:
    """The experiment of a file with this text."""
    return build_experiment(check_tree(parse(text, "benchmark")))


def training(experiments: Sequence[Experiment], record_every: int = 0) -> Callable[[], None]:
    """All steps of experiments that share a program, compiled here.

    Args:
        experiments: One, or several that differ in their seed.
        record_every: A record every so many steps; 0: none.
    """
    lanes = Lanes(experiments)
    orders = [BatchOrder(experiment) for experiment in experiments]
    steps, most = lanes.lead.total_steps, orders[0].capacity - 1
    length = min(record_every or steps, most)
    starts = range(0, steps, length)
    numbers = [number if record_every else NO_RECORD for number, _ in enumerate(starts)]
    segments = [Segment(n, min(s + length, steps)) for n, s in zip(numbers, starts, strict=True)]
    at_once = min(MAXIMUM_SEGMENTS, max(1, most // length))
    chunks = [segments[first : first + at_once] for first in range(0, len(segments), at_once)]
    bases = [0, *(chunk[-1].until for chunk in chunks)]
    inputs = [chunk_inputs(lanes, orders, base, chunk) for base, chunk in zip(bases, chunks, strict=False)]
    programs, arguments = compilation.programs_for(lanes), lanes.arguments

    def run() -> None:
        state = lanes.first_states(programs.init)
        for chunk in inputs:
            state, records = programs.chunk(arguments, state, *chunk, ())
        jax.block_until_ready((state, records))

    return run


def compiling(experiments: Sequence[Experiment]) -> Callable[[], None]:
    """Trace, lower and compile what is needed before the first step, with nothing kept from before."""
    lanes = Lanes(experiments)
    lanes.arguments  # noqa: B018  # placed on the device here, which is no part of it

    def compile_anew() -> None:
        compilation._compiled.clear()
        jax.clear_caches()
        compilation.programs_for(lanes)

    return compile_anew
