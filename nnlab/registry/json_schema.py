"""JSON Schema of a mapping whose keys are those of a component or a section, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab.registry.spec import ConfigTree

if TYPE_CHECKING:
    from nnlab.registry.components import Keyed


def mapping_schema(keyed: Keyed) -> ConfigTree:
    """JSON Schema of the mapping of the keys of a component or a section, each described by its docstring."""
    properties, texts = keyed.constant_keys, keyed.key_texts
    required = [*properties, *(name for name, p in keyed.parameters.items() if p.required)]
    for name, parameter in keyed.parameters.items():
        text = {"description": texts[name]} if name in texts else {}
        default = {} if parameter.required else {"default": parameter.default}
        properties[name] = parameter.spec.json_schema() | text | default
    said = {"title": keyed.name, "description": keyed.headline}  # which editors show
    schema = said | {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})
