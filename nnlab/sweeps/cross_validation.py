"""Cross-validation: folds choose the number of epochs, and perhaps a value, then all are trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnlab.config import Config, check_tree
from nnlab.config.experiment_keys import name_with
from nnlab.config.resolve import value_text
from nnlab.config.sweep_keys import split_path
from nnlab.errors import InvalidValue, NnlabError
from nnlab.optim.schedules import Schedule, Time
from nnlab.runs.expectations import Verdicts
from nnlab.runs.results import Run, Sweep
from nnlab.runs.resume import Notify, ResumePolicy, ignore
from nnlab.runs.reuse import may_hold
from nnlab.runs.sweep_points import FOLD_AXIS
from nnlab.runs.train import train
from nnlab.storage.results import JsonObject
from nnlab.sweeps.progress import EventCallback
from nnlab.sweeps.sweep import sweep
from nnlab.sweeps.trials import single_run_tree, trials_of, with_value
from nnlab.system.imports import Array, jax
from nnlab.text import join_words
from nnlab.training.experiment import build_experiment

EPOCHS_ALONE = "cross_validation"  # the phenomenon that chooses the number of epochs
WITH_VALUE = "chosen_by_folds"  # the one that chooses a value of another axis, too
DEFAULT_FOLDS = 10
DEFAULT_TEST_SHARE = 0.15  # where data are not divided by the experiment, nor of their own


class Choice(NamedTuple):
    """What the folds choose.

    Attributes:
        epochs: How long to train, may be 0.
        values: Path -> value; empty where nothing but the fold varies.
    """

    epochs: float
    values: Mapping[str, object]

    def in_words(self) -> str:
        """`model.width 32 and 12.4 epochs`."""
        settings = [f"{path} {value_text(value)}" for path, value in self.values.items()]
        return " and ".join([*settings, f"{self.epochs:.4g} epochs"])


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The outcome of `nnlab.cross_validate`.

    Attributes:
        sweep: The trainings on folds, a trial per fold (and value, and seed).
        epochs: The number of epochs that was best on average; None where the sweep failed.
        refit: The run on all folds for so many epochs; None where the sweep failed.
        values: Path -> value that was best; empty where the sweep failed, or varies nothing but the fold.
    """

    sweep: Sweep
    epochs: float | None = None
    refit: Run | None = None
    values: Mapping[str, object] = field(default_factory=dict)

    def check(self) -> Verdicts:
        """Return the verdicts on the expectations of the refitted run, or of a sweep that failed."""
        return self.sweep.check() if self.refit is None else self.refit.check()

    def _repr_html_(self) -> str:
        return self.sweep._repr_html_() + (self.refit._repr_html_() if self.refit is not None else "")


def cross_validate(
    experiment: Config,
    out: str | Path | None = None,
    *,
    folds: int | None = None,
    jobs: int | None = None,
    engine: str = "local",
    launcher: str | None = None,
    resume: bool = True,
    allow_drift: bool = False,
    checkpoint_every: float = 60.0,
    fail_fast: bool = False,
    platform: str = "auto",
    deterministic: bool = False,
    plots: bool = True,
    progress: bool | EventCallback = False,
    notify: Notify = ignore,
) -> CrossValidation:
    """Train an experiment once for each fold, and on all of them for the mean of the best epochs.

    Of one other axis, such as `model.width`, the best value is taken. The test set of `data.split` (15 %
    where neither a split nor the data have one) chooses nothing. If the sweep fails, nothing is refitted.

    Args:
        experiment: One trained for epochs; a sweep may vary `data.split.fold` and one other axis.
        out: The directory of the sweep; the run on all folds goes into refit/ in it. See `nnlab.sweep`.
        folds: Number of parts, each validated on once; by default the experiment's, or 10.
        jobs, engine, launcher, resume, allow_drift, checkpoint_every: As for `nnlab.sweep`.
        fail_fast, platform, deterministic, plots, progress: As for `nnlab.sweep`.
        notify: Called with what was chosen, and as by `nnlab.sweep` and `nnlab.train`.

    Returns:
        The sweep over folds, what it chose, the run on all folds, as of `nnlab cross-validate`.

    Raises:
        ConfigError, NnlabError: It cannot be cross-validated; nothing could be chosen.
        Interrupted: See `nnlab.sweep`, which raises the other errors.
    """
    folded = fold_sweep(experiment, folds)
    refit_experiment(folded, Choice(1.0, {}))  # a mistake in it is reported before anything is trained
    result = sweep(
        folded,
        out,
        jobs=jobs,
        engine=engine,
        launcher=launcher,
        resume=resume,
        allow_drift=allow_drift,
        checkpoint_every=checkpoint_every,
        fail_fast=fail_fast,
        platform=platform,
        deterministic=deterministic,
        plots=plots,
        progress=progress,
        notify=notify,
    )
    if not result.check():
        return CrossValidation(result)
    policy = ResumePolicy(checkpoint_every, resume, allow_drift)
    return _refit(folded, result, policy, platform, deterministic, plots, progress is True, notify)


def _refit(
    folded: Config,
    result: Sweep,
    policy: ResumePolicy,
    platform: str,
    deterministic: bool,
    plots: bool,
    progress: bool,
    notify: Notify,
) -> CrossValidation:
    choice = choice_of(result)
    notify(choice_in_words(result, choice))
    refit, path = refit_experiment(folded, choice), result.path / "refit"
    policy = refit_policy(path, refit, policy)
    run = train(
        refit,
        path,
        resume=policy.resume,
        allow_drift=policy.allow_drift,
        checkpoint_every=policy.every,
        platform=platform,
        deterministic=deterministic,
        plots=plots,
        progress=progress,
        notify=notify,
    )
    return CrossValidation(result, choice.epochs, run, choice.values)


def fold_sweep(experiment: Config, folds: int | None = None) -> Config:
    """The experiment as a sweep over folds, and perhaps values, with the phenomenon that chooses.

    Args:
        experiment: See `cross_validate`.
        folds: See `cross_validate`.

    Raises:
        ConfigError: It has no epochs to choose, or varies more than the fold and one axis of numbers.
    """
    tree, parts = experiment.tree, experiment.build()
    if tree["train"] is None:
        raise experiment.error(("solver",), "takes no epochs, there are none to choose")
    _check_schedules(experiment)
    other = _other_axis(experiment)
    name = EPOCHS_ALONE if other is None else WITH_VALUE
    is_present = name in [phenomenon.name for phenomenon in parts.phenomena]
    chooser = name if other is None else {"type": name, "along": split_path(other)[0]}
    changes: JsonObject = {"phenomena": tree["phenomena"] + ([] if is_present else [chooser])}
    if parts.sweep is None or FOLD_AXIS not in parts.sweep.paths:
        split = _split_into_folds(experiment, folds)
        changes["data"] = tree["data"] | {"split": split}
        axes = {FOLD_AXIS: list(range(split["folds"]))}
        swept = tree["sweep"] or {"axes": {}}
        changes["sweep"] = swept | {"axes": axes | swept["axes"]}
    return check_tree(experiment.document._replace(tree=tree | changes))


def _other_axis(experiment: Config) -> str | None:
    """The axis that varies beside the fold, if one does. Raises ConfigError where it is no choice."""
    swept = experiment.build().sweep
    others = [path for path in swept.paths if path != FOLD_AXIS] if swept else []
    if not others:
        return None
    if len(others) > 1:
        message = f"varies {join_words(others, 'and')}; folds choose along one axis beside {FOLD_AXIS}"
        raise experiment.error(("sweep",), message)
    if swept is not None and swept.place(others[0])[0] != "axes":
        message = "folds choose from a grid; put it under 'axes'"
        raise experiment.error(("sweep", *swept.place(others[0])), message)
    return others[0]


def choice_of(result: Sweep) -> Choice:
    """What a sweep over folds chose. Raises NnlabError where nothing could be."""
    other = _other_axis(result.config)
    numbers = result.summary[EPOCHS_ALONE if other is None else WITH_VALUE]
    if numbers["best_epoch"] is None:
        what = "epoch" if other is None else "value"
        raise NnlabError(f"{result.path}: no {what} could be chosen: {numbers['reason']}")
    values = {}
    if other is not None:  # as the file has it: a whole number stays one
        written = (trial.axes[other] for trial in trials_of(result.config))
        values[other] = next(value for value in written if value == numbers["chosen"])
    return Choice(float(numbers["best_epoch"]), values)


def choice_in_words(result: Sweep, choice: Choice) -> str:
    """A line that says what was chosen."""
    return f"{result.path}: {choice.in_words()} are best on average; training on all folds"


def refit_policy(path: Path, refit: Config, policy: ResumePolicy) -> ResumePolicy:
    """How the run on all folds resumes: one of another choice is trained anew."""
    return policy if may_hold(path, refit) else policy._replace(resume=False)


def refit_experiment(folded: Config, choice: Choice) -> Config:
    """The experiment on all folds, with what they chose.

    Phenomena that need a validation set are left out: nothing is held back. Raises ConfigError.

    Args:
        folded: The sweep over folds, from `fold_sweep`.
        choice: Values, and how long to train.
    """
    tree, epochs = single_run_tree(folded), choice.epochs
    for paths, value in choice.values.items():
        for path in split_path(paths):
            first, *keys = path.split(".")
            tree = tree | {first: with_value(tree[first], keys, value)}
    tree |= {
        "name": name_with(tree["name"], "-refit"),
        "data": tree["data"] | {"split": tree["data"]["split"] | {"fold": None}},
        "train": ({"epochs": epochs} if epochs else {"steps": 0}) | {"devices": tree["train"]["devices"]},
        "phenomena": [],
    }
    bare = build_experiment(check_tree(folded.document._replace(tree=tree)))
    fitting = []
    for entry, phenomenon in zip(folded.tree["phenomena"], folded.build().phenomena, strict=True):
        if phenomenon.spans_sweep:
            continue
        with contextlib.suppress(InvalidValue):
            phenomenon.validate(bare.model.setup, bare.data)
            fitting.append(entry)
    refit = check_tree(folded.document._replace(tree=tree | {"phenomena": fitting}))
    build_experiment(refit)
    return refit


def _split_into_folds(experiment: Config, folds: int | None) -> JsonObject:
    """The experiment's split with folds in place of training and validation."""
    split = experiment.tree["data"]["split"]
    if split is None:
        is_divided = build_experiment(experiment).data.validation is None  # the data come with a test set
        split = {"test": None if is_divided else DEFAULT_TEST_SHARE, "folds": None}
    kept = {key: split[key] for key in ("test", "stratify", "seed") if key in split}
    return kept | {"folds": folds or split["folds"] or DEFAULT_FOLDS, "fold": 0}


def _check_schedules(experiment: Config) -> None:
    """Refuse a learning rate that depends on the length of the training: it would be another one in a
    training of other length. Raises ConfigError."""
    for schedule in experiment.build().optimizer.schedules:
        if _rate_formula(schedule, total_steps=100) != _rate_formula(schedule, total_steps=200):
            raise experiment.error(
                ("optimizer",),
                "has a rate that goes by the length of the training, which the folds are to choose; take one "
                "that is constant or has `steps` or `epochs` of its own",
            )


def _rate_formula(schedule: Schedule, total_steps: int) -> tuple[str, list[list[float]]]:
    """The program of a learning rate, and its constants. It is traced and not computed, which would start JAX
    in this process, before its platform and threads are chosen and beside workers that need the memory."""

    def rate(step: Array) -> Array:
        return schedule.rate(schedule.init(), Time(step, total_steps, 10))

    traced = jax.make_jaxpr(rate)(np.int32(0))
    return str(traced.jaxpr), [np.asarray(constant).tolist() for constant in traced.consts]
