"""Changes from the command line: `a.b=c` sets, `+a.b=c` adds, `~a.b` deletes (Hydra's words).

List items go by index (`model.0.units=64`); values are YAML. A component given by its bare name becomes a
mapping when one of its arguments is set (`optimizer.momentum=0.9` on `optimizer: sgd`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from nnlab.config.document import MAXIMUM_LEVELS, Document, Mark, parse_value
from nnlab.errors import ConfigError, KeyPath, UsageError
from nnlab.registry import ConfigTree, ConfigValue
from nnlab.text import one_line, printable, suggestion


def apply(
    document: Document, overrides: Sequence[str], defaults: Mapping[str, ConfigValue] = MappingProxyType({})
) -> Document:
    """The document with the overrides applied in order.

    Args:
        document: An experiment file.
        overrides: `a.b=c`, `+a.b=c` or `~a.b`.
        defaults: Of the top-level keys; a component among them is what an override of its argument changes.

    Raises:
        UsageError: An override is no such words, its value is no YAML, or its path leads nowhere.
    """
    tree = copy.deepcopy(document.tree)
    changed = document._replace(tree=tree, values=dict(document.values), keys=dict(document.keys))
    for override in overrides:
        try:
            _apply_one(changed, override, defaults)
        except UsageError as error:
            raise UsageError(one_line(str(error))) from None
    return changed


def paths_of(tree: ConfigValue, path: str = "") -> Iterator[str]:
    """The paths that an override of a tree may name."""
    for key, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        here = f"{path}.{key}" if path else str(key)
        yield here
        if isinstance(value, (dict, list)):
            yield from paths_of(value, here)


_SPACED = re.compile(r"(range|linspace|geomspace|logspace)\((.*)\)")


def with_axes(document: Document, overrides: Sequence[str]) -> tuple[Document, list[str]]:
    """Make every override of several values (`a.b=1,2`, `a.b=geomspace(1,100,5)`) an axis of the sweep.

    Returns:
        The document with these axes, and the overrides that are left.

    Raises:
        UsageError: A value is no YAML.
    """
    changed = document._replace(
        tree=copy.deepcopy(document.tree), values=dict(document.values), keys=dict(document.keys)
    )
    left = []
    for override in overrides:
        words, _, text = override.partition("=")
        mark = Mark(f"override '{one_line(override)}'", 0, 0)
        values = None if words[:1] in ("+", "~") or words.startswith("sweep.") else _axis_values(text, mark)
        if values is None and words in _axes_of(changed.tree):  # one value, in the place of several
            values = [_parsed(text, mark)]
        if values is None:
            left.append(override)
            continue
        node = changed.tree
        for key in ("sweep", "axes"):
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        axis = printable(words)
        node[axis] = values
        changed.values[("sweep", "axes", axis)] = mark
        changed.keys.pop(("sweep", "axes", axis), None)
    return changed, left


def _axes_of(tree: ConfigTree) -> ConfigTree:
    """The axes of a tree's sweep, as far as they are of their form."""
    sweep = tree.get("sweep")
    axes = sweep.get("axes") if isinstance(sweep, dict) else None
    return axes if isinstance(axes, dict) else {}


def _axis_values(text: str, mark: Mark) -> ConfigValue:
    """The values of an axis as they would stand in a file; None where the text is a single value."""
    if match := _SPACED.fullmatch(text.strip()):
        return {match[1]: _parsed(f"[{match[2]}]", mark)}
    if "," not in text:
        return None
    values = _parsed(f"[{text}]", mark)
    return values if len(values) > 1 else None


def _parsed(text: str, mark: Mark) -> ConfigValue:
    try:
        return parse_value(text, "value").tree
    except ConfigError as error:
        raise UsageError(f"{mark}: the value is not YAML ({one_line('; '.join(error.lines))})") from None


def _apply_one(document: Document, override: str, defaults: Mapping[str, ConfigValue]) -> None:
    words, equals, text = override.partition("=")
    delete, add = words.startswith("~"), words.startswith("+")
    words = printable(words[1:] if delete or add else words)
    mark = Mark(f"override '{one_line(override)}'", 0, 0)
    if not all(words.split(".")) or delete == bool(equals):
        raise UsageError(f"{mark}: write key.path=value to set, +key.path=value to add, ~key.path to delete")
    if words.count(".") >= MAXIMUM_LEVELS:
        raise UsageError(f"{mark}: more than {MAXIMUM_LEVELS} levels deep")
    parent, path = _parent(document, words, mark, None if delete else defaults)
    key = path[-1]
    present = key < len(parent) if isinstance(key, int) else key in parent
    if delete:
        if not present:
            raise UsageError(f"{mark}: there is no '{words}' to delete{_near(parent, key)}")
        del parent[key]
        _move_marks(document, path, -1)
        return
    value = _parsed(text, mark)
    if isinstance(key, str):
        if add and present:
            raise UsageError(f"{mark}: '{words}' is there already; without the '+' it is set")
        parent[key] = value
    elif add:
        path = (*path[:-1], min(key, len(parent)))
        parent.insert(key, value)
    else:
        _item(parent, key, mark)
        parent[key] = value
    _move_marks(document, path, +1 if add else 0)
    document.values[path] = mark


def _move_marks(document: Document, path: KeyPath, by: int) -> None:
    """Remove the marks at a path and below it.

    Where a list item was inserted (by = 1) or deleted (by = -1), the marks of later items move with them.
    """
    level, index = len(path) - 1, path[-1]
    for marks in (document.values, document.keys):
        below = [p for p in marks if p[:level] == path[:level] and len(p) > level]
        for old, mark in {p: marks.pop(p) for p in below}.items():
            here = old[level]
            if isinstance(index, int) and isinstance(here, int) and by and here >= index + (by < 0):
                marks[(*old[:level], here + by, *old[level + 1 :])] = mark
            elif here != index:
                marks[old] = mark


def _parent(
    document: Document, words: str, mark: Mark, defaults: Mapping[str, ConfigValue] | None
) -> tuple[ConfigValue, KeyPath]:
    """The container that the last word of a dotted path lives in, and the whole path.

    A key may itself hold dots (`expect.gradient_flow.verdict`), so the longest existing key wins.
    Missing mappings on the way are created where `defaults`, of the top-level keys, are given.
    """
    node, rest = document.tree, words
    path: KeyPath = ()
    while True:
        head, rest = _split_key(node, rest, path)
        key: str | int = head
        if isinstance(node, list):
            if not head.isdecimal() or len(head) > 9:
                raise UsageError(f"{mark}: a list item goes by its index, not '{head}'")
            key = int(head)
        path = (*path, key)
        if not rest:
            return node, path
        child = _item(node, key, mark) if isinstance(key, int) else node.get(key)
        if child is None and defaults is None:
            raise UsageError(f"{mark}: there is no '{words}' to delete{_near(node, key)}")
        if child is None and defaults is not None:
            default = defaults.get(words.partition(".")[0]) if len(path) == 1 else None
            child = node[key] = {"type": default} if isinstance(default, str) else {}
            document.values.setdefault(path, mark)
        elif isinstance(child, str):
            child = node[key] = {"type": child}
        elif not isinstance(child, (dict, list)):
            raise UsageError(f"{mark}: '{head}' is a plain value, it has no '{rest}'")
        node = child


def _item(items: list[ConfigValue], index: int, mark: Mark) -> ConfigValue:
    if index >= len(items):
        raise UsageError(f"{mark}: the list has {len(items)} items, counted from 0")
    return items[index]


def _split_key(node: ConfigValue, words: str, path: KeyPath) -> tuple[str, str]:
    """The next key and what is left; below `expect` the names of numbers hold dots themselves."""
    if isinstance(node, dict):
        for key in sorted(node, key=len, reverse=True):
            if words == key or words.startswith(f"{key}."):
                return key, words[len(key) + 1 :]
    if path == ("expect",):
        number, _, bound = words.rpartition(".")
        return (number, bound) if number and bound in ("min", "max", "equals") else (words, "")
    head, _, rest = words.partition(".")
    return head, rest


def _near(parent: ConfigValue, key: str | int) -> str:
    return suggestion(key, parent) if isinstance(key, str) else ""
