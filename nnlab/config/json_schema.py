"""JSON Schema of an experiment file, for editors."""

from __future__ import annotations

from nnlab.config.load import EXPERIMENT
from nnlab.registry import KINDS, ConfigTree, ConfigValue, components


def json_schema() -> ConfigTree:
    """JSON Schema of an experiment file."""
    schema = EXPERIMENT.mapping_schema() | {"$defs": {kind: _schema_of_kind(kind) for kind in KINDS}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "nnlab experiment"}
    return head | _with_references(schema)


def _schema_of_kind(kind: str) -> ConfigTree:
    """Any config value of a kind: a name, a mapping, or the kind's shorthand."""
    known = components(kind)
    bare = [c.name for c in known.values() if not any(p.required for p in c.parameters.values())]
    options: list[ConfigTree] = [{"enum": bare}] if bare else []
    options += [component.mapping_schema() for component in known.values()]
    for name, parameter in dict.fromkeys(KINDS[kind].shorthand.values()):
        options.append(known[name].parameters[parameter].spec.json_schema())
    return {"anyOf": options}


def _with_references(schema: ConfigValue) -> ConfigValue:
    """The schema with each component replaced by a reference to the definition of its kind.

    They are put in afterwards: pydantic refuses references that it did not make.
    """
    if isinstance(schema, dict):
        if "x-kind" in schema:
            return {k: v for k, v in schema.items() if k != "x-kind"} | {
                "$ref": f"#/$defs/{schema['x-kind']}"
            }
        return {key: _with_references(value) for key, value in schema.items()}
    return [_with_references(item) for item in schema] if isinstance(schema, list) else schema
