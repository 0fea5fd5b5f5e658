"""Check plain values against the components' signatures, and complete them with the defaults.

`resolve` returns the canonical form: every component with its `type` and all its arguments, a component
without arguments as its bare name, one that has a shorthand as that, numbers in their declared type. It
collects every problem it meets. Values are judged by pydantic, from the annotation alone; components and
sections inside them are recursed into here, so that each problem carries its path.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt

from nnlab.errors import InvalidValue, KeyPath, Problem
from nnlab.registry import (
    KINDS,
    Component,
    ComponentOf,
    Parameter,
    Section,
    build,
    components,
    marker_of,
    spell_out,
)
from nnlab.text import is_one_edit_apart, join_words, suggestion


class _Deferred(NamedTuple):
    """A component or section met inside a value, to be resolved once its path is known."""

    marker: ComponentOf | Section
    value: Any


class _Resolved(NamedTuple):
    """A value in canonical form, and what it stands for, built: what holds it is tried out with that, so that
    nothing is built twice."""

    config: Any
    built: Any


_NOTHING = _Resolved(None, None)


def resolve(kind: str, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
    """The canonical form of a component's config; problems are appended, with their paths."""
    return _resolve(kind, value, path, problems).config


def _resolve(kind: str, value: Any, path: KeyPath, problems: list[Problem]) -> _Resolved:
    if isinstance(value, Mapping) and "type" not in value:
        typo = "; did you mean 'type'?" if any(is_one_edit_apart(key, "type") for key in value) else ";"
        problems.append(Problem(path, f"needs a 'type'{typo} allowed is {describe_kind(kind)}"))
        return _NOTHING
    spelled = spell_out(kind, value)
    if spelled is None or not isinstance(spelled[0], str):
        problems.append(Problem(path, f"{shown(value)} is no {kind}; allowed is {describe_kind(kind)}"))
        return _NOTHING
    name, arguments = spelled
    known = components(kind)
    if name not in known:
        at = (*path, "type") if isinstance(value, Mapping) else path
        message = (
            f"unknown {kind} '{name}'{suggestion(name, known)} (`nnlab list {kind}` shows all {len(known)})"
        )
        problems.append(Problem(at, message))
        return _NOTHING
    shorthand = not isinstance(value, (str, Mapping))
    parameter = next(iter(arguments), "") if shorthand else ""
    inner: list[Problem] = []

    def built(arguments: Mapping[str, Any]) -> Any:
        return build(kind, {"type": name, **arguments})

    resolved, made = _resolve_arguments(known[name], arguments, path, inner, built)
    for problem in inner:  # a list stands for sequential.layers: its items keep their own paths
        skip = shorthand and problem.path[len(path) : len(path) + 1] == (parameter,)
        problems.append(problem._replace(path=path + problem.path[len(path) + 1 :]) if skip else problem)
    short = dict(KINDS[kind].shorthand.values()).get(name, "")
    if list(resolved) == [short]:
        return _Resolved(resolved[short], made)
    return _Resolved({"type": name, **resolved} if resolved else name, made)


def resolve_arguments(
    component: Component,
    arguments: Mapping[str, Any],
    path: KeyPath,
    problems: list[Problem],
    settled: Collection[str] = (),
) -> dict[str, Any]:
    """The arguments of a component or section: checked, in their declared order, defaults filled in.

    settled: arguments that are in canonical form already.
    """

    def built(arguments: Mapping[str, Any]) -> Any:
        return component(**arguments)

    return _resolve_arguments(component, arguments, path, problems, built, settled).config


def _resolve_arguments(
    component: Component,
    arguments: Mapping[str, Any],
    path: KeyPath,
    problems: list[Problem],
    build_with: Callable[[Mapping[str, Any]], Any],
    settled: Collection[str] = (),
) -> _Resolved:
    """Resolves them one by one, and then builds the component once, for what only it can know: arguments that
    contradict each other."""
    parameters = component.parameters
    before = len(problems)
    unknown = [key for key in arguments if key not in parameters]
    for key in unknown:
        takes = f"{component.name} takes {', '.join(parameters) or 'no arguments'}"
        problems.append(Problem((*path, key), f"unknown{suggestion(key, parameters) or ';'} {takes}"))
    resolved: dict[str, _Resolved] = {}
    for name, parameter in parameters.items():
        if name in settled:
            resolved[name] = _Resolved(arguments[name], arguments[name])
        elif name in arguments:
            resolved[name] = _resolve_value(parameter, arguments[name], (*path, name), problems)
        elif not parameter.required:
            resolved[name] = _resolve_value(parameter, as_written(parameter.default), (*path, name), problems)
        elif not any(suggestion(key, [name]) for key in unknown):  # else it is there, misspelt
            problems.append(Problem(path, f"'{name}' is missing: {describe(parameter.annotation)}"))
    made = None
    if len(problems) == before:
        try:
            made = build_with({name: value.built for name, value in resolved.items()})
        except InvalidValue as error:
            problems.append(Problem(path + error.at, str(error)))
    return _Resolved({name: value.config for name, value in resolved.items()}, made)


def _resolve_value(parameter: Parameter, value: Any, path: KeyPath, problems: list[Problem]) -> _Resolved:
    from pydantic import ValidationError

    try:
        checked = _adapter(parameter.annotation).validate_python(value)
    except ValidationError:
        near = suggestion(value, words_of(parameter.annotation)) if isinstance(value, str) else ""
        takes = f"{parameter.name} takes {describe(parameter.annotation)}"
        message = f"{shown(value)} is not allowed{near or ';'} {takes}"
        problems.append(Problem(path, message))
        return _NOTHING
    return _resolve_deferred(checked, path, problems)


def _resolve_deferred(value: Any, path: KeyPath, problems: list[Problem]) -> _Resolved:
    if isinstance(value, _Deferred):
        if isinstance(value.marker, ComponentOf):
            return _resolve(value.marker.kind, value.value, path, problems)
        return _resolve_section(value.marker, value.value, path, problems)
    if isinstance(value, (list, tuple)):
        items = [_resolve_deferred(item, (*path, i), problems) for i, item in enumerate(value)]
        return _Resolved([item.config for item in items], [item.built for item in items])
    if isinstance(value, dict):
        entries = {key: _resolve_deferred(item, (*path, key), problems) for key, item in value.items()}
        configs = {key: entry.config for key, entry in entries.items()}
        return _Resolved(configs, {key: entry.built for key, entry in entries.items()})
    return _Resolved(value, value)


def _resolve_section(section: Section, value: Any, path: KeyPath, problems: list[Problem]) -> _Resolved:
    arguments = section.spell_out(value)
    if arguments is None:
        keys = ", ".join(section.component.parameters)
        problems.append(Problem(path, f"{shown(value)} is not allowed; it takes a mapping of {keys}"))
        return _NOTHING
    return _resolve_arguments(section.component, arguments, path, problems, section.build)


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(_with_schemas(annotation), config=ConfigDict(strict=True, allow_inf_nan=False))


def _with_schemas(annotation: Any) -> Any:
    """The annotation with its `Of` and `Section` marks replaced by what pydantic understands."""
    from pydantic import PlainValidator, WithJsonSchema

    marker = marker_of(annotation)
    if marker is not None:
        defer = functools.partial(_Deferred, marker)
        return typing.Annotated[Any, PlainValidator(defer), WithJsonSchema(_reference(marker))]
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        # what is plain is tried before what could be a component's name
        ordered = sorted(inner, key=lambda option: marker_of(option) is not None)
        return typing.Union[tuple(_with_schemas(option) for option in ordered)]  # noqa: UP007
    if origin in (list, dict):
        return origin[tuple(_with_schemas(option) for option in inner)]
    return annotation


def _reference(marker: ComponentOf | Section) -> dict[str, Any]:
    if isinstance(marker, ComponentOf):
        return {"x-kind": marker.kind}
    mapping = json_schema_of(marker.component)
    number = marker.number and marker.component.parameters[marker.number].annotation
    return {"anyOf": [_adapter(number).json_schema(), mapping]} if number else mapping


def json_schema_of(component: Component) -> dict[str, Any]:
    """JSON Schema of a component's mapping (with its `type`) or of a section's."""
    properties: dict[str, Any] = {}
    if component.kind != "section":
        properties["type"] = {"const": component.name}
    required = list(properties)
    for name, parameter in component.parameters.items():
        properties[name] = _adapter(parameter.annotation).json_schema()
        if parameter.required:
            required.append(name)
        else:
            properties[name] = {**properties[name], "default": as_written(parameter.default)}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {}) | {"description": component.headline}


def json_schema_of_kind(kind: str) -> dict[str, Any]:
    """JSON Schema of any config value of a kind: a name, a mapping, or the kind's shorthand."""
    known = components(kind).values()
    bare = [c.name for c in known if not any(p.required for p in c.parameters.values())]
    options: list[dict[str, Any]] = [{"enum": bare}] if bare else []
    options += [json_schema_of(component) for component in known]
    for component_name, parameter in dict.fromkeys(KINDS[kind].shorthand.values()):
        annotation = components(kind)[component_name].parameters[parameter].annotation
        options.append(_adapter(annotation).json_schema())
    return {"anyOf": options}


def with_references(schema: Any) -> Any:
    """A JSON Schema whose components are references to its definitions.

    pydantic refuses references that it did not make, so that they come in afterwards.
    """
    if isinstance(schema, dict):
        if "x-kind" in schema:
            return {k: v for k, v in schema.items() if k != "x-kind"} | {
                "$ref": f"#/$defs/{schema['x-kind']}"
            }
        return {key: with_references(value) for key, value in schema.items()}
    return [with_references(item) for item in schema] if isinstance(schema, list) else schema


def as_written(default: Any) -> Any:
    """A default as it would stand in a file."""
    return list(default) if isinstance(default, tuple) else default


def describe(annotation: Any) -> str:
    """What a parameter takes, in words: 'a whole number >= 1 or full'."""
    marker = marker_of(annotation)
    if isinstance(marker, ComponentOf):
        return describe_kind(marker.kind)
    if isinstance(marker, Section):
        keys = ", ".join(marker.component.parameters)
        return (
            f"a number ({marker.number}) or a mapping of {keys}" if marker.number else f"a mapping of {keys}"
        )
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        notes = [note for note in inner[1:] if type(note) in _BOUNDS]
        words = [_BOUNDS[type(note)] for note in notes]
        limits = [getattr(note, word) for note, (_, word) in zip(notes, words, strict=True)]
        bounds = [f"{sign} {_number(limit)}" for (sign, _), limit in zip(words, limits, strict=True)]
        return describe(inner[0]) + (f" {' and '.join(bounds)}" if bounds else "")
    if origin is Literal:
        return join_words([str(option) for option in inner])
    if origin in (types.UnionType, typing.Union):
        return join_words([describe(option) for option in inner])
    if origin is list:
        return f"a list, each item {describe(inner[0])}"
    if origin is dict:
        return f"a mapping, each value {describe(inner[1])}"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def words_of(annotation: Any) -> list[str]:
    """The words that a parameter takes, `mean` and `sum` or `true` and `false`."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return [str(option) for option in inner]
    if origin in (types.UnionType, typing.Union):
        return [word for option in inner for word in words_of(option)]
    return ["true", "false"] if annotation is bool else []


def describe_kind(kind: str) -> str:
    """How a component of a kind is written."""
    shorthand = {list: "a list of layers", int: "a number"}
    extra = [words for python_type, words in shorthand.items() if python_type in KINDS[kind].shorthand]
    article = "an" if kind[0] in "aeiou" else "a"
    return f"{article} {kind}: {join_words(['its name', 'a mapping with a type', *extra])}"


def _number(limit: float) -> str:
    """`1e+15`, but 4294967296 with all its digits."""
    short = f"{limit:g}"
    return short if float(short) == limit else str(limit)


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
}
_BOUNDS: dict[type, tuple[str, str]] = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}


def shown(value: Any) -> str:
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
