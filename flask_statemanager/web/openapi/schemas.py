"""From marshmallow to JSON Schema, and from JSON Schema to an example."""

from __future__ import annotations

import json
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from webargs.fields import DelimitedList

JSONSchema = dict[str, Any]

VERSION = "3.1.1"
"""The version of OpenAPI, whose schemas are JSON Schema of 2020-12."""

_COMPONENTS, _DEFINITIONS = "#/components/schemas/", "#/$defs/"
_DEEPEST = 6
_BY_TYPE: dict[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


def new_spec(**options: Any) -> tuple[APISpec, Any]:
    """Return an empty document, and what puts schemas into it.

    :param options: further arguments of ``APISpec``.
    """
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec(openapi_version=VERSION, plugins=[plugin], **options)
    converter: Any = plugin.converter
    converter.add_parameter_attribute_function(_separated)
    return spec, converter


def json_schema(schema: Schema) -> JSONSchema:
    """Return the JSON Schema of a marshmallow schema, complete in itself.

    :param schema: the schema.
    """
    spec, converter = new_spec(title="", version="")
    found: JSONSchema = converter.schema2jsonschema(schema)
    nested = spec.to_dict().get("components", {}).get("schemas", {})
    whole = _moved({**found, "$defs": nested} if nested else found)
    # Defaults and metadata are the application's, and may be anything.
    safe: JSONSchema = json.loads(json.dumps(whole, default=str))
    return safe


def example_of(schema: JSONSchema, components: dict[str, JSONSchema], depth: int = 0) -> Any:
    """Return an example of what a schema describes; of an object, what it requires and what has an example.

    :param schema: the schema.
    :param components: the schemas that it may refer to, by name.
    :param depth: how deep it stands in another.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].removeprefix(_COMPONENTS)], components, depth)
    for given in ("examples", "enum"):
        if given in schema:
            return schema[given][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components, depth)
    return schema["const"] if "const" in schema else _of_type(schema, components, depth)


def _of_type(schema: JSONSchema, components: dict[str, JSONSchema], depth: int) -> Any:
    kinds = schema.get("type", "string")
    kind = kinds[-1] if isinstance(kinds, list) else kinds
    if depth < _DEEPEST and kind == "object" and "properties" in schema:
        return _members(schema, components, depth)
    if depth < _DEEPEST and kind == "array":
        return [example_of(schema["items"], components, depth + 1)]
    return schema.get("default", _BY_TYPE[kind])


def _members(schema: JSONSchema, components: dict[str, JSONSchema], depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: example_of(part, components, depth + 1)
        for name, part in schema["properties"].items()
        if name in required or "examples" in part
    }


def _name(schema: Any) -> str:
    """Return a schema's name among the components."""
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__).removesuffix("Answer").removesuffix("Schema")


def _separated(_converter: Any, field: Any, **_given: Any) -> dict[str, Any]:
    """A list in one parameter is not exploded (``style: form``)."""
    return {"explode": False} if isinstance(field, DelimitedList) else {}


def _moved(value: Any) -> Any:
    """Make references into a document's components references into the schema itself."""
    if isinstance(value, dict):
        moved = {name: _moved(part) for name, part in value.items()}
        target = moved.get("$ref")
        if isinstance(target, str) and target.startswith(_COMPONENTS):
            moved["$ref"] = _DEFINITIONS + target.removeprefix(_COMPONENTS)
        return moved
    return [_moved(part) for part in value] if isinstance(value, list) else value
