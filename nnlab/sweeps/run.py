"""Running a sweep: missing trials are trained, the tables written, phenomena across trials summarized."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nnlab.errors import InvalidValue, NnlabError, RunStatus
from nnlab.runs.results import open_sweep
from nnlab.runs.signals import handle_stop_signals
from nnlab.storage.results import read_json
from nnlab.sweeps.directory import FINISHED, SweepDirectory
from nnlab.sweeps.engines.base import Engine, Event, Summary, TrialSource
from nnlab.sweeps.plan import Plan
from nnlab.sweeps.queue import TrialQueue
from nnlab.sweeps.search.queue import SearchQueue
from nnlab.sweeps.tables import row_of, write_summary, write_trials
from nnlab.sweeps.trials import Trial

TABLES_INTERVAL_SECONDS = 5.0  # between two writings of trials.csv while a sweep runs


class SweepOutcome(NamedTuple):
    """How the running of a sweep ended.

    Attributes:
        summary: what summary.json holds.
        signal: the signal that interrupted the sweep, 0 if none did.
    """

    summary: Summary
    signal: int


def run_sweep(
    plan: Plan,
    directory: SweepDirectory,
    engine: Engine,
    fail_fast: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> SweepOutcome:
    """Run the trials that are left, writing the sweep's tables as they end.

    Args:
        plan: what is to be done.
        directory: the sweep's directory, held by this process and begun.
        engine: runs the trials; it is closed at the end.
        fail_fast: stop at the first trial that fails.
        on_event: called with each event of the engine.
    """
    records = _Records(plan, directory)
    records.write_trials()
    with _stopping_at_signals(engine) as signals, contextlib.closing(engine), _finishing(records):
        for event in engine.run(records.queue):
            if event.status:
                records.add(event)
            if event.status == RunStatus.FAILED and fail_fast and not engine.stopping:
                engine.stop()
            if on_event is not None:
                on_event(event)
            if event.status:
                records.write_trials_in_time()
    return SweepOutcome(records.finish(), signals[0] if signals else 0)


class _Records:
    """What a sweep has come to so far, and the files that tell of it."""

    def __init__(self, plan: Plan, directory: SweepDirectory) -> None:
        self.config, self.directory = plan.config, directory
        parts = plan.config.build()
        self.axes = parts.sweep.paths if parts.sweep else []
        self.phenomena = parts.sweep_phenomena
        self.search: SearchQueue | None = None
        if plan.search is None:
            self.queue: TrialSource = TrialQueue(plan.groups)
            self.trials: Sequence[Trial] = plan.trials
            self.summaries: dict[str, Summary | None] = dict(plan.finished)
        else:
            self.queue = self.search = SearchQueue(plan.config, directory)
            self.trials, self.summaries = self.search.trials, self.search.summaries
        self._written_at = 0.0

    def add(self, event: Event) -> None:
        """Take in how a trial ended."""
        summary = _summary_after(self.directory, event)
        self.summaries[event.trial.id] = summary
        self.queue.finish(event.trial, summary)

    def write_trials(self) -> None:
        rows = (row_of(trial, self.summaries.get(trial.id)) for trial in self.trials)
        write_trials(self.directory, self.axes, rows)

    def write_trials_in_time(self) -> None:
        """Write trials.csv, unless that was done a moment ago."""
        if time.monotonic() - self._written_at > TABLES_INTERVAL_SECONDS:
            self.write_trials()
            self._written_at = time.monotonic()

    def finish(self) -> Summary:
        """Write the tables and summary.json: the counts of trials, the best trial of a search, and the
        numbers of each phenomenon across trials, once every trial has ended."""
        self.write_trials()
        write_summary(self.directory, self.axes)
        counts = Counter(
            (self.summaries.get(trial.id) or {"status": "missing"})["status"] for trial in self.trials
        )
        if self.search is not None:
            counts["missing"] += self.search.draws_left
        status = RunStatus.COMPLETE
        if counts[RunStatus.FAILED]:
            status = RunStatus.FAILED
        elif counts["missing"]:
            status = RunStatus.INTERRUPTED
        summary: dict[str, Any] = {"name": self.config.name, "status": status, "trials": len(self.trials)}
        summary |= {word: counts[word] for word in (*FINISHED, RunStatus.FAILED, "missing")}
        best = self.search.best() if self.search is not None else None
        if best is not None:
            summary["best"] = best
        if not counts["missing"]:
            summary |= self._phenomena_numbers()
        self.directory.write_json("summary.json", summary)
        return read_json(self.directory.path / "summary.json")

    def _phenomena_numbers(self) -> dict[str, Mapping[str, object]]:
        result = open_sweep(self.directory.path)
        numbers: dict[str, Mapping[str, object]] = {}
        for phenomenon in self.phenomena:
            try:
                numbers[phenomenon.name] = phenomenon.summarize(result)
            except InvalidValue as error:  # too few trials are left, say
                numbers[phenomenon.name] = {"not found": str(error)}
        return numbers


def _summary_after(directory: SweepDirectory, event: Event) -> Summary | None:
    """The summary of a trial that has ended; None where it was interrupted."""
    if event.status == RunStatus.INTERRUPTED:  # it may have ended, with no time left to say so
        outcome = directory.outcome(event.trial)
        return outcome if outcome and outcome["status"] in FINISHED else None
    if event.status == RunStatus.FAILED:
        outcome = directory.outcome(event.trial)
        if outcome and outcome["status"] == RunStatus.FAILED:
            return outcome
        return directory.record_failure(event.trial, event.reason)
    return read_json(directory.trial(event.trial).path / "summary.json")


@contextlib.contextmanager
def _finishing(records: _Records) -> Iterator[None]:
    """Leave complete tables and a summary where the sweep cannot go on."""
    try:
        yield
    except NnlabError:
        records.finish()
        raise


@contextlib.contextmanager
def _stopping_at_signals(engine: Engine) -> Iterator[list[int]]:
    """At SIGINT or SIGTERM let the workers end their chunk; at a second signal leave at once."""
    signals: list[int] = []

    def note(number: int, _: object) -> None:
        if signals:
            engine.kill()
            os._exit(128 + number)
        signals.append(number)
        engine.stop()

    with handle_stop_signals(note):
        yield signals
