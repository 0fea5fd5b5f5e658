"""What was asked: the lines of a config with what each key means, and where configs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeGuard

from nnlab.config.document import dump
from nnlab.config.load import EXPERIMENT
from nnlab.config.resolve import resolve, resolve_arguments
from nnlab.errors import KeyPath, Problem
from nnlab.registry import (
    Component,
    ComponentOf,
    ConfigTree,
    ConfigValue,
    Keyed,
    Parameter,
    Section,
    components,
    spell_out,
)
from nnlab.registry.spec import MappingOf
from nnlab.text import dotted

MISSING = object()  # the default of a key that has none
MAXIMUM_INLINE_CHARACTERS = 60  # of a mapping or list that stands beside its key


class Line(NamedTuple):
    """A line of a config as YAML.

    Attributes:
        path: The place of what stands here, `model[0].units`.
        indent: How deep it lies.
        text: The key, a dash in front of it where an item of a list begins, and the value.
        meaning: What the key or the component is, out of its documentation; empty where that is said above.
        is_default: Whether the value is what a file without this key has.
        differs: Whether another run of the report has another value here.
    """

    path: str
    indent: int
    text: str
    meaning: str
    is_default: bool
    differs: bool = False


class Difference(NamedTuple):
    """A key in which configs differ.

    Attributes:
        path: Its place.
        values: Its value in each config; `-` where there is none.
    """

    path: str
    values: list[str]


def lines_of(tree: ConfigTree, differing: frozenset[str] = frozenset()) -> list[Line]:
    """The lines of a complete config.

    Args:
        tree: The config.
        differing: The paths in which it differs from others, see `differences_of`.
    """
    lines = list(_mapping(EXPERIMENT, tree, (), 0))
    return [line._replace(differs=_is_among(line.path, differing)) for line in lines]


def differences_of(trees: Sequence[ConfigTree]) -> list[Difference]:
    """The keys in which configs differ, in their order."""
    leaves = [_leaves(tree) for tree in trees]
    paths = dict.fromkeys(path for found in leaves for path in found)
    rows = [Difference(path, [found.get(path, "-") for found in leaves]) for path in paths]
    return [row for row in rows if len(set(row.values)) > 1]


def said_once(configs: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The lines of configs, each meaning where it comes first: better beside what a file gave than beside a
    default."""
    said: set[str] = set()
    shortened = []
    for lines in configs:
        speaking = set()
        for number in sorted(range(len(lines)), key=lambda number: lines[number].is_default):
            if lines[number].meaning not in said:
                said.add(lines[number].meaning)
                speaking.add(number)
        shortened.append(
            [line if n in speaking else line._replace(meaning="") for n, line in enumerate(lines)]
        )
    return shortened


def _leaves(value: ConfigValue, path: KeyPath = ()) -> dict[str, str]:
    """The values that hold no others, as text, by their paths."""
    if not isinstance(value, (Mapping, list)) or not value:
        return {dotted(path): _inline(value)}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {place: text for key, item in items for place, text in _leaves(item, (*path, key)).items()}


def _is_among(path: str, differing: frozenset[str]) -> bool:
    return any(other == path or other.startswith((f"{path}.", f"{path}[")) for other in differing)


def _mapping(
    keyed: Keyed | None, tree: Mapping[str, ConfigValue], path: KeyPath, indent: int
) -> Iterator[Line]:
    """The lines of a mapping, a key after the other."""
    parameters = keyed.parameters if keyed is not None else {}
    meanings = keyed.key_texts if keyed is not None else {}
    for key, value in tree.items():
        here, parameter = (*path, key), parameters.get(key)
        is_default = parameter is not None and default_of(parameter) == value
        meaning = meanings.get(key, "")
        if key == "type" and isinstance(keyed, Component):
            meaning = keyed.headline
        is_short = is_default or not isinstance(value, (Mapping, list)) or not value
        if is_short or (not _holds_parts(parameter) and len(_inline(value)) <= MAXIMUM_INLINE_CHARACTERS):
            named = _headline(parameter, value) or meaning
            yield Line(dotted(here), indent, f"{key}: {_inline(value)}", named, is_default)
        else:
            yield Line(dotted(here), indent, f"{key}:", meaning, False)
            yield from _inner(parameter, value, here, indent + 1)


def _inner(parameter: Parameter | None, value: ConfigValue, path: KeyPath, indent: int) -> Iterator[Line]:
    """The lines of a mapping or list that is the value of a key."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _item(parameter, item, (*path, number), indent)
    elif _holds_parts(parameter) and isinstance(parameter.spec, MappingOf):  # its keys are names
        for name, item in value.items():
            yield Line(dotted((*path, name)), indent, f"{_inline(name)}:", "", False)
            yield from _mapping(_keyed(parameter, item), item, (*path, name), indent + 1)
    else:
        yield from _mapping(_keyed(parameter, value), value, path, indent)


def _item(parameter: Parameter | None, item: ConfigValue, path: KeyPath, indent: int) -> Iterator[Line]:
    """The lines of an item of a list, the first one with a dash."""
    if not isinstance(item, Mapping) or not item:
        yield Line(dotted(path), indent, f"- {_inline(item)}", _headline(parameter, item), False)
        return
    first, *others = _mapping(_keyed(parameter, item), item, path, indent + 1)
    yield first._replace(indent=indent, text=f"- {first.text}")
    yield from others


def _holds_parts(parameter: Parameter | None) -> TypeGuard[Parameter]:
    """Whether a key's value has keys of its own, which a line each explains."""
    return parameter is not None and bool(parameter.spec.parts())


def _keyed(parameter: Parameter | None, value: ConfigValue) -> Keyed | None:
    """What the keys of a mapping belong to."""
    for part in parameter.spec.parts() if parameter is not None else ():
        if isinstance(part, Section):
            return part
        if isinstance(part, ComponentOf) and (spelled := spell_out(part.kind, value)) is not None:
            return components(part.kind).get(spelled[0])
    return None


def _headline(parameter: Parameter | None, value: ConfigValue) -> str:
    """What a component is whose name alone is the value."""
    keyed = _keyed(parameter, value) if isinstance(value, str) else None
    return keyed.headline if keyed is not None else ""


def default_of(parameter: Parameter) -> ConfigValue | object:
    """What a config has where a file does not give a key, in canonical form; MISSING where it must."""
    if parameter.required:
        return MISSING
    default, problems = parameter.default, list[Problem]()
    for part in parameter.spec.parts():
        if isinstance(part, ComponentOf) and isinstance(default, (str, Mapping)):
            return resolve(part.kind, default, (), problems)
        if isinstance(part, Section) and (keys := part.spell_out(default)) is not None:
            return resolve_arguments(part, keys, (), problems)
    return default


def _inline(value: ConfigValue) -> str:
    """A value as YAML in one line."""
    return dump(value, inline=True).removesuffix("\n").removesuffix("\n...")
