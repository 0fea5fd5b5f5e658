"""The runs and sweeps of a folder, chosen and sorted by what was asked of them and what they came to."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nnlab.config.document import parse_value
from nnlab.errors import ConfigError, MissingPluginError, NnlabError, RunStatus, UsageError
from nnlab.registry import ConfigValue
from nnlab.runs.results import Run, Sweep, open_run, open_sweep
from nnlab.text import one_line, suggestion

DAMAGED = "damaged"  # in place of the status of what cannot be read
UNLOADED = "unloaded"  # in its place where that is for want of a plug-in

_FIELDS = "fields are run, status, expectations, the values of summary.json and the keys of the experiment"
_CONDITION = re.compile(r"([^=!<>]+)(==?|!=|<=|>=|<|>)(.*)", re.DOTALL)
_VALUES: Mapping[str, Sequence[str]] = {
    "status": [*RunStatus, DAMAGED, UNLOADED],
    "expectations": ["hold", "fail", "not yet"],
}
_ORDERINGS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Entry(NamedTuple):
    """A run or a sweep in a folder.

    Attributes:
        path: Its directory.
        result: What it came to; None where it cannot be read.
        problem: Why it cannot.
        fields: What it may be chosen and sorted by: `run`, the name of the directory; `status`;
            `expectations`, which `hold`, `fail` or are `not yet` judged; the values of summary.json, such as
            `final.test_accuracy`; the keys of the experiment, such as `optimizer.learning_rate`, of which
            `optimizer` itself is its type.
    """

    path: Path
    result: Run | Sweep | None
    problem: str
    fields: Mapping[str, ConfigValue]


def find_runs(
    folder: str | Path = "results", *conditions: str, sort: str = "", descending: bool = False
) -> list[Run | Sweep]:
    """Open the runs and sweeps in a folder, all of them or those that meet conditions.

    Args:
        folder: The folder that their directories lie in. What cannot be read is left out.
        conditions: Such as `"status=diverged"`, `"final.test_accuracy>0.9"` or `"optimizer=adam"`: a field,
            one of `=`, `!=`, `<`, `<=`, `>` and `>=`, and a value. A field is a value of summary.json, a key
            of the experiment, or one of `run`, `status` and `expectations`; what a run has not is null.
        sort: The field to sort by, in place of the directory's name; runs without it come last.
        descending: Whether the largest comes first.

    Raises:
        UsageError: There is no such folder, or no run has such a field; the message has a near miss.
    """
    entries = find_entries(Path(folder), conditions, sort, descending)
    return [entry.result for entry in entries if entry.result is not None]


def find_entries(
    folder: Path, conditions: Sequence[str] = (), sort: str = "", descending: bool = False
) -> list[Entry]:
    """The entries of a folder, what is damaged among them; see `find_runs`."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    tests = [parse_condition(condition) for condition in conditions]
    paths = sorted({file.parent for name in ("config", "sweep") for file in folder.glob(f"*/{name}.yaml")})
    entries = [_entry(path) for path in paths]
    if entries:
        known = dict.fromkeys(field for entry in entries for field in entry.fields)
        for field in [*(test.field for test in tests), *([sort] if sort else [])]:
            if field not in known:
                near = suggestion(field, known) or ";"
                raise UsageError(f"{folder}: no run has a field '{one_line(field)}'{near} {_FIELDS}")
    chosen = [entry for entry in entries if all(test.holds(entry.fields) for test in tests)]
    return _sorted(chosen, sort, descending) if sort else chosen


class Condition(NamedTuple):
    """A condition on a field; see `find_runs`."""

    field: str
    sign: str
    text: str
    bound: ConfigValue

    def holds(self, fields: Mapping[str, ConfigValue]) -> bool:
        """Whether a run with these fields meets it."""
        value: ConfigValue = fields.get(self.field)
        if self.sign in _ORDERINGS:
            return _is_number(value) and _ORDERINGS[self.sign](value, self.bound)
        same = isinstance(value, bool) == isinstance(self.bound, bool) and value == self.bound
        return (same or str(value) == self.text) == (self.sign == "=")


def parse_condition(text: str) -> Condition:
    """A condition from its words. Raises UsageError."""
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{one_line(text)}' is no condition: write FIELD=VALUE, or !=, <, <=, > or >=")
    field, sign, word = match[1].rstrip(), match[2].replace("==", "="), match[3].strip()
    try:
        bound = parse_value(word, "value").tree
    except ConfigError:
        raise UsageError(f"'{one_line(text)}' is no condition: its value is not YAML") from None
    if sign in _ORDERINGS and not _is_number(bound):
        raise UsageError(f"'{one_line(text)}': {sign} compares numbers; for words there are = and !=")
    known = _VALUES.get(field, ())
    if known and bound is not None and bound not in known:
        near = suggestion(word, known) or ";"
        raise UsageError(f"'{one_line(text)}': {field} is never that{near} there are {', '.join(known)}")
    return Condition(field, sign, word, bound)


def _entry(path: Path) -> Entry:
    fields: dict[str, ConfigValue] = {"run": path.name, "status": DAMAGED}
    try:
        result = open_sweep(path) if (path / "sweep.yaml").exists() else open_run(path)
        verdicts = result.check()
    except MissingPluginError as error:
        return Entry(path, None, str(error), fields | {"status": UNLOADED})
    except NnlabError as error:
        return Entry(path, None, str(error), fields)
    held = "not yet" if verdicts.pending else "hold" if verdicts else "fail"
    of_experiment = dict(flattened(result.config.tree, of_types=True))
    fields = (
        of_experiment | dict(flattened(result.summary)) | {"run": path.name, "status": str(result.status)}
    )
    return Entry(path, result, "", fields | {"expectations": held if len(verdicts) else None})


def flattened(tree: ConfigValue, path: str = "", of_types: bool = False) -> Iterable[tuple[str, ConfigValue]]:
    """The leaves of a tree of mappings and lists by their dotted paths.

    Args:
        tree: The tree.
        path: Its own path.
        of_types: Whether a component's path stands for its type, too.
    """
    if not isinstance(tree, (dict, list)):
        yield path, tree
        return
    if of_types and isinstance(tree, dict) and "type" in tree:
        yield path, tree["type"]
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from flattened(value, f"{path}.{key}" if path else str(key), of_types)
    if path and not tree:
        yield path, tree


def _sorted(entries: Sequence[Entry], field: str, descending: bool) -> list[Entry]:
    """By a field: numbers, then words, then what has none of either."""
    groups: list[list[Entry]] = [[], [], []]
    for entry in entries:
        value = entry.fields.get(field)
        groups[0 if _is_number(value) else 1 if isinstance(value, (str, bool)) else 2].append(entry)
    numbers, words, others = groups
    numbers.sort(key=lambda entry: entry.fields[field], reverse=descending)
    words.sort(key=lambda entry: str(entry.fields[field]), reverse=descending)
    return [*numbers, *words, *others]


def _is_number(value: ConfigValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
