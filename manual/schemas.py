"""JSON Schemas as lists of fields that people can read: one line a field, nested ones by their path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from manual.markdown import code, plain, table

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 6
_LONGEST_DEFAULT = 40


class Field(NamedTuple):
    """One field. ``path`` is ``a.b`` in an object, ``a[].b`` in a list of objects, ``a.*`` for any name."""

    path: str
    kind: str
    needed: bool
    default: str
    words: str


def fields(schema: dict[str, Any]) -> list[Field]:
    """Every field of a schema, each path once."""
    found: dict[str, Field] = {}
    for field in _inside(schema, schema.get("$defs", {}), "", (), 0):
        found.setdefault(field.path, field)
    return list(found.values())


def listed(schema: dict[str, Any], *, output: bool = False) -> str:
    """The table of a schema's fields."""
    rows = fields(schema)
    if not rows:
        return f"{plain(kind(schema, schema.get('$defs', {})))}.\n" if schema.get("type") != "object" else "Nothing.\n"
    if output:
        return table(("field", "type", "meaning"), ((code(row.path), code(row.kind), plain(row.words)) for row in rows))
    return table(
        ("field", "type", "default", "meaning"),
        ((code(row.path), code(row.kind), "required" if row.needed else code(row.default), plain(row.words)) for row in rows),
    )


def kind(schema: dict[str, Any], named: dict[str, Any]) -> str:
    """The type of a value in few words."""
    schema = _followed(schema, named)
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(one) for one in schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(kind(one, named) for one in options))
    match schema.get("type"):
        case "array":
            return f"list of {kind(schema.get('items', {}), named)}"
        case str(name):
            return name
        case [*names]:
            return " or ".join(names)
        case _:
            return "any"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_DEFAULT else f"{text[:_LONGEST_DEFAULT]}…"


def _followed(schema: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = {**named[schema["$ref"].rpartition("/")[2]], **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _inside(schema: dict[str, Any], named: dict[str, Any], path: str, above: tuple[str, ...], depth: int) -> Iterator[Field]:
    """The fields below a value. A type that holds itself is shown once."""
    reference = schema.get("$ref", "")
    if reference in above or depth > _DEEPEST:
        return
    schema = _followed(schema, named)
    above = (*above, reference) if reference else above
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _inside(one, named, path, above, depth)
    if isinstance(items := schema.get("items"), dict):
        yield from _inside(items, named, f"{path}[]", above, depth + 1)
    if isinstance(free := schema.get("additionalProperties"), dict):
        yield from _inside(free, named, f"{path}.*" if path else "*", above, depth + 1)
    needed = schema.get("required", ())
    for name, value in schema.get("properties", {}).items():
        whole = _followed(value, named)
        default = _short(json.dumps(whole["default"], ensure_ascii=False)) if "default" in whole else ""
        here = f"{path}.{name}" if path else name
        yield Field(here, kind(value, named), name in needed, default, whole.get("description", ""))
        yield from _inside(value, named, here, above, depth + 1)
