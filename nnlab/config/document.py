"""YAML text to plain Python values, each with its place in the file.

The reading is YAML 1.2's core schema (`1e-3` is a float, `no` a string, `010` is ten, `12:30` a string), of
which an experiment file uses mappings, lists and scalars. Duplicate keys, tags, and recursive or bomb-like
aliases are errors. PyYAML scans and parses; the meaning of scalars is decided here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from nnlab.errors import ConfigError, KeyPath, Problem
from nnlab.registry import ConfigTree, ConfigValue
from nnlab.text import dotted, one_line

MAXIMUM_FILE_BYTES = 256 * 1024
MAXIMUM_LEVELS = 48
MAXIMUM_VALUES = 5_000
MAXIMUM_PROBLEM_LINES = 100  # of problems, of one file

_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_OCTAL = re.compile(r"0o([0-7]{1,400})")
_HEX = re.compile(r"0x([0-9a-fA-F]{1,330})")  # 398 digits: what is read is written in digits that are read
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAN = re.compile(r"\.(?:nan|NaN|NAN)")


class Mark(NamedTuple):
    """A place in a file or on the command line; line and column count from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Document(NamedTuple):
    """An experiment file, read.

    Attributes:
        tree: Its plain values.
        values: The mark of the value at each path.
        keys: The mark of the key at each path that ends in a mapping's key.
        source: The name of the file, for messages.
        has_drawn_seed: Whether the file leaves the seed to chance, and the tree has the one that was drawn.
    """

    tree: ConfigValue
    values: dict[KeyPath, Mark]
    keys: dict[KeyPath, Mark]
    source: str
    has_drawn_seed: bool = False

    def mark(self, path: KeyPath) -> Mark:
        """Where to point for a path: its key, its value, or the nearest parent that stands in the file."""
        for length in range(len(path), -1, -1):
            mark = self.keys.get(path[:length]) or self.values.get(path[:length])
            if mark is not None:
                return mark
        return Mark(self.source, 1, 1)

    def error(self, problems: list[Problem]) -> ConfigError:
        """All problems as `file:line:column: path: message`, in the file's order."""
        return _located((self.mark(problem.path), problem) for problem in problems)


def read(path: Path, source: str = "") -> Document:
    """Read an experiment file, which messages call by its path, or as `source` says.

    Raises:
        ConfigError: It cannot be read, or is no YAML mapping.
    """
    source = source or str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAXIMUM_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{source}: no such file; `nnlab new` lists experiments to start from"]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError([f"{source}: cannot be read: {reason}"]) from None
    if len(raw) > MAXIMUM_FILE_BYTES:
        raise ConfigError(
            [f"{source}: larger than {MAXIMUM_FILE_BYTES // 1024} KiB; an experiment file is a page or two"]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{source}: not UTF-8 text (byte {error.start})"]) from None
    return parse(text, source)


def parse(text: str, source: str) -> Document:
    """Parse YAML text whose top level is a mapping. Raises ConfigError."""
    document = parse_value(text, source)
    if not isinstance(document.tree, Mapping):
        raise document.error(
            [Problem((), "an experiment file is a mapping of keys, such as `name: first-run`")]
        )
    return document


def parse_value(text: str, source: str) -> Document:
    """Parse YAML text to one value of any kind. Raises ConfigError."""
    document = Document(None, {}, {}, source)
    loader = None
    try:
        loader = _Composer(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Mark(source, mark.line + 1, mark.column + 1) if mark else Mark(source, 1, 1)
        raise ConfigError([f"{place}: not YAML: {one_line(error.problem or error.context or '')}"]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Mark(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
        message = f"the character #x{error.character:04x} is not allowed"
        raise ConfigError([f"{place}: not YAML: {message}"]) from None
    except (ValueError, OverflowError):  # PyYAML takes `\Uffffffff` and a version of 5,000 digits as given
        assert loader is not None  # noqa: S101 - it is the scanning that raises
        place = Mark(source, loader.line + 1, loader.column + 1)
        raise ConfigError([f"{place}: not YAML: the number of a character or version is too large"]) from None
    reader = _Reader(document)
    tree = reader.value(node, (), ()) if node is not None else None
    if reader.problems:
        raise _located(reader.problems)
    return document._replace(tree=tree)


def _located(problems: Iterable[tuple[Mark, Problem]]) -> ConfigError:
    """The first MAXIMUM_PROBLEM_LINES problems as lines, in the file's order, and how many more there are."""

    def place(located: tuple[Mark, Problem]) -> tuple[Mark, KeyPath]:
        return located[0], located[1].path

    ordered = sorted(problems, key=place)
    lines: list[str] = []
    unseen = len(ordered)
    for (mark, path), same_place in itertools.groupby(ordered, key=place):
        messages = [problem.message for _, problem in same_place]
        unseen -= len(messages)
        prefix = f"{dotted(path)}: " if path else ""
        lines += [f"{mark}: {one_line(prefix + message)}" for message in sorted(set(messages))]
        if len(lines) > MAXIMUM_PROBLEM_LINES or (len(lines) == MAXIMUM_PROBLEM_LINES and unseen):
            unseen += len(lines) - MAXIMUM_PROBLEM_LINES
            return ConfigError(
                [*lines[:MAXIMUM_PROBLEM_LINES], f"{ordered[0][0].source}: and {unseen:,} more"]
            )
    return ConfigError(lines)


class _Composer(yaml.SafeLoader):
    """Composes nodes, and refuses tags, deep nesting and too much of anything before time or the stack is
    spent on it."""

    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            self._refuse(event, f"the tag '{event.tag}' is not allowed; write plain values")
        self.nodes += 1
        if self.nodes > MAXIMUM_VALUES:
            self._refuse(event, f"more than {MAXIMUM_VALUES} values")
        self.depth += isinstance(event, yaml.CollectionStartEvent)
        if self.depth > MAXIMUM_LEVELS:
            self._refuse(event, f"nested more than {MAXIMUM_LEVELS} levels deep")
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and (half := _SURROGATE.search(node.value)):
            try:  # JSON writes what is beyond \uffff as two halves
                node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                self._refuse(event, f"\\u{ord(half[0]):x} is half a character; write the whole one")
        self.depth -= isinstance(event, yaml.CollectionStartEvent)
        return node

    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:
        """No tag: the meaning of scalars is decided by `plain_scalar`."""
        return ""

    def _refuse(self, event: yaml.Event, problem: str) -> None:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


class _Reader:
    """Turns nodes into values, noting marks and problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[tuple[Mark, Problem]] = []
        self.visited = 0

    def value(self, node: yaml.Node, path: KeyPath, parents: tuple[int, ...]) -> ConfigValue:
        self.document.values.setdefault(path, self._mark(node))
        self.visited += 1
        if id(node) in parents:
            return self._refuse(node, path, "an alias that contains itself")
        if self.visited > MAXIMUM_VALUES:
            if self.visited == MAXIMUM_VALUES + 1:
                self._refuse(node, path, f"more than {MAXIMUM_VALUES} values, aliases unfolded")
            return None
        parents = (*parents, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i), parents) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, parents)
        quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        return node.value if quoted else plain_scalar(node.value)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, parents: tuple[int, ...]) -> ConfigTree:
        mapping: ConfigTree = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, "a key must be a word")
                continue
            key = key_node.value
            here = (*path, key)
            if key in mapping:
                first = self.document.keys[here].line
                self._refuse(key_node, here, f"given twice, first in line {first}; keep one")
                continue
            self.document.keys[here] = self._mark(key_node)
            mapping[key] = self.value(value_node, here, parents)
        return mapping

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.problems.append((self._mark(node), Problem(path, message)))

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.document.source, node.start_mark.line + 1, node.start_mark.column + 1)


def plain_scalar(text: str) -> ConfigValue:
    """The value of an unquoted scalar by YAML 1.2's core schema."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text)
    if match := _OCTAL.fullmatch(text):
        return int(match[1], 8)
    if match := _HEX.fullmatch(text):
        return int(match[1], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return float(f"{match[1]}inf")
    return float("nan") if _NAN.fullmatch(text) else text


_FASTEST_DUMPER: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C it is seven times as fast


class _Dumper(_FASTEST_DUMPER):  # type: ignore[misc]
    """Writes what `parse` reads back to the same values."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar(text), str) else "'"
    if not text.isprintable():
        style = '"'  # the other styles fold YAML 1.1's rarer line breaks
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_float(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    text = repr(number).replace("inf", ".inf").replace("nan", ".nan")
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # readers of YAML 1.1 take 1e-05 for a word
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)


def dump(tree: ConfigValue, inline: bool = False) -> str:
    """The values as YAML text, keys in their own order.

    Args:
        tree: Plain values.
        inline: Whether to write all in one line.
    """
    style, width = (True, 10**6) if inline else (None, 110)
    return yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, default_flow_style=style, width=width, allow_unicode=True
    )
