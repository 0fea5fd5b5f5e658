"""Training as compiled programs. Knows nothing of disks and terminals: it yields records.

One program runs a chunk of many steps (see `steps`). It serves all trainings that differ in seed, traced
numbers and data only, one after the other, or side by side as lanes of one vmapped program. First weights
and the order of examples are drawn on the host, from the seed.
"""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.phenomena.probe import WEIGHT_PATH_POINTS
from nnlab.system.imports import Array, jax
from nnlab.system.random import generator
from nnlab.training.experiment import Experiment, step_flops
from nnlab.training.frozen_features import with_cached
from nnlab.training.predictions import predictions_table
from nnlab.training.state import Arrays, Best, Start, State, Watch, WeightHistory, state_from
from nnlab.training.steps import Arguments, DeviceData, EvalBlocks, Steps

Table = dict[str, np.ndarray]

SEGMENTS = 32  # a chunk has at most this many
ORDER_BYTES = 8 * 2**20  # and at most this much of the order of examples
CHUNK_SECONDS = 0.5  # and is meant to last about this long
FIRST_STEPS = 16  # at most, of the first one, whose speed nobody knows yet
SLOWEST = 5e9  # floating-point operations a second that it is sure to make
PROGRAMS = 4  # so many compiled programs are kept


class Segment(NamedTuple):
    """look: whether to record at the segment's first step; until: the step to go to."""

    look: bool
    until: int


class Chunk(NamedTuple):
    """What a chunk of training came to.

    step: where it ended. tables: the new rows by table. finite: False where a loss, or another metric of a
    record, stopped being a number, at `step`. done: whether there is nothing left to train. seconds: its
    wall-clock time; compiling: of which the program's compilation. state: the one it ended in, to be had
    until the next chunk is asked for; of what is solved for there is none. stopped: the number, from 1 on, of
    the criterion that ended it before its time; else 0.
    """

    step: int
    tables: dict[str, Table]
    finite: bool
    done: bool
    seconds: float
    compiling: float
    state: Callable[[], State] | None = None
    stopped: int = 0


def train(experiment: Experiment, start: Start | None = None) -> Iterator[Chunk]:
    """Train from the first step, or from a start, yielding each chunk's records as it ends; stops early where
    it diverges."""
    for chunks in train_together([experiment], [start] if start else []):
        yield from chunks.values()


def train_together(
    experiments: Sequence[Experiment], starts: Sequence[Start] = ()
) -> Iterator[dict[int, Chunk]]:
    """Train experiments of one program side by side, as lanes of it; a single one as the plain program.

    Yields, chunk by chunk, what each lane came to, by its index; a lane that diverged, or came to its end
    before its time, is left out from then on, and the others go on. starts: where each goes on, all that do
    at the same step. Raises InvalidValue where a start is of another model.
    """
    began = time.perf_counter()
    lead, lanes = experiments[0], Lanes(experiments)
    programs = programs_for(lanes)
    compiling = time.perf_counter() - began
    orders = [BatchOrder(experiment) for experiment in experiments]
    arguments, state = lanes.arguments(), lanes.first_states(programs.init)
    going = [lane for lane in range(len(experiments)) if not (starts and starts[lane].ended)]
    base = starts[going[0]].step if starts else 0
    at_start: list[Any] = [{}] * len(experiments)
    if starts:
        state = lanes.states_from(starts, state)
    elif programs.start:
        rows = lanes.stacked([order.rows(0, 1)[0] for order in orders])
        at_start = lanes.split(jax.device_get(programs.start(arguments, state, rows)))
    segments, steps = _segments(lead.record_steps, base), first_steps(lanes)
    while segments and going:
        chosen, segments = _next(segments, base, min(steps, orders[0].capacity - 1))
        called, end = time.perf_counter(), chosen[-1].until
        rows = lanes.stacked([order.filled(base, end) for order in orders])
        state, looked = programs.chunk(arguments, state, rows, np.int32(base), *padded(chosen))
        ended = jax.device_get((looked, state.step, state.finite, state.watch.stopped))
        now = time.perf_counter()
        steps = max(1, round(CHUNK_SECONDS * max(1, end - base) / max(1e-6, now - called)))
        ends = lanes.split(ended)
        chunks = {
            lane: _chunk(experiments[lane], ends[lane], at_start[lane], not segments, now - began)
            for lane in going
        }
        at_start = [{}] * len(experiments)
        ready = [lane for lane, chunk in chunks.items() if chunk.done and chunk.finite]
        if ready and lead.parts.record.predictions:  # a training that diverged has none
            outputs = lanes.split(jax.device_get(programs.outputs(arguments, state)))
            for lane in ready:
                table = predictions_table(experiments[lane].data, outputs[lane])
                chunks[lane].tables["predictions"] = table
        if ready and programs.end:
            found = lanes.split(jax.device_get(programs.end(arguments, state)))
            for lane in ready:
                step = np.full(1, chunks[lane].step, np.int32)
                flat = {name: _flat(experiments[lane], name, step, c) for name, c in found[lane].items()}
                chunks[lane].tables.update(flat)
        yield {
            lane: chunk._replace(compiling=compiling, state=functools.partial(lanes.one, state, lane))
            for lane, chunk in chunks.items()
        }
        going = [lane for lane in going if chunks[lane].finite and not chunks[lane].stopped]
        began, compiling, base = time.perf_counter(), 0.0, end


def _chunk(experiment: Experiment, outcome: Any, at_start: Any, done: bool, seconds: float) -> Chunk:
    """One lane's part of what a chunk of the program came to."""
    looked, reached, finite, stopped = outcome
    tables = _tables(experiment, looked)
    tables |= {name: _flat(experiment, name, np.zeros(1, np.int32), c) for name, c in at_start.items()}
    end, fine = int(reached), bool(finite)
    measured = [column for name, column in tables["metrics"].items() if name != "learning_rate"]
    sound = np.all([np.isfinite(column) for column in measured], axis=0)
    bad = np.flatnonzero(~sound)
    if bad.size:
        end, fine = int(tables["metrics"]["step"][bad[0]]), False
        tables = {name: _up_to(end, table) for name, table in tables.items()}
    return Chunk(end, tables, fine, done or bool(stopped), seconds, 0.0, stopped=int(stopped))


def check_fit(experiment: Experiment, arrays: Arrays) -> None:
    """Whether a state that was kept is one of this experiment's. Raises InvalidValue."""
    init = experiment.parts.optimizer.init
    state_from(arrays, Lanes([experiment]).first_states(lambda params: jax.eval_shape(init, params)))


def _first_watch(experiment: Experiment) -> Watch:
    schedules = experiment.parts.optimizer.schedules
    stops = experiment.stops
    return Watch(tuple(s.init() for s in schedules), tuple(s.init() for s in stops), np.zeros((), np.int32))


def _first_path(experiment: Experiment) -> Any:
    weights = experiment.model.setup.count("params")
    return WeightHistory.none(WEIGHT_PATH_POINTS, weights) if experiment.keeps_path else ()


class Lanes:
    """Experiments side by side: trees of each become one of all, with a leading axis where there are several.

    Data that all of them share are kept once.
    """

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self.experiments, self.lead = experiments, experiments[0]
        self.count = len(experiments)
        self._arguments: Arguments | None = None
        shared = len({e.data.hash for e in experiments}) == 1 and not self.lead.cached
        self.shares_data = self.count == 1 or shared

    def stacked(self, trees: Sequence[Any]) -> Any:
        return trees[0] if self.count == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

    def split(self, tree: Any) -> list[Any]:
        return [self.one(tree, lane) for lane in range(self.count)]

    def one(self, tree: Any, lane: int) -> Any:
        """One lane's part of a tree of all."""
        return tree if self.count == 1 else jax.tree.map(lambda leaf: leaf[lane], tree)

    def arguments(self) -> Arguments:
        """The arguments of all lanes, on the device."""
        if self._arguments is None:
            self._arguments = self._placed_arguments()
        return self._arguments

    def _placed_arguments(self) -> Arguments:
        layout = EvalBlocks.of(self.lead)
        chosen = self.experiments[:1] if self.shares_data else self.experiments
        data = [DeviceData.of(with_cached(experiment), layout) for experiment in chosen]
        with np.errstate(over="ignore"):  # what does not fit is infinite, and the run diverges
            numbers = [{k: np.float32(v) for k, v in e.numbers.items()} for e in self.experiments]
        return jax.device_put(
            Arguments(
                self.stacked([np.uint32(e.parts.seed) for e in self.experiments]),
                self.stacked(numbers),
                self.stacked([e.first_weights()[0] for e in self.experiments]),
                data[0] if self.shares_data else self.stacked(data),
            )
        )

    def first_states(self, init: Callable[..., Any]) -> State:
        """The states before the first step."""
        drawn = [e.first_weights() for e in self.experiments]
        params, layer_state = (self.stacked([part[i] for part in drawn]) for i in (0, 1))
        step = self.stacked([np.zeros((), np.int32)] * self.count)
        finite = self.stacked([np.array(True)] * self.count)
        loss = self.stacked([np.array(np.inf, np.float32)] * self.count)
        best = jax.tree.map(np.copy, Best(params, layer_state, loss, step))
        watch = self.stacked([_first_watch(e) for e in self.experiments])
        path = self.stacked([_first_path(e) for e in self.experiments])
        placed = jax.device_put((params, layer_state, step, finite, best, watch, path))
        params, layer_state, step, finite, best, watch, path = placed
        return State(params, layer_state, init(params), step, finite, best, watch, path)

    def states_from(self, starts: Sequence[Start], template: State) -> State:
        """The states that were kept. Raises InvalidValue."""
        like = self.split(jax.device_get(template))
        found = [state_from(start.arrays(), own) for start, own in zip(starts, like, strict=True)]
        return jax.device_put(self.stacked(found))

    def mapped(self, function: Callable[..., Any], axes: tuple[Any, ...]) -> Callable[..., Any]:
        """The function over all lanes; axes: which arguments have a lane axis, see `jax.vmap`."""
        return function if self.count == 1 else jax.vmap(function, in_axes=axes)


class BatchOrder:
    """The order of examples: row t holds the examples of step t, `[batch_size]`; none for a full batch.

    Epoch e is a permutation drawn from (seed, "order", e), cut into steps_per_epoch batches.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.seed, self.per_epoch = experiment.parts.seed, experiment.steps_per_epoch
        self.examples = len(experiment.data.train)
        self.width = (
            0 if self.per_epoch == 1 and not experiment.parts.data.batch_size else experiment.batch_size
        )
        self.capacity = max(1, min(experiment.total_steps + 1, ORDER_BYTES // (4 * max(1, self.width))))
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))

    def rows(self, start: int, count: int) -> np.ndarray:
        """The batches of steps start .. start + count - 1, `[count, batch_size]` int32."""
        if not self.width:
            return np.empty((count, 0), np.int32)
        epochs = range(start // self.per_epoch, (start + count - 1) // self.per_epoch + 1)
        batches = np.concatenate([self._batches(epoch) for epoch in epochs])
        return batches[start - epochs[0] * self.per_epoch :][:count]

    def filled(self, start: int, until: int) -> np.ndarray:
        """The batches of steps start .. until, filled up with zeros to what a chunk takes."""
        filled = np.zeros((self.capacity, self.width), np.int32)
        rows = self.rows(start, min(self.capacity, until - start + 1))
        filled[: len(rows)] = rows
        return filled

    def _batches(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            drawn = generator(self.seed, "order", epoch).permutation(self.examples)
            kept = drawn[: self.per_epoch * self.width].astype(np.int32)
            self._epoch = (epoch, kept.reshape(self.per_epoch, self.width))
        return self._epoch[1]


class Programs(NamedTuple):
    """The compiled functions that serve an experiment.

    init: params -> optimizer state. chunk: (arguments, state, order, its first step, looks, untils, how many)
    -> (state, rows). start: (arguments, state, batch) -> rows of the probes that look at step 0 only, end:
    (arguments, state) -> of those that look at the end, where there are any. outputs: (arguments, state) ->
    the model's outputs by split.
    """

    init: Callable[..., Any]
    chunk: Callable[..., tuple[State, Any]]
    start: Callable[..., Any] | None
    end: Callable[..., Any] | None
    outputs: Callable[..., Any]


_compiled: OrderedDict[tuple[str, int, bool], Programs] = OrderedDict()


def programs_for(lanes: Lanes) -> Programs:
    """The programs that serve these lanes; compiled where they are not at hand."""
    key = (lanes.lead.program_key, lanes.count, lanes.shares_data)
    if key not in _compiled:
        _compiled[key] = _compile(lanes)
        if len(_compiled) > PROGRAMS:
            _compiled.popitem(last=False)
    _compiled.move_to_end(key)
    return _compiled[key]


def _compile(lanes: Lanes) -> Programs:
    lead = lanes.lead

    def chunk(arguments: Arguments, state: State, *plan: Array) -> Any:
        return Steps(lead, arguments).chunk(state, *plan)

    def start(arguments: Arguments, state: State, rows: Array) -> Any:
        return Steps(lead, arguments).start(state, rows)

    def end(arguments: Arguments, state: State) -> Any:
        return Steps(lead, arguments).end(state)

    def outputs(arguments: Arguments, state: State) -> Any:
        return Steps(lead, arguments).outputs(state)

    axes = Arguments(0, 0, 0, None if lanes.shares_data else 0)
    arguments, order = lanes.arguments(), BatchOrder(lead)
    init = jax.jit(lanes.mapped(lead.parts.optimizer.init, (0,)))
    state, rows = lanes.first_states(init), lanes.stacked([order.filled(0, 0)] * lanes.count)
    chunks = jax.jit(lanes.mapped(chunk, (axes, 0, 0, None, None, None, None)), donate_argnums=1)
    compiled = chunks.lower(arguments, state, rows, np.int32(0), *padded([])).compile()
    looking = {probe.record_at for probe in lead.probes}
    starting = jax.jit(lanes.mapped(start, (axes, 0, 0))) if "start" in looking else None
    ending = jax.jit(lanes.mapped(end, (axes, 0))) if "end" in looking else None
    return Programs(init, compiled, starting, ending, jax.jit(lanes.mapped(outputs, (axes, 0))))


def first_steps(lanes: Lanes) -> int:
    """So many steps are no longer than a chunk is meant to last, whatever the machine."""
    likely = CHUNK_SECONDS * SLOWEST / max(1.0, lanes.count * step_flops(lanes.lead))
    return max(1, min(FIRST_STEPS, int(likely)))


def _segments(record_steps: list[int], start: int) -> list[Segment]:
    """The segments from a step on."""
    ends = [*record_steps[1:], record_steps[-1]]
    left = [(begin, until) for begin, until in zip(record_steps, ends, strict=True) if begin >= start]
    between = [Segment(False, left[0][0])] if left and left[0][0] > start else []
    return between + [Segment(True, until) for _, until in left]


def _next(segments: list[Segment], base: int, steps: int) -> tuple[list[Segment], list[Segment]]:
    """The segments of the next chunk, about `steps` steps from `base`, and those that are left."""
    chosen: list[Segment] = []
    limit = base + max(1, steps)
    for position, segment in enumerate(segments):
        if len(chosen) == SEGMENTS or (chosen and chosen[-1].until >= limit):
            return chosen, segments[position:]
        if segment.until > limit:
            return [*chosen, segment._replace(until=limit)], [
                Segment(False, segment.until),
                *segments[position + 1 :],
            ]
        chosen.append(segment)
    return chosen, []


def padded(segments: list[Segment]) -> tuple[np.ndarray, np.ndarray, np.int32]:
    """Segments as the chunk takes them, filled up to its length, and how many they are."""
    filled = segments + [Segment(False, 0)] * (SEGMENTS - len(segments))
    looks, untils = np.array([s.look for s in filled]), np.array([s.until for s in filled], np.int32)
    return looks, untils, np.int32(len(segments))


def _tables(experiment: Experiment, looked: Any) -> dict[str, Table]:
    """The rows of a chunk's records as flat columns: the step, what names a row, the numbers."""
    kept = np.asarray(looked["looked"])
    steps = looked["step"][kept]
    tables = {name: {c: v[kept] for c, v in columns.items()} for name, columns in looked["tables"].items()}
    splits = experiment.data.splits
    order = ["learning_rate", *(f"{split}_{what}" for split in splits for what in ("loss", "accuracy"))]
    metrics: Table = {"step": steps, "epoch": steps / experiment.steps_per_epoch}
    metrics |= {column: tables["metrics"][column] for column in order if column in tables["metrics"]}
    for column in ("grad_norm", "weight_norm") if "layers" in tables else ():
        squares = np.square(tables["layers"][column].astype(np.float64))
        metrics[column] = np.sqrt(squares.sum(-1)).astype(np.float32)
    if "weight_norm" in tables["metrics"]:
        metrics["weight_norm"] = tables["metrics"]["weight_norm"]
    probed = {name: columns for name, columns in tables.items() if name != "metrics"}
    return {"metrics": metrics} | {name: _flat(experiment, name, steps, c) for name, c in probed.items()}


def _up_to(step: int, table: Table) -> Table:
    kept = table["step"] <= step
    return {column: values[kept] for column, values in table.items()}


def _flat(experiment: Experiment, table: str, steps: np.ndarray, columns: Table) -> Table:
    """Columns `[records, rows]` as `[records * rows]`, beside the step and the rows' own names."""
    probes = [probe for probe in experiment.probes if probe.table == table]
    names = probes[0].rows(experiment.trained.setup, experiment.data)
    count = len(next(iter(names.values())))
    labels = {name: np.tile(np.array(values, dtype=object), len(steps)) for name, values in names.items()}
    measured = {column: columns[column].reshape(-1) for probe in probes for column in probe.columns}
    return {"step": np.repeat(steps, count), **labels, **measured}
