"""Decodes an OpenAI chat request into the internal model, naming the field at fault where it is not one.

Fields and parts that nobody here knows are carried along (D20). Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import re
from typing import Any, cast

import orjson

from hub.chat import (
    ChatRequest,
    Document,
    Image,
    JsonObject,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from hub.errors import BadRequest
from transports._fields import bad, count, flag, items, left, object_in, text, tree_of

DIALECT = "openai"

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_ROLES = {role.value: role for role in Role} | {"function": Role.TOOL}
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_COUNTS = ("top_k", "seed", "n", "top_logprobs")


def decode(body: bytes) -> ChatRequest:
    """The request in the internal model. Raises BadRequest, its field like ``messages.2.content``."""
    fields = tree_of(body)
    model = fields.pop("model", None)
    if not isinstance(model, str) or not model:
        raise BadRequest("Missing model", field="model")
    request = ChatRequest(model=model, messages=_messages(fields.pop("messages", None)), dialect=DIALECT)
    _options(request, fields)
    _tools(request, fields)
    _format(request, fields)
    request.extra = left(fields)
    return request


def _messages(value: object) -> list[Message]:
    if not isinstance(value, list) or not value:
        bad("messages", "must be a list with at least one message")
    found: list[Message] = []
    for index, item in enumerate(cast("list[object]", value)):
        if not isinstance(item, dict):
            bad(f"messages.{index}", "must be an object")
        found.append(_message(dict(cast("JsonObject", item)), f"messages.{index}"))
    return found


def _message(fields: JsonObject, at: str) -> Message:
    word = fields.pop("role", None)
    role = _ROLES.get(word) if isinstance(word, str) else None
    if role is None:
        bad(f"{at}.role", "must be system, developer, user, assistant or tool")
    if role is Role.TOOL:
        return _tool_message(fields, at, legacy=word == "function")
    name = text(fields, "name", at)
    content = fields.pop("content", None)
    if content is None and role is not Role.ASSISTANT:
        bad(f"{at}.content", "is missing")
    parts = _parts(content, f"{at}.content")
    if role is Role.ASSISTANT:
        parts = [*_thoughts(fields), *parts, *_spoken(fields, at)]
    return Message(role, parts, name, left(fields))


def _tool_message(fields: JsonObject, at: str, *, legacy: bool) -> Message:
    name = text(fields, "name", at)
    call_id = text(fields, "tool_call_id", at) or (f"call_{name}" if legacy else "")
    if not call_id:
        bad(f"{at}.tool_call_id", "is missing; give the id of the tool call that this answers")
    parts = _parts(fields.pop("content", None), f"{at}.content")
    cache = object_in(fields, "cache_control", at)
    return Message(Role.TOOL, [ToolResult(call_id, parts, name, cache=cache, extra=left(fields))])


def _parts(content: object, at: str) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        bad(at, "must be a string or a list of parts")
    parts: list[Part] = []
    for index, item in enumerate(cast("list[object]", content)):
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):  # pyright: ignore[reportUnknownMemberType] - JSON
            bad(f"{at}.{index}", "must be an object with a type")
        parts.append(_part(cast("JsonObject", item), f"{at}.{index}"))
    return parts


def _part(item: JsonObject, at: str) -> Part:
    kind = item["type"]
    rest = {name: value for name, value in item.items() if name not in ("type", kind, "cache_control")}
    cache = object_in(dict(item), "cache_control", at)
    inner = item.get(kind)
    if kind == "text":
        if not isinstance(inner, str):
            bad(f"{at}.text", "must be a string")
        return Text(inner, cache, rest)
    if kind == "refusal":
        return Refusal(str(inner or ""))
    if kind == "image_url":
        return _image(inner, cache, rest, at)
    if not isinstance(inner, dict):
        return Opaque(DIALECT, item)
    return _file(kind, cast("JsonObject", inner), cache, rest) or Opaque(DIALECT, item)


def _image(inner: object, cache: JsonObject | None, rest: JsonObject, at: str) -> Image:
    fields = cast("JsonObject", inner) if isinstance(inner, dict) else {"url": inner}
    url, detail = fields.get("url"), fields.get("detail") or ""
    if not isinstance(url, str) or not url:
        bad(f"{at}.image_url.url", "must be an address or a data: URL")
    found = _DATA_URL.match(url)
    if found is None:
        return Image(url=url, detail=str(detail), cache=cache, extra=rest)
    return Image(data=url[found.end() :], media_type=found[1], detail=str(detail), cache=cache, extra=rest)


def _file(kind: str, inner: JsonObject, cache: JsonObject | None, rest: JsonObject) -> Document | None:
    if kind == "input_audio" and inner.get("format") in _AUDIO and isinstance(inner.get("data"), str):
        return Document(data=inner["data"], media_type=_AUDIO[inner["format"]], cache=cache, extra=rest)
    if kind != "file":
        return None
    data, filename = str(inner.get("file_data") or ""), str(inner.get("filename") or "")
    found = _DATA_URL.match(data)
    return Document(
        data=data[found.end() :] if found else data,
        media_type=found[1] if found else "",
        file_id=str(inner.get("file_id") or ""),
        filename=filename,
        cache=cache,
        extra=rest,
    )


def _thoughts(fields: JsonObject) -> list[Part]:
    older = fields.pop("reasoning", None)
    words = fields.pop("reasoning_content", None) or older
    found = _detailed(fields.pop("reasoning_details", None))
    if not isinstance(words, str) or not words or any(part.text for part in found):
        return [*found]
    # streamed thinking has its words and, at its end, its signature apart
    signature = found.pop(0).signature if found and found[0].signature else ""
    return [Reasoning(words, signature), *found]


def _detailed(details: object) -> list[Reasoning]:
    found: list[Reasoning] = []
    for detail in cast("list[object]", details) if isinstance(details, list) else ():
        part = cast("JsonObject", detail) if isinstance(detail, dict) else {}
        text, signature, data = (str(part.get(name) or "") for name in ("text", "signature", "data"))
        if text or signature or data:
            found.append(Reasoning(text, signature, data))
    return found


def _spoken(fields: JsonObject, at: str) -> list[Part]:
    refusal = text(fields, "refusal", at)
    parts: list[Part] = [Refusal(refusal)] if refusal else []
    for index, call in enumerate(items(fields, "tool_calls", at)):
        parts.append(_call(call, f"{at}.tool_calls.{index}"))
    legacy = fields.pop("function_call", None)
    if isinstance(legacy, dict):
        function = cast("JsonObject", legacy)
        parts.append(_call({"id": f"call_{function.get('name')}", "function": function}, f"{at}.function_call"))
    return parts


def _call(call: object, at: str) -> ToolCall:
    fields = dict(cast("JsonObject", call)) if isinstance(call, dict) else {}
    kind = fields.pop("type", None) or "function"
    call_id = fields.pop("id", None)
    if not isinstance(call_id, str) or not call_id:
        bad(f"{at}.id", "is missing")
    if kind not in ("function", "custom"):
        bad(f"{at}.type", "must be function or custom")
    name, arguments = _called(fields.pop(kind, None), kind, f"{at}.{kind}")
    cache = object_in(fields, "cache_control", at)
    signature = _thought_signature(fields)
    return ToolCall(call_id, name, arguments, signature, cache, {**fields, "type": "custom"} if kind == "custom" else fields)


def _called(function: object, kind: str, at: str) -> tuple[str, str]:
    """The name and the argument text, which is never re-written."""
    fields = cast("JsonObject", function) if isinstance(function, dict) else {}
    name, word = fields.get("name"), "arguments" if kind == "function" else "input"
    arguments = fields.get(word)
    if not isinstance(name, str) or not name:
        bad(f"{at}.name", "is missing")
    if isinstance(arguments, dict):
        return name, orjson.dumps(arguments).decode()
    if arguments is not None and not isinstance(arguments, str):
        bad(f"{at}.{word}", "must be JSON text in a string")
    return name, arguments or "{}"


def _thought_signature(fields: JsonObject) -> str:
    """The signature some models bind to a call, where their OpenAI-shaped answers carry it."""
    value: Any = fields.get("extra_content")
    for name in ("google", "thought_signature"):
        value = cast("JsonObject", value).get(name) if isinstance(value, dict) else None
    if not isinstance(value, str):
        return ""
    del fields["extra_content"]
    return value


def _options(request: ChatRequest, fields: JsonObject) -> None:
    for name in _NUMBERS:
        value = fields.pop(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            bad(name, "must be a number")
        setattr(request, name, value)
    for name in _COUNTS:
        setattr(request, name, count(fields, name))
    request.logprobs = flag(fields, "logprobs")
    request.stream = flag(fields, "stream") or False
    request.user = text(fields, "user")
    newer, older = count(fields, "max_completion_tokens"), count(fields, "max_tokens")
    request.max_tokens = older if newer is None else newer
    request.stop = _stop(fields.pop("stop", None))
    request.thinking = _thinking(fields)
    options = object_in(fields, "stream_options") or {}
    request.include_usage = options.pop("include_usage", False) is True
    if options:
        fields["stream_options"] = options


def _stop(value: object) -> list[str]:
    if value is None:
        return []
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(item, str) for item in cast("list[object]", found)):
        bad("stop", "must be a string or a list of strings")
    return cast("list[str]", found)


def _thinking(fields: JsonObject) -> Thinking | None:
    effort = text(fields, "reasoning_effort")
    if effort:
        return Thinking(effort=effort, enabled=effort != "none")
    wanted = fields.get("reasoning")
    if not isinstance(wanted, dict):
        return None
    asked = cast("JsonObject", fields.pop("reasoning"))
    word, budget = asked.get("effort"), asked.get("max_tokens")
    return Thinking(
        effort=word if isinstance(word, str) else "",
        budget=budget if isinstance(budget, int) else None,
        enabled=asked.get("enabled") is not False and word != "none",
    )


def _tools(request: ChatRequest, fields: JsonObject) -> None:
    tools = items(fields, "tools")
    request.tools = [_tool(tool, f"tools.{index}") for index, tool in enumerate(tools)]
    legacy = items(fields, "functions")
    request.tools += [_tool({"type": "function", "function": one}, f"functions.{index}") for index, one in enumerate(legacy)]
    choice = fields.pop("tool_choice", None)
    if choice is None:
        choice = _legacy_choice(fields.pop("function_call", None))
    parallel = flag(fields, "parallel_tool_calls")
    chosen = _choice(choice)
    if chosen is None and choice is not None:
        fields["tool_choice"] = choice
    if chosen is not None or parallel is not None:
        request.tool_choice = chosen or ToolChoice()
        request.tool_choice.parallel = parallel


def _legacy_choice(value: object) -> object:
    return {"type": "function", "function": cast("JsonObject", value)} if isinstance(value, dict) else value


def _choice(value: object) -> ToolChoice | None:
    """The choice in our words; None for one that only this dialect has."""
    if isinstance(value, str):
        modes = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "required": ToolMode.REQUIRED, "any": ToolMode.REQUIRED}
        if value not in modes:
            bad("tool_choice", "must be auto, none, required or a named function")
        return ToolChoice(modes[value])
    fields = cast("JsonObject", value) if isinstance(value, dict) else {}
    function = fields.get("function")
    name = cast("JsonObject", function).get("name") if isinstance(function, dict) else None
    return ToolChoice(ToolMode.ONE, name) if fields.get("type") == "function" and isinstance(name, str) else None


def _tool(tool: object, at: str) -> Tool:
    fields = dict(cast("JsonObject", tool)) if isinstance(tool, dict) else {}
    kind = fields.pop("type", None)
    if not isinstance(kind, str):
        bad(f"{at}.type", "is missing")
    if kind != "function":
        return Tool(kind, builtin=cast("JsonObject", tool))
    function = dict(object_in(fields, "function", at) or {})
    name = function.get("name")
    if not isinstance(name, str) or not name:
        bad(f"{at}.function.name", "is missing")
    return Tool(
        name,
        text(function, "description", f"{at}.function"),
        object_in(function, "parameters", f"{at}.function") or {},
        flag(function, "strict", f"{at}.function"),
        cache=object_in(fields, "cache_control", at),
        extra=fields,
    )


def _format(request: ChatRequest, fields: JsonObject) -> None:
    wanted = fields.get("response_format")
    if wanted is None:
        return
    tree = dict(cast("JsonObject", wanted)) if isinstance(wanted, dict) else {}
    kind = text(tree, "type", "response_format")
    if not kind:
        bad("response_format.type", "is missing")
    if kind == "json_schema":
        request.format = _schema(object_in(tree, "json_schema", "response_format") or {}, "response_format.json_schema")
    elif kind == "json_object":
        request.format = OutputFormat("json")
    elif kind != "text":
        return
    del fields["response_format"]


def _schema(inner: JsonObject, at: str) -> OutputFormat:
    schema, strict = object_in(inner, "schema", at) or {}, flag(inner, "strict", at)
    return OutputFormat("schema", schema, text(inner, "name", at), strict, text(inner, "description", at))
