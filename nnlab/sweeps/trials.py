"""From a sweep's config to its trials: the runs of the sweep, each with a config of its own."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from nnlab.config import Config
from nnlab.config.load import complete
from nnlab.config.resolve import value_text
from nnlab.config.sweep_keys import SweepDefinition, axis_values, draw_axis_value, split_path
from nnlab.errors import KeyPath, Problem
from nnlab.text import dotted, suggestion

ID_HEX_DIGITS = 11

AxisValues = Mapping[str, object]
"""Path that varies -> its value, as the file would have it."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        config: The experiment of this run, without a sweep.
        axes: The value of each path that varies, in the order of the sweep's axes.
    """

    config: Config
    axes: AxisValues

    @functools.cached_property
    def id(self) -> str:
        """The trial's name: a letter, so that no table takes it for a number, and the hash of the resolved
        config, so that equal runs have equal ids."""
        return f"t{self.config.hash[:ID_HEX_DIGITS]}"

    @property
    def seed(self) -> int:
        """The seed of its run."""
        return self.config.tree["seed"]


def trials_of(config: Config) -> list[Trial]:
    """Every trial of a sweep, seeds varying fastest, equal ones once.

    A search has yet to choose its trials: of its space come one random draw, and that draw with each end of
    each axis in turn.

    Args:
        config: An experiment with a `sweep:` block.

    Raises:
        ConfigError: The block is missing, or some trials' configs are wrong; each problem names its axis.
    """
    space = TrialSpace(config)
    seeds = space.seeds
    if max(seeds) >= 2**32:
        first = space.tree["seed"]
        raise config.error(("sweep", "seeds"), f"count from {first} beyond the largest seed, 2^32 - 1")
    problems: dict[Problem, None] = {}
    trials: dict[str, Trial] = {}
    for axes in space.points():
        for seed in seeds:
            trial = space.try_trial(axes, seed, problems)
            if trial is not None:
                trials.setdefault(trial.id, trial)
    if problems:
        raise config.document.error(list(problems))
    return list(trials.values())


def single_run_tree(config: Config) -> dict[str, Any]:
    """The config of one run of the sweep before anything is varied.

    It lacks the sweep itself, the expectations and the phenomena across trials. A sweep's default directory
    is named by it, and a directory holds the same sweep, grown, as long as it is the same.
    """
    entries = zip(config.tree["phenomena"], config.build().phenomena, strict=True)
    return config.tree | {
        "sweep": None,
        "expect": {},
        "phenomena": [entry for entry, phenomenon in entries if not phenomenon.spans_sweep],
    }


class TrialSpace:
    """The points that a sweep's trials are at; what all trials share is built once.

    Attributes:
        config: The experiment with its sweep.
        sweep: Its `sweep:` block.
        tree: See `single_run_tree`.
    """

    def __init__(self, config: Config) -> None:
        sweep = config.build().sweep
        if sweep is None:
            raise config.error((), "has no 'sweep:' block, nothing to vary; add one, or give a.b=v1,v2")
        self.config, self.sweep, self.tree = config, sweep, single_run_tree(config)

    @property
    def seeds(self) -> list[int]:
        """The seeds that each point is run with."""
        seeds, first = self.sweep.seeds, self.tree["seed"]
        return list(range(first, first + seeds)) if isinstance(seeds, int) else list(seeds)

    def points(self) -> Iterator[AxisValues]:
        """The values of every path at each point of the grid. Raises ConfigError."""
        grids: list[list[AxisValues]] = []
        for path, values in self.sweep.axes.items():
            integers = self._takes_integers(path, "axes")
            grids.append([{path: value} for value in axis_values(values, integers)])
        zipped = [
            [(path, value) for value in axis_values(values, self._takes_integers(path, "zip"))]
            for path, values in self.sweep.zip.items()
        ]
        if len({len(column) for column in zipped}) > 1:
            raise self.config.error(("sweep", "zip"), "rounded to whole numbers, the axes differ in length")
        if zipped:
            grids.append([dict(row) for row in zip(*zipped, strict=True)])
        if self.sweep.random is not None:
            grids.append(self._random_points())
        for parts in itertools.product(*grids):
            yield {path: value for part in parts for path, value in part.items()}

    def trial(self, axes: AxisValues, seed: int) -> Trial:
        """The trial at one point. Raises ConfigError where its config is wrong."""
        problems: dict[Problem, None] = {}
        trial = self.try_trial(axes, seed, problems)
        if trial is None:
            raise self.config.document.error(list(problems))
        return trial

    def try_trial(self, axes: AxisValues, seed: int, problems: dict[Problem, None]) -> Trial | None:
        """The trial at one point; None where its config is wrong, which is added to the problems."""
        tree, touched = dict(self.tree) | {"seed": seed}, set()
        where = ", ".join(f"{path}={value_text(value)}" for path, value in axes.items())
        settings = [
            (path.split("."), paths, value) for paths, value in axes.items() for path in split_path(paths)
        ]
        settings.sort(key=lambda setting: len(setting[0]))  # a component before its keys
        for keys, paths, value in settings:
            try:
                tree[keys[0]] = with_value(tree[keys[0]], keys[1:], value)
            except (TypeError, KeyError, ValueError, IndexError):  # another axis has put something else there
                place = ("sweep", *self.sweep.place(paths))
                problems[Problem(place, f"at {where}: there is no '{'.'.join(keys)}'")] = None
                return None
            touched.add(keys[0])
        invalid: list[Problem] = []
        resolved = complete(tree, invalid, settled=set(tree) - touched)
        for problem in invalid:
            message = f"at {where}: {dotted(problem.path)}: {problem.message}"
            problems[Problem(("sweep", *_axis_at_fault(self.sweep, problem.path)), message)] = None
        document = self.config.document._replace(tree=tree, has_drawn_seed=False)  # the sweep tells of it
        return None if invalid else Trial(Config(resolved, document), axes)

    def _random_points(self) -> list[AxisValues]:
        """The random draws; of a search, which makes its own, the first draw and the ends of its axes."""
        random = self.sweep.random
        assert random is not None  # noqa: S101 - the caller sees to it
        for path in random.axes:
            self._takes_integers(path, "random")
        draws = range(random.draws if self.sweep.method is None else 1)
        points = [
            {path: draw_axis_value(how, self.tree["seed"], path, i) for path, how in random.axes.items()}
            for i in draws
        ]
        if self.sweep.method is not None:
            ends = [(path, end) for path, how in random.axes.items() for end in next(iter(how.values()))]
            points += [points[0] | {path: end} for path, end in ends]
        return [*points]

    def _takes_integers(self, paths: str, group: str) -> bool:
        """Whether an axis has whole numbers: the experiment's value at its path is one. Raises ConfigError
        where the experiment has no such path."""
        at = ("sweep", group, *(("axes",) if group == "random" else ()), paths)
        values = [self._value_at(path, at) for path in split_path(paths)]
        return all(isinstance(value, int) and not isinstance(value, bool) for value in values)

    def _value_at(self, path: str, at: KeyPath) -> object:
        node: object = self.tree
        for part in path.split("."):
            if isinstance(node, list):
                if not (part.isdecimal() and int(part) < len(node)):
                    message = f"'{part}' is no item of a list of {len(node)}, counted from 0"
                    raise self.config.error(at, message)
                node = node[int(part)]
            elif not isinstance(node, Mapping) or part not in node:
                known = list(node) if isinstance(node, Mapping) else []
                hint = suggestion(part, known) or (f"; there are {', '.join(known)}" if known else "")
                raise self.config.error(at, f"the experiment has no '{path}'{hint}")
            else:
                node = node[part]
        return node


def _axis_at_fault(sweep: SweepDefinition, path: KeyPath) -> tuple[str, ...]:
    """The axis that put a value at or above a path; empty where none did."""
    for paths in sweep.paths:
        for single in split_path(paths):
            keys = single.split(".")
            if [str(part) for part in path[: len(keys)]] == keys:
                return sweep.place(paths)
    return ()


def with_value(node: object, keys: list[str], value: object) -> object:
    """The tree with another value at a path; everything beside the path is shared with the old tree."""
    if not keys:
        return value
    if isinstance(node, list):
        index = int(keys[0])
        return [*node[:index], with_value(node[index], keys[1:], value), *node[index + 1 :]]
    if isinstance(node, str):  # a component by its bare name
        node = {"type": node}
    if not isinstance(node, dict):
        raise TypeError(f"{type(node).__name__} has no keys")
    return node | {keys[0]: value if len(keys) == 1 else with_value(node[keys[0]], keys[1:], value)}
