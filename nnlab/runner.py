"""One run: an experiment trained into a run directory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from nnlab import __version__, device
from nnlab.config import Config
from nnlab.errors import NnlabError
from nnlab.experiment import Experiment
from nnlab.store import RunDirectory, read_json
from nnlab.train import Chunk, train

EXIT_CODES = {"complete": 0, "failed": 1, "diverged": 3}


class Outcome(NamedTuple):
    """summary: what summary.json holds. signal: what interrupted the run, 0 if nothing did."""

    summary: Mapping[str, Any]
    signal: int

    @property
    def exit_code(self) -> int:
        return 128 + self.signal if self.signal else EXIT_CODES[self.summary["status"]]


def run(
    experiment: Experiment, directory: RunDirectory, watch: Callable[[Chunk], None] | None = None
) -> Outcome:
    """Train to the end, to divergence, or to SIGINT or SIGTERM, writing records as they come.

    watch: called with each chunk. Raises NnlabError where the directory cannot be written.
    """
    surroundings = device.environment()
    hashes = {"config_sha256": experiment.config.hash, "data_sha256": experiment.data.hash}
    directory.begin(experiment.config.text, surroundings | hashes)
    directory.log(f"nnlab {__version__}: {experiment.config.name}, {experiment.total_steps} steps")
    last: Chunk | None = None
    status = "complete"
    with _signals() as caught:
        try:
            for last in train(experiment):
                _record(directory, last)
                if watch is not None:
                    watch(last)
                if not last.finite:
                    status = "diverged"
                elif caught and last.step < experiment.total_steps:
                    status = "interrupted"
                    break
        except NnlabError:
            directory.close()
            raise
        except Exception as error:
            directory.close()
            _finish(directory, experiment.config, "failed", last, reason=f"{type(error).__name__}: {error}")
            raise
    directory.close()
    parameters = experiment.model.setup.count("params")
    summary = _finish(directory, experiment.config, status, last, parameters=parameters)
    return Outcome(summary, caught[0] if status == "interrupted" else 0)


def judge(config: Config, summary: Mapping[str, Any]) -> list[tuple[str, str, Any, bool]]:
    """Each expectation as (number, bound, found, whether it holds)."""
    verdicts = []
    for key, bound in config.build().expect.items():
        prefix, _, number = key.partition(".")
        found = summary.get(prefix)
        if number:
            found = found.get(number) if isinstance(found, Mapping) else None
        verdicts.append((key, str(bound), found, bound.holds(found)))
    return verdicts


def _record(directory: RunDirectory, chunk: Chunk) -> None:
    for name, columns in chunk.tables.items():
        directory.append(name, columns)
    timing = {"step": chunk.step, "seconds": round(chunk.seconds, 6), "compiling": round(chunk.compiling, 6)}
    directory.append("timing", {name: np.array([value], dtype=object) for name, value in timing.items()})


def _finish(
    directory: RunDirectory, config: Config, status: str, last: Chunk | None, **facts: Any
) -> Mapping[str, Any]:
    """Write summary.json from the tables on disk: metrics, and each phenomenon's numbers."""
    from nnlab.results import read_table

    summary: dict[str, Any] = {"name": config.name, "status": status, **facts}
    if last is not None:
        tables = {file.stem: read_table(file) for file in directory.path.glob("*.csv")}
        metrics = tables["metrics"]
        summary["step"] = last.step
        if status == "diverged":
            summary["diverged_at"] = last.step
        summary["final"] = {name: metrics[name].iloc[-1] for name in metrics}
        measured = [str(n) for n in metrics if str(n).endswith(("_loss", "_accuracy"))]
        summary["best"] = {
            n: (metrics[n].min() if n.endswith("_loss") else metrics[n].max()) for n in measured
        }
        for phenomenon in config.build().phenomena:
            summary[phenomenon.name] = dict(phenomenon.summarize(tables))
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

    previous = {}
    with contextlib.suppress(ValueError):  # only the main thread may handle signals
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
