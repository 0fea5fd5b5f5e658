"""What a sweep has come to so far, and the files that tell of it: its tables and summary.json."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from nnlab.errors import RunStatus, UsageError
from nnlab.runs.expectations import FINISHED
from nnlab.runs.results import open_sweep
from nnlab.runs.sweep_points import MISSING
from nnlab.storage.results import JsonObject, read_json
from nnlab.sweeps.between import write_between
from nnlab.sweeps.claims import Claims
from nnlab.sweeps.directory import ENDED, SweepDirectory
from nnlab.sweeps.engines.base import Event, Summary, TrialSource
from nnlab.sweeps.plan import Plan
from nnlab.sweeps.queue import TrialQueue
from nnlab.sweeps.search.queue import SearchQueue
from nnlab.sweeps.tables import row_of, write_summary, write_trials
from nnlab.sweeps.trials import Trial

TABLES_INTERVAL_SECONDS = 5.0  # between two writings of trials.csv while a sweep runs


class SweepRecorder:
    """Records how the trials of a sweep end.

    Attributes:
        plan: What is to be done.
        claims: The trials that this process may run.
        queue: The trials that are left; it learns of each trial that ends.
        trials: All trials, in the order of trials.csv.
        summaries: Those of the trials that have ended, by their ids.
    """

    def __init__(self, plan: Plan, directory: SweepDirectory, claims: Claims) -> None:
        self.plan, self.config, self.directory, self.claims = plan, plan.config, directory, claims
        self.axes, self.phenomena = plan.axes, plan.config.build().sweep_phenomena
        self.search: SearchQueue | None = None
        if plan.search is None:
            self.queue: TrialSource = TrialQueue(plan.groups, claims)
            self.trials: Sequence[Trial] = plan.trials
            self.summaries: dict[str, Summary | None] = dict(plan.finished)
        else:
            self.queue = self.search = SearchQueue(plan.config, directory, claims)
            self.trials, self.summaries = self.search.trials, self.search.summaries
        self._written_at = 0.0

    def record(self, event: Event) -> None:
        """Record a trial's end, and tell the queue."""
        summary = self._summary_after(event)
        self.summaries[event.trial.id] = summary
        self.queue.finish(event.trial, summary)

    def write_trials(self) -> None:
        """Write trials.csv."""
        rows = (row_of(trial, self.summaries.get(trial.id)) for trial in self.trials)
        write_trials(self.directory, self.axes, rows)

    def write_trials_if_due(self) -> None:
        """Write trials.csv, unless that was done a moment ago."""
        if time.monotonic() - self._written_at > TABLES_INTERVAL_SECONDS:
            self.write_trials()
            self._written_at = time.monotonic()

    def finish(self) -> Summary:
        """Write the tables and summary.json, and return the summary. Where other processes go on with what is
        left, they write them.

        The summary holds how many trials ended how, the best trial of a search, null where none is complete,
        and, once every trial has ended, the numbers of each phenomenon across trials.
        """
        for trial in filter(self._is_open, self.trials):
            self.summaries[trial.id] = self.claims.outcome_elsewhere(trial)
        if any(map(self._is_open, self.trials)) and not self.claims.is_last():
            return self.directory.summary()
        self.write_trials()
        write_summary(self.directory, self.axes)
        statuses = {name: summary["status"] for name, summary in self.summaries.items() if summary}
        counts = Counter(statuses.get(trial.id, MISSING) for trial in self.trials)
        if self.search is not None:
            counts[MISSING] += self.search.draws_left
        status = RunStatus.COMPLETE
        if counts[RunStatus.FAILED]:
            status = RunStatus.FAILED
        elif counts[MISSING]:
            status = RunStatus.INTERRUPTED
        summary: JsonObject = {"name": self.config.name, "status": status, "trials": len(self.trials)}
        summary |= {word: counts[word] for word in (*ENDED, RunStatus.FAILED, MISSING)}
        if self.search is not None:
            summary["best"] = self.search.best()
        if not counts[MISSING]:
            summary |= self._phenomena_numbers()
        self.directory.write_json("summary.json", summary)
        return read_json(self.directory.path / "summary.json")

    def _is_open(self, trial: Trial) -> bool:
        """Whether a trial has not ended, as far as is known."""
        return not self.summaries.get(trial.id)

    def _summary_after(self, event: Event) -> Summary | None:
        """The summary of a trial that has ended; None where it was interrupted."""
        trial = event.trial
        if event.status == RunStatus.INTERRUPTED:  # it may have ended, with no time left to say so
            outcome = self.directory.outcome(trial)
            return outcome if outcome and outcome["status"] in ENDED else None
        if event.status == RunStatus.FAILED:
            outcome = self.directory.outcome(trial)
            if outcome and outcome["status"] in (*FINISHED, RunStatus.FAILED):
                return outcome  # it ended, then its worker died
            return self.directory.record_failure(trial, event.reason)
        return read_json(self.directory.trial(trial).path / "summary.json")

    def _phenomena_numbers(self) -> dict[str, Mapping[str, object]]:
        result, without_lines = open_sweep(self.directory.path), ""
        try:
            wanted = [phenomenon.between for phenomenon in self.phenomena if phenomenon.between]
            write_between(self.directory, result, wanted)
        except UsageError as error:
            without_lines = str(error)
        return {
            phenomenon.name: phenomenon.without_numbers(without_lines)
            if phenomenon.between and without_lines
            else phenomenon.numbers_or_reason(result)
            for phenomenon in self.phenomena
        }
