"""Decodes a request of the Responses API into the internal model, naming the field at fault where it is not one.

Source: OpenAI API reference, "Create a model response".
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from hub.chat import ChatRequest, JsonObject, OutputFormat, Role, Text, Thinking, ToolChoice, ToolMode
from hub.errors import BadRequest
from hub.providers.base import RawChat
from transports._fields import bad, count, flag, items, left, number, object_in, object_of, objects, text, tree_of
from transports._responses_items import DIALECT, Conversation, answer_of, item_id
from transports._responses_tools import allowed, named, tools_of

#: What says how an answer is kept, followed and checked, and shapes none of it.
_ASIDE = (
    "background", "client_metadata", "metadata", "previous_response_id", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "store", "stream_options", "max_tool_calls",
)  # fmt: skip
#: Values that ask for what every target does anyway.
_NEUTRAL: JsonObject = {"truncation": "disabled", "service_tier": "auto"}
_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED}
_REFERENCE = "item_reference"
_NOT_OFFERED = (("conversation", "use previous_response_id"), ("prompt", "send instructions and input"))
_LOGPROBS = "message.output_text.logprobs"


class Asked(msgspec.Struct, frozen=True):
    """A request as the door reads it: ``fields`` as the client wrote them, ``given`` its own items, ``raw`` for the engine.

    ``stream`` is the client's wish; what is worked on in the background always streams to the engine. ``resolved`` says that ``given``
    holds items of earlier answers in place of what referred to them.
    """

    raw: RawChat
    fields: JsonObject
    given: list[Any]
    stream: bool
    store: bool
    background: bool
    previous: str
    resolved: bool = False


def read(body: bytes) -> Asked:
    """The request's envelope. Raises BadRequest for one that is none, and for what this hub does not offer."""
    fields = tree_of(body)
    model = _model(fields)
    for name, instead in _NOT_OFFERED:
        if fields.get(name) is not None:
            bad(name, f"is not offered here; {instead}")
    seen = dict(fields)
    previous = text(seen, "previous_response_id")
    stream, store, background = (flag(seen, name) for name in ("stream", "store", "background"))
    if background and store is False:
        bad("background", "needs store to be true, so that the response can be asked for later")
    key = seen.get("prompt_cache_key")
    raw = RawChat(
        DIALECT,
        body,
        model,
        stream=bool(stream or background),
        max_tokens=_limit(seen.get("max_output_tokens")),
        # what an answer goes on from is not in the body, so the same body may ask for another one
        cacheable=seen.get("temperature") == 0 and not previous,
        session=key if isinstance(key, str) else "",
    )
    return Asked(raw, fields, _given(seen.get("input"), previous), bool(stream), store is not False, bool(background), previous)


def _model(fields: JsonObject) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model.strip():
        raise BadRequest("model: must be a string" if model else "Missing model", field="model")
    return model


def _given(value: Any, previous: str) -> list[Any]:
    """The request's items; none where it only goes on from an earlier answer."""
    given: Any = [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) and value else value or []
    if not isinstance(given, list) or not (given or previous):
        bad("input", "must be a string or a list with at least one item")
    return cast("list[Any]", given)


def _limit(tokens: object) -> int | None:
    return tokens if type(tokens) is int and tokens > 0 else None


def decode(asked: Asked, before: list[Any]) -> ChatRequest:
    """The request in the internal model; ``before`` are the items that its conversation has already. Raises BadRequest."""
    fields = {name: value for name, value in asked.fields.items() if value is not None and value != _NEUTRAL.get(name)}
    conversation = Conversation()
    instructions = text(fields, "instructions")
    if instructions:
        conversation.said(Role.SYSTEM, [Text(instructions)])
    conversation.add(before, "previous_response_id")
    conversation.add(asked.given, "input")
    del fields["model"]
    fields.pop("input", None)
    fields.pop("stream", None)
    request = ChatRequest(model=asked.raw.model, messages=conversation.messages, dialect=DIALECT, stream=asked.raw.stream)
    _options(request, fields)
    _tools(request, fields)
    for name in _ASIDE:
        fields.pop(name, None)
    request.extra = left(fields)
    return request


def kept_items(asked: Asked, response_id: str) -> list[Any]:
    """The request's own items as they are kept and listed: each has an id and a type, and a message its content in parts."""
    kept: list[Any] = []
    for index, item in enumerate(objects(asked.given)):
        made = {"type": "message", **item} if "role" in item else dict(item)
        content = made.get("content")
        if made["type"] == "message" and isinstance(content, str):
            kind = "output_text" if made["role"] == "assistant" else "input_text"
            made["content"] = [{"type": kind, "text": content}]
        made.setdefault("id", item_id("in", response_id, index))
        kept.append(made)
    return kept


def shell(asked: Asked, response_id: str, now: int) -> JsonObject:
    """The response object before anything was said, with the request as it was understood. ``now`` in seconds."""
    fields = asked.fields

    def given(name: str, instead: Any = None) -> Any:
        value = fields.get(name)
        return instead if value is None else value

    shape: Any = given("text", {})
    reasoning: Any = given("reasoning", {})
    return {
        "id": response_id,
        "object": "response",
        "created_at": now,
        "status": "in_progress",
        "background": asked.background,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": given("instructions"),
        "max_output_tokens": given("max_output_tokens"),
        "max_tool_calls": given("max_tool_calls"),
        "model": asked.raw.model,
        "output": [],
        "parallel_tool_calls": given("parallel_tool_calls", True),
        "previous_response_id": asked.previous or None,
        "prompt_cache_key": given("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **reasoning},
        "safety_identifier": given("safety_identifier"),
        "service_tier": given("service_tier", "default"),
        "store": asked.store,
        "temperature": given("temperature", 1.0),
        "text": {"format": {"type": "text"}, **shape},
        "tool_choice": given("tool_choice", "auto"),
        "tools": given("tools", []),
        "top_logprobs": given("top_logprobs", 0),
        "top_p": given("top_p", 1.0),
        "truncation": given("truncation", "disabled"),
        "usage": None,
        "user": given("user"),
        "metadata": given("metadata", {}),
    }


def references(asked: Asked, before: list[Any]) -> list[str]:
    """The answers that items of the request refer to, beyond those that its conversation has already; each once."""
    known = _ids(before)
    named = [str(item.get("id")) for item in objects(asked.given) if item.get("type") == _REFERENCE]
    return list(dict.fromkeys(answer_of(one) for one in named if one not in known))


def resolved(asked: Asked, before: list[Any], kept: list[Any]) -> Asked:
    """The request with items in place of what refers to them. Raises BadRequest for a reference that leads nowhere.

    ``before`` are the items that its conversation has already, ``kept`` those of the answers that :func:`references` names.
    """
    known, found = _ids(before), {item.get("id"): item for item in objects(kept)}
    given: list[Any] = []
    for index, item in enumerate(asked.given):
        fields: JsonObject = cast("JsonObject", item) if isinstance(item, dict) else {}
        if fields.get("type") != _REFERENCE:
            given.append(item)
        elif (named := fields.get("id")) in found:
            given.append(found[named])
        elif named not in known:
            bad(f"input.{index}.id", f"no item {str(named)[:80]!r} is kept for this key; send the item itself, or ask for `store`: false")
        # an item of the conversation is there already, in its place
    return msgspec.structs.replace(asked, given=given, resolved=True)


def _ids(items: list[Any]) -> set[Any]:
    return {item.get("id") for item in objects(items)}


def _options(request: ChatRequest, fields: JsonObject) -> None:
    request.max_tokens = count(fields, "max_output_tokens")
    request.temperature = number(fields, "temperature")
    request.top_p = number(fields, "top_p")
    request.user = text(fields, "user")
    request.top_logprobs = count(fields, "top_logprobs")
    wanted = items(fields, "include")
    if request.top_logprobs or _LOGPROBS in wanted:
        request.logprobs = True
    reasoning = object_in(fields, "reasoning") or {}
    effort = text(dict(reasoning), "effort", "reasoning")
    if effort:
        request.thinking = Thinking(effort=effort, enabled=effort != "none")
    shape = dict(object_in(fields, "text") or {})
    _format(request, object_in(shape, "format", "text") or {})
    fields.update({f"text.{name}": value for name, value in left(shape).items()})


def _format(request: ChatRequest, wanted: JsonObject) -> None:
    kind = wanted.get("type")
    if kind == "json_schema":
        at, rest = "text.format", dict(wanted)
        schema = object_in(rest, "schema", at) or {}
        request.format = OutputFormat("schema", schema, text(rest, "name", at), flag(rest, "strict", at), text(rest, "description", at))
    elif kind == "json_object":
        request.format = OutputFormat("json")
    elif kind not in (None, "text"):
        bad("text.format.type", "must be text, json_object or json_schema")


def _tools(request: ChatRequest, fields: JsonObject) -> None:
    request.tools = tools_of(fields)
    choice = _choice(request, fields.pop("tool_choice", None))
    parallel = flag(fields, "parallel_tool_calls")
    if choice is not None or (parallel is not None and request.tools):
        request.tool_choice = choice or ToolChoice()
        request.tool_choice.parallel = parallel


def _choice(request: ChatRequest, value: object) -> ToolChoice | None:
    """The choice in our words. Raises BadRequest for a tool that must be called and that only the vendor itself can run."""
    if value is None:
        return None
    if isinstance(value, str):
        return ToolChoice(_MODES[value]) if value in _MODES else bad("tool_choice", "must be auto, none, required or a tool")
    fields = object_of(value, "tool_choice")
    kind = fields.get("type")
    if kind in ("function", "custom"):
        return ToolChoice(ToolMode.ONE, named(fields, "tool_choice") or bad("tool_choice.name", "is missing"))
    if kind != "allowed_tools":
        bad("tool_choice", f"{str(kind)[:40]!r} would have to run at the vendor, which no target here does; name a function")
    names = allowed(fields)
    request.tools = [tool for tool in request.tools if tool.name in names]
    return ToolChoice(ToolMode.REQUIRED if fields.get("mode") == "required" else ToolMode.AUTO)
