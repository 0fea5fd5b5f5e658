"""An experiment file and the command line's overrides, to a Config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nnlab.config import overrides as command_line
from nnlab.config.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, Document, dump, read
from nnlab.config.experiment_keys import Parts, experiment
from nnlab.config.resolve import json_schema_of, json_schema_of_kind, resolve_arguments, with_references
from nnlab.config.sweep_keys import split_path
from nnlab.errors import ConfigError, KeyPath, Problem
from nnlab.registry import KINDS, Component

EXPERIMENT = Component("section", "experiment", experiment)

_SMOKE_EXAMPLES = 256


class Config(NamedTuple):
    """A checked experiment: `tree` is complete (every default in place) and in canonical form.

    `document` is what the user wrote, for pointing at it.
    """

    tree: dict[str, Any]
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

    def build(self) -> Parts:
        """The experiment's components, built."""
        return EXPERIMENT(**self.tree)

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
    _check_extent(config)
    return check_tree(document._replace(tree=_smoked(config.tree))) if smoke else config


def check_tree(document: Document) -> Config:
    """Check a document's tree and complete it. Raises ConfigError with every problem found."""
    problems: list[Problem] = []
    solved = document.tree.get("solver") is not None  # in place of the optimizer, of which there is a default
    given = {"optimizer": None, **document.tree} if solved else document.tree
    tree = resolve_arguments(EXPERIMENT, given, (), problems)
    if problems:
        raise document.error(problems)
    return Config(tree, document)


def _check_extent(config: Config) -> None:
    """What is saved, every default in place, must be small enough to be read again."""
    values, levels = _extent(config.tree)
    if values > MAX_NODES or levels > MAX_DEPTH or len(config.text.encode()) > MAX_BYTES:
        limits = f"{MAX_NODES} values, {MAX_DEPTH} levels or {MAX_BYTES // 1024} KiB"
        raise config.error((), f"with every default in place it comes to more than {limits}")


def _extent(tree: Any) -> tuple[int, int]:
    """How many values a tree has, keys among them, and how deep it is."""
    if not isinstance(tree, (dict, list)):
        return 1, 0
    inner = [_extent(value) for value in (tree.values() if isinstance(tree, dict) else tree)]
    keys = len(tree) if isinstance(tree, dict) else 0
    return 1 + keys + sum(values for values, _ in inner), 1 + max((levels for _, levels in inner), default=0)


def json_schema() -> dict[str, Any]:
    """JSON Schema of an experiment file."""
    schema = json_schema_of(EXPERIMENT) | {"$defs": {kind: json_schema_of_kind(kind) for kind in KINDS}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "nnlab experiment"}
    return head | with_references(schema)


def _defaults() -> dict[str, Any]:
    """The top-level defaults, of which an override may set a part."""
    return {name: p.default for name, p in EXPERIMENT.parameters.items() if not p.required}


def _smoked(tree: dict[str, Any]) -> dict[str, Any]:
    split = tree["data"]["split"] and _smoked_split(tree["data"]["split"])
    folds = split["folds"] or 0 if split else 0
    most = max(_SMOKE_EXAMPLES, 2 * folds)  # so that every fold gets an example
    limit = min(most, tree["data"]["limit"] or most)
    cut = tree | {
        "name": f"{tree['name'][:74]}-smoke",
        "data": tree["data"] | {"limit": limit, "split": split},
        "expect": {},
        "initialize": None,  # the run that it comes from may not be there
    }
    if tree["sweep"] is not None:
        cut |= _smoked_sweep(tree)
    if tree["train"] is not None:
        steps = 4 if tree["train"]["steps"] is None else min(4, tree["train"]["steps"])
        cut["train"] = tree["train"] | {"epochs": None, "steps": steps}
        cut["record"] = tree["record"] | {"every": {"steps": 2}, "log_spaced": None}
    return cut


def _smoked_split(split: dict[str, Any]) -> dict[str, Any]:
    """With no more than a fifth held out each, where the slice may have too few for counts or for folds."""
    counts = any(isinstance(split[name], int) for name in ("train", "validation", "test"))
    if not counts and split["folds"] is None:
        return split

    def cut(share: Any) -> Any:
        return share and min(share, _SMOKE_EXAMPLES // 5 if isinstance(share, int) else 0.2)

    return split | {"train": None} | {name: cut(split[name]) for name in ("validation", "test")}


def _smoked_sweep(tree: dict[str, Any]) -> dict[str, Any]:
    """The sweep without axes that undo the cut, and without phenomena that are seen along those."""

    def is_cut(path: str) -> bool:
        return path != "data.split.fold" and path.startswith(
            ("train.", "record.", "data.limit", "data.split", "initialize")
        )

    def kept(axes: dict[str, Any]) -> dict[str, Any]:
        return {path: values for path, values in axes.items() if not any(map(is_cut, split_path(path)))}

    sweep = tree["sweep"] | {key: kept(tree["sweep"][key]) for key in ("axes", "zip")}
    if sweep["random"] is not None:
        axes = kept(sweep["random"]["axes"])
        sweep["random"] = sweep["random"] | {"axes": axes} if axes else None
    if sweep["random"] is None:
        sweep["method"] = None

    def goes_along(phenomenon: Any) -> bool:
        values = phenomenon.values() if isinstance(phenomenon, dict) else ()
        return any(isinstance(value, str) and is_cut(value) for value in values)

    return {"sweep": sweep, "phenomena": [p for p in tree["phenomena"] if not goes_along(p)]}
