"""Gemini's own form of a schema (OpenAPI's, with types in capitals) as JSON Schema.

Source: Gemini API reference, "Schema". Property order, which is a keyword there, becomes the order of the properties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from transports._raw_fields import camel

if TYPE_CHECKING:
    from hub.chat import JsonObject

_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
#: Words of the form itself that JSON Schema has no use for.
_OWN = frozenset({"nullable", "propertyOrdering", "example"})
_UNTYPED = ("TYPE_UNSPECIFIED", "type_unspecified")


def json_schema(given: JsonObject) -> JsonObject:
    """The schema with standard types; keywords that are none of the form's stay as they are."""
    fields = {camel(name): value for name, value in given.items()}
    made: JsonObject = {name: _keyword(name, value) for name, value in fields.items() if name not in _OWN}
    if made.get("type") in _UNTYPED:
        del made["type"]
    if made.get("format") == "enum":
        del made["format"]
    if "example" in fields:
        made["examples"] = [fields["example"]]
    order = fields.get("propertyOrdering")
    if isinstance(order, list) and "properties" in made:
        made["properties"] = _ordered(made["properties"], cast("list[object]", order))
    return _nullable(made) if fields.get("nullable") is True else made


def _keyword(name: str, value: Any) -> Any:
    if name == "type":
        return value.lower() if isinstance(value, str) and value not in _UNTYPED else value
    if name == "properties" and isinstance(value, dict):
        return {key: _inner(one) for key, one in cast("JsonObject", value).items()}
    if name in ("items", "additionalProperties"):
        return _inner(value)
    if name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [_inner(one) for one in cast("list[object]", value)]
    if name in _COUNTS and isinstance(value, str) and value.isdecimal() and value.isascii():
        return int(value)
    return value


def _inner(value: object) -> object:
    return json_schema(cast("JsonObject", value)) if isinstance(value, dict) else value


def _ordered(properties: Any, order: list[object]) -> Any:
    if not isinstance(properties, dict):
        return properties
    known = cast("JsonObject", properties)
    first = {name: known[name] for name in order if isinstance(name, str) and name in known}
    return {**first, **known}


def _nullable(schema: JsonObject) -> JsonObject:
    """The same schema, with null allowed."""
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    elif kind is None and isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    choices = schema.get("enum")
    if isinstance(choices, list) and None not in choices:
        schema["enum"] = [*cast("list[object]", choices), None]
    return schema
