"""Runs: experiments trained into run directories, one, or several side by side."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab import __version__, device
from nnlab.closed_form import fit
from nnlab.errors import NnlabError
from nnlab.experiment import Experiment
from nnlab.store import RunDirectory, read_json
from nnlab.train import Chunk, train_together

EXIT_CODES = {"complete": 0, "failed": 1, "diverged": 3}


class Outcome(NamedTuple):
    """summary: what summary.json holds. signal: what interrupted the run, 0 if nothing did."""

    summary: Mapping[str, Any]
    signal: int

    @property
    def exit_code(self) -> int:
        return 128 + self.signal if self.signal else EXIT_CODES[self.summary["status"]]


class Lane(NamedTuple):
    """An experiment and where its run goes."""

    experiment: Experiment
    directory: RunDirectory


def run(
    experiment: Experiment, directory: RunDirectory, watch: Callable[[Chunk], None] | None = None
) -> Outcome:
    """Train to the end, to divergence, or to SIGINT or SIGTERM, writing records as they come.

    watch: called with each chunk. Raises NnlabError where the directory cannot be written.
    """
    return run_together([Lane(experiment, directory)], watch and (lambda _, chunk: watch(chunk)))[0]


def run_together(
    lanes: Sequence[Lane], watch: Callable[[int, Chunk], int | None] | None = None
) -> list[Outcome]:
    """Run experiments that share a program side by side, as lanes of it. See `run`.

    watch: called with each chunk of each lane, and the lane's number; where it returns a step of that chunk,
    the lane ends there, pruned: it leaves the first rows of what the whole run would have left.
    """
    for lane in lanes:
        _begin(lane)
    last: list[Chunk | None] = [None] * len(lanes)
    pruned: set[int] = set()
    with _signals() as caught:
        try:
            for chunks in _chunks([lane.experiment for lane in lanes]):
                for number, chunk in chunks.items():
                    if number in pruned:
                        continue
                    stop = watch(number, chunk) if watch is not None else None
                    if stop is not None:
                        pruned.add(number)
                        chunk = _up_to(stop, chunk)
                    last[number] = chunk
                    _record(lanes[number].directory, chunk)
                going = "interrupted" in _statuses(lanes, last, pruned)
                if (caught and going) or (pruned and not going):
                    break
        except NnlabError:
            for lane in lanes:
                lane.directory.close()
            raise
        except Exception as error:
            for lane, final in zip(lanes, last, strict=True):
                lane.directory.close()
                _finish(lane, "failed", final, reason=f"{type(error).__name__}: {error}")
            raise
    outcomes = []
    for lane, final, status in zip(lanes, last, _statuses(lanes, last, pruned), strict=True):
        lane.directory.close()
        summary = _finish(lane, status, final)
        outcomes.append(Outcome(summary, caught[0] if status == "interrupted" else 0))
    return outcomes


def _chunks(experiments: Sequence[Experiment]) -> Iterator[dict[int, Chunk]]:
    """The chunks of all lanes; what a solver fits is fitted one after the other."""
    if experiments[0].parts.solver is None:
        yield from train_together(experiments)
        return
    for number, experiment in enumerate(experiments):
        for chunk in fit(experiment):
            yield {number: chunk}


def _up_to(step: int, chunk: Chunk) -> Chunk:
    """A chunk without what came after a step."""
    tables = {
        name: {column: values[table["step"] <= step] for column, values in table.items()}
        for name, table in chunk.tables.items()
        if "step" in table
    }
    return chunk._replace(step=step, tables=tables, finite=True)


def _statuses(lanes: Sequence[Lane], last: Sequence[Chunk | None], pruned: set[int]) -> list[str]:
    """What each lane has come to; one that has steps left counts as interrupted."""
    numbered = enumerate(zip(lanes, last, strict=True))
    return ["pruned" if number in pruned else _status(*lane) for number, lane in numbered]


def _status(lane: Lane, last: Chunk | None) -> str:
    """What a lane has come to by its last chunk."""
    if last is not None and not last.finite:
        return "diverged"
    done = last is not None and last.step >= lane.experiment.total_steps
    return "complete" if done else "interrupted"


def _begin(lane: Lane) -> None:
    experiment, directory = lane
    hashes = {"config_sha256": experiment.config.hash, "data_sha256": experiment.data.hash}
    directory.begin(experiment.config.text, device.environment() | hashes, _facts(lane))
    directory.log(f"nnlab {__version__}: {experiment.config.name}, {experiment.total_steps} steps")


def _facts(lane: Lane) -> dict[str, Any]:
    """What is known of a run before it is trained."""
    experiment = lane.experiment
    parameters, classes = experiment.model.setup.count("params"), experiment.data.train.classes
    return {"name": experiment.parts.name, "parameters": parameters, "classes": classes}


def _record(directory: RunDirectory, chunk: Chunk) -> None:
    for name, columns in chunk.tables.items():
        directory.append(name, columns)
    timing = {"step": chunk.step, "seconds": round(chunk.seconds, 6), "compiling": round(chunk.compiling, 6)}
    directory.append("timing", {name: np.array([value], dtype=object) for name, value in timing.items()})


def _finish(lane: Lane, status: str, last: Chunk | None, **facts: Any) -> Mapping[str, Any]:
    """Write summary.json from the tables on disk: metrics, and each phenomenon's numbers."""
    from nnlab.results import Run, read_table

    directory, parts = lane.directory, lane.experiment.parts
    summary: dict[str, Any] = _facts(lane) | {"status": status, **facts}
    if last is not None:
        metrics = read_table(directory.path / "metrics.csv")
        summary["step"] = last.step
        if status == "diverged":
            summary["diverged_at"] = last.step
        summary["final"] = {name: metrics[name].iloc[-1] for name in metrics}
        measured = [str(n) for n in metrics if str(n).endswith(("_loss", "_accuracy"))]
        summary["best"] = {
            n: (metrics[n].min() if n.endswith("_loss") else metrics[n].max()) for n in measured
        }
        seen = [phenomenon for phenomenon in parts.phenomena if phenomenon.scope == "run"]
        tables = {file.stem: read_table(file) for file in directory.path.glob("*.csv")} if seen else {}
        run = Run(directory.path, lane.experiment.config, summary, tables)
        summary |= {phenomenon.name: dict(phenomenon.summarize(run)) for phenomenon in seen}
    directory.log(status + (f" at step {last.step}" if last else ""))
    directory.write_json("summary.json", summary)
    return read_json(directory.path / "summary.json")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that the chunk can end; a second one acts at once."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    with handling(note):
        yield caught


@contextlib.contextmanager
def handling(note: Callable[[int, Any], None]) -> Iterator[None]:
    """Let a function handle SIGINT and SIGTERM."""
    previous = {}
    with contextlib.suppress(ValueError):  # only the main thread may handle signals
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
