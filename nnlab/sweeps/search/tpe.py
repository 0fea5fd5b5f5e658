"""Search by tree-structured Parzen estimators, as Optuna has them; it is imported when a search runs."""

from __future__ import annotations

import copy
import functools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnlab.errors import InvalidValue, UsageError
from nnlab.registry import Count, register
from nnlab.sweeps.search.base import Direction, Distribution, Proposal, Reports, Search, Space
from nnlab.sweeps.trials import AxisValues
from nnlab.system import files
from nnlab.system.imports import optuna
from nnlab.system.random import generator

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import JournalStorage

FIRST_JUDGED_RUNG = 4  # of 20: the first fifth of a training is not judged


@register("search", name="optuna")
def tpe(
    metric: str = "final.validation_loss",
    direction: Direction | None = None,
    prune: bool = True,
    startup: Count = 10,
) -> Search:
    """Proposes points where good trials were denser than bad ones (TPE), by Optuna.

    Proposal n is the same whenever the outcomes of those before it are; with one worker, so is the search.

    Args:
        metric: final.NAME, best.NAME or selected.NAME, a number of a trial's summary.
        direction: Whether the metric is to be small or large; null is what is better by the metric itself.
        prune: End a trial whose metric, at its best so far, is worse than the median of the complete trials
            at that part of their training.
        startup: Number of trials drawn at random before the search learns, and of complete trials before one
            is pruned.

    Reference:
        Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization.
    """
    prefix, _, column = metric.partition(".")
    if prefix not in ("final", "best", "selected") or not column:
        raise InvalidValue(f"'{metric}' is no metric; begin with final., best. or selected.", ("metric",))

    def study(direction: Direction, space: Space, seed: int, journal: Path) -> OptunaStudy:
        name = json.dumps([metric, direction, seed, space], sort_keys=True)
        return OptunaStudy(name, direction, startup if prune else None, startup, space, seed, journal)

    return Search(metric, direction, prune, _require_optuna, study)


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401 - to see that it is there
    except ImportError:
        raise UsageError("method optuna needs Optuna: pip install 'nnlab[search]'") from None


class OptunaStudy:
    """A study of Optuna; see `Study` for its methods.

    A trial that failed, or whose sweep was killed, stays open: the study is told nothing of it.
    """

    def __init__(
        self,
        name: str,
        direction: Direction,
        prune_after: int | None,
        startup: int,
        space: Space,
        seed: int,
        journal: Path,
    ) -> None:
        self.space, self.seed = space, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sampler = functools.partial(optuna.samplers.TPESampler, n_startup_trials=startup)
        self.storage = _storage(journal)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction=direction,
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner()
            if prune_after is None
            else optuna.pruners.MedianPruner(prune_after, FIRST_JUDGED_RUNG),
        )
        self.id = self.storage.get_study_id_from_name(name)
        self.distributions = {path: _optuna_distribution(how) for path, how in space.items()}

    def proposals(self) -> list[Proposal]:
        states, proposals = optuna.trial.TrialState, []
        for trial in self.study.get_trials(deepcopy=False):
            incomplete = len(trial.params) < len(self.space)
            if trial.state == states.RUNNING and incomplete:  # killed as it was written
                self.study.tell(trial.number, state=states.FAIL)
            elif trial.state != states.FAIL:
                is_open = trial.state == states.RUNNING
                proposals.append(Proposal(trial.number, self._axis_values(trial.params), is_open))
        return proposals

    def propose(self) -> Proposal:
        # each proposal has a sampler of its own, so that it does not depend on where a search was interrupted
        position = len(self.proposals())
        seed = int(generator(self.seed, "search", position).integers(2**32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = self.sampler(seed=seed)
            trial = self.study.ask(self.distributions)
        return Proposal(trial.number, self._axis_values(trial.params), open=True)

    def should_prune(self, number: int, reports: Reports) -> bool:
        trial = copy.copy(self.study.get_trials(deepcopy=False)[number])
        trial.intermediate_values = dict(reports)
        return self.study.pruner.prune(self.study, trial)

    def tell(self, number: int, value: float | None, reports: Reports) -> None:
        trial = self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
        for rung, reported in reports.items():
            self.storage.set_trial_intermediate_value(trial, rung, reported)
        if value is None:
            self.study.tell(number, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(number, value)

    def _axis_values(self, params: Mapping[str, Any]) -> AxisValues:
        """The value of each axis, in the order of the space; Optuna knows a choice by its position."""
        return {
            path: how["choice"][params[path]] if "choice" in how else params[path]
            for path, how in self.space.items()
        }


def _optuna_distribution(distribution: Distribution) -> BaseDistribution:
    (name, bounds), *_ = distribution.items()
    if name == "choice":
        return optuna.distributions.CategoricalDistribution(range(len(bounds)))
    if name == "integers":
        return optuna.distributions.IntDistribution(*bounds)
    low, high = map(float, bounds)
    return optuna.distributions.FloatDistribution(low, high, log=name == "log_uniform")


def _storage(journal: Path) -> JournalStorage:
    """The journal, without a last line that was cut off as it was written.

    It takes no lock: the sweep holds its directory, and the lock that a killed sweep left behind would only
    be waited for.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class NoLock(JournalFileOpenLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    if journal.exists():
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            files.write_atomically(journal, content[: content.rfind(b"\n") + 1])
    return optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=NoLock(str(journal))))
