"""Skills as MCP tools: what ``tools/list`` shows of each, and the result of a call (D7, D9).

Plain dictionaries in the protocol's own shape; nothing here needs the SDK.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel

from hub.compression import deferred
from hub.errors import Internal
from hub.log import logger
from hub.skill import CostClass
from hub.upstream.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hub.call import Hub
    from hub.context import Context
    from hub.errors import HubError
    from hub.skill import Skill

log = logger("transports.mcp")

#: The tools through which all others can be found and called.
_FINDERS = frozenset(("omniroute_tool_search", "omniroute_tool_call"))
#: The argument by which a client that cannot ask its user says that a destructive call is meant.
CONFIRM = "confirm"
_CONFIRM_SCHEMA = {
    "type": "boolean",
    "default": False,
    "description": "Set it to true once the user has agreed: this cannot be undone. Clients that can ask the user are asked instead.",
}

#: Where an error's structured detail stands in a result's ``_meta``.
ERROR_META = "hubroute/error"


@dataclass(frozen=True, slots=True)
class Tool:
    """A skill that has an MCP address. ``shown`` is its entry in ``tools/list``.

    ``field`` names the one field that holds the output where the output itself is not an object: a
    structured result is always an object in revisions before 2026-07-28.
    """

    name: str
    skill: Skill
    shown: dict[str, Any]
    field: str

    @classmethod
    def of(cls, skill: Skill, name: str) -> Tool:
        """The tool of a skill."""
        schema, field = _output(skill)
        shown: dict[str, Any] = {
            "name": name,
            "title": skill.name.replace("-", " ").capitalize(),
            "description": skill.description,
            "inputSchema": _confirmed(skill, _object(skill.input_schema())),
            "annotations": {
                "title": skill.name.replace("-", " ").capitalize(),
                "readOnlyHint": skill.read_only,
                "destructiveHint": skill.destructive,
                "idempotentHint": skill.idempotent,
                "openWorldHint": skill.cost is not CostClass.FREE,
            },
        }
        if schema is not None:
            shown["outputSchema"] = schema
        return cls(name, skill, shown, field)

    def plain(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments that are the skill's own."""
        own = self.skill.schema is not None and CONFIRM in (self.skill.schema.get("properties") or {})
        if self.skill.destructive and CONFIRM in arguments and not own:
            return {name: value for name, value in arguments.items() if name != CONFIRM}
        return arguments

    async def run(self, hub: Hub, arguments: Mapping[str, Any], ctx: Context) -> Any:
        """Call the skill and give its output, of a stream all items. Raises what ``hub.call`` raises."""
        if self.skill.streams:
            return await _collect(hub, self.skill, self.plain(arguments), ctx)
        return await hub.call(self.skill, self.plain(arguments), ctx)

    def json(self, output: Any) -> bytes:
        """An output as the JSON object that clients see."""
        address = self.skill.mcp
        shown = address.view(output) if address and address.view else output
        return orjson.dumps({self.field: shown} if self.field else shown, default=_plain)

    async def call(self, hub: Hub, arguments: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
        """Call the skill and give its output as a tool result: the JSON as text, and the same as structure. Raises as :meth:`run`."""
        output = await self.run(hub, arguments, ctx)
        if isinstance(output, Outcome):
            return output.wire()
        text = self.json(output)
        # Read back from the text, so that both are equal: what JSON cannot say (NaN) is null in both.
        content = [{"type": "text", "text": text.decode()}]
        return {"content": content, "structuredContent": orjson.loads(text), "isError": False, "resultType": "complete"}


class Tools:
    """The tools of a hub: all of them by name, and those that a caller may see."""

    def __init__(self, skills: Iterable[Skill], *, version: int = 0, brief: bool = False) -> None:
        #: Which state of the registry these are of, and whether they are listed with shortened descriptions.
        self.version = version
        self.brief = brief
        made = (Tool.of(skill, skill.mcp.tool) for skill in skills if skill.mcp and skill.typed)
        self.by_name = {tool.name: tool for tool in sorted(made, key=lambda tool: tool.name)}
        schemas = {tool.name: tool.shown["inputSchema"] for tool in self.by_name.values()}
        self._listed = {
            name: deferred.workshop().descriptions.tool(tool.shown) if brief else tool.shown for name, tool in self.by_name.items()
        }
        self._mirrored = {name: schema for name, schema in schemas.items() if '"x-mcp-header"' in as_text(schema)}

    def shown(self, scopes: frozenset[str], *, profile: str = "core") -> list[dict[str, Any]]:
        """The tools of a profile whose scopes a caller holds, by name. Tools outside the profile stay callable (D9).

        A profile is ``core``, ``all``, or names with commas between them, in which ``*`` stands for anything; the tools
        that find and call others are in each.
        """
        listed = _listed(profile)
        return [self._listed[tool.name] for tool in self.by_name.values() if tool.skill.scopes <= scopes and listed(tool)]

    def mirrored(self) -> Mapping[str, dict[str, Any]]:
        """Input schemas that ask clients to repeat a parameter as an HTTP header (``x-mcp-header``), by tool name."""
        return self._mirrored


def _listed(profile: str) -> Callable[[Tool], bool]:
    if profile in ("core", "all"):
        return lambda tool: tool.skill.mcp is not None and profile in tool.skill.mcp.profiles
    patterns = [part.strip() for part in profile.split(",")]
    return lambda tool: tool.name in _FINDERS or any(fnmatchcase(tool.name, pattern) for pattern in patterns)


def failure(error: HubError, request_id: str) -> dict[str, Any]:
    """A failed call as a tool result: words for the model, the parts of the error for programs."""
    detail: dict[str, Any] = {"code": error.code, "requestId": request_id}
    if error.field:
        detail["field"] = error.field
    if error.retry_after is not None:
        detail["retryAfter"] = error.retry_after
    if error.data:
        detail["data"] = error.data
    return {
        "content": [{"type": "text", "text": f"Error: {error.message}"}],
        "isError": True,
        "resultType": "complete",
        "_meta": {ERROR_META: detail},
    }


def fault(tool: Tool, ctx: Context, error: Exception) -> dict[str, Any]:
    """A call that a fault of ours ended, as a tool result; the cause goes to the log."""
    log.error("tool failed", tool=tool.name, request_id=ctx.request_id, exc_info=error)
    return failure(Internal(f"{tool.name} failed inside the hub; the log has the cause under {ctx.request_id}"), ctx.request_id)


async def _collect(hub: Hub, skill: Skill, arguments: Mapping[str, Any], ctx: Context) -> list[Any]:
    """All items of a streaming skill; each one is reported as it comes."""
    items: list[Any] = []
    async for item in hub.stream(skill, arguments, ctx):
        items.append(item)
        await ctx.progress(len(items))
    return items


def as_text(value: Any) -> str:
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return list(value)


def _output(skill: Skill) -> tuple[dict[str, Any] | None, str]:
    """The schema of a skill's result, None where nothing is known of it, and the field that wraps it."""
    view = skill.mcp.view if skill.mcp else None
    if view is not None:
        shape: Any = typing.get_type_hints(view).get("return")
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            return _object(shape.model_json_schema(by_alias=True, mode="serialization")), ""
        return None, ""
    schema = skill.output_schema()
    if skill.streams:
        return _wrapped({"type": "array", "items": schema or {}}, schema, "items"), "items"
    if schema is None:
        return None, "result"
    if schema.get("type", "object") != "object":
        return _wrapped(schema, schema, "result"), "result"
    return _object(schema), ""


def _wrapped(inner: dict[str, Any], source: dict[str, Any] | None, field: str) -> dict[str, Any]:
    """An object schema with one field; definitions move to the top, where references look for them."""
    whole: dict[str, Any] = {"type": "object", "properties": {field: inner}, "required": [field]}
    if source and "$defs" in source:
        whole["$defs"] = source.pop("$defs")
    return whole


def _confirmed(skill: Skill, schema: dict[str, Any]) -> dict[str, Any]:
    """An input schema with the argument that confirms, for what destroys something.

    Raises ValueError where a skill of ours has a field of that name; another server's own serves as the argument.
    """
    fields: dict[str, Any] = schema.get("properties") or {}
    if not skill.destructive or (skill.source and CONFIRM in fields):
        return schema
    if CONFIRM in fields:
        raise ValueError(f"skill {skill.name}: the input field {CONFIRM!r} is the door's own for destructive tools; name it otherwise")
    return {**schema, "properties": {**fields, CONFIRM: _CONFIRM_SCHEMA}}


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that says itself that it is an object, as MCP demands; pydantic leaves that to a reference in recursive models."""
    return schema if schema.get("type") == "object" else {**schema, "type": "object"}
