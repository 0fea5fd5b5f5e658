"""Searches by Optuna, which is imported when one runs."""

from __future__ import annotations

import copy
import functools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nnlab.errors import InvalidValue, UsageError
from nnlab.registry import Count, register
from nnlab.sweeps.search.base import Proposal, Reports, Search, Space
from nnlab.system import files
from nnlab.system.imports import optuna
from nnlab.system.random import generator

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import JournalStorage

FIRST_RUNG = 4  # of 20: the first fifth of a training is not judged


@register("search", name="optuna")
def tpe(
    metric: str = "final.validation_loss",
    direction: Literal["minimize", "maximize"] = "minimize",
    prune: bool = True,
    startup: Count = 10,
) -> Search:
    """Proposes where good trials were denser than bad ones (TPE, Bergstra et al. 2011), by Optuna.

    metric: final.NAME, best.NAME or selected.NAME, a number of a trial's summary. prune: end a trial whose
    metric, at its best so far, is worse than the median of the whole trials at that part of their training.
    startup: so many trials are drawn at random before the search learns, and so many must be whole before one
    is pruned.
    Proposal n is the same for the same outcomes of those before; with one worker so is the search.
    """
    prefix, _, column = metric.partition(".")
    if prefix not in ("final", "best", "selected") or not column:
        raise InvalidValue(f"'{metric}' is no metric; begin with final., best. or selected.", ("metric",))

    def study(space: Space, seed: int, journal: Path) -> OptunaStudy:
        name = json.dumps([metric, direction, seed, space], sort_keys=True)
        return OptunaStudy(name, direction, startup if prune else None, startup, space, seed, journal)

    return Search(metric, direction, prune, _require, study)


def _require() -> None:
    try:
        import optuna  # noqa: F401 - to see that it is there
    except ImportError:
        raise UsageError("method optuna needs Optuna: pip install 'nnlab[search]'") from None


class OptunaStudy:
    """See `search.Study`. A trial that failed, or whose sweep was killed, stays open: it is told nothing."""

    def __init__(
        self,
        name: str,
        direction: Literal["minimize", "maximize"],
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
            else optuna.pruners.MedianPruner(prune_after, FIRST_RUNG),
        )
        self.id = self.storage.get_study_id_from_name(name)
        self.distributions = {path: _distribution(how) for path, how in space.items()}

    def proposals(self) -> list[Proposal]:
        states, found = optuna.trial.TrialState, []
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == states.RUNNING and len(trial.params) < len(self.space):  # killed as it was made
                self.study.tell(trial.number, state=states.FAIL)
            elif trial.state != states.FAIL:
                open_ = trial.state == states.RUNNING
                found.append(Proposal(trial.number, self._values(trial.params), open_))
        return found

    def propose(self) -> Proposal:
        # a sampler of its own for each: what is drawn does not depend on where the search was interrupted
        place = len(self.proposals())
        seed = int(generator(self.seed, "search", place).integers(2**32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = self.sampler(seed=seed)
            trial = self.study.ask(self.distributions)
        return Proposal(trial.number, self._values(trial.params), open=True)

    def prunes(self, number: int, reports: Reports) -> bool:
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

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The axes' values, in the order of the space; of a choice, Optuna knows the position."""
        return {
            path: how["choice"][params[path]] if "choice" in how else params[path]
            for path, how in self.space.items()
        }


def _distribution(how: Mapping[str, Any]) -> BaseDistribution:
    (name, bounds), *_ = how.items()
    if name == "choice":
        return optuna.distributions.CategoricalDistribution(range(len(bounds)))
    if name == "integers":
        return optuna.distributions.IntDistribution(*bounds)
    low, high = map(float, bounds)
    return optuna.distributions.FloatDistribution(low, high, log=name == "log_uniform")


def _storage(journal: Path) -> JournalStorage:
    """The journal, without a last line that was cut off as it was written. It takes no lock: the sweep holds
    its directory, and the lock that a killed one left behind would only be waited for."""
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class NoLock(JournalFileOpenLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    if journal.exists():
        whole = journal.read_bytes()
        if not whole.endswith(b"\n"):
            files.write_atomically(journal, whole[: whole.rfind(b"\n") + 1])
    return optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=NoLock(str(journal))))
