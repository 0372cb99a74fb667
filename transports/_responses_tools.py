"""Tools of a Responses API request as functions, and the way back: what a call of such a function is called in the dialect.

Free-form tools become functions with one string; a namespace becomes the functions in it, each under a name that tells both.
Source: OpenAI API reference, "Create a model response", "tools"; guide "Function calling", "Defining namespaces".
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from hub.chat import JsonObject, Tool
from transports._fields import bad, flag, items, joined, left, object_in, object_of, objects, text

if TYPE_CHECKING:
    from collections.abc import Iterator

_FREE_FORM: JsonObject = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it takes it."}},
    "required": ["input"],
    "additionalProperties": False,
}
#: The longest name of a function that all vendors take.
_LONGEST = 64
_OWN = ("function", "custom")


class Offered(msgspec.Struct, frozen=True):
    """A tool as the client knows it. ``free`` ones take an input instead of arguments; ``namespace`` is empty for most."""

    name: str
    namespace: str = ""
    free: bool = False


def function_name(name: str, namespace: str) -> str:
    """The name of a tool as a function, the same each time: ``crm__list_orders``. What would be too long ends in a digest of it."""
    if not namespace:
        return name
    whole = f"{namespace.removesuffix('__')}__{name}"
    if len(whole) <= _LONGEST:
        return whole
    return f"{whole[: _LONGEST - 13]}_{blake2b(whole.encode(), digest_size=6).hexdigest()}"


def offered(fields: JsonObject) -> dict[str, Offered]:
    """The request's free-form tools and those of namespaces, by the names of their functions. All others keep theirs."""
    found: dict[str, Offered] = {}
    for tool in objects(fields.get("tools")):
        namespace = str(tool.get("name")) if tool.get("type") == "namespace" else ""
        for inner in objects(tool.get("tools")) if namespace else [tool]:
            free, name = inner.get("type") == "custom", str(inner.get("name") or "")
            if name and (free or namespace):
                found[function_name(name, namespace)] = Offered(name, namespace, free)
    return found


def tools_of(fields: JsonObject) -> list[Tool]:
    """Takes ``tools`` out of a request. What a namespace says of itself has no place in others and stays, to be reported."""
    found: list[Tool] = []
    for index, tool in enumerate(items(fields, "tools")):
        found += _tools(object_of(tool, f"tools.{index}"), f"tools.{index}", fields)
    return found


def _tools(tool: JsonObject, at: str, fields: JsonObject) -> Iterator[Tool]:
    kind = text(dict(tool), "type", at) or bad(joined(at, "type"), "is missing")
    if kind in _OWN:
        yield _tool(tool, at, "")
    elif kind == "namespace":
        namespace = _name(tool, at)
        if tool.get("description"):
            fields["tools.namespace.description"] = True
        for index, inner in enumerate(items(tool, "tools", at)):
            yield _tool(object_of(inner, f"{at}.tools.{index}"), f"{at}.tools.{index}", namespace)
    else:
        yield Tool(kind, builtin=tool)


def _name(tool: JsonObject, at: str) -> str:
    return text(tool, "name", at) or bad(joined(at, "name"), "is missing")


def _tool(tool: JsonObject, at: str, namespace: str) -> Tool:
    kind = text(tool, "type", at)
    if kind not in _OWN:
        bad(joined(at, "type"), "must be function or custom")
    name, described = function_name(_name(tool, at), namespace), text(tool, "description", at)
    if kind == "custom":
        return Tool(name, _told(described, object_in(tool, "format", at) or {}), _FREE_FORM)
    return Tool(name, described, object_in(tool, "parameters", at) or {}, flag(tool, "strict", at), extra=left(tool))


def _told(described: str, shape: JsonObject) -> str:
    """The description of a free-form tool; its grammar in words, as most targets have no other place for it."""
    grammar = shape.get("definition")
    if not isinstance(grammar, str):
        return described
    return f"{described}\n\nThe input must follow this {shape.get('syntax') or ''} grammar:\n{grammar}".strip()


def named(fields: JsonObject, at: str) -> str:
    """Takes ``name`` and ``namespace`` of a call or a choice and gives the name of its function; empty without a name."""
    name, namespace = text(fields, "name", at), text(fields, "namespace", at)
    return function_name(name, namespace) if name else ""


def allowed(choice: JsonObject) -> frozenset[str]:
    """The names of the functions that an ``allowed_tools`` choice leaves."""
    found = objects(choice.get("tools"))
    return frozenset(function_name(str(tool.get("name")), str(tool.get("namespace") or "")) for tool in found)
