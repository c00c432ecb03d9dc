"""A JSON schema as people write JSON down: members, with their types in place of values."""

from __future__ import annotations

from typing import Any

Schemas = dict[str, Any]


def shape(schema: dict[str, Any], components: Schemas, indent: int = 0) -> str:
    """``components``: what its references name. Optional members are marked with ``?``."""
    if "$ref" in schema:
        return shape(components[schema["$ref"].rpartition("/")[2]], components, indent)
    if "anyOf" in schema:
        kinds = [shape(each, components, indent) for each in schema["anyOf"]]
        return " | ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " | ".join(f'"{each}"' for each in schema["enum"])
    kind = schema.get("type", "any JSON")
    if kind == "array":
        return f"[{shape(schema.get('items', {}), components, indent)}, …]"
    if kind == "object":
        return _object(schema, components, indent)
    return str(kind)


def _object(schema: dict[str, Any], components: Schemas, indent: int) -> str:
    inner = indent + 2
    pad = " " * inner
    members = schema.get("properties", {})
    if not members:
        values = schema.get("additionalProperties")
        if not isinstance(values, dict) or not values:
            return "{…}"
        return f"{{\n{pad}NAME: {shape(values, components, inner)}, …\n{' ' * indent}}}"
    required = schema.get("required", ())
    lines = [
        f'{pad}"{name}"{"" if name in required else "?"}: {shape(each, components, inner)}'
        for name, each in members.items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{' ' * indent}}}"
