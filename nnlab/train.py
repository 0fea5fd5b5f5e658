"""Training as compiled programs. Knows nothing of disks and terminals: it yields records.

One program runs a whole chunk: a scan over segments, each of which first looks (evaluates all splits, takes
one step with the probes on it) and then takes plain steps up to the segment's end. Where segments end is
data, not shape, so any schedule of records is the same program, and how a training is cut into chunks does
not change its numbers. Data stay on the device; the order of examples is drawn on the host from
(seed, epoch) and handed over chunk by chunk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from nnlab.data.examples import Examples
from nnlab.experiment import Experiment
from nnlab.lazy import Array, jax, jnp
from nnlab.nn.layer import Output
from nnlab.probes import Probe, Snapshot
from nnlab.randomness import generator

Table = dict[str, np.ndarray]

SEGMENTS = 32  # a chunk has at most this many
ORDER_BYTES = 8 * 2**20  # and at most this much of the order of examples
CHUNK_SECONDS = 0.5  # and is meant to last about this long
FIRST_STEPS = 16  # the first one, whose speed nobody knows yet
BLOCK_VALUES = 2**24  # evaluation takes as many examples at once as make this many values


class State(NamedTuple):
    """All that one step hands to the next. finite: whether every loss so far was a number."""

    params: Any
    layer_state: Any
    optimizer_state: Any
    step: Array
    finite: Array


class Segment(NamedTuple):
    """look: whether to record at the segment's first step; until: the step to go to."""

    look: bool
    until: int


class Chunk(NamedTuple):
    """What a chunk of training came to.

    step: where it ended. tables: the new rows by table. finite: False where the loss stopped being a number,
    at `step`. seconds: its wall-clock time; compiling: of which the program's compilation.
    """

    step: int
    tables: dict[str, Table]
    finite: bool
    seconds: float
    compiling: float


def train(experiment: Experiment) -> Iterator[Chunk]:
    """Train from the first step, yielding each chunk's records as it ends; stops early where it diverges."""
    began = time.perf_counter()
    programs, order = compiled(experiment), Order(experiment)
    compiling = time.perf_counter() - began
    state = programs.init()
    initial = programs.init().params  # of its own: the state's are given away to the first chunk
    at_start = jax.device_get(programs.start(state, initial, order.rows(0, 1)[0])) if programs.start else {}
    segments, steps = _segments(experiment.record_steps), FIRST_STEPS
    while segments:
        base = int(state.step)
        chosen, segments = _next(segments, base, min(steps, order.capacity - 1))
        called = time.perf_counter()
        rows = order.filled(base, chosen[-1].until)
        state, looked = programs.chunk(state, initial, rows, base, *padded(chosen))
        looked, end = jax.device_get(looked), int(state.step)
        now = time.perf_counter()
        steps = max(1, round(CHUNK_SECONDS * max(1, end - base) / max(1e-6, now - called)))
        tables = _tables(experiment, looked)
        if base == 0:
            tables |= {
                name: _flat(experiment, name, np.zeros(1, np.int32), c) for name, c in at_start.items()
            }
        finite = bool(state.finite)
        bad = np.flatnonzero(~np.isfinite(tables["metrics"]["train_loss"]))
        if bad.size:
            end, finite = int(tables["metrics"]["step"][bad[0]]), False
            tables = {name: _up_to(end, table) for name, table in tables.items()}
        yield Chunk(end, tables, finite, now - began, compiling)
        if not finite:
            return
        began, compiling = time.perf_counter(), 0.0


class Order:
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
    """The compiled functions of an experiment.

    init: () -> State. chunk: (state, initial params, order, its first step, looks, untils) -> (state, rows).
    start: (state, initial params, batch) -> rows of the probes that look at step 0 only, if there are any.
    """

    init: Callable[[], State]
    chunk: Callable[..., tuple[State, Any]]
    start: Callable[..., Any] | None


def compiled(experiment: Experiment) -> Programs:
    """Build and compile an experiment's functions, its data bound to them on the device."""
    splits = {name: Resident.of(part) for name, part in experiment.data.splits.items()}
    steps = Steps(experiment)
    init = jax.jit(steps.initial).lower().compile()
    state = jax.eval_shape(steps.initial)
    order = Order(experiment)
    shapes = (
        jax.ShapeDtypeStruct((order.capacity, order.width), jnp.int32),
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.ShapeDtypeStruct((SEGMENTS,), jnp.bool_),
        jax.ShapeDtypeStruct((SEGMENTS,), jnp.int32),
    )
    chunk = jax.jit(steps.chunk, donate_argnums=0).lower(state, state.params, splits, *shapes).compile()

    def run(state: State, initial: Any, rows: np.ndarray, base: int, looks: Any, untils: Any) -> Any:
        return chunk(state, initial, splits, rows, np.int32(base), looks, untils)

    if not steps.start_probes:
        return Programs(init, run, None)
    start = jax.jit(steps.start)
    return Programs(init, run, lambda state, initial, rows: start(state, initial, splits["train"], rows))


class Resident(NamedTuple):
    """Examples on the device."""

    inputs: Array
    targets: Array

    @classmethod
    def of(cls, examples: Examples) -> Resident:
        return cls(jax.device_put(examples.inputs), jax.device_put(examples.targets))


class Steps:
    """The pure functions that training is made of; everything they close over is fixed for a program."""

    def __init__(self, experiment: Experiment) -> None:
        self.model, self.loss = experiment.model, experiment.parts.loss
        self.learning_rate = experiment.parts.optimizer.learning_rate
        self.optimizer = experiment.parts.optimizer.direction()
        self.total_steps = experiment.total_steps
        self.classes = experiment.data.train.classes
        self.probes = [probe for probe in experiment.probes if not probe.at_start]
        self.start_probes = [probe for probe in experiment.probes if probe.at_start]
        self.seed = experiment.parts.seed
        values = sum(math.prod(leaf.output_shape) for _, leaf in self.model.setup.leaves())
        self.block = max(1, BLOCK_VALUES // max(1, values))

    def initial(self) -> State:
        """The state before the first step."""
        params, layer_state = self.model.init(jax.random.key(self.seed))
        step = jnp.zeros((), jnp.int32)
        return State(params, layer_state, self.optimizer.init(params), step, jnp.array(True))

    def take(self, state: State, batch: Resident, initial: Any) -> tuple[State, Snapshot]:
        """One step of training, and what could be seen of it."""
        key = jax.random.fold_in(jax.random.key(self.seed), state.step)

        def mean_loss(params: Any) -> tuple[Array, Output]:
            output = self.model.apply(params, state.layer_state, batch.inputs, key=key, train=True)
            return self.loss.per_example(output.value, batch.targets).mean(), output

        (loss, output), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        rate = self.learning_rate(state.step, self.total_steps)
        direction, optimizer_state = self.optimizer.update(gradients, state.optimizer_state, state.params)
        changes = jax.tree.map(lambda d: -rate * d, direction)
        params = jax.tree.map(jnp.add, state.params, changes)
        finite = jnp.isfinite(loss)
        after = State(params, output.state, optimizer_state, state.step + finite.astype(jnp.int32), finite)
        return after, Snapshot(state.params, initial, gradients, changes, output.inside)

    def look(
        self, state: State, initial: Any, splits: dict[str, Resident], batch: Resident
    ) -> tuple[State, Any]:
        """One step of training with its record: metrics of all splits and the probes' tables."""
        metrics = {"learning_rate": self.learning_rate(state.step, self.total_steps)}
        for name, examples in splits.items():
            metrics |= self.evaluate(state, name, examples)
        after, snapshot = self.take(state, batch, initial)
        tables = {"metrics": metrics} | self.measured(self.probes, snapshot)
        return after, {"step": state.step, "tables": tables}

    def start(self, state: State, initial: Any, examples: Resident, rows: Array) -> Any:
        """The tables of the probes that look at step 0 only."""
        _, snapshot = self.take(state, batch_at(examples, rows), initial)
        return self.measured(self.start_probes, snapshot)

    def measured(self, probes: list[Probe], snapshot: Snapshot) -> dict[str, dict[str, Array]]:
        tables: dict[str, dict[str, Array]] = {}
        for probe in probes:
            found = probe.measure(self.model.setup, snapshot)
            tables.setdefault(probe.table, {}).update(zip(probe.columns, found, strict=True))
        return tables

    def evaluate(self, state: State, name: str, examples: Resident) -> dict[str, Array]:
        """Mean loss, and for a classification accuracy, of one split, in evaluation mode."""

        def sums(part: Resident) -> tuple[Array, Array]:
            key = jax.random.key(self.seed)
            output = self.model.apply(state.params, state.layer_state, part.inputs, key=key, train=False)
            losses = self.loss.per_example(output.value, part.targets)
            correct = self.loss.correct(output.value, part.targets) if self.classes else losses
            return losses.sum(), correct.sum()

        count = examples.inputs.shape[0]
        blocks = count // self.block
        whole, rest = (
            jax.tree.map(lambda a: a[: blocks * self.block], examples),
            jax.tree.map(lambda a: a[blocks * self.block :], examples),
        )
        parts = []
        if blocks:
            stacked = jax.tree.map(lambda a: a.reshape(blocks, self.block, *a.shape[1:]), whole)
            parts.append(jax.tree.map(lambda a: a.sum(), jax.lax.map(sums, stacked)))
        if count % self.block:
            parts.append(sums(rest))
        loss, correct = jax.tree.map(lambda *a: sum(a[1:], a[0]) / count, *parts)
        found = {f"{name}_loss": loss}
        return found | ({f"{name}_accuracy": correct} if self.classes else {})

    def chunk(
        self,
        state: State,
        initial: Any,
        splits: dict[str, Resident],
        order: Array,
        base: Array,
        looks: Array,
        untils: Array,
    ) -> tuple[State, Any]:
        """Run segments: at each that looks, one recorded step; then plain steps until its end."""

        def batch(state: State) -> Resident:
            return batch_at(splits["train"], order[state.step - base])

        def plain(state: State) -> State:
            return self.take(state, batch(state), initial)[0]

        def looked(state: State, until: Array) -> tuple[State, Any]:
            after, rows = self.look(state, initial, splits, batch(state))
            after = jax.tree.map(lambda new, old: jnp.where(until > state.step, new, old), after, state)
            return after, rows | {"looked": jnp.array(True)}

        def segment(state: State, plan: tuple[Array, Array]) -> tuple[State, Any]:
            wanted, until = plan
            _, shapes = jax.eval_shape(looked, state, until)
            nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
            state, rows = jax.lax.cond(wanted & state.finite, looked, lambda s, _: (s, nothing), state, until)
            return jax.lax.while_loop(lambda s: (s.step < until) & s.finite, plain, state), rows

        return jax.lax.scan(segment, state, (looks, untils))


def batch_at(examples: Resident, rows: Array) -> Resident:
    """The examples at `rows`; all of them where rows are none."""
    return examples if rows.shape[0] == 0 else jax.tree.map(lambda a: a[rows], examples)


def _segments(record_steps: list[int]) -> list[Segment]:
    ends = [*record_steps[1:], record_steps[-1]]
    return [Segment(True, until) for until in ends]


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


def padded(segments: list[Segment]) -> tuple[np.ndarray, np.ndarray]:
    """Segments as the chunk takes them, filled up with ones that do nothing."""
    filled = segments + [Segment(False, 0)] * (SEGMENTS - len(segments))
    return np.array([s.look for s in filled]), np.array([s.until for s in filled], np.int32)


def _tables(experiment: Experiment, looked: Any) -> dict[str, Table]:
    """The rows of a chunk's records as flat columns: the step, what names a row, the numbers."""
    kept = np.asarray(looked["looked"])
    steps = looked["step"][kept]
    tables = {name: {c: v[kept] for c, v in columns.items()} for name, columns in looked["tables"].items()}
    splits = experiment.data.splits
    order = ["learning_rate", *(f"{split}_{what}" for split in splits for what in ("loss", "accuracy"))]
    metrics: Table = {"step": steps, "epoch": steps / experiment.steps_per_epoch}
    metrics |= {column: tables["metrics"][column] for column in order if column in tables["metrics"]}
    for column in ("grad_norm", "weight_norm"):
        squares = np.square(tables["layers"][column].astype(np.float64))
        metrics[column] = np.sqrt(squares.sum(-1)).astype(np.float32)
    probed = {name: columns for name, columns in tables.items() if name != "metrics"}
    return {"metrics": metrics} | {name: _flat(experiment, name, steps, c) for name, c in probed.items()}


def _up_to(step: int, table: Table) -> Table:
    kept = table["step"] <= step
    return {column: values[kept] for column, values in table.items()}


def _flat(experiment: Experiment, table: str, steps: np.ndarray, columns: Table) -> Table:
    """Columns `[records, rows]` as `[records * rows]`, beside the step and the rows' own names."""
    probes = [probe for probe in experiment.probes if probe.table == table]
    names = probes[0].rows(experiment.model.setup)
    count = len(next(iter(names.values())))
    labels = {name: np.tile(np.array(values, dtype=object), len(steps)) for name, values in names.items()}
    measured = {column: columns[column].reshape(-1) for probe in probes for column in probe.columns}
    return {"step": np.repeat(steps, count), **labels, **measured}
