"""The keys of an experiment file: `experiment`'s parameters, and those of the groups inside it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt, Le, Lt

from nnlab.config.sweep_keys import Sweep, sweep
from nnlab.errors import InvalidValue, KeyPath, RunStatus
from nnlab.registry import ComponentOf, Count, Section
from nnlab.text import suggestion

MOST_RECORDS = 1_000_000
Epochs = Annotated[float, Gt(0.0), Le(1e9)]

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9_-])?")
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # names of devices, to Windows


class Train(NamedTuple):
    """How long to train; one of epochs and steps is None."""

    epochs: float | None
    steps: int | None
    stop: list[Any]
    cache_frozen: bool


def train(
    epochs: Epochs | None = None,
    steps: Annotated[int, Ge(0), Lt(2**31 - 1)] | None = None,
    stop: list[Annotated[Any, ComponentOf("stop")]] = [],  # noqa: B006 - never changed
    cache_frozen: bool = False,
) -> Train:
    """How long to train: `epochs` or `steps`, one of the two, unless one of `stop` ends it before.

    An epoch is n // batch_size steps over a fresh order of the n training examples; what the division
    leaves over sits out that epoch. cache_frozen: the first layers, as far as optimizer.groups freeze them,
    are computed once for every example, and training goes on from their outputs; layers.csv then has the
    layers after them only.
    """
    if (epochs is None) == (steps is None):
        raise InvalidValue("give one of 'epochs' and 'steps' (`train={steps: 10}` replaces both)")
    return Train(epochs, steps, stop, cache_frozen)


class Every(NamedTuple):
    """A fixed distance between records, in steps or in epochs."""

    steps: int | None
    epochs: float | None


def every(steps: Count | None = None, epochs: Epochs | None = None) -> Every:
    """A fixed distance between records: `steps` or `epochs`, one of the two."""
    if (epochs is None) == (steps is None):
        raise InvalidValue("give one of 'epochs' and 'steps'")
    return Every(steps, epochs)


class Record(NamedTuple):
    """When to look: a fixed distance, or a number of moments spaced evenly in the logarithm of the step.

    layers, predictions: whether the tables of these names are kept.
    """

    every: Every | None
    log_spaced: int | None
    layers: bool
    predictions: bool

    def steps(self, last: int, steps_per_epoch: int) -> list[int]:
        """The steps to record at, step 0 and the last always among them. Raises InvalidValue."""
        if self.log_spaced is not None:
            count = min(self.log_spaced, last + 1)
            spread = [round(math.expm1(math.log1p(last) * i / max(1, count - 1))) for i in range(count)]
            return sorted({0, last, *spread})
        assert self.every is not None  # noqa: S101 - record() sees to it
        gap = self.every.steps or max(1, round((self.every.epochs or 1) * steps_per_epoch))
        if last // gap >= MOST_RECORDS:
            raise InvalidValue(f"asks for more than {MOST_RECORDS:,} records in {last:,} steps", ("every",))
        return sorted({*range(0, last, gap), last})


def record(
    every: Annotated[Any, Section(every)] | None = None,
    log_spaced: Annotated[int, Ge(2), Le(MOST_RECORDS)] | None = None,
    layers: bool = True,
    predictions: bool = False,
) -> Record:
    """When to record: `every` {steps: N} or {epochs: N}, or `log_spaced` moments; one of the two.

    Step 0 and the last step are always recorded. log_spaced: N moments t_i = (1 + T)^(i/(N-1)) - 1, rounded
    to whole steps, so that the first steps are seen one by one and the last ones in long strides. layers:
    false leaves out layers.csv, the inside view, which halves the time to compile. predictions: keep the
    outputs for every training and test example, of the weights that come out, as predictions.csv.
    """
    if (every is None) == (log_spaced is None):
        raise InvalidValue("give one of 'every' and 'log_spaced'")
    return Record(every, log_spaced, layers, predictions)


class Bound(NamedTuple):
    """What a summary number must be."""

    min: float | None
    max: float | None
    equals: Any

    def holds(self, found: Any) -> bool:
        """Whether the found value is within the bound; a missing value or NaN never is."""
        if self.equals is not None:
            return isinstance(found, bool) == isinstance(self.equals, bool) and found == self.equals
        number = isinstance(found, (int, float)) and not isinstance(found, bool)
        if not number or math.isnan(found):
            return False
        return (self.min is None or found >= self.min) and (self.max is None or found <= self.max)

    def __str__(self) -> str:
        if self.equals is not None:
            return f"= {_plain(self.equals)}"
        lower = None if self.min is None else f">= {self.min:g}"
        upper = None if self.max is None else f"<= {self.max:g}"
        return " and ".join(part for part in (lower, upper) if part)


def bound(
    min: float | None = None, max: float | None = None, equals: bool | int | float | str | None = None
) -> Bound:
    """A bound on a summary number: `min`, `max` or both, or the value that it `equals`."""
    if (min is None and max is None) == (equals is None):
        raise InvalidValue("give 'min', 'max' or both, or 'equals'")
    if min is not None and max is not None and min > max:
        raise InvalidValue(f"min {min:g} lies above max {max:g}")
    return Bound(min, max, equals)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Initialize(NamedTuple):
    """Where first weights come from. layers: patterns; None stands for all. names: by a layer's path, that of
    its module in the file."""

    source: str
    layers: list[str] | None
    names: dict[str, str]


def initialize(
    from_: str,
    layers: str | list[str] | None = None,
    names: dict[str, str | int] = {},  # noqa: B006
) -> Initialize:
    """First weights that were trained before, in place of drawn ones.

    from: a run directory, of which it takes the weights that came out, or a safetensors file (relative paths
    start at the working directory). layers: which layers get them, a path such as dense_1 as `nnlab summary`
    prints it, or a pattern such as conv2d_*, or several; null is all of them. The others are drawn as ever.
    names: {conv2d_1: features.0}: what a layer is called in the file, where that is not its name here. A file
    that PyTorch saved is known by its names (features.0.weight): kernels are turned to nnlab's layout,
    also those of a dense layer that follows flatten. Its batch_norm has epsilon 1e-5, nnlab's 1e-3; its
    recurrent layers are not taken over.
    """
    if not layers and layers is not None:
        raise InvalidValue("name at least one layer, or null for all", ("layers",))
    known = {layer: str(name) for layer, name in names.items()}  # PyTorch's are numbers, often
    return Initialize(from_, [layers] if isinstance(layers, str) else layers, known)


class Parts(NamedTuple):
    """An experiment file with its components built, before data and shapes are looked at.

    Either optimizer and train are there, or solver.
    """

    name: str
    seed: int
    data: Any
    model: Any
    loss: Any
    regularizers: list[Any]
    constraints: list[Any]
    augment: list[Any]
    initialize: Initialize | None
    optimizer: Any
    solver: Any
    train: Train | None
    record: Record
    phenomena: list[Any]
    sweep: Sweep | None
    expect: dict[str, Bound]

    @property
    def run_phenomena(self) -> list[Any]:
        """The phenomena of a single run."""
        return [phenomenon for phenomenon in self.phenomena if not phenomenon.spans_sweep]

    @property
    def sweep_phenomena(self) -> list[Any]:
        """The phenomena that appear across the trials of a sweep."""
        return [phenomenon for phenomenon in self.phenomena if phenomenon.spans_sweep]


def experiment(
    name: str,
    data: Annotated[Any, ComponentOf("dataset")],
    model: Annotated[Any, ComponentOf("layer")],
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0,
    loss: Annotated[Any, ComponentOf("loss")] = "cross_entropy",
    regularizers: list[Annotated[Any, ComponentOf("regularizer")]] = [],  # noqa: B006 - never changed
    constraints: list[Annotated[Any, ComponentOf("constraint")]] = [],  # noqa: B006
    augment: list[Annotated[Any, ComponentOf("augmentation")]] = [],  # noqa: B006
    initialize: Annotated[Any, Section(initialize)] | None = None,
    optimizer: Annotated[Any, ComponentOf("optimizer")] | None = "sgd",
    solver: Annotated[Any, ComponentOf("solver")] | None = None,
    train: Annotated[Any, Section(train)] | None = None,
    record: Annotated[Any, Section(record)] = {"every": {"epochs": 1}},  # noqa: B006 - never changed
    phenomena: list[Annotated[Any, ComponentOf("phenomenon")]] = [],  # noqa: B006
    sweep: Annotated[Any, Section(sweep)] | None = None,
    expect: dict[str, Annotated[Any, Section(bound)]] = {},  # noqa: B006
) -> Parts:
    """An experiment: what to train on what and for how long, what to look at, and what must come out.

    augment: changes the training inputs at random, anew at each step, one after the other. solver: solves for
    the last layer in closed form, in place of optimizer and train. sweep: many runs of it.
    In a sweep an expectation of a run's number is one of every trial.
    """
    if not NAME.fullmatch(name):
        raise InvalidValue(
            "a name is 1 to 80 of a-z, 0-9, '-', '_' and '.', with a letter or digit first and no '.' last",
            ("name",),
        )
    if RESERVED.fullmatch(name):
        raise InvalidValue(f"'{name}' is the name of a device on Windows; give another", ("name",))
    if solver is not None:
        _check_solved(optimizer, train, regularizers, constraints, augment)
    if solver is None and train is None:
        raise InvalidValue("'train' is missing: a mapping of epochs, steps, stop")
    if solver is None and optimizer is None:
        raise InvalidValue("'optimizer' is missing: give one, or a solver")
    names = [phenomenon.name for phenomenon in phenomena]
    if len(set(names)) < len(names):
        raise InvalidValue("names a phenomenon twice; once is enough", ("phenomena",))
    for position, phenomenon in enumerate(phenomena):
        at = ("phenomena", position)
        if phenomenon.spans_sweep:
            _check_sweep(phenomenon, sweep, at)
        _check_tables(phenomenon, record, solver is not None, at)
        for other in set(phenomenon.depends_on) - set(names):
            raise InvalidValue(
                f"{phenomenon.name} reads the numbers of {other}; add {other} to 'phenomena'", at
            )
    criteria = [stop.name for stop in train.stop] if train is not None else []
    for key, bound in expect.items():
        _check_expectation(key, bound, phenomena, criteria)
    return Parts(
        name,
        seed,
        data,
        model,
        loss,
        regularizers,
        constraints,
        augment,
        initialize,
        optimizer,
        solver,
        train,
        record,
        phenomena,
        sweep,
        expect,
    )


def _check_solved(optimizer: Any, train: Any, regularizers: Any, constraints: Any, augment: Any) -> None:
    """What a solver has no place for must not be there."""
    if optimizer is not None or train is not None:
        given = "optimizer" if optimizer is not None else "train"
        raise InvalidValue(f"a solver stands in its place; leave out '{given}' or 'solver'", (given,))
    if regularizers:
        raise InvalidValue("a solver has no loss to add to; give it a ridge", ("regularizers",))
    if constraints:
        raise InvalidValue("a solver takes no steps, after which to bring weights back", ("constraints",))
    if augment:
        raise InvalidValue("a solver takes no steps, at which to change inputs", ("augment",))


def _check_sweep(phenomenon: Any, sweep: Sweep | None, at: KeyPath) -> None:
    """Refuse a sweep in which a phenomenon cannot appear, at the phenomenon's place in the file."""
    try:
        phenomenon.check_sweep(sweep)
    except InvalidValue as error:
        raise InvalidValue(str(error), (*at, *error.at)) from None


def _check_tables(phenomenon: Any, record: Record, solved: bool, at: KeyPath) -> None:
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
    if not record.layers and any(probe.table == "layers" for probe in probes):
        raise InvalidValue(f"{phenomenon.name} looks into layers, which record.layers: false leaves out", at)


def _check_expectation(key: str, bound: Bound, phenomena: list[Any], criteria: list[str]) -> None:
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
        there = f"it equals one of {', '.join(criteria)}" if criteria else "there is none under train.stop"
        raise InvalidValue(f"'{bound.equals}' ends no training here; {there}", at)
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
