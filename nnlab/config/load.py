"""An experiment file and the command line's overrides, to a Config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nnlab.config import overrides as command_line
from nnlab.config.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, Document, dump, read
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.config.resolve import resolve_arguments
from nnlab.config.smoke import smoked
from nnlab.errors import ConfigError, KeyPath, Problem
from nnlab.registry import ConfigTree, ConfigValue, section_of

EXPERIMENT = section_of(ExperimentPlan)


class Config(NamedTuple):
    """A checked experiment: `tree` is complete (every default in place) and in canonical form.

    `document` is what the user wrote, for pointing at it.
    """

    tree: ConfigTree
    document: Document

    @property
    def name(self) -> str:
        return self.tree["name"]

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical tree: the same experiment has the same hash, however it was written."""
        text = json.dumps(self.tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def directory_name(self) -> str:
        return f"{self.name}-{self.hash[:8]}"

    @property
    def text(self) -> str:
        return dump(self.tree)

    def __repr__(self) -> str:
        return self.text

    def build(self) -> ExperimentPlan:
        """The experiment with its components built."""
        return EXPERIMENT.construct(self.tree)

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """A problem that was found after the file was checked, pointing at its place."""
        return self.document.error([Problem(path, message)])


def load(path: Path, overrides: Sequence[str] = (), smoke: bool = False, axes: bool = False) -> Config:
    """Read, override and check an experiment file. Raises ConfigError or UsageError.

    smoke: cut to two short records on a slice of the data, expectations left out. axes: overrides of several
    values are axes of its sweep.
    """
    document = read(path)
    if axes:
        document, overrides = command_line.with_axes(document, overrides)
    document = command_line.apply(document, overrides, _defaults())
    config = check_tree(document)
    check_extent(config)
    return check_tree(document._replace(tree=smoked(config.tree))) if smoke else config


def check_tree(document: Document) -> Config:
    """Check a document's tree and complete it. Raises ConfigError with every problem found."""
    problems: list[Problem] = []
    solved = document.tree.get("solver") is not None  # in place of the optimizer, of which there is a default
    given = {"optimizer": None, **document.tree} if solved else document.tree
    tree = resolve_arguments(EXPERIMENT, given, (), problems)
    if problems:
        raise document.error(problems)
    return Config(tree, document)


def check_extent(config: Config) -> None:
    """What is saved, every default in place, must be small enough to be read again."""
    values, levels = _extent(config.tree)
    if values > MAX_NODES or levels > MAX_DEPTH or len(config.text.encode()) > MAX_BYTES:
        limits = f"{MAX_NODES} values, {MAX_DEPTH} levels or {MAX_BYTES // 1024} KiB"
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
