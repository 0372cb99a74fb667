"""The REST addresses of every skill as an OpenAPI 3.1 document: a projection of the registry, like every other door (D7).

Where an address has a shape of its own (the seed's), its answer is described in words only: the schema is the skill's, not the wire's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from hub.skill import path_fields
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.registry import Skills
    from hub.skill import Rest, Skill

_BODIES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LOCAL = "#/$defs/"
_OBJECT = {"application/json": {"schema": {"type": "object"}}}
_ERRORS = {
    "400": "The request is wrong; it says which field.",
    "401": "No valid credential.",
    "403": "The credential does not reach this.",
    "404": "There is no such thing.",
}


def document(skills: Skills, base_url: str) -> dict[str, Any]:
    """Every address that answers; those that only point elsewhere are left out."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    for skill in skills:
        for address in skill.rest:
            if not address.moved:
                operation = _operation(skill, address, schemas)
                paths.setdefault(_plain(address.path), {})[address.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "HubRoute", "version": VERSION, "description": "Every skill of this hub that has a REST address."},
        "servers": [{"url": base_url}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of this hub."},
                "session": {"type": "apiKey", "in": "cookie", "name": "auth_token", "description": "The owner's browser."},
            },
        },
    }


def _operation(skill: Skill, address: Rest, schemas: dict[str, Any]) -> dict[str, Any]:
    named = path_fields(address.path)
    shape = _hoisted(skill.input_schema(), skill.name, schemas)
    properties: dict[str, Any] = shape.get("properties", {})
    found: dict[str, Any] = {
        "operationId": _identity(address),
        "summary": skill.summary,
        "tags": [skill.name.partition("-")[0]],
        "parameters": [_parameter(name, "path", _own(properties, name), required=True) for name in named],
        "responses": {
            str(address.status): _answer(skill, address, schemas),
            **{code: {"description": words, "content": _OBJECT} for code, words in _ERRORS.items()},
        },
        "security": [] if address.public else [{"key": sorted(skill.scopes)}, {"session": []}],
        "x-skill": skill.name,
        "x-read-only": skill.read_only,
        "x-destructive": skill.destructive,
    }
    rest = {name: schema for name, schema in properties.items() if name not in named}
    required = [name for name in shape.get("required", []) if name in rest]
    if address.method in _BODIES:
        found["requestBody"] = _body(skill, address, shape, rest, required)
    elif address.ask is None:
        found["parameters"] += [_parameter(name, "query", schema, required=name in required) for name, schema in rest.items()]
    return found


def _own(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The schema of a name in a path; one that the address itself reads is text."""
    schema: dict[str, Any] = properties.get(name, {"type": "string"})
    return schema


def _parameter(name: str, place: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema, "description": schema.get("description", "")}


def _body(skill: Skill, address: Rest, shape: Mapping[str, Any], rest: dict[str, Any], required: list[str]) -> dict[str, Any]:
    if not skill.typed or address.ask is not None or address.door:
        schema: dict[str, Any] = {"type": "object", "description": "The body of this address's own dialect."}
    else:
        schema = {"type": "object", "properties": rest, "required": required}
        if shape.get("additionalProperties") is False:
            schema["additionalProperties"] = False
    content = {"application/json": {"schema": schema}}
    if address.form:
        content["multipart/form-data"] = {"schema": {"type": "object"}}
    return {"required": bool(required), "content": content}


def _answer(skill: Skill, address: Rest, schemas: dict[str, Any]) -> dict[str, Any]:
    kind = "text/event-stream" if skill.streams else "application/json"
    output = None if address.view is not None or address.door else skill.output_schema()
    schema = _hoisted(output, skill.name, schemas) if output is not None else {}
    return {"description": "What was asked for.", "content": {kind: {"schema": schema}}}


def _hoisted(schema: Mapping[str, Any], owner: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema whose definitions stand among the document's own, each under a name that says whose it is."""

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            members = cast("dict[str, Any]", node)
            return {key: _place(value, owner) if key == "$ref" else moved(value) for key, value in members.items() if key != "$defs"}
        return [moved(one) for one in cast("list[Any]", node)] if isinstance(node, list) else node

    for name, inner in schema.get("$defs", {}).items():
        schemas[f"{owner}.{name}"] = moved(inner)
    return moved(schema)


def _place(reference: str, owner: str) -> str:
    return f"#/components/schemas/{owner}.{reference.removeprefix(_LOCAL)}" if reference.startswith(_LOCAL) else reference


def _plain(path: str) -> str:
    """A path as OpenAPI writes it: ``{rest:path}`` is ``{rest}``."""
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)


def _identity(address: Rest) -> str:
    """A name for an operation, made of its address as the seed's contract makes them."""
    return re.sub(r"[/.-]", "_", f"{address.method}_{_plain(address.path)}".lower().replace("{", "").replace("}", ""))
