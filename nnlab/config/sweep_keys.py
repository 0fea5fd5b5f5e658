"""The keys of an experiment file's `sweep:` block, and the values that its axes run through."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, Lt

from nnlab.errors import InvalidValue
from nnlab.registry import Built, ComponentOf, ConfigValue, section
from nnlab.system.random import generator
from nnlab.text import join_words, suggestion

MAXIMUM_TRIALS = 100_000
MAXIMUM_FLOAT = sys.float_info.max
TrialCount = Annotated[int, Ge(1), Le(MAXIMUM_TRIALS)]
Seed = Annotated[int, Ge(0), Lt(2**32)]

AxisPath = str  # a dotted path of the experiment, or several with commas between that take the same value
SPACINGS = ("range", "linspace", "geomspace", "logspace")
DISTRIBUTIONS = ("uniform", "log_uniform", "integers", "choice")


@section(name="random")
@dataclass(frozen=True)
class RandomAxes:
    """`draws` random draws of the paths in `axes`, each with one of these distributions.

    uniform: [low, high]. log_uniform: [low, high], uniform in the logarithm. integers: [low, high], both
    among them. choice: [a, b, ...]. Draw i is the same however many there are.

    Args:
        draws: How many.
        axes: Path -> distribution.
    """

    draws: TrialCount
    axes: Mapping[AxisPath, Mapping[str, Sequence[ConfigValue]]]

    def __post_init__(self) -> None:
        for path, distribution in self.axes.items():
            _check_distribution(distribution, ("axes", path))


@section(name="sweep")
@dataclass(frozen=True)
class SweepDefinition:
    """Many runs of one experiment: every combination of `axes`, with `zip`, `random` and `seeds` beside.

    Args:
        axes: Dotted path -> a list of values, or {range: [a, b, step]} (b left out), {linspace: [a, b, n]},
            {geomspace: [a, b, n]}, {logspace: [a, b, n]} (10^a to 10^b). Several paths with commas between
            take the same value.
        zip: Axes that move together: the first values of all, then the second ones.
        random: Draws from distributions.
        seeds: How many, counted from the experiment's `seed`, or a list of seeds.
        method: Null runs every trial; a search draws from the ranges of `random` as it goes, by what the
            trials before came to, `draws` trials in all.
    """

    axes: Mapping[AxisPath, ConfigValue] = field(default_factory=dict)
    zip: Mapping[AxisPath, ConfigValue] = field(default_factory=dict)
    random: RandomAxes | None = None
    seeds: TrialCount | Sequence[Seed] = 1
    method: Annotated[Built, ComponentOf("search").or_null] = None

    def __post_init__(self) -> None:
        for key, group in (("axes", self.axes), ("zip", self.zip)):
            for path, values in group.items():
                _check_values(values, (key, path))
        lengths = {path: _count(values) for path, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            shown = join_words([f"{path} {length}" for path, length in lengths.items()], "and")
            raise InvalidValue(
                f"axes that move together need as many values each; there are {shown}", ("zip",)
            )
        self._check_paths()
        count = self.trial_count()
        if count > MAXIMUM_TRIALS:
            shown = f"{count:,}" if count < 10**15 else "more than 10^15"
            raise InvalidValue(f"comes to {shown} trials; a sweep has at most {MAXIMUM_TRIALS:,}")
        if not isinstance(self.seeds, int) and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise InvalidValue("a list of seeds names at least one, each once", ("seeds",))
        if self.method is not None:
            self._check_search()

    @property
    def paths(self) -> list[AxisPath]:
        """The paths that vary, in the order of the trial table's columns."""
        return [*self.axes, *self.zip, *(self.random.axes if self.random else ())]

    def place(self, path: AxisPath) -> tuple[str, ...]:
        """Where an axis stands in the block."""
        if path in self.axes:
            return ("axes", path)
        return ("zip", path) if path in self.zip else ("random", "axes", path)

    def _check_paths(self) -> None:
        """No path may vary twice, nor one that is no axis."""
        seen: set[str] = set()
        for path in self.paths:
            for name in split_path(path):
                if name in seen:
                    raise InvalidValue(f"'{name}' is varied twice; once is enough", self.place(path))
                seen.add(name)
                if name.split(".")[0] in ("seed", "sweep", "expect", "name", "base"):
                    hint = "; give sweep.seeds" if name == "seed" else ""
                    raise InvalidValue(f"'{name}' cannot be an axis{hint}", self.place(path))

    def trial_count(self) -> int:
        """How many trials it comes to, equal ones counted apart."""
        zipped = max((_count(values) for values in self.zip.values()), default=1)
        draws = self.random.draws if self.random else 1
        seeds = self.seeds if isinstance(self.seeds, int) else len(self.seeds)
        return math.prod(_count(values) for values in self.axes.values()) * zipped * draws * seeds

    def _check_search(self) -> None:
        """A search varies the random axes, and nothing else."""
        if self.random is None:
            raise InvalidValue("a search needs 'random': the ranges that it may draw from", ("method",))
        for name, axes in (("axes", self.axes), ("zip", self.zip)):
            if axes:
                raise InvalidValue("a search varies what is under 'random' only; leave this out", (name,))
        if (self.seeds if isinstance(self.seeds, int) else len(self.seeds)) > 1:
            raise InvalidValue("a search runs each trial with one seed", ("seeds",))


def split_path(path: AxisPath) -> list[str]:
    """The single paths of an axis' key."""
    return [part.strip() for part in path.split(",")]


def axis_values(values: ConfigValue, as_integers: bool) -> list[ConfigValue]:
    """The values of an axis.

    Args:
        values: As written: a list, or a mapping with one of SPACINGS.
        as_integers: Whether spaced values are rounded to whole numbers, each kept once.
    """
    if isinstance(values, list):
        return values
    (spacing, numbers), *_ = values.items()
    spaced = _spaced(spacing, numbers)
    if as_integers:
        return list(dict.fromkeys(round(value) for value in spaced))
    return spaced


def _count(values: ConfigValue) -> int:
    """How many values an axis has, as written: cheaper than the values themselves."""
    if isinstance(values, list):
        return len(values)
    (spacing, numbers), *_ = values.items()
    return _range_count(numbers) if spacing == "range" else int(numbers[2])


def _range_count(numbers: Sequence[float]) -> int:
    start, stop, step = (*numbers, 1)[:3]
    return max(0, math.ceil((stop - start) / step - 1e-9))


def draw_axis_value(
    distribution: Mapping[str, ConfigValue], seed: int, path: AxisPath, draw: int
) -> ConfigValue:
    """The value of a random axis at one draw; it depends on nothing else than these arguments."""
    (name, bounds), *_ = distribution.items()
    source = generator(seed, "random axis", path, draw)
    if name == "choice":
        return bounds[int(source.integers(len(bounds)))]
    if name == "integers":
        return int(source.integers(bounds[0], bounds[1] + 1))
    if name == "log_uniform":
        return float(math.exp(source.uniform(math.log(bounds[0]), math.log(bounds[1]))))
    return float(source.uniform(*bounds))


def _spaced(spacing: str, numbers: Sequence[float]) -> list[ConfigValue]:
    if spacing == "range":
        start, _, step = (*numbers, 1)[:3]
        return [start + i * step for i in range(_range_count(numbers))]
    with np.errstate(over="ignore", invalid="ignore"):  # refused where the values are checked
        spaced = getattr(np, spacing)  # numpy's functions have these names
        return spaced(float(numbers[0]), float(numbers[1]), int(numbers[2])).tolist()


def _check_values(values: ConfigValue, at: tuple[str, ...]) -> None:
    if isinstance(values, list):
        if not values:
            raise InvalidValue("an axis needs at least one value", at)
        return
    if not isinstance(values, Mapping) or len(values) != 1:
        raise InvalidValue(f"takes a list of values or a mapping with one of {', '.join(SPACINGS)}", at)
    (spacing, numbers), *_ = values.items()
    if spacing not in SPACINGS:
        near = suggestion(str(spacing), SPACINGS) or ";"
        raise InvalidValue(f"unknown spacing '{spacing}'{near} there are {', '.join(SPACINGS)}", at)
    _check_spacing(spacing, numbers, at)


def _check_spacing(spacing: str, numbers: ConfigValue, at: tuple[str, ...]) -> None:
    form = "[start, stop] or [start, stop, step]" if spacing == "range" else "[first, last, count]"
    if not _numbers(numbers) or len(numbers) not in ((2, 3) if spacing == "range" else (3,)):
        raise InvalidValue(f"{spacing} takes {form}", at)
    if spacing == "range":
        start, stop, step = map(float, (*numbers, 1)[:3])
        if not step or (stop - start) / step <= 0:
            raise InvalidValue("range is empty: the step must lead from start to stop", at)
        if (stop - start) / step > MAXIMUM_TRIALS:
            raise InvalidValue(f"an axis has at most {MAXIMUM_TRIALS:,} values", at)
        return
    if not isinstance(numbers[2], int) or not 1 <= numbers[2] <= MAXIMUM_TRIALS:
        raise InvalidValue(
            f"{spacing} takes {form}; count is a whole number from 1 to {MAXIMUM_TRIALS:,}", at
        )
    if spacing == "geomspace" and (0 in numbers[:2] or (numbers[0] > 0) != (numbers[1] > 0)):
        raise InvalidValue("geomspace needs two numbers of one sign, neither 0", at)
    ends = _spaced(spacing, [*numbers[:2], min(numbers[2], 2)])
    if not np.isfinite(ends).all():
        raise InvalidValue(f"{spacing} goes beyond what a number can hold", at)


def _check_distribution(distribution: Mapping[str, ConfigValue], at: tuple[str, ...]) -> None:
    if len(distribution) != 1 or next(iter(distribution)) not in DISTRIBUTIONS:
        word = str(next(iter(distribution), ""))
        near = suggestion(word, DISTRIBUTIONS) or ";"
        raise InvalidValue(f"takes one distribution{near} there are {', '.join(DISTRIBUTIONS)}", at)
    (name, bounds), *_ = distribution.items()
    if name == "choice":
        if not bounds:
            raise InvalidValue("choice needs at least one value", at)
        return
    if not _numbers(bounds) or len(bounds) != 2 or bounds[0] > bounds[1]:
        raise InvalidValue(f"{name} takes [low, high]", at)
    if not math.isfinite(float(bounds[1]) - float(bounds[0])):
        raise InvalidValue(f"{name} spans more than a number can hold", at)
    if name == "log_uniform" and bounds[0] <= 0:
        raise InvalidValue("log_uniform needs numbers above 0", at)
    if name == "integers" and not all(isinstance(bound, int) and abs(bound) < 2**62 for bound in bounds):
        raise InvalidValue("integers takes whole numbers below 2^62", at)


def _numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) <= MAXIMUM_FLOAT for v in values
    )
