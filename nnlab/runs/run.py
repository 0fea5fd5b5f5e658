"""Runs: experiments trained into run directories, one, or several side by side."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import __version__
from nnlab.errors import DiskError, NnlabError, UsageError
from nnlab.runs.resume import Clock, Keep, Lane, Tell, drift, found, no_matter
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import Checkpoint, CheckpointMeta
from nnlab.storage.run_directory import RunDirectory, read_json
from nnlab.system import device, files
from nnlab.training import memory
from nnlab.training.closed_form import fit
from nnlab.training.experiment import Experiment
from nnlab.training.loop import Chunk, train_together
from nnlab.training.state import Start

if TYPE_CHECKING:
    import pandas

DEFAULT = Keep()
SAVED = ("interrupted", "complete")  # states in which a training leaves a checkpoint
EXIT_CODES = {"complete": 0, "failed": 1, "diverged": 3}


class Outcome(NamedTuple):
    """summary: what summary.json holds. signal: what interrupted the run, 0 if nothing did."""

    summary: Mapping[str, Any]
    signal: int

    @property
    def exit_code(self) -> int:
        return 128 + self.signal if self.signal else EXIT_CODES[self.summary["status"]]


Watch = Callable[[int, Chunk], int | None]


def run(
    experiment: Experiment,
    directory: RunDirectory,
    watch: Callable[[Chunk], None] | None = None,
    keep: Keep = DEFAULT,
    tell: Tell = no_matter,
) -> Outcome:
    """Train to the end, to divergence, or to SIGINT, SIGTERM or SIGHUP, writing records as they come; where
    a checkpoint is there, go on from it.

    watch: called with each chunk, the first one being what was recorded before. tell: called with what is
    to be known of checkpoints. Raises NnlabError where the directory cannot be written, UsageError where the
    checkpoint is of something else.
    """

    def watched(_: int, chunk: Chunk) -> None:
        if watch is not None:
            watch(chunk)

    return run_together([Lane(experiment, directory)], watched, keep, tell)[0]


def run_together(
    lanes: Sequence[Lane], watch: Watch | None = None, keep: Keep = DEFAULT, tell: Tell = no_matter
) -> list[Outcome]:
    """Run experiments that share a program side by side, as lanes of it. See `run`.

    watch: called with each chunk of each lane, and the lane's number; where it returns a step of that chunk,
    the lane ends there, pruned: it leaves the first rows of what the whole run would have left.
    """
    _check_device(lanes[0].experiment)
    runs = [_Run(lane, watch and functools.partial(watch, number)) for number, lane in enumerate(lanes)]
    starts = found(lanes, keep, tell)
    for number, run in enumerate(runs):
        run.begin(starts[number] if starts else None, tell)
    with _signals() as caught, _failing(runs):
        clock = Clock(keep.every)
        for chunks in _chunks(runs, starts):
            at = {runs[number]: chunk for number, chunk in chunks.items() if runs[number].status != "pruned"}
            for run, chunk in at.items():
                run.take(chunk)
            going, stopping = any(run.status == "interrupted" for run in runs), bool(caught)
            if stopping or clock.due() or any(run.status == "complete" for run in at):
                clock.save([(run.lane, chunk) for run, chunk in at.items() if run.status in SAVED])
            if (stopping and going) or not going:
                break
    return [run.end(caught) for run in runs]


def _check_device(experiment: Experiment) -> None:
    """An accelerator must have the memory that a training takes. Raises ConfigError."""
    needed, there = experiment.footprint.arrays, device.memory_limit_bytes()
    if there is not None and needed > there:
        raise experiment.config.error(
            ("model",),
            f"training needs about {memory.shown(needed)} of the device's memory, which has "
            f"{memory.shown(there)}; largest layers: {memory.largest_layers(experiment.model.setup)}",
        )


class _Run:
    """A run at work. status: what it has come to; one that has steps left counts as interrupted."""

    def __init__(self, lane: Lane, watch: Callable[[Chunk], int | None] | None) -> None:
        self.lane, self.watch = lane, watch
        self.status, self.step, self.recorded = "interrupted", 0, False
        self.stopped = 0  # see Chunk
        self.known = -1  # the last step whose record is there, where the training goes on at a record

    def begin(self, start: Checkpoint | None, tell: Tell) -> None:
        """Make the directory, or go on in it."""
        experiment, directory = self.lane
        environment = device.environment() | {
            "config_sha256": experiment.config.hash,
            "data_sha256": experiment.data.hash,
        }
        drifts = [] if start is None else drift(self.lane, start.facts)
        earlier = [] if start is None else _earlier_drifts(directory)
        if earlier or drifts:
            environment["drift"] = [*earlier, *drifts]
        tables = {} if start is None else dict(start.facts.tables)
        lengthened = start is not None and start.facts.done and not start.facts.stopped
        if start is not None and lengthened and start.facts.step < experiment.total_steps:
            self.known = start.facts.step
            for name in experiment.last_tables:  # they were the last ones
                tables.pop(name, None)
        if "timing" in tables and not files.has_prefix(directory.path / "timing.csv", tables["timing"]):
            del tables["timing"]  # no number goes by it
        directory.begin(experiment.config.text, environment, _facts(self.lane), tables)
        directory.log(f"nnlab {__version__}: {experiment.config.name}, {experiment.total_steps} steps")
        if start is None and experiment.given.arrays:
            directory.log(experiment.given.report)
            tell(experiment.given.report)
        if start is None:
            return
        facts = start.facts
        words = f"goes on from step {facts.step}" + "".join(f", {d['what']} differs" for d in drifts)
        directory.log(words)
        tell(f"{directory.path}: {words}")
        checkpoints.drop_after(directory.checkpoints, facts.step)
        self.step, self.stopped, self.recorded = facts.step, facts.stopped, True
        if facts.done and (facts.stopped or facts.step == experiment.total_steps):
            self.status = "complete"
        if self.watch is not None:
            self.watch(self._before(facts))

    def take(self, chunk: Chunk) -> None:
        """Record a chunk, or as much of it as is wanted."""
        stop = self.watch(chunk) if self.watch is not None else None
        if stop is not None:
            chunk = _up_to(stop, chunk)
            self.status = "pruned"
        elif not chunk.finite:
            self.status = "diverged"
        elif chunk.done:
            self.status = "complete"
        self.step, self.recorded = chunk.step, True
        self.stopped = chunk.stopped if self.status == "complete" else 0
        for name, columns in chunk.tables.items():
            kept = columns["step"] > self.known if "step" in columns else slice(None)
            self.lane.directory.append(name, {column: values[kept] for column, values in columns.items()})
        seconds = {"seconds": round(chunk.seconds, 6), "compiling": round(chunk.compiling, 6)}
        timing = {"step": chunk.step, **seconds}
        self.lane.directory.append("timing", {n: np.array([v], dtype=object) for n, v in timing.items()})

    def end(self, caught: Sequence[int]) -> Outcome:
        """Close the tables, and say in the summary what it came to."""
        self.lane.directory.close()
        summary = self._finish()
        return Outcome(summary, caught[0] if self.status == "interrupted" else 0)

    def fail(self, reason: str) -> None:
        """Say in the summary that it failed, as well as can be."""
        summary = _facts(self.lane) | {"status": "failed", "reason": reason, "step": self.step}
        with contextlib.suppress(DiskError):  # what made it fail is told in any case
            self.lane.directory.log(f"failed at step {self.step}")
            self.lane.directory.write_json("summary.json", summary)

    def _finish(self) -> Mapping[str, Any]:
        """Write summary.json from the tables on disk: metrics, and each phenomenon's numbers."""
        from nnlab.runs.results import Run, read_table

        experiment, directory = self.lane
        status = self.status
        summary: dict[str, Any] = _facts(self.lane) | {"status": status}
        if self.recorded:
            metrics = read_table(directory.path / "metrics.csv")
            summary["step"] = self.step
            if status == "diverged":
                summary["diverged_at"] = self.step
            summary["final"] = {name: metrics[name].iloc[-1] for name in metrics}
            summary["best"] = _best(metrics)
            summary["selected"] = _selected(metrics, experiment.selection_metric)
            if self.stopped:
                summary["stopped_by"] = experiment.stops[self.stopped - 1].name
            seen = experiment.parts.run_phenomena
            tables = {file.stem: read_table(file) for file in directory.path.glob("*.csv")} if seen else {}
            run = Run(directory.path, experiment.config, summary, tables)
            summary |= {phenomenon.name: _numbers(phenomenon, run) for phenomenon in seen}
        directory.log(status + (f" at step {self.step}" if self.recorded else ""))
        directory.write_json("summary.json", summary)
        return read_json(directory.path / "summary.json")

    def _before(self, facts: CheckpointMeta) -> Chunk:
        """What was recorded before, as a chunk that took no time."""
        from nnlab.runs.results import read_table

        metrics = read_table(self.lane.directory.path / "metrics.csv")
        table = {str(name): metrics[name].to_numpy() for name in metrics}
        return Chunk(facts.step, {"metrics": table}, True, facts.done, 0.0, 0.0)


def _numbers(phenomenon: Any, run: Any) -> dict[str, Any]:
    """What a phenomenon finds; nothing, before a training came to the end that it looks at."""
    if not phenomenon.end_tables <= run.tables.keys():
        return dict.fromkeys(phenomenon.fields)
    return phenomenon.summarize(run)


def _earlier_drifts(directory: RunDirectory) -> list[Any]:
    """What is recorded of drift; nothing where that cannot be read."""
    try:
        found = read_json(directory.path / "environment.json").get("drift", [])
    except UsageError:
        return []
    return found if isinstance(found, list) else []


def _best(metrics: pandas.DataFrame) -> dict[str, float]:
    """The best value of each loss and accuracy among the records all of whose numbers are finite."""
    sound = metrics[np.isfinite(metrics.to_numpy(np.float64)).all(axis=1)]
    measured = [str(name) for name in metrics if str(name).endswith(("_loss", "_accuracy"))]
    return {n: sound[n].min() if n.endswith("_loss") else sound[n].max() for n in measured}


def _selected(metrics: pandas.DataFrame, selection_metric: str) -> dict[str, float]:
    """The first record with the smallest loss of validation, else of training: of the best weights."""
    losses = metrics[selection_metric].to_numpy(np.float64)
    row = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
    return {str(name): metrics[name].iloc[row] for name in metrics}


def _chunks(runs: Sequence[_Run], starts: Sequence[Checkpoint] | None) -> Iterator[dict[int, Chunk]]:
    """The chunks of all lanes; what a solver fits is fitted one after the other."""
    experiments = [run.lane.experiment for run in runs]
    if all(run.status == "complete" for run in runs):  # killed before it could say so
        return
    if experiments[0].parts.solver is None:
        kept = [Start(s.facts.step, s.arrays, s.facts.stopped > 0) for s in starts or ()]
        yield from train_together(experiments, kept)
        return
    for number, experiment in enumerate(experiments):
        for chunk in fit(experiment):
            yield {number: chunk}


@contextlib.contextmanager
def _failing(runs: Sequence[_Run]) -> Iterator[None]:
    """Where training fails, close the tables; say so in the summaries, but where the disk is what fails."""
    try:
        yield
    except Exception as error:
        for run in runs:
            run.lane.directory.close()
        if isinstance(error, NnlabError):
            raise
        told = _told(error, runs)
        for run in runs:
            run.fail(str(told or f"{type(error).__name__}: {error}"))
        if told is not None:
            raise told from None
        raise


def _told(error: Exception, runs: Sequence[_Run]) -> NnlabError | None:
    """What is known of an error beyond its own words."""
    setup = runs[0].lane.experiment.model.setup
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return NnlabError(
            f"{runs[0].lane.directory.path}: out of memory; largest layers: {memory.largest_layers(setup)}"
        )
    return None


def _up_to(step: int, chunk: Chunk) -> Chunk:
    """A chunk without what came after a step."""
    tables = {
        name: {column: values[table["step"] <= step] for column, values in table.items()}
        for name, table in chunk.tables.items()
        if "step" in table
    }
    return chunk._replace(step=step, tables=tables, finite=True)


def _facts(lane: Lane) -> dict[str, Any]:
    """What is known of a run before it is trained."""
    experiment = lane.experiment
    return {
        "name": experiment.parts.name,
        "parameters": experiment.model.setup.count("params"),
        "trained_parameters": experiment.trained_parameters,
        "classes": experiment.data.train.classes,
    }


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP, so that the chunk can end; a second one leaves at once."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        caught.append(number)

    with handling(note), _leaving_at_the_second():
        yield caught


@contextlib.contextmanager
def _leaving_at_the_second() -> Iterator[None]:
    """End the process at the second signal, even while XLA compiles or computes: Python's own handlers wait
    until that is over, and take two of a kind for one."""
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def listen() -> None:
        count = 0
        while word := os.read(heard, 1):
            count += 1
            if count == 2:
                os._exit(128 + word[0])
        os.close(heard)

    try:
        before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    except ValueError:  # only the main thread may
        os.close(heard)
        os.close(told)
        yield
        return
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)  # at which the thread ends


@contextlib.contextmanager
def handling(note: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function handle SIGINT, SIGTERM and, unless it is ignored as under nohup, SIGHUP."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {}
    with contextlib.suppress(ValueError):  # only the main thread may handle signals
        previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
