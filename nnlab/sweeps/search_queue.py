"""A search's trials: proposed when a worker is free, by what the trials before came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnlab.config import Config
from nnlab.config.sweep_keys import Sweep
from nnlab.runs.results import read_table
from nnlab.sweeps.directory import FINISHED, SweepDirectory
from nnlab.sweeps.queue import TRIES
from nnlab.sweeps.search.base import Proposal
from nnlab.sweeps.trials import Trial, base_tree, trial_at
from nnlab.text import join_words, suggestion
from nnlab.training.experiment import Experiment, check_metric

RUNGS = 20  # a training is judged at so many even parts of it, the last one left out


def check_search(config: Config, sweep: Sweep, experiment: Experiment) -> None:
    """What is searched for, and expected of the best trial, must be there; experiment: of any of its trials.
    Raises ConfigError."""
    check_metric(config, sweep.method.metric, experiment)
    known = ["value", *sweep.paths]
    for key in config.build().expect:
        prefix, _, name = key.partition(".")
        if prefix == "best" and name not in known:
            message = f"the best trial of a search has no '{name}'{suggestion(name, known) or ';'} "
            raise config.error(("expect", key), message + f"it has {join_words(known, 'and')}")


class SearchAgenda:
    """What is left of a search: trials that a killed sweep left open, then proposals up to its draws.

    trials: in the order of proposal, those of equal config once. summaries: of those that ended, by trial.
    """

    def __init__(self, config: Config, directory: SweepDirectory) -> None:
        sweep = config.build().sweep
        assert sweep is not None and sweep.random is not None  # noqa: S101, PT018 - it has a search
        self.config, self.base, self.directory = config, base_tree(config), directory
        self.seed = self.base["seed"] if isinstance(sweep.seeds, int) else sweep.seeds[0]
        self.search, self.draws, self.judges = sweep.method, sweep.random.draws, sweep.method.prune
        self.study = self.search.study(sweep.random.axes, self.seed, directory.journal)
        self.trials: list[Trial] = []
        self.summaries: dict[str, Mapping[str, Any] | None] = {}
        self.proposed = 0
        self.open: dict[str, list[int]] = {}  # the proposals of a trial that the study was told nothing of
        self.reports: dict[str, dict[int, float]] = {}  # of the trials that are running
        self.tries: dict[str, int] = {}
        self.left: list[Trial] = []
        for proposal in self.study.proposals():
            self._enter(proposal)

    def __len__(self) -> int:
        return len(self.left) + self.unproposed

    @property
    def unproposed(self) -> int:
        return max(0, self.draws - self.proposed)

    def next_for(self, own: str, memory: int | None) -> tuple[str, list[Trial]] | None:
        """See `Work`. A trial at a time: what it comes to is to tell on the next one."""
        while not self.left and self.unproposed:
            self._enter(self.study.propose())
        if not self.left:
            return None
        trial = self.left.pop(0)
        self.tries[trial.id] = self.tries.get(trial.id, 0) + 1
        self.reports[trial.id] = {}
        return "", [trial]

    def again(self, trial: Trial) -> bool:
        if self.tries[trial.id] >= TRIES:
            return False
        self.left.append(trial)
        return True

    def stop_at(self, trial: Trial, records: Mapping[str, Sequence[float]]) -> int | None:
        reports, proposals = self.reports[trial.id], self.open[trial.id]
        for rung, (step, value) in self._rungs(trial, records).items():
            if rung not in reports:
                reports[rung] = value
                if proposals and self.study.prunes(proposals[0], reports):
                    return int(step)
        return None

    def ended(self, trial: Trial, summary: Mapping[str, Any] | None) -> None:
        self.summaries[trial.id] = summary
        self._tell(trial)

    def best(self) -> dict[str, Any] | None:
        """The best complete trial, its value and those of its axes; the first one of equals."""
        sign = 1 if self.search.direction == "minimize" else -1
        values = [(trial, self._value(trial)) for trial in self.trials]
        found = [(sign * value, trial) for trial, value in values if value is not None]
        if not found:
            return None
        value, trial = min(found, key=lambda entry: entry[0])
        return {"trial": trial.id, "value": sign * value, **trial.axes}

    def _enter(self, proposal: Proposal) -> None:
        """Note a proposal, and its trial to be run where that was not done before."""
        self.proposed += 1
        trial = trial_at(self.config, self.base, proposal.values, self.seed)
        if trial.id not in self.open:
            self.open[trial.id] = []
            self.trials.append(trial)
            outcome = self.directory.outcome(trial)
            if outcome is not None and outcome["status"] in FINISHED:
                self.summaries[trial.id] = outcome
            else:
                self.left.append(trial)
        if proposal.open:
            self.open[trial.id].append(proposal.number)
        self._tell(trial)

    def _tell(self, trial: Trial) -> None:
        """Tell the study of a finished trial. A failed one stays open: it is tried again next time."""
        status = (self.summaries.get(trial.id) or {}).get("status")
        if status not in FINISHED or not self.open[trial.id]:
            return
        table = self.directory.trial(trial).path / "metrics.csv"
        records = read_table(table).to_dict("list") if table.exists() else {}
        reports = {rung: value for rung, (_, value) in self._rungs(trial, records).items()}
        for number in self.open[trial.id]:
            self.study.tell(number, self._value(trial), reports)
        self.open[trial.id] = []

    def _value(self, trial: Trial) -> float | None:
        """The metric of a complete trial."""
        summary = self.summaries.get(trial.id) or {}
        part, _, name = self.search.metric.partition(".")
        return summary[part][name] if summary.get("status") == "complete" else None

    def _rungs(self, trial: Trial, records: Mapping[Any, Sequence[float]]) -> dict[int, tuple[float, float]]:
        """The step and metric of the first record on each rung, so far as the metric is a number."""
        length = trial.config.tree["train"] or {}
        unit = "epoch" if length.get("epochs") else "step"
        whole, metric = length.get(f"{unit}s"), self.search.metric.partition(".")[2]
        found: dict[int, tuple[float, float]] = {}
        if not whole or metric not in records:
            return found
        for step, at, value in zip(records["step"], records[unit], records[metric], strict=True):
            rung = math.floor(RUNGS * at / whole + 1e-9)
            if 0 < rung < RUNGS and math.isfinite(value):
                found.setdefault(rung, (step, value))
        return found
