"""Experiments for Python code: from a file and overrides, or from a dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnlab.config.base import with_base
from nnlab.config.document import MAXIMUM_LEVELS, Document, Mark
from nnlab.config.load import Config, check_extent, check_tree
from nnlab.config.load import load as load_file
from nnlab.errors import ConfigError, KeyPath, Problem
from nnlab.text import one_line

DICT_SOURCE = "experiment"  # what error messages call a dict, in place of a file


def load(path: str | Path, *overrides: str, smoke: bool = False, axes: bool = False) -> Config:
    """Load an experiment file, change it by overrides, check it and complete it with every default.

    Args:
        path: The YAML file of an experiment; the config.yaml of a run is one too.
        overrides: Changes in the words of the command line: `"train.steps=100"` sets a key, `"+seed=1"` adds
            one, `"~record"` deletes one.
        smoke: Whether to cut it to a few steps on a slice of the data, without expectations: does it run?
        axes: Whether an override of several values, `"model.width=4,8"`, is an axis of a sweep.

    Returns:
        The experiment. Printed, it is the complete YAML file.

    Raises:
        ConfigError: The experiment is wrong; the message has a line for each problem, with its place.
        UsageError: An override cannot be applied.
    """
    return load_file(Path(path), overrides, smoke, axes)


def experiment(tree: Mapping[str, object]) -> Config:
    """Check an experiment given as a dict, and complete it with every default.

    Args:
        tree: What would stand in a YAML file. NumPy's numbers and arrays, tuples and paths are taken for the
            plain values that they stand for. A `base` lies in the working directory or below.

    Returns:
        The experiment. Printed, it is the complete YAML file.

    Raises:
        ConfigError: The experiment is wrong; the message has a line for each problem, with its key path.
    """
    problems: list[Problem] = []
    document = Document(None, {(): Mark(DICT_SOURCE, 0, 0)}, {}, DICT_SOURCE)
    plain = _plain(tree, (), problems)
    if problems:
        raise document.error(problems)
    if not isinstance(plain, dict):
        message = f"an experiment is a dict of keys, not {type(tree).__name__}"
        raise ConfigError([f"{DICT_SOURCE}: {message}"])
    config = check_tree(with_base(document._replace(tree=plain), Path()))
    check_extent(config)
    return config


def _plain(value: object, path: KeyPath, problems: list[Problem]) -> object:
    """A value as YAML would have it: dicts, lists, strings, numbers, truth values and None."""
    if len(path) > MAXIMUM_LEVELS:
        if not problems:
            problems.append(Problem(path[:1], f"nested more than {MAXIMUM_LEVELS} levels deep"))
        return None
    value = _without_numpy(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                problems.append(Problem(path, f"a key must be a word, not {one_line(repr(key))}"))
        return {str(key): _plain(item, (*path, str(key)), problems) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*path, number), problems) for number, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        problems.append(Problem(path, f"{one_line(repr(value))} is no value of an experiment file"))
    return None


def _without_numpy(value: object) -> object:
    """An array as the list of its items, and a number of NumPy as Python's."""
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim else _without_numpy(value[()])
    if isinstance(value, np.floating):
        return float(str(value))  # a float32 is the number of its shortest text, 0.1 and not 0.10000000149
    return value.item() if isinstance(value, np.generic) else value
