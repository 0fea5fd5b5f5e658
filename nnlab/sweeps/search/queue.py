"""The queue of a search: trials are proposed when a worker is free, from what those before came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nnlab.config import Config
from nnlab.config.sweep_keys import SweepDefinition
from nnlab.storage.tables import read_table
from nnlab.sweeps.claims import Claims
from nnlab.sweeps.directory import ENDED, SweepDirectory
from nnlab.sweeps.engines.base import MAXIMUM_ATTEMPTS, Assignment, Event, Summary
from nnlab.sweeps.search.base import Direction, Proposal, Search
from nnlab.sweeps.trials import Trial, TrialSpace
from nnlab.text import join_words, suggestion
from nnlab.training.checks import check_metric
from nnlab.training.experiment import Experiment

RUNG_COUNT = 20  # a training is judged at so many even parts of it, the last one left out


def check_search(config: Config, sweep: SweepDefinition, experiment: Experiment) -> None:
    """Check that trials have the metric of a search, and its best trial the numbers that are expected.

    Args:
        config: The experiment with its sweep.
        sweep: Its `sweep:` block.
        experiment: One of the trials.

    Raises:
        ConfigError: A metric or a number does not exist.
    """
    check_metric(config, sweep.method.metric, experiment.plan, experiment.data)
    known = ["value", *sweep.paths]
    for key in config.build().expect:
        prefix, _, name = key.partition(".")
        if prefix == "best" and name not in known:
            message = f"the best trial of a search has no '{name}'{suggestion(name, known) or ';'} "
            raise config.error(("expect", key), message + f"it has {join_words(known, 'and')}")


class SearchQueue:
    """The trials of a search: those that an interrupted sweep left open, then new proposals.

    See `TrialSource` for its methods.

    Attributes:
        trials: In the order of their proposals, equal configs once.
        summaries: Of the trials that have ended, by their ids.
    """

    def __init__(self, config: Config, directory: SweepDirectory, claims: Claims) -> None:
        self._claims = claims
        self.space = TrialSpace(config)
        sweep = self.space.sweep
        assert sweep.random is not None  # noqa: S101 - a search draws from it
        self.search: Search = sweep.method
        self.directory, self.draws = directory, sweep.random.draws
        self.seed, self.prunes = self.space.seeds[0], self.search.prune
        column = self.search.metric.partition(".")[2]
        self.direction: Direction = self.search.direction or config.build().direction_of(column)
        self.study = self.search.study(self.direction, sweep.random.axes, self.seed, directory.journal)
        self.trials: list[Trial] = []
        self.summaries: dict[str, Summary | None] = {}
        self._proposal_count = 0
        self._open_proposals: dict[str, list[int]] = {}  # by trial
        self._reports: dict[str, dict[int, float]] = {}  # of the trials that are running
        self._attempts: dict[str, int] = {}
        self._waiting: list[Trial] = []
        for proposal in self.study.proposals():
            self._add(proposal)

    def __len__(self) -> int:
        return len(self._waiting) + self.draws_left

    @property
    def draws_left(self) -> int:
        """How many proposals are still to be made."""
        return max(0, self.draws - self._proposal_count)

    def next_assignment(self, group: str, memory_bytes: int | None) -> Assignment | None:
        """One trial at a time: its outcome is to inform the next proposal."""
        while not self._waiting and self.draws_left:
            self._add(self.study.propose())
        if not self._waiting:
            return None
        trial = self._waiting.pop(0)
        self._attempts[trial.id] = self._attempts.get(trial.id, 0) + 1
        self._reports[trial.id] = {}
        lease = self._claims.take(trial)
        return Assignment("", [trial], [lease]) if lease is not None else None

    def ended_elsewhere(self) -> Sequence[Event]:
        return ()

    def retry(self, trial: Trial) -> bool:
        if self._attempts[trial.id] >= MAXIMUM_ATTEMPTS:
            return False
        self._waiting.append(trial)
        return True

    def prune_step(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        reports, proposals = self._reports[trial.id], self._open_proposals[trial.id]
        for rung, (step, value) in self._first_on_rungs(trial, records).items():
            if rung not in reports:
                reports[rung] = value
                if proposals and self.study.should_prune(proposals[0], reports):
                    return int(step)
        return None

    def finish(self, trial: Trial, summary: Summary | None) -> None:
        self._claims.release(trial)
        self.summaries[trial.id] = summary
        self._tell_study(trial)

    def best(self) -> dict[str, object] | None:
        """The best complete trial, its value and those of its axes; the first of equals."""
        sign = 1 if self.direction == "minimize" else -1
        values = [(trial, self._value(trial)) for trial in self.trials]
        complete = [(sign * value, trial) for trial, value in values if value is not None]
        if not complete:
            return None
        value, trial = min(complete, key=lambda entry: entry[0])
        return {"trial": trial.id, "value": sign * value, **trial.axes}

    def _add(self, proposal: Proposal) -> None:
        """Take in a proposal; its trial is to be run unless that was done before."""
        self._proposal_count += 1
        trial = self.space.trial(proposal.values, self.seed)
        if trial.id not in self._open_proposals:
            self._open_proposals[trial.id] = []
            self.trials.append(trial)
            outcome = self.directory.outcome(trial)
            if outcome is not None and outcome["status"] in ENDED:
                self.summaries[trial.id] = outcome
            else:
                self._waiting.append(trial)
        if proposal.open:
            self._open_proposals[trial.id].append(proposal.number)
        self._tell_study(trial)

    def _tell_study(self, trial: Trial) -> None:
        """Tell the study the outcome of a finished trial. A failed one stays open: it is run again."""
        status = (self.summaries.get(trial.id) or {}).get("status")
        if status not in ENDED or not self._open_proposals[trial.id]:
            return
        table = self.directory.trial(trial).path / "metrics.csv"
        records = read_table(table).to_dict("list") if table.exists() else {}
        columns = {str(name): values for name, values in records.items()}
        reports = {rung: value for rung, (_, value) in self._first_on_rungs(trial, columns).items()}
        for number in self._open_proposals[trial.id]:
            self.study.tell(number, self._value(trial), reports)
        self._open_proposals[trial.id] = []

    def _value(self, trial: Trial) -> float | None:
        """The metric of a complete trial."""
        summary = self.summaries.get(trial.id) or {}
        part, _, name = self.search.metric.partition(".")
        return summary[part][name] if summary.get("status") == "complete" else None

    def _first_on_rungs(
        self, trial: Trial, records: Mapping[str, Sequence[float]]
    ) -> dict[int, tuple[float, float]]:
        """Rung -> step and metric of the first record on it whose metric is finite."""
        length = trial.config.tree["train"] or {}
        unit = "epoch" if length.get("epochs") else "step"
        total, metric = length.get(f"{unit}s"), self.search.metric.partition(".")[2]
        first: dict[int, tuple[float, float]] = {}
        if not total or metric not in records:
            return first
        for step, time, value in zip(records["step"], records[unit], records[metric], strict=True):
            rung = math.floor(RUNG_COUNT * time / total + 1e-9)
            if 0 < rung < RUNG_COUNT and math.isfinite(value):
                first.setdefault(rung, (step, value))
        return first
