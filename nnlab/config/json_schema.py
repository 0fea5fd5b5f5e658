"""JSON Schema of an experiment file, for editors."""

from __future__ import annotations

import json

from nnlab.config.base import KEY, ONE_VALUE
from nnlab.config.load import EXPERIMENT
from nnlab.errors import KeyPath
from nnlab.registry import KINDS, ConfigTree, ConfigValue, components
from nnlab.registry.json_schema import mapping_schema

REFERENCE = "#/$defs/"
PARTIAL = "partial_"  # before the name of a kind: of values that are merged into those of a base


def json_schema() -> ConfigTree:
    """JSON Schema of an experiment file.

    A file with a base need not be complete, and null drops what the base has; the items of a list are whole
    in any case.
    """
    kinds = {kind: _with_references(_schema_of_kind(kind)) for kind in KINDS}
    whole = _with_references(mapping_schema(EXPERIMENT))
    partial, partial_kinds = (
        _partial(whole, ()),
        {PARTIAL + kind: _partial_kind(kinds[kind]) for kind in KINDS},
    )
    references = json.dumps([partial, partial_kinds])
    partial_kinds = {
        name: kind for name, kind in partial_kinds.items() if f'"{REFERENCE}{name}"' in references
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nnlab experiment",
        "type": "object",
        "if": {"required": [KEY]},
        "then": partial,
        "else": whole,
        "$defs": kinds | partial_kinds,
    }


def _schema_of_kind(kind: str) -> ConfigTree:
    """Any config value of a kind: a name, a mapping, or the kind's shorthand."""
    known = components(kind)
    bare = [c.name for c in known.values() if not any(p.required for p in c.parameters.values())]
    options: list[ConfigTree] = [{"enum": bare}] if bare else []
    options += [mapping_schema(component) for component in known.values()]
    for name, parameter in dict.fromkeys(KINDS[kind].shorthand.values()):
        options.append(known[name].parameters[parameter].spec.json_schema())
    return {"anyOf": options}


def _with_references(schema: ConfigValue) -> ConfigValue:
    """The schema with each component replaced by a reference to the definition of its kind.

    They are put in afterwards: pydantic refuses references that it did not make.
    """
    if isinstance(schema, dict):
        if "x-kind" in schema:
            return {k: v for k, v in schema.items() if k != "x-kind"} | {"$ref": REFERENCE + schema["x-kind"]}
        return {key: _with_references(value) for key, value in schema.items()}
    return [_with_references(item) for item in schema] if isinstance(schema, list) else schema


def _partial_kind(schema: ConfigTree) -> ConfigTree:
    """The schema of what is merged into a component of a base, whose type it may leave out."""
    mappings = [option for option in schema["anyOf"] if "properties" in option]
    keys: ConfigTree = {}
    for mapping in mappings:
        keys |= {key: {} for key in mapping["properties"] if key != "type"}
    without_type = {"type": "object", "properties": keys, "additionalProperties": False}
    return {"anyOf": [*(_partial(option, ("*",)) for option in schema["anyOf"]), without_type]}


def _partial(schema: ConfigTree, path: KeyPath) -> ConfigTree:
    """The schema of what is merged into a value of a base.

    Args:
        schema: That of the whole value.
        path: Where the value stands; what is replaced as a whole is given as a whole.
    """
    if path in ONE_VALUE:
        return schema
    changed = {key: value for key, value in schema.items() if key != "required"}
    if "$ref" in schema:
        changed["$ref"] = schema["$ref"].replace(REFERENCE, REFERENCE + PARTIAL)
    if "anyOf" in schema:
        changed["anyOf"] = [_partial(option, path) for option in schema["anyOf"]]
    if "properties" in schema:
        changed["properties"] = {
            key: value if key in ("type", KEY, "name") else _or_null(_partial(value, (*path, key)))
            for key, value in schema["properties"].items()
        }
    if isinstance(schema.get("additionalProperties"), dict):
        changed["additionalProperties"] = _or_null(_partial(schema["additionalProperties"], (*path, "*")))
    return changed


def _or_null(schema: ConfigTree) -> ConfigTree:
    """The schema of the same values or null."""
    said = {key: schema[key] for key in ("description", "default") if key in schema}
    return said | {"anyOf": [{k: v for k, v in schema.items() if k not in said}, {"type": "null"}]}
