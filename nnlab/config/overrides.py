"""Changes from the command line: `a.b=c` sets, `+a.b=c` adds, `~a.b` deletes (Hydra's words).

List items go by index (`model.0.units=64`); values are YAML. A component given by its bare name becomes a
mapping when one of its arguments is set (`optimizer.momentum=0.9` on `optimizer: sgd`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from nnlab.config.document import Document, Mark, parse_value
from nnlab.errors import ConfigError, Path, UsageError, near_miss


def apply(document: Document, overrides: Sequence[str]) -> Document:
    """The document with the overrides applied in order. Raises ConfigError or UsageError."""
    tree = copy.deepcopy(document.tree)
    changed = document._replace(tree=tree, values=dict(document.values), keys=dict(document.keys))
    for override in overrides:
        _apply_one(changed, override)
    return changed


def _apply_one(document: Document, override: str) -> None:
    words, equals, text = override.partition("=")
    delete, add = words.startswith("~"), words.startswith("+")
    words = words[1:] if delete or add else words
    if not words or (delete and equals) or (not delete and not equals):
        raise UsageError(
            f"override '{override}': write key.path=value to set, +key.path=value to add, ~key.path to delete"
        )
    parent, path = _parent(document.tree, words, override)
    key = path[-1]
    present = key < len(parent) if isinstance(key, int) else key in parent
    if delete:
        if not present:
            raise UsageError(f"override '{override}': there is no '{words}' to delete{_near(parent, key)}")
        del parent[key]
        return
    if add and present and not isinstance(parent, list):
        raise UsageError(f"override '{override}': '{words}' is there already; without the '+' it is set")
    try:
        value = parse_value(text, override).tree
    except ConfigError as error:
        raise UsageError(f"override '{override}': the value is not YAML ({error})") from None
    if isinstance(parent, list) and isinstance(key, int):
        if add:
            parent.insert(key, value)
        elif present:
            parent[key] = value
        else:
            raise UsageError(f"override '{override}': the list has {len(parent)} items, counted from 0")
    else:
        parent[key] = value
    for marks in (document.values, document.keys):
        for stale in [p for p in marks if p[: len(path)] == path]:
            del marks[stale]
    document.values[path] = Mark(f"override '{override}'", 0, 0)


def _parent(tree: Any, words: str, override: str) -> tuple[Any, Path]:
    """The container that the last word of a dotted path lives in, and the whole path.

    A key may itself hold dots (`expect.gradient_flow.verdict`), so the longest key that is there wins.
    """
    node, path, rest = tree, (), words
    while True:
        head, rest = _split_key(node, rest)
        key: str | int = head
        if isinstance(node, list):
            if not head.isdecimal():
                raise UsageError(f"override '{override}': a list item goes by its index, not '{head}'")
            key = int(head)
        path = (*path, key)
        if not rest:
            return node, path
        child = _child(node, key, override)
        if isinstance(child, str):
            child = node[key] = {"type": child}
        if not isinstance(child, (dict, list)):
            raise UsageError(f"override '{override}': '{head}' is a plain value, it has no '{rest}'")
        node = child


def _child(node: Any, key: str | int, override: str) -> Any:
    if isinstance(key, int):
        if key >= len(node):
            raise UsageError(f"override '{override}': the list has {len(node)} items, counted from 0")
        return node[key]
    if key not in node:
        node[key] = {}
    return node[key]


def _split_key(node: Any, words: str) -> tuple[str, str]:
    if isinstance(node, dict):
        for key in sorted(node, key=len, reverse=True):
            if words == key or words.startswith(f"{key}."):
                return key, words[len(key) + 1 :]
        if node is not None and "." in words and any("." in key for key in node):
            return words, ""
    head, _, rest = words.partition(".")
    return head, rest


def _near(parent: Any, key: str | int) -> str:
    return near_miss(key, parent) if isinstance(key, str) else ""
