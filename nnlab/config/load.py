"""An experiment file and the command line's overrides, to a Config."""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnlab.config import base
from nnlab.config import overrides as command_line
from nnlab.config.document import MAXIMUM_FILE_BYTES, MAXIMUM_LEVELS, MAXIMUM_VALUES, Document, dump
from nnlab.config.experiment_keys import RANDOM, ExperimentPlan
from nnlab.config.resolve import resolve_arguments
from nnlab.config.smoke import smoked
from nnlab.errors import ConfigError, KeyPath, Problem
from nnlab.registry import ConfigTree, ConfigValue, section_of

EXPERIMENT = section_of(ExperimentPlan)

MAXIMUM_DRAWN_SEED = 10**9  # short enough to be typed, and far below the largest, from which sweeps count

# keys that came after the first runs, and the values at which experiments are those of before
LATER_KEYS: list[tuple[str, ConfigValue]] = [
    ("precision", {"compute": "float32", "matmul": "highest"}),
    ("train.devices", 1),
    ("prune", None),
    ("data.split.sample", None),
    ("data.order", None),
    ("data.fresh", False),
    ("data.tasks", None),
]
# likewise parameters of components, which may stand in many places: type, name, value
LATER_PARAMETERS: list[tuple[str, str, ConfigValue]] = [
    ("double_descent", "best_over", None),
    ("one_cycle", "momentum", None),
]


@dataclass(frozen=True, repr=False)
class Config:
    """A checked experiment. Printed, it is the complete YAML file.

    Attributes:
        tree: The config, complete (every default in place) and in canonical form; never changed.
        document: What the user wrote, for pointing at it.
    """

    tree: ConfigTree
    document: Document

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.tree["name"]

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical tree: the same experiment has the same hash, however it was written."""
        text = json.dumps(hashed_tree(self.tree), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def directory_name(self) -> str:
        """The name of its run directory: its own, and the first 8 digits of its hash."""
        return f"{self.name}-{self.hash[:8]}"

    @property
    def text(self) -> str:
        """The complete experiment as YAML."""
        return dump(self.tree)

    def __repr__(self) -> str:
        return self.text

    @functools.cached_property
    def _plan(self) -> ExperimentPlan:
        return EXPERIMENT.construct(self.tree)

    @property
    def notes(self) -> tuple[str, ...]:
        """The seed that was drawn, where the file leaves it to chance."""
        if not self.document.has_drawn_seed:
            return ()
        seed = self.tree["seed"]
        return (f"seed {seed} was drawn, as one is at each start; seed={seed} gives this one again",)

    def build(self) -> ExperimentPlan:
        """The experiment with its components built; they are built once."""
        return self._plan

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """A problem that shows after the file was checked, pointing at its place."""
        return self.document.error([Problem(path, message)])


def load(path: Path, overrides: Sequence[str] = (), smoke: bool = False, axes: bool = False) -> Config:
    """Read an experiment file and its base, override and check it.

    Args:
        path: The file.
        overrides: Changes in the words of the command line, see `overrides`.
        smoke: Whether to cut it to two short records on a slice of the data, without expectations.
        axes: Whether overrides of several values are axes of its sweep.

    Returns:
        The experiment, complete with every default.

    Raises:
        ConfigError: The file is wrong; a line for each problem.
        UsageError: An override cannot be applied.
    """
    document = base.read_with_base(path)
    if axes:
        document, overrides = command_line.with_axes(document, overrides)
    document = command_line.apply(document, overrides, _defaults())
    config = check_tree(document)
    check_extent(config)
    return check_tree(config.document._replace(tree=smoked(config.tree))) if smoke else config


def check_tree(document: Document) -> Config:
    """Check a document's tree and complete it; a random seed is drawn.

    Raises ConfigError with a line for each problem.
    """
    problems: list[Problem] = []
    if document.tree.get("seed") == RANDOM:
        seed = secrets.randbelow(MAXIMUM_DRAWN_SEED)
        document = document._replace(tree=document.tree | {"seed": seed}, has_drawn_seed=True)
    solved = document.tree.get("solver") is not None  # in place of the optimizer, of which there is a default
    given = {"optimizer": None, **document.tree} if solved else dict(document.tree)
    if given.pop(base.KEY, None) is not None:
        message = "stands in an experiment file alone: not in overrides, not in the complete config of a run"
        problems.append(Problem((base.KEY,), message))
    tree = complete(given, problems)
    if problems:
        raise document.error(problems)
    return Config(tree, document)


def complete(tree: ConfigTree, problems: list[Problem], settled: Collection[str] = ()) -> ConfigTree:
    """The canonical tree of an experiment that has no base.

    Args:
        tree: As the file has it.
        problems: What is wrong is appended.
        settled: The top-level keys that are in canonical form already.
    """
    resolved = resolve_arguments(EXPERIMENT, tree, (), problems, settled)
    return {key: value for key, value in resolved.items() if key != base.KEY}


def hashed_tree(tree: ConfigTree, prefix: str = "") -> ConfigTree:
    """The part of a config that its hash is taken of: all but what came later, at its values of before.

    So an experiment without such a key keeps its hash, and with it its directory.
    """
    component = str(tree.get("type"))

    def hashed(value: ConfigValue, inner: str) -> ConfigValue:
        if isinstance(value, list):
            return [hashed(item, inner) for item in value]
        return hashed_tree(value, inner) if isinstance(value, dict) else value

    return {
        key: hashed(value, f"{prefix}{key}.")
        for key, value in tree.items()
        if (prefix + key, value) not in LATER_KEYS and (component, key, value) not in LATER_PARAMETERS
    }


def check_extent(config: Config) -> None:
    """Refuse an experiment that, with every default, is too large to be read again. Raises ConfigError."""
    values, levels = _extent(config.tree)
    if values > MAXIMUM_VALUES or levels > MAXIMUM_LEVELS or len(config.text.encode()) > MAXIMUM_FILE_BYTES:
        limits = f"{MAXIMUM_VALUES} values, {MAXIMUM_LEVELS} levels or {MAXIMUM_FILE_BYTES // 1024} KiB"
        raise config.error((), f"with every default in place it comes to more than {limits}")


def _extent(tree: ConfigValue) -> tuple[int, int]:
    """How many values a tree has, keys among them, and how deep it is."""
    if not isinstance(tree, (dict, list)):
        return 1, 0
    inner = [_extent(value) for value in (tree.values() if isinstance(tree, dict) else tree)]
    keys = len(tree) if isinstance(tree, dict) else 0
    return 1 + keys + sum(values for values, _ in inner), 1 + max((levels for _, levels in inner), default=0)


def _defaults() -> ConfigTree:
    """The top-level defaults, of which an override may set a part."""
    return {name: p.default for name, p in EXPERIMENT.parameters.items() if not p.required}
