"""How a training is cut: into segments, each of which may begin with a record, and those into chunks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from nnlab.system.imports import Array
from nnlab.training.batches import BatchOrder
from nnlab.training.cost import step_flops
from nnlab.training.lanes import Lanes
from nnlab.training.processes import agree, leads

NO_RECORD = -1  # in place of the number of one
MAXIMUM_SEGMENTS = 32  # of a chunk
CHUNK_SECONDS = 0.5  # a chunk is meant to last about this long
MAXIMUM_FIRST_STEPS = 16  # of the first chunk, whose speed is not known yet
MINIMUM_FLOPS_PER_SECOND = 5e9  # any machine makes as many


class Segment(NamedTuple):
    """Some steps.

    Attributes:
        record: The number of the record of the first of them, from 0; that of the last record of a training
            is 0 too, since every probe measures it, as it does the first one. NO_RECORD where there is none.
        until: The step at which the segment ends.
    """

    record: int
    until: int


class ChunkInputs(NamedTuple):
    """The arguments of the compiled chunk that say what to run, see `chunk.run_chunk`.

    Attributes:
        order: `[T, B]`, with an axis of lanes in front where there are several.
        stored: `[T, B, ...]`, likewise, the inputs of these batches where they are streamed; else an empty
            tuple.
        base: The step at which the chunk begins.
        records: `[S]`, the number of the record that each segment begins with, see `Segment`.
        untils: `[S]`, the step at which each segment ends.
        segment_count: How many of them to run.
    """

    order: np.ndarray
    stored: np.ndarray | Array | tuple[()]
    base: np.int32
    records: np.ndarray
    untils: np.ndarray
    segment_count: np.int32


class PlannedChunk(NamedTuple):
    """A chunk that comes next.

    Attributes:
        until: The step at which it ends.
        rest: The segments that are left after it.
        inputs: () -> its inputs.
    """

    until: int
    rest: list[Segment]
    inputs: Callable[[], ChunkInputs]


class ChunkPlan:
    """The chunks that are left of a training, each about as long as CHUNK_SECONDS and within one leg.

    Attributes:
        leg: The present one.
        legs: Those after it.
        step: The step of the round that the chunks so far have come to.
        segments: Those that are left of the leg.
    """

    def __init__(self, lanes: Lanes, start: int) -> None:
        self.lanes = lanes
        self.orders = batch_orders(lanes)
        self.legs = lanes.lead.rounds.legs(start)
        self.begin_leg()
        self.chunk_steps = first_chunk_steps(lanes)
        self.reader = ThreadPoolExecutor(1, "batches") if lanes.streamed else None
        self.ahead: PlannedChunk | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of the training."""
        return not self.segments and not self.legs

    def begin_leg(self) -> None:
        """Go on to the next leg."""
        self.leg, *self.legs = self.legs
        self.step = self.leg.start
        self.segments = segments_from(self.lanes.lead.record_steps, self.step, self.leg.until)

    def goes_on(self) -> bool:
        """Whether there is another chunk; of processes that train together all take one length of it."""
        if self.segments:
            self.chunk_steps = int(agree(np.int64(self.chunk_steps)))
        return bool(self.segments) and self.chunk_steps > 0

    def end(self) -> None:
        """Take no more chunks, and let processes that train along know."""
        if self.segments and leads():
            agree(np.int64(0))

    def next_chunk(self) -> ChunkInputs:
        """Take the next chunk off the plan; where its inputs are read from a file, those of the one after it
        are read from now on."""
        chunk = self.ahead or self.plan_chunk()
        self.step, self.segments = chunk.until, chunk.rest
        inputs = chunk.inputs()
        self.ahead = self.plan_chunk() if self.reader and self.segments else None
        return inputs

    def plan_chunk(self) -> PlannedChunk:
        """The chunk that comes next."""
        base, steps = self.step, min(self.chunk_steps, self.orders[0].capacity - 1)
        segments, rest = take_segments(self.segments, base, steps, one_record=self.lanes.streamed)
        make = functools.partial(chunk_inputs, self.lanes, self.orders, base, segments)
        inputs = make if self.reader is None else self.reader.submit(make).result
        return PlannedChunk(segments[-1].until, rest, inputs)

    def adapt(self, steps: int, seconds: float) -> None:
        """Set the length of the next chunk by the speed of the last one.

        Args:
            steps: How many steps that one took.
            seconds: How long it lasted.
        """
        self.chunk_steps = max(1, round(CHUNK_SECONDS * max(1, steps) / max(1e-6, seconds)))


def segments_from(record_steps: list[int], start: int, until: int) -> list[Segment]:
    """The segments from a step on, up to the last of the records or to one before, which is not made."""
    last = record_steps[-1]
    ends, numbers = [*record_steps[1:], last], [*range(len(record_steps) - 1), 0]
    left = [
        (first, Segment(number, end))
        for first, number, end in zip(record_steps, numbers, ends, strict=True)
        if start <= first < until or first == until == last
    ]
    begins = left[0][0] if left else until
    unrecorded = [Segment(NO_RECORD, begins)] if begins > start else []
    return unrecorded + [segment for _, segment in left]


def take_segments(
    segments: list[Segment], base: int, steps: int, one_record: bool = False
) -> tuple[list[Segment], list[Segment]]:
    """Cut the next chunk off a list of segments, within a segment where need be.

    Args:
        segments: Those that are left, in order.
        base: The step at which the first one begins.
        steps: How many steps the chunk should have, about.
        one_record: Whether only its first segment may begin with a record.

    Returns:
        The segments of the chunk, and those that are left after it.
    """
    chunk: list[Segment] = []
    limit = base + max(1, steps)
    for position, segment in enumerate(segments):
        full = len(chunk) == MAXIMUM_SEGMENTS or (one_record and segment.record != NO_RECORD)
        if chunk and (full or chunk[-1].until >= limit):
            return chunk, segments[position:]
        if segment.until > limit:
            rest = [Segment(NO_RECORD, segment.until), *segments[position + 1 :]]
            return [*chunk, segment._replace(until=limit)], rest
        chunk.append(segment)
    return chunk, []


def chunk_inputs(lanes: Lanes, orders: list[BatchOrder], base: int, segments: list[Segment]) -> ChunkInputs:
    """The arguments of the compiled chunk for some segments, padded to its length.

    Args:
        lanes: The trainings.
        orders: The order of examples of each.
        base: The step at which the first segment begins.
        segments: MAXIMUM_SEGMENTS of them at most.
    """
    until = segments[-1].until if segments else base
    rows = [order.padded_rows(base, until) for order in orders]
    stored = lanes.read_batches(rows, until - base + 1)
    padded = segments + [Segment(NO_RECORD, 0)] * (MAXIMUM_SEGMENTS - len(segments))
    records = np.array([segment.record for segment in padded], np.int32)
    untils = np.array([segment.until for segment in padded], np.int32)
    return ChunkInputs(lanes.stack(rows), stored, np.int32(base), records, untils, np.int32(len(segments)))


def batch_orders(lanes: Lanes) -> list[BatchOrder]:
    """The order of examples of each lane."""
    streamed_bytes = lanes.example_bytes if lanes.streamed else 0
    return [BatchOrder(experiment, streamed_bytes) for experiment in lanes.experiments]


def first_chunk_steps(lanes: Lanes) -> int:
    """How many steps last no longer than a chunk is meant to, whatever the machine."""
    steps = CHUNK_SECONDS * MINIMUM_FLOPS_PER_SECOND / max(1.0, lanes.count * step_flops(lanes.lead))
    return max(1, min(MAXIMUM_FIRST_STEPS, int(steps)))
