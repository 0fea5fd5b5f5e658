"""The keys of an experiment file: those of an ExperimentPlan, and of the sections inside it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from nnlab.config.sweep_keys import Seed, SweepDefinition
from nnlab.config.training_keys import (
    FULL_PRECISION,
    RECORD_EACH_EPOCH,
    Initialize,
    Precision,
    Prune,
    Record,
    Train,
)
from nnlab.errors import InvalidValue, KeyPath, RunStatus
from nnlab.registry import Built, ComponentOf, section, spec_of
from nnlab.text import join_words, suggestion

REASON = "reason"  # in a summary, beside the numbers of a phenomenon: why some of them are null
MAXIMUM_NAME_CHARACTERS = 80
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9_-])?")
RANDOM = "random"  # a seed that is drawn when the file is read; what is checked and saved is its number
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # names of devices, to Windows


@section()
@dataclass(frozen=True)
class Bound:
    """A bound on a summary number: `min`, `max` or both, or the value that it `equals`.

    Args:
        min: The least that it may be.
        max: The most that it may be.
        equals: What it must be, in place of `min` and `max`: a word, a truth value or a number.
    """

    min: float | None = None
    max: float | None = None
    equals: bool | int | float | str | None = None

    def __post_init__(self) -> None:
        if (self.min is None and self.max is None) == (self.equals is None):
            raise InvalidValue("give 'min', 'max' or both, or 'equals'")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise InvalidValue(f"min {self.min:g} lies above max {self.max:g}")

    def holds(self, value: object) -> bool:
        """Whether a summary's value is within the bound; a missing value or NaN never is."""
        if self.equals is not None:
            return isinstance(value, bool) == isinstance(self.equals, bool) and value == self.equals
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.equals is not None:
            return f"= {str(self.equals).lower() if isinstance(self.equals, bool) else self.equals}"
        lower = None if self.min is None else f">= {self.min:g}"
        upper = None if self.max is None else f"<= {self.max:g}"
        return " and ".join(part for part in (lower, upper) if part)


@section(name="experiment")
@dataclass(frozen=True)
class ExperimentPlan:
    """An experiment: what to train on what and for how long, what to look at, and what must come out.

    An experiment file with its components built, before data and shapes are looked at. Either optimizer and
    train are given, or solver.

    Args:
        name: Of the run, and of its directory.
        base: Another experiment, of which this file says only what differs: a file beside it or below, or
            nnlab:NAME, one that `nnlab new` lists. The complete config of a run has none.
        data: The data set, with its preparation.
        model: A layer; a list of layers is a chain of them.
        seed: Of everything that is drawn at random. `random` draws one at each start; the saved config has
            its number.
        loss: What training makes small.
        metrics: What is recorded of each split beside the loss and, for a classification, the accuracy.
        regularizers: Penalties on the weights, added to the loss.
        constraints: What weights are brought back to after each step.
        augment: Changes the training inputs at random, anew at each step, one after the other.
        initialize: First weights that were trained before.
        optimizer: How weights follow the gradient.
        solver: Solves for the last layer in closed form, in place of optimizer and train.
        train: How long to train.
        prune: Rounds of training, between which weights are masked.
        precision: The floating-point numbers that the training computes with.
        record: When to record.
        phenomena: What the run or the sweep is examined for.
        sweep: Many runs of the experiment.
        expect: Bounds on numbers of the summary; in a sweep, one of a run's number is one of every trial.
    """

    name: str
    data: Annotated[Built, ComponentOf("dataset")]
    model: Annotated[Built, ComponentOf("layer")]
    base: str | None = None
    seed: Annotated[int, spec_of(Seed | Literal["random"])] = 0
    loss: Annotated[Built, ComponentOf("loss")] = "cross_entropy"
    metrics: Sequence[Annotated[Built, ComponentOf("metric")]] = ()
    regularizers: Sequence[Annotated[Built, ComponentOf("regularizer")]] = ()
    constraints: Sequence[Annotated[Built, ComponentOf("constraint")]] = ()
    augment: Sequence[Annotated[Built, ComponentOf("augmentation")]] = ()
    initialize: Initialize | None = None
    optimizer: Annotated[Built, ComponentOf("optimizer").or_null] = "sgd"
    solver: Annotated[Built, ComponentOf("solver").or_null] = None
    train: Train | None = None
    prune: Prune | None = None
    precision: Precision = FULL_PRECISION
    record: Record = RECORD_EACH_EPOCH
    phenomena: Sequence[Annotated[Built, ComponentOf("phenomenon")]] = ()
    sweep: SweepDefinition | None = None
    expect: Mapping[str, Bound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.solver is not None:
            _check_solved(self)
        elif self.train is None:
            raise InvalidValue("'train' is missing: a mapping of epochs, steps, stop")
        elif self.optimizer is None:
            raise InvalidValue("'optimizer' is missing: give one, or a solver")
        _check_columns([metric.title for metric in self.metrics])
        stops = self.train.stop if self.train is not None else ()
        if self.prune is not None and stops:
            message = "would end a training of several rounds within one of them; leave out 'stop' or 'prune'"
            raise InvalidValue(message, ("train", "stop"))
        restored = sorted({stop.metric for stop in stops if stop.restores})
        if len(restored) > 1:
            message = (
                f"returns the best weights by {join_words(restored, 'and by')}; give one of these criteria"
            )
            raise InvalidValue(message, ("train", "stop"))
        names = [phenomenon.name for phenomenon in self.phenomena]
        if len(set(names)) < len(names):
            raise InvalidValue("names a phenomenon twice; once is enough", ("phenomena",))
        for position, phenomenon in enumerate(self.phenomena):
            at = ("phenomena", position)
            if phenomenon.spans_sweep:
                _check_sweep(phenomenon, self.sweep, at)
            _check_tables(phenomenon, self.record, self.solver is not None, at)
            for other in set(phenomenon.depends_on) - set(names):
                raise InvalidValue(
                    f"{phenomenon.name} reads the numbers of {other}; add {other} to 'phenomena'", at
                )
        criteria = [stop.name for stop in stops]
        for key, bound in self.expect.items():
            _check_expectation(key, bound, self.phenomena, criteria)

    @property
    def restoring_metric(self) -> str | None:
        """The metric by which a stopping criterion returns the best weights, if one does."""
        return next((stop.metric for stop in self.train.stop if stop.restores), None) if self.train else None

    def direction_of(self, column: str) -> Literal["minimize", "maximize"]:
        """Whether a column of metrics.csv, such as validation_loss, is to be small or large."""
        higher = {"accuracy", *(metric.title for metric in self.metrics if metric.better == "higher")}
        return "maximize" if column.partition("_")[2] in higher else "minimize"

    @property
    def run_phenomena(self) -> list[Built]:
        """The phenomena of a single run."""
        return [phenomenon for phenomenon in self.phenomena if not phenomenon.spans_sweep]

    @property
    def sweep_phenomena(self) -> list[Built]:
        """The phenomena that appear across the trials of a sweep."""
        return [phenomenon for phenomenon in self.phenomena if phenomenon.spans_sweep]


def name_with(name: str, suffix: str) -> str:
    """A name with a suffix, shortened so that both are one name."""
    return name[: MAXIMUM_NAME_CHARACTERS - len(suffix)] + suffix


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidValue(
            "a name is 1 to 80 of a-z, 0-9, '-', '_' and '.', with a letter or digit first and no '.' last",
            ("name",),
        )
    if RESERVED.fullmatch(name):
        raise InvalidValue(f"'{name}' is the name of a device on Windows; give another", ("name",))


def _check_columns(titles: list[str]) -> None:
    """Two metrics of one column are one too many."""
    for position, title in enumerate(titles):
        if title in ("loss", *titles[:position]):
            message = f"there would be two columns train_{title}; one is enough"
            raise InvalidValue(message, ("metrics", position))


def _check_solved(plan: ExperimentPlan) -> None:
    """What a solver has no place for must not be given."""
    if plan.optimizer is not None or plan.train is not None:
        given = "optimizer" if plan.optimizer is not None else "train"
        raise InvalidValue(f"a solver stands in its place; leave out '{given}' or 'solver'", (given,))
    if plan.data.tasks is not None:
        raise InvalidValue("a solver takes no steps, to divide among tasks; leave it out", ("data", "tasks"))
    if plan.precision != FULL_PRECISION:
        raise InvalidValue("a solver computes in float64; leave it out", ("precision",))
    if plan.regularizers:
        raise InvalidValue("a solver has no loss to add to; give it a ridge", ("regularizers",))
    if plan.prune is not None:
        raise InvalidValue("a solver trains no rounds, between which to prune", ("prune",))
    if plan.constraints:
        raise InvalidValue("a solver takes no steps, after which to bring weights back", ("constraints",))
    if plan.augment:
        raise InvalidValue("a solver takes no steps, at which to change inputs", ("augment",))
    for key, given in (("order", plan.data.order), ("fresh", plan.data.fresh)):
        if given is not None:
            raise InvalidValue("a solver takes no steps, each with its examples", ("data", key))


def _check_sweep(phenomenon: Built, sweep: SweepDefinition | None, at: KeyPath) -> None:
    """Refuse a sweep in which a phenomenon cannot appear, at the phenomenon's place in the file."""
    try:
        phenomenon.check_sweep(sweep)
    except InvalidValue as error:
        raise InvalidValue(str(error), (*at, *error.at)) from None


def _check_tables(phenomenon: Built, record: Record, solved: bool, at: KeyPath) -> None:
    """What a phenomenon reads must be recorded."""
    if phenomenon.needs_predictions and not record.predictions:
        raise InvalidValue(
            f"{phenomenon.name} reads the final outputs; give record: {{every: {{epochs: 1}}, "
            "predictions: true}",
            at,
        )
    probes = () if phenomenon.spans_sweep else phenomenon.probes
    if probes and solved:
        raise InvalidValue(f"{phenomenon.name} looks into layers and steps, which a solver does not take", at)
    if phenomenon.spans_sweep and phenomenon.between and solved:
        raise InvalidValue(f"{phenomenon.name} looks at weights, and a run that is solved for keeps none", at)
    if not phenomenon.spans_sweep and phenomenon.reads_directions and not solved:
        raise InvalidValue(f"{phenomenon.name} takes apart what a solver finds; give a solver", at)
    if not record.layers and any(probe.table == "layers" for probe in probes):
        raise InvalidValue(f"{phenomenon.name} looks into layers, which record.layers: false leaves out", at)


def _check_expectation(key: str, bound: Bound, phenomena: Sequence[Built], criteria: list[str]) -> None:
    """An expectation must name a number that the run will have."""
    prefix, _, number = key.partition(".")
    at = ("expect", key)
    numbers = {p.name: p.fields for p in phenomena}
    if prefix in ("final", "best", "selected") and number:
        return
    if key == "status" and bound.equals not in list(RunStatus):
        near = suggestion(str(bound.equals), RunStatus) or ";"
        raise InvalidValue(f"'{bound}' is no status{near} it equals one of {', '.join(RunStatus)}", at)
    if key == "stopped_by" and bound.equals not in criteria:
        allowed = f"it equals one of {', '.join(criteria)}" if criteria else "there is none under train.stop"
        raise InvalidValue(f"'{bound.equals}' ends no training here; {allowed}", at)
    if key in ("status", "parameters", "trained_parameters", "stopped_by"):
        return
    if prefix not in numbers:
        counts = ["parameters", "trained_parameters"]
        known = ["final", "best", "selected", "status", *counts, "stopped_by", *numbers]
        raise InvalidValue(
            f"is no number of this run{suggestion(prefix, known)}; begin with {', '.join(known)}",
            at,
        )
    if number not in numbers[prefix]:
        raise InvalidValue(
            f"'{prefix}' has no number '{number}'{suggestion(number, numbers[prefix])}; "
            f"it has {', '.join(numbers[prefix])}",
            at,
        )
