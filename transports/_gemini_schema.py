"""Gemini's own form of a schema (OpenAPI's, with types in capitals) as JSON Schema.

Source: Gemini API reference, "Schema". Property order, which is a keyword there, becomes the order of the properties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from transports._raw_fields import camel

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.chat import JsonObject

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
    read = _KEYWORDS.get(name)
    return value if read is None else read(value)


def _type(value: Any) -> Any:
    return value.lower() if isinstance(value, str) and value not in _UNTYPED else value


def _named(value: Any) -> Any:
    return {key: _inner(one) for key, one in cast("JsonObject", value).items()} if isinstance(value, dict) else value


def _several(value: Any) -> Any:
    return [_inner(one) for one in cast("list[object]", value)] if isinstance(value, list) else value


def _count(value: Any) -> Any:
    """Protobuf writes 64-bit numbers as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 20 else value


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


_KEYWORDS: dict[str, Callable[[Any], Any]] = {
    "type": _type,
    "properties": _named,
    **dict.fromkeys(("items", "additionalProperties"), _inner),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _several),
    **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"), _count),
}
