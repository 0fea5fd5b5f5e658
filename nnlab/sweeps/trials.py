"""From a sweep's config to its trials: which runs there are, and which of them share a compiled program."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nnlab.config import Config
from nnlab.config.load import EXPERIMENT
from nnlab.config.resolve import resolve_arguments, shown
from nnlab.config.sweep_keys import Sweep, drawn, split_path, values_of
from nnlab.errors import KeyPath, Problem
from nnlab.text import dotted, suggestion

ID_DIGITS = 11


class Trial(NamedTuple):
    """One run of a sweep. axes: the value of each path that varies, as written."""

    config: Config
    axes: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What the trial goes by: a letter, so that no table takes it for a number, and the resolved config's
        hash, so that the same run has the same id."""
        return f"t{self.config.hash[:ID_DIGITS]}"

    @property
    def seed(self) -> int:
        return self.config.tree["seed"]


def trials_of(config: Config) -> list[Trial]:
    """Every trial of a sweep's config, seeds varying fastest; of a search, which has yet to choose them, some
    of its space: a draw, and with it each end of each axis. Raises ConfigError."""
    sweep = config.build().sweep
    if sweep is None:
        raise config.error((), "has no 'sweep:' block, nothing to vary; add one, or give a.b=v1,v2")
    base = base_tree(config)
    if max(_seeds(sweep, base["seed"])) >= 2**32:
        raise config.error(("sweep", "seeds"), f"count from {base['seed']} beyond the largest seed, 2^32 - 1")
    problems: dict[Problem, None] = {}
    trials: dict[str, Trial] = {}
    for axes in _points(config, sweep, base):
        for seed in _seeds(sweep, base["seed"]):
            trial = _tried(config, base, axes, seed, problems)
            if trial is not None:
                trials.setdefault(trial.id, trial)
    if problems:
        raise config.document.error(list(problems))
    return list(trials.values())


def base_tree(config: Config) -> dict[str, Any]:
    """The config of one run of the sweep, before anything is varied: without the sweep itself, without what
    is judged and seen across it. It is what a sweep's directory is named by."""
    parts = config.build()
    own = zip(config.tree["phenomena"], parts.phenomena, strict=True)
    return config.tree | {
        "sweep": None,
        "expect": {},
        "phenomena": [entry for entry, phenomenon in own if not phenomenon.spans_sweep],
    }


def _points(config: Config, sweep: Sweep, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The values of every path at each point of the grid."""
    grids = []
    for path, values in sweep.axes.items():
        grids.append([{path: value} for value in values_of(values, _is_whole(config, base, path, "axes"))])
    zipped = [
        [(path, value) for value in values_of(values, _is_whole(config, base, path, "zip"))]
        for path, values in sweep.zip.items()
    ]
    if len({len(column) for column in zipped}) > 1:
        raise config.error(("sweep", "zip"), "rounded to whole numbers, the axes differ in length")
    if zipped:
        grids.append([dict(row) for row in zip(*zipped, strict=True)])
    if sweep.random is not None:
        for path in sweep.random.axes:
            _is_whole(config, base, path, "random")
        draws = range(sweep.random.draws if sweep.method is None else 1)
        points = [draw(sweep, base["seed"], i) for i in draws]
        if sweep.method is not None:
            ends = [
                (path, end) for path, how in sweep.random.axes.items() for end in next(iter(how.values()))
            ]
            points += [points[0] | {path: end} for path, end in ends]
        grids.append(points)
    for parts in itertools.product(*grids):
        yield {path: value for part in parts for path, value in part.items()}


def draw(sweep: Sweep, seed: int, number: int) -> dict[str, Any]:
    """The values of the random axes at one draw."""
    assert sweep.random is not None  # noqa: S101 - the caller sees to it
    return {path: drawn(how, seed, path, number) for path, how in sweep.random.axes.items()}


def _seeds(sweep: Sweep, first: int) -> list[int]:
    return list(range(first, first + sweep.seeds)) if isinstance(sweep.seeds, int) else list(sweep.seeds)


def _is_whole(config: Config, base: Mapping[str, Any], paths: str, group: str) -> bool:
    """Whether the values of an axis are whole numbers: the experiment's own value there is one."""
    at = ("sweep", group, *(("axes",) if group == "random" else ()), paths)
    found = []
    for path in split_path(paths):
        node: Any = base
        for part in path.split("."):
            if isinstance(node, list):
                if not (part.isdecimal() and int(part) < len(node)):
                    raise config.error(at, f"'{part}' is no item of a list of {len(node)}, counted from 0")
                node = node[int(part)]
            elif not isinstance(node, Mapping) or part not in node:
                known = list(node) if isinstance(node, Mapping) else []
                hint = suggestion(part, known) or (f"; there are {', '.join(known)}" if known else "")
                raise config.error(at, f"the experiment has no '{path}'{hint}")
            else:
                node = node[part]
        found.append(node)
    return all(isinstance(value, int) and not isinstance(value, bool) for value in found)


def trial_at(config: Config, base: Mapping[str, Any], axes: Mapping[str, Any], seed: int) -> Trial:
    """The trial at one point of a sweep, whose base_tree is given. Raises ConfigError."""
    problems: dict[Problem, None] = {}
    trial = _tried(config, base, axes, seed, problems)
    if trial is None:
        raise config.document.error(list(problems))
    return trial


def _tried(
    config: Config, base: Mapping[str, Any], axes: Mapping[str, Any], seed: int, problems: dict[Problem, None]
) -> Trial | None:
    """The trial at one point; None where its config is wrong, which is noted."""
    sweep = config.build().sweep
    assert sweep is not None  # noqa: S101 - the caller sees to it
    tree, touched = dict(base) | {"seed": seed}, set()
    where = ", ".join(f"{path}={shown(value)}" for path, value in axes.items())
    moved = [(path.split("."), paths, value) for paths, value in axes.items() for path in split_path(paths)]
    for words, paths, value in sorted(moved, key=lambda move: len(move[0])):  # a component before its keys
        try:
            tree[words[0]] = _replaced(tree[words[0]], words[1:], value)
        except (TypeError, KeyError, ValueError, IndexError):  # another axis has put something else there
            place = ("sweep", *sweep.place(paths))
            problems[Problem(place, f"at {where}: there is no '{'.'.join(words)}'")] = None
            return None
        touched.add(words[0])
    found: list[Problem] = []
    whole = resolve_arguments(EXPERIMENT, tree, (), found, settled=set(tree) - touched)
    for problem in found:
        message = f"at {where}: {dotted(problem.path)}: {problem.message}"
        problems[Problem(("sweep", *_blamed(sweep, problem.path)), message)] = None
    return None if found else Trial(Config(whole, config.document._replace(tree=tree)), axes)


def _blamed(sweep: Sweep, path: KeyPath) -> tuple[str, ...]:
    """The axis that put a value at or above a path; none where it is not known."""
    for paths in sweep.paths:
        for single in split_path(paths):
            words = single.split(".")
            if [str(part) for part in path[: len(words)]] == words:
                return sweep.place(paths)
    return ()


def _replaced(node: Any, words: list[str], value: Any) -> Any:
    """The tree with another value at a path, what lies beside it shared with the old one."""
    if not words:
        return value
    if isinstance(node, list):
        index = int(words[0])
        return [*node[:index], _replaced(node[index], words[1:], value), *node[index + 1 :]]
    if isinstance(node, str):  # a component by its bare name
        node = {"type": node}
    return node | {words[0]: value if len(words) == 1 else _replaced(node[words[0]], words[1:], value)}
