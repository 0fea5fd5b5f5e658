"""JSON Schema of an experiment file, for editors."""

from __future__ import annotations

import json
from pathlib import Path

from nnlab.config.base import KEY, ONE_VALUE
from nnlab.config.load import EXPERIMENT
from nnlab.errors import KeyPath, UsageError
from nnlab.registry import KINDS, ConfigTree, ConfigValue, components
from nnlab.registry.json_schema import mapping_schema
from nnlab.system import files

REFERENCE = "#/$defs/"
TITLE = "nnlab experiment"
PARTIAL = "partial_"  # before the name of a kind: of values that are merged into those of a base


SCHEMA_FILE = "nnlab.schema.json"  # beside experiment files, where editors are told to look for it
EDITOR_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"


def json_schema() -> ConfigTree:
    """JSON Schema of an experiment file.

    A file with a base need not be complete, and null drops what the base has; the items of a list are whole
    in any case.
    """
    parts: ConfigTree = {}
    for kind in KINDS:
        parts |= _with_references(_schemas_of_kind(kind))
    whole = _with_references(mapping_schema(EXPERIMENT))
    partial = _partial(whole, ())
    partial_parts = {
        PARTIAL + name: _partial_kind(part) if name in KINDS else _partial(part, ("*",))
        for name, part in parts.items()
    }
    references = json.dumps([partial, partial_parts])
    used = {name: part for name, part in partial_parts.items() if f'"{REFERENCE}{name}"' in references}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "type": "object",
        "if": {"required": [KEY]},
        "then": partial,
        "else": whole,
        "$defs": parts | used,
    }


def schema_text() -> str:
    """The JSON Schema as the text of a file."""
    return json.dumps(json_schema(), indent=1) + "\n"


def write_schema(file: Path) -> None:
    """Write the JSON Schema to a file.

    Raises:
        UsageError: Something else is there.
        DiskError: It cannot be written.
    """
    if file.exists() and (
        not file.is_file() or f'"title": "{TITLE}"' not in file.read_text(errors="replace")
    ):
        raise UsageError(f"{file}: is there already, and no schema of nnlab; name another --out")
    files.write_atomically(file, schema_text().encode())


def _schemas_of_kind(kind: str) -> ConfigTree:
    """The schema of a kind: a name, a mapping, or its shorthand; and those of the keys that it shares."""
    known = components(kind)
    bare = [c for c in known.values() if not any(p.required for p in c.parameters.values())]
    options: list[ConfigTree] = [{"title": c.name, "const": c.name, "description": c.headline} for c in bare]
    shared: ConfigTree = {}
    for component in known.values():
        schema = mapping_schema(component)
        for key in [key for key in component.parameters if key not in component.own_parameters]:
            shared[f"{component.kind}_{key}"] = schema["properties"][key]
            schema["properties"][key] = {"$ref": f"{REFERENCE}{component.kind}_{key}"}
        options.append(schema)
    for name, parameter in dict.fromkeys(KINDS[kind].shorthand.values()):
        options.append(known[name].parameters[parameter].spec.json_schema())
    return {kind: {"anyOf": options}} | shared


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
    without_type = {
        "title": "the base's",
        "type": "object",
        "properties": keys,
        "additionalProperties": False,
    }
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
