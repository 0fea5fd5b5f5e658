"""A sweep from beginning to end: what is missing is run, the tables are written, its phenomena measured."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nnlab.config import Config
from nnlab.errors import InvalidValue, NnlabError, UsageError
from nnlab.runs.results import SweepResult
from nnlab.runs.run import handling
from nnlab.storage.run_directory import read_json
from nnlab.sweeps.directory import FINISHED, SweepDirectory
from nnlab.sweeps.engines.local import Engine, Event
from nnlab.sweeps.queue import Agenda, Group, Work
from nnlab.sweeps.search.base import Search
from nnlab.sweeps.search_queue import SearchAgenda, check_search
from nnlab.sweeps.tables import row_of, write_summary, write_trials
from nnlab.sweeps.trials import Trial, trials_of
from nnlab.training.experiment import (
    Experiment,
    build_experiment,
    check_expectations,
    forward_flops,
    group_key,
    step_flops,
)
from nnlab.training.loop import ORDER_BYTES

TABLES_SECONDS = 5.0  # trials.csv is written so often while a sweep runs


class Plan(NamedTuple):
    """What a sweep has to do: all of its trials, how those that are done ended, and the rest by group.

    search: what chooses the trials as it goes, `draws` in all; the groups are then those of some examples.
    """

    trials: Sequence[Trial]
    done: Mapping[str, Mapping[str, Any]]
    groups: Sequence[Group]
    search: Search | None = None
    draws: int = 0

    @property
    def left(self) -> int:
        return self.draws or sum(len(group.trials) for group in self.groups)


class SweepOutcome(NamedTuple):
    """summary: what summary.json holds. signal: what interrupted the sweep, 0 if nothing did."""

    summary: Mapping[str, Any]
    signal: int


def plan(
    config: Config,
    trials: Sequence[Trial],
    directory: SweepDirectory,
    force: bool,
    allow_drift: bool = False,
) -> Plan:
    """What is to be done: failed trials are tried again. allow_drift: beside finished ones of other data.
    Raises ConfigError, or UsageError."""
    ended = {} if force else {trial.id: directory.outcome(trial) for trial in trials}
    whole = ("complete", "diverged")  # what a search pruned is not
    done = {name: summary for name, summary in ended.items() if summary and summary["status"] in whole}
    if not allow_drift:
        _check_data(trials, done, directory)
    return Plan(trials, done, grouped(config, [trial for trial in trials if trial.id not in done]))


def _check_data(
    trials: Sequence[Trial], done: Mapping[str, Mapping[str, Any]], directory: SweepDirectory
) -> None:
    """Refuse where data that come from files have changed since a trial ran. Raises UsageError."""
    first = next((trial for trial in trials if trial.id in done), None)
    if first is None or "path" not in first.config.tree["data"]:
        return
    place = directory.trial(first).path
    if read_json(place / "environment.json").get("data_sha256") != build_experiment(first.config).data.hash:
        raise UsageError(
            f"{directory.path}: its data have changed since; --force runs all trials anew, --allow-drift "
            "those that are missing, --out names another place"
        )


def plan_search(config: Config) -> Plan | None:
    """What a search is to do, after a look at some of the trials that it may choose; None where the sweep has
    no search. Raises ConfigError."""
    sweep = config.build().sweep
    if sweep is None or sweep.method is None or sweep.random is None:
        return None
    examples = trials_of(config)
    groups = grouped(config, examples)
    check_search(config, sweep, build_experiment(examples[0].config))
    return Plan((), {}, groups, sweep.method, sweep.random.draws)


def grouped(config: Config, trials: Sequence[Trial]) -> list[Group]:
    """The trials by the program that they share. One of each group is bound to its data, so that what does
    not fit, in the trials or in what the sweep expects, is found before anything runs. Raises ConfigError."""
    members: dict[str, list[Trial]] = {}
    for trial in trials:
        members.setdefault(group_key(trial.config), []).append(trial)
    groups = []
    for key, found in members.items():
        experiment = build_experiment(found[0].config)
        check_expectations(config, experiment.parts, experiment.data)
        groups.append(Group(key, found, cost(experiment), lane_bytes(experiment)))
    return groups


def run_sweep(
    config: Config,
    todo: Plan,
    directory: SweepDirectory,
    engine: Engine,
    fail_fast: bool = False,
    watch: Callable[[Event], None] | None = None,
) -> SweepOutcome:
    """Run what is left of a sweep, writing its tables as trials end. watch: called with each event."""
    search = SearchAgenda(config, directory) if todo.search is not None else None
    agenda: Work = Agenda(todo.groups) if search is None else search
    trials = todo.trials if search is None else search.trials
    summaries: dict[str, Mapping[str, Any] | None] = dict(todo.done) if search is None else search.summaries
    written = 0.0

    def write() -> None:
        rows = (row_of(trial, summaries.get(trial.id)) for trial in trials)
        write_trials(directory, _axes(config), rows)

    def finish() -> Mapping[str, Any]:
        write()
        return _finish(config, directory, trials, summaries, search)

    write()
    with _signals(engine) as caught, contextlib.closing(engine), _leaving(finish):
        for event in engine.run(agenda):
            if event.status:
                summaries[event.trial.id] = _ended(directory, event)
                agenda.ended(event.trial, summaries[event.trial.id])
            if event.status == "failed" and fail_fast and not engine.stopping:
                engine.stop()
            if watch is not None:
                watch(event)
            if event.status and time.monotonic() - written > TABLES_SECONDS:
                write()
                written = time.monotonic()
    return SweepOutcome(finish(), caught[0] if caught else 0)


def _axes(config: Config) -> list[str]:
    sweep = config.build().sweep
    return sweep.paths if sweep else []


def cost(experiment: Experiment) -> float:
    """Floating-point operations of a run, about: its steps, and evaluations of all splits."""
    examples = sum(len(part) for part in experiment.data.splits.values())
    looks = forward_flops(experiment.model) * examples * len(experiment.record_steps)
    return step_flops(experiment) * experiment.total_steps + looks


def lane_bytes(experiment: Experiment) -> int:
    """Bytes of one run beside others on a device: its arrays and the order of its examples."""
    return ORDER_BYTES + experiment.footprint.arrays


def _ended(directory: SweepDirectory, event: Event) -> Mapping[str, Any] | None:
    """The summary of a trial that ended; None where it did not come to an end."""
    if event.status == "interrupted":  # or stopped when it had ended, with no time left to say so
        own = directory.outcome(event.trial)
        return own if own and own["status"] in FINISHED else None
    if event.status == "failed":
        own = directory.outcome(event.trial)
        return own if own and own["status"] == "failed" else directory.give_up(event.trial, event.reason)
    return read_json(directory.trial(event.trial).path / "summary.json")


def _finish(
    config: Config,
    directory: SweepDirectory,
    trials: Sequence[Trial],
    summaries: Mapping[str, Mapping[str, Any] | None],
    search: SearchAgenda | None,
) -> Mapping[str, Any]:
    """Write summary.csv and summary.json, with each phenomenon's numbers where every trial has ended, and the
    best trial of a search."""
    counts = Counter((summaries.get(trial.id) or {"status": "missing"})["status"] for trial in trials)
    if search is not None:
        counts["missing"] += search.unproposed
    status = "failed" if counts["failed"] else "interrupted" if counts["missing"] else "complete"
    write_summary(directory, _axes(config))
    summary: dict[str, Any] = {"name": config.name, "status": status, "trials": len(trials)}
    summary |= {word: counts[word] for word in (*FINISHED, "failed", "missing")}
    best = search.best() if search is not None else None
    if best is not None:
        summary["best"] = best
    result = SweepResult.of(directory.path)
    for phenomenon in config.build().sweep_phenomena:
        if not counts["missing"]:
            try:
                summary[phenomenon.name] = phenomenon.summarize(result)
            except InvalidValue as error:  # too few trials are left, say
                summary[phenomenon.name] = {"not found": str(error)}
    directory.write_json("summary.json", summary)
    return read_json(directory.path / "summary.json")


@contextlib.contextmanager
def _leaving(finish: Callable[[], Any]) -> Iterator[None]:
    """Where the sweep cannot go on, leave its tables and summary as they should be."""
    try:
        yield
    except NnlabError:
        finish()
        raise


@contextlib.contextmanager
def _signals(engine: Engine) -> Iterator[list[int]]:
    """At SIGINT or SIGTERM let the workers end their chunk; at a second one leave at once."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if caught:
            engine.kill()
            os._exit(128 + number)
        caught.append(number)
        engine.stop()

    with handling(note):
        yield caught
