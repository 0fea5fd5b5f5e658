"""The plan of a sweep: its trials, those that are finished, and the programs that the others share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnlab.config import Config
from nnlab.errors import UsageError
from nnlab.runs.expectations import FINISHED
from nnlab.runs.html import html_heading
from nnlab.runs.resume import ResumePolicy
from nnlab.storage.results import read_json
from nnlab.sweeps import cost
from nnlab.sweeps.cost import CostEstimate
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Summary
from nnlab.sweeps.queue import TrialGroup
from nnlab.sweeps.search.base import Search
from nnlab.sweeps.search.queue import check_search
from nnlab.sweeps.tables import plain
from nnlab.sweeps.trials import Trial, trials_of
from nnlab.system import device
from nnlab.training.checks import check_expectations, check_lines
from nnlab.training.cost import training_flops
from nnlab.training.experiment import build_experiment
from nnlab.training.program import group_key

if TYPE_CHECKING:
    import pandas

MAXIMUM_ROWS_SHOWN = 40  # in a notebook


class Plan(NamedTuple):
    """What a sweep has to do.

    Attributes:
        config: The experiment with its sweep.
        path: The sweep's directory.
        trials: All trials, in the order of trials.csv; none for a search, which is yet to choose them.
        finished: The summaries of the trials that need not be run again, by their ids.
        groups: The other trials, by the program that they share; for a search, some that it may choose.
        search: The method that chooses trials as the sweep goes, if one does.
        draws: How many trials a search runs in all, else 0.
    """

    config: Config
    path: Path
    trials: Sequence[Trial]
    finished: Mapping[str, Summary]
    groups: Sequence[TrialGroup]
    search: Search | None = None
    draws: int = 0

    @property
    def axes(self) -> list[str]:
        """The paths of the config that vary."""
        sweep = self.config.build().sweep
        return sweep.paths if sweep else []

    @property
    def trials_left(self) -> int:
        """How many trials are still to be run."""
        return self.draws or self._grouped_trials

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of the sweep and of the trials that are left, each note once."""
        of_groups = (note for group in self.groups for note in group.notes)
        return list(dict.fromkeys((*self.config.notes, *of_groups)))

    @property
    def flops(self) -> float:
        """Floating-point operations of the trials that are left, about."""
        total = sum(group.trial_flops * len(group.trials) for group in self.groups)
        return total * (self.draws / self._grouped_trials) if self.draws else total

    def estimate(self, jobs: int | None = None) -> CostEstimate:
        """What running it is likely to cost on so many workers, by default one per core."""
        workers = min(jobs or device.worker_count(), max(1, self.trials_left))
        return cost.estimate(self.flops, len(self.groups), workers)

    def in_words(self, jobs: int | None = None) -> str:
        """A line that says how much is to be run, and what it is likely to cost; see `estimate`."""
        if self.search is not None:
            return f"{self.path}: up to {self.draws} trials, chosen as it goes, {self.estimate(jobs)}"
        sweep = self.config.build().sweep
        named, count = sweep.trial_count() if sweep else 0, f"{len(self.trials)} trials"
        count += f" (of {named} named; equal ones are run once)" if named > len(self.trials) else ""
        programs = "1 program" if len(self.groups) == 1 else f"{len(self.groups)} programs"
        return (
            f"{self.path}: {count}, {len(self.finished)} done, {self.trials_left} to run "
            f"as {programs}, {self.estimate(jobs)}"
        )

    def rows(self, limit: int | None = None) -> list[list[object]]:
        """A row per trial, up to a limit: its id, axes and seed; how it ended, or its program's number."""
        programs = {trial.id: i for i, group in enumerate(self.groups, 1) for trial in group.trials}
        rows: list[list[object]] = []
        for trial in self.trials[:limit]:
            finished = self.finished.get(trial.id)
            last = finished["status"] if finished else programs[trial.id]
            rows.append([trial.id, *map(plain, trial.axes.values()), trial.seed, last])
        return rows

    @property
    def table(self) -> pandas.DataFrame:
        """The trials with their axes and seeds; `program` numbers those that share one, else it says how the
        trial ended."""
        import pandas

        return pandas.DataFrame(self.rows(), columns=["trial", *self.axes, "seed", "program"])

    def __repr__(self) -> str:
        return f"<Plan {self.config.name}: {self.in_words()}>"

    def _repr_html_(self) -> str:
        table = "" if self.search is not None else self.table.to_html(max_rows=MAXIMUM_ROWS_SHOWN)
        return html_heading(self.config.name, self.in_words()) + table

    @property
    def _grouped_trials(self) -> int:
        return sum(len(group.trials) for group in self.groups)


def make_plan(config: Config, directory: SweepDirectory, policy: ResumePolicy) -> Plan:
    """What a sweep has to do in its directory; trials that failed are run again.

    Args:
        config: An experiment with a `sweep:` block.
        directory: Where the sweep lies, or will.
        policy: Whether finished trials are kept, even if their data have changed since.

    Raises:
        ConfigError: A trial's config, or an expectation, is wrong.
        UsageError: The directory holds something else, or trials of other data.
    """
    search = _plan_search(config, directory.path)
    trials = () if search is not None else trials_of(config)
    directory.check_free(config, force=not policy.resume)
    if search is not None:
        return search
    finished = _finished(trials, directory) if policy.resume else {}
    if not policy.allow_drift:
        _check_data(trials, finished, directory)
    groups = group_trials(config, [trial for trial in trials if trial.id not in finished])
    return Plan(config, directory.path, trials, finished, groups)


def fresh_plan(config: Config) -> Plan:
    """The plan of a sweep of which nothing has been run, in its default directory. Raises ConfigError."""
    path = SweepDirectory.default(config)
    search = _plan_search(config, path)
    if search is not None:
        return search
    trials = trials_of(config)
    return Plan(config, path, trials, {}, group_trials(config, trials))


def renew_plan(plan: Plan, directory: SweepDirectory, policy: ResumePolicy) -> Plan:
    """The plan once the directory is held; it is made anew where another process was at work meanwhile."""
    directory.check_free(plan.config, force=not policy.resume)
    is_current = not policy.resume or _finished(plan.trials, directory) == plan.finished
    return plan if plan.search is not None or is_current else make_plan(plan.config, directory, policy)


def group_trials(config: Config, trials: Sequence[Trial]) -> list[TrialGroup]:
    """The trials by the program that they share.

    One trial of each group is built with its data, so that a mistake, in the trials or in what the sweep
    expects, is reported before anything runs. Raises ConfigError.
    """
    members: dict[str, list[Trial]] = {}
    for trial in trials:
        members.setdefault(group_key(trial.config), []).append(trial)
    groups = []
    for key, group in members.items():
        experiment = build_experiment(group[0].config)
        check_expectations(config, experiment.plan, experiment.data)
        check_lines(config, experiment.data, experiment.model)
        flops, size = training_flops(experiment), cost.trial_bytes(experiment)
        groups.append(TrialGroup(key, group, flops, size, experiment.notes))
    return groups


def _plan_search(config: Config, path: Path) -> Plan | None:
    """The plan of a search at a path, after building some of the trials that it may choose; None where the
    sweep has no search. Raises ConfigError."""
    sweep = config.build().sweep
    if sweep is None or sweep.method is None or sweep.random is None:
        return None
    examples = trials_of(config)
    groups = group_trials(config, examples)
    check_search(config, sweep, build_experiment(examples[0].config))
    return Plan(config, path, (), {}, groups, sweep.method, sweep.random.draws)


def _finished(trials: Sequence[Trial], directory: SweepDirectory) -> dict[str, Summary]:
    """The summaries of trials that came to their end; what a search pruned did not."""
    summaries = {trial.id: directory.outcome(trial) for trial in trials}
    return {name: summary for name, summary in summaries.items() if summary and summary["status"] in FINISHED}


def _check_data(trials: Sequence[Trial], finished: Mapping[str, Summary], directory: SweepDirectory) -> None:
    """Check that data read from files are still those of a finished trial. Raises UsageError."""
    first = next((trial for trial in trials if trial.id in finished), None)
    if first is None or "path" not in first.config.tree["data"]:
        return
    path = directory.trial(first).path
    if read_json(path / "environment.json").get("data_sha256") != build_experiment(first.config).data_hash:
        raise UsageError(
            f"{directory.path}: its data have changed since; --force runs all trials anew, --allow-drift "
            "those that are missing, --out names another place"
        )
