"""Check plain values against the components' signatures, and complete them with the defaults.

`resolve` returns the canonical form: every component with its `type` and all its arguments, a component
without arguments as its bare name, one that has a shorthand as that, numbers in their declared type. It
collects every problem it meets. A parameter's Spec judges its value; components and sections inside the value
are recursed into here, so that each problem carries its path.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from nnlab.errors import InvalidValue, KeyPath, Problem
from nnlab.registry import (
    KINDS,
    Built,
    Component,
    ComponentOf,
    ConfigTree,
    ConfigValue,
    Deferred,
    Keyed,
    Parameter,
    Section,
    build,
    components,
    spell_out,
)
from nnlab.text import is_one_edit_apart, letters, suggestion

MAXIMUM_MISSPELT_KEYS = 50  # of one mapping, that a missing key is looked for among


class _Resolved(NamedTuple):
    """A value in canonical form, and what it stands for, built.

    What holds the value is tried out with the built one, so that nothing is built twice.
    """

    config: ConfigValue
    built: Built


_NOTHING = _Resolved(None, None)


def resolve(kind: str, value: ConfigValue, path: KeyPath, problems: list[Problem]) -> ConfigValue:
    """The canonical form of a component's config; problems are appended, with their paths."""
    return _resolve(kind, value, path, problems).config


def _resolve(kind: str, value: ConfigValue, path: KeyPath, problems: list[Problem]) -> _Resolved:
    if isinstance(value, Mapping) and "type" not in value:
        problems.append(Problem(path, functools.partial(_no_type_text, kind, value)))
        return _NOTHING
    spelled = spell_out(kind, value)
    if spelled is None or not isinstance(spelled[0], str):
        allowed = ComponentOf(kind).describe()
        problems.append(Problem(path, f"{value_text(value)} is no {kind}; allowed is {allowed}"))
        return _NOTHING
    name, arguments = spelled
    known = components(kind)
    if name not in known:
        at = (*path, "type") if isinstance(value, Mapping) else path
        problems.append(Problem(at, functools.partial(_unknown_component_text, kind, name)))
        return _NOTHING
    shorthand = not isinstance(value, (str, Mapping))
    parameter = next(iter(arguments), "") if shorthand else ""
    inner: list[Problem] = []

    def build_with(arguments: Mapping[str, Built]) -> Built:
        return build(kind, {"type": name, **arguments})

    resolved, built = _resolve_arguments(known[name], arguments, path, inner, build_with)
    for problem in inner:  # a list stands for sequential.layers: its items keep their own paths
        skip = shorthand and problem.path[len(path) : len(path) + 1] == (parameter,)
        problems.append(problem._replace(path=path + problem.path[len(path) + 1 :]) if skip else problem)
    short = dict(KINDS[kind].shorthand.values()).get(name, "")
    if list(resolved) == [short]:
        return _Resolved(resolved[short], built)
    return _Resolved({"type": name, **resolved} if resolved else name, built)


def resolve_arguments(
    keyed: Component | Section,
    arguments: Mapping[str, ConfigValue],
    path: KeyPath,
    problems: list[Problem],
    settled: Collection[str] = (),
) -> ConfigTree:
    """The arguments of a component or section: checked, in their declared order, defaults filled in.

    Args:
        keyed: The component or section.
        arguments: As the file has them.
        path: The place of the component in the file.
        problems: What is wrong is appended.
        settled: Names of the arguments that are in canonical form already.
    """
    return _resolve_arguments(keyed, arguments, path, problems, keyed.construct, settled).config


def _resolve_arguments(
    keyed: Keyed,
    arguments: Mapping[str, ConfigValue],
    path: KeyPath,
    problems: list[Problem],
    build_with: Callable[[Mapping[str, Built]], Built],
    settled: Collection[str] = (),
) -> _Resolved:
    """Resolves them one by one, and then builds the component once, for what only it can know: arguments that
    contradict each other."""
    parameters = keyed.parameters
    before = len(problems)
    unknown = [key for key in arguments if key not in parameters]
    problems += [Problem((*path, key), functools.partial(_unknown_key_text, keyed, key)) for key in unknown]
    resolved: dict[str, _Resolved] = {}
    for name, parameter in parameters.items():
        if name in settled:
            resolved[name] = _Resolved(arguments[name], arguments[name])
        elif name in arguments:
            resolved[name] = _resolve_value(parameter, arguments[name], (*path, name), problems)
        elif not parameter.required:
            resolved[name] = _resolve_value(parameter, parameter.default, (*path, name), problems)
        elif not any(
            suggestion(key, [name]) or _of_elsewhere(keyed, key) == name
            for key in unknown[:MAXIMUM_MISSPELT_KEYS]
        ):  # else it is misspelt
            problems.append(Problem(path, f"'{name}' is missing: {parameter.spec.describe()}"))
    built = None
    if len(problems) == before:
        try:
            built = build_with({name: value.built for name, value in resolved.items()})
        except InvalidValue as error:
            problems.append(Problem(path + error.at, str(error)))
    return _Resolved({name: value.config for name, value in resolved.items()}, built)


def _resolve_value(
    parameter: Parameter, value: ConfigValue, path: KeyPath, problems: list[Problem]
) -> _Resolved:
    try:
        checked = parameter.spec.check(value)
    except ValueError:
        problems.append(Problem(path, functools.partial(_not_allowed_text, parameter, value)))
        return _NOTHING
    return _resolve_deferred(checked, path, problems)


def _resolve_deferred(value: ConfigValue, path: KeyPath, problems: list[Problem]) -> _Resolved:
    if isinstance(value, Deferred):
        if isinstance(value.spec, Section):
            return _resolve_section(value.spec, value.value, path, problems)
        assert isinstance(value.spec, ComponentOf)  # noqa: S101 - no other spec defers
        return _resolve(value.spec.kind, value.value, path, problems)
    if isinstance(value, (list, tuple)):
        items = [_resolve_deferred(item, (*path, i), problems) for i, item in enumerate(value)]
        return _Resolved([item.config for item in items], [item.built for item in items])
    if isinstance(value, dict):
        entries = {key: _resolve_deferred(item, (*path, key), problems) for key, item in value.items()}
        configs = {key: entry.config for key, entry in entries.items()}
        return _Resolved(configs, {key: entry.built for key, entry in entries.items()})
    return _Resolved(value, value)


def _resolve_section(
    section: Section, value: ConfigValue, path: KeyPath, problems: list[Problem]
) -> _Resolved:
    arguments = section.spell_out(value)
    if arguments is None:
        keys = ", ".join(section.parameters)
        problems.append(Problem(path, f"{value_text(value)} is not allowed; it takes a mapping of {keys}"))
        return _NOTHING
    return _resolve_arguments(section, arguments, path, problems, section.construct)


def _no_type_text(kind: str, value: Mapping[str, ConfigValue]) -> str:
    typo = "; did you mean 'type'?" if any(is_one_edit_apart(key, "type") for key in value) else ";"
    return f"needs a 'type'{typo} allowed is {ComponentOf(kind).describe()}"


def _unknown_component_text(kind: str, name: str) -> str:
    known = components(kind)
    near = KINDS[kind].elsewhere.get(letters(name)) or suggestion(name, known)
    near = near or "; where a plug-in registers it, --import MODULE loads that"
    return f"unknown {kind} '{name}'{near} (`nnlab list {kind}` shows all {len(known)})"


def _unknown_key_text(keyed: Keyed, key: str) -> str:
    takes = f"{keyed.name} takes {', '.join(keyed.parameters) or 'no arguments'}"
    words = _of_elsewhere(keyed, key)
    if words in keyed.parameters:
        words = f"here it is called '{words}'"
    known = [*keyed.parameters, *keyed.constant_keys]
    near = f"; {words};" if words else suggestion(key, known) or ";"
    return f"unknown{near} {takes}"


def _of_elsewhere(keyed: Keyed, key: str) -> str:
    """What a key of another framework is here: a key that the component has, or words; else empty."""
    words = KINDS[keyed.kind].keys_elsewhere.get(letters(key), "") if isinstance(keyed, Component) else ""
    return words if words in keyed.parameters or " " in words else ""


def _not_allowed_text(parameter: Parameter, value: ConfigValue) -> str:
    near = suggestion(value, parameter.spec.words()) if isinstance(value, str) else ""
    return (
        f"{value_text(value)} is not allowed{near or ';'} {parameter.name} takes {parameter.spec.describe()}"
    )


def value_text(value: object) -> str:
    """A config value for an error message, cut to one short line."""
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 70 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
