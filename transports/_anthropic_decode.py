"""Decodes a Messages API request into the internal model, naming the field at fault where it is not one.

Fields and blocks that nobody here knows are carried along (D20). Source: Anthropic API reference, "Create a Message".
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, cast

import msgspec

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
from hub.seals import call_signature, is_sealed, own_signature
from transports._fields import bad, count, flag, items, joined, left, number, object_in, object_of, text, tree_of, words

if TYPE_CHECKING:
    from collections.abc import Callable

DIALECT = "anthropic"

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_MODES = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE, "tool": ToolMode.ONE}


class _Called(msgspec.Struct):
    """A block, if it is a call: its input as the client wrote it, so that its text is never re-written."""

    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Turn(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"[]")


class _Turns(msgspec.Struct):
    messages: list[_Turn] = []


_TURNS = msgspec.json.Decoder(_Turns)
_CALLS = msgspec.json.Decoder(list[_Called])


def decode(body: bytes) -> ChatRequest:
    """The request in the internal model. Raises BadRequest, its field like ``messages.2.content.0.text``."""
    fields = tree_of(body)
    model = fields.pop("model", None)
    if not isinstance(model, str) or not model:
        raise BadRequest("model: is missing", field="model")
    given = items(fields, "messages")
    if not given:
        bad("messages", "must be a list with at least one message")
    turns = _TURNS.decode(body).messages if b'"tool_use"' in body else []
    messages = _system(fields)
    for index, item in enumerate(given):
        messages += _message(object_of(item, f"messages.{index}"), f"messages.{index}", turns[index] if turns else None)
    request = ChatRequest(model=model, messages=messages, dialect=DIALECT)
    _options(request, fields)
    _thinking(request, fields)
    _tools(request, fields)
    request.extra = left(fields)
    return request


def _system(fields: JsonObject) -> list[Message]:
    parts = _parts(fields.pop("system", None), "system")
    return [Message(Role.SYSTEM, parts)] if parts else []


def _message(fields: JsonObject, at: str, turn: _Turn | None) -> list[Message]:
    """One turn as one message or two: results of tools come before what else the user says, as messages of their own."""
    word = fields.pop("role", None)
    role = _ROLES.get(word) if isinstance(word, str) else None
    if role is None:
        bad(f"{at}.role", "must be user or assistant")
    content = fields.pop("content", None)
    if content is None:
        bad(f"{at}.content", "is missing")
    parts = _parts(content, f"{at}.content", turn)
    results: list[Part] = [part for part in parts if isinstance(part, ToolResult)]
    rest: list[Part] = [part for part in parts if not isinstance(part, ToolResult)]
    found = [Message(Role.TOOL, results)] if results else []
    return [*found, Message(role, rest, extra=left(fields))] if rest or not results else found


def _parts(content: object, at: str, turn: _Turn | None = None) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        bad(at, "must be a string or a list of content blocks")
    reader = _Reader(at, turn)
    for index, item in enumerate(cast("list[object]", content)):
        reader.read(index, item)
    return reader.parts


class _Reader:
    """Reads the blocks of one turn; signatures of calls come in blocks before them."""

    def __init__(self, at: str, turn: _Turn | None) -> None:
        self.parts: list[Part] = []
        self._at = at
        self._turn = turn
        self._sealed: list[str] = []

    def read(self, index: int, item: object) -> None:
        """One block."""
        at = f"{self._at}.{index}"
        block = object_of(item, at)
        kind = block.get("type")
        if not isinstance(kind, str):
            bad(f"{at}.type", "is missing")
        if kind == "tool_use":
            self.parts.append(_call(block, at, _input(self._turn, index), self._sealed))
        elif kind == "redacted_thinking" and is_sealed(str(block.get("data"))):
            self._sealed.append(block["data"])
        else:
            reader = _READERS.get(kind)
            self.parts.append(reader(block, at) if reader is not None else Opaque(DIALECT, block))


def _input(turn: _Turn | None, index: int) -> str:
    raw = bytes(_CALLS.decode(turn.content)[index].input) if turn is not None else b"{}"
    return "{}" if raw == b"null" else raw.decode()


def _call(block: JsonObject, at: str, arguments: str, sealed: list[str]) -> Part:
    del block["type"]
    object_in(block, "input", at)
    call_id, name = text(block, "id", at), text(block, "name", at)
    if not call_id or not name:
        bad(f"{at}.{'id' if not call_id else 'name'}", "is missing")
    cache = object_in(block, "cache_control", at)
    signature = next((found for data in sealed if (found := call_signature(data, call_id))), "")
    return ToolCall(call_id, name, arguments, signature, cache, left(block))


def _text(block: JsonObject, at: str) -> Part:
    del block["type"]
    words = block.pop("text", None)
    if not isinstance(words, str):
        bad(f"{at}.text", "must be a string")
    return Text(words, object_in(block, "cache_control", at), left(block))


def _image(block: JsonObject, at: str) -> Part:
    source = dict(object_in(dict(block), "source", at) or {})
    kind = source.pop("type", None)
    if kind not in ("base64", "url"):
        return Opaque(DIALECT, block)
    cache, rest = object_in(block, "cache_control", at), {name: block[name] for name in block if name not in ("type", "source")}
    if kind == "url":
        return Image(url=_given(source, "url", at), cache=cache, extra=rest)
    return Image(data=_given(source, "data", at), media_type=_given(source, "media_type", at), cache=cache, extra=rest)


def _given(source: JsonObject, name: str, at: str) -> str:
    return text(source, name, f"{at}.source") or bad(f"{at}.source.{name}", "is missing")


def _document(block: JsonObject, at: str) -> Part:
    source = dict(object_in(dict(block), "source", at) or {})
    reader = _SOURCES.get(str(source.get("type")))
    made = reader(source, at) if reader is not None else None
    if made is None:
        return Opaque(DIALECT, block)
    made.cache = object_in(block, "cache_control", at)
    made.filename = text(block, "title", at)
    made.extra = {**made.extra, **{name: block[name] for name in block if name not in ("type", "source")}}
    return made


def _plain(words: str) -> str:
    return base64.b64encode(words.encode()).decode()


def _content_source(source: JsonObject, at: str) -> Document | None:
    """A document in blocks: for others as its text, where it is nothing but text."""
    parts = _parts(source.get("content"), f"{at}.source.content")
    if not all(isinstance(part, Text) for part in parts):
        return None
    whole = "\n".join(part.text for part in cast("list[Text]", parts))
    return Document(data=_plain(whole), media_type="text/plain", extra={"source": source})


_SOURCES: dict[str, Callable[[JsonObject, str], Document | None]] = {
    "base64": lambda source, at: Document(data=_given(source, "data", at), media_type=_given(source, "media_type", at)),
    "text": lambda source, at: Document(data=_plain(_given(source, "data", at)), media_type="text/plain"),
    "url": lambda source, at: Document(url=_given(source, "url", at)),
    "content": _content_source,
}


def _result(block: JsonObject, at: str) -> Part:
    del block["type"]
    call_id = text(block, "tool_use_id", at)
    if not call_id:
        bad(f"{at}.tool_use_id", "is missing; give the id of the tool_use block that this answers")
    parts = _parts(block.pop("content", None), f"{at}.content")
    failed, cache = flag(block, "is_error", at) or False, object_in(block, "cache_control", at)
    return ToolResult(call_id, parts, is_error=failed, cache=cache, extra=left(block))


def _thought(block: JsonObject, at: str) -> Part:
    return Reasoning(text(block, "thinking", at), own_signature(text(block, "signature", at)))


def _redacted(block: JsonObject, at: str) -> Part:
    return Reasoning(redacted=text(block, "data", at) or bad(f"{at}.data", "is missing"))


_READERS: dict[str, Callable[[JsonObject, str], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_result": _result,
    "thinking": _thought,
    "redacted_thinking": _redacted,
}


def _options(request: ChatRequest, fields: JsonObject) -> None:
    request.stream = flag(fields, "stream") or False
    request.max_tokens = count(fields, "max_tokens")
    request.temperature = number(fields, "temperature")
    request.top_p = number(fields, "top_p")
    request.top_k = count(fields, "top_k")
    request.stop = words(fields, "stop_sequences")
    metadata = dict(object_in(fields, "metadata") or {})
    request.user = text(metadata, "user_id", "metadata")
    if left(metadata):
        fields["metadata"] = left(metadata)


def _thinking(request: ChatRequest, fields: JsonObject) -> None:
    """Budget, effort and shape of the answer. Effort alone says how hard to try, and asks for no thinking."""
    output = dict(object_in(fields, "output_config") or {})
    effort = text(output, "effort", "output_config")
    _format(request, object_in(output, "format", "output_config") or object_in(fields, "output_format") or {})
    if left(output):
        fields["output_config"] = left(output)
    asked = object_in(fields, "thinking")
    if asked is None:
        request.thinking = Thinking(effort=effort, extra={"type": "unset"}) if effort else None
        return
    rest = dict(asked)
    kind, budget = text(rest, "type", "thinking"), count(rest, "budget_tokens", "thinking")
    if kind not in ("enabled", "disabled"):
        rest["type"] = kind or bad("thinking.type", "is missing")
    request.thinking = Thinking(effort=effort, budget=budget, enabled=kind != "disabled", extra=rest)


def _format(request: ChatRequest, wanted: JsonObject) -> None:
    if wanted.get("type") == "json_schema" and isinstance(wanted.get("schema"), dict):
        request.format = OutputFormat("schema", wanted["schema"])
    elif wanted:
        bad("output_config.format", "must be of type json_schema and have a schema")


def _tools(request: ChatRequest, fields: JsonObject) -> None:
    request.tools = [_tool(tool, f"tools.{index}") for index, tool in enumerate(items(fields, "tools"))]
    choice = object_in(fields, "tool_choice")
    if choice is None:
        return
    kind, one_by_one = choice.get("type"), choice.get("disable_parallel_tool_use")
    if kind not in _MODES:
        bad("tool_choice.type", "must be auto, any, tool or none")
    name = (text(dict(choice), "name", "tool_choice") or bad("tool_choice.name", "is missing")) if kind == "tool" else ""
    parallel = not one_by_one if isinstance(one_by_one, bool) else None
    request.tool_choice = ToolChoice(_MODES[kind], name, parallel)


def _tool(tool: object, at: str) -> Tool:
    fields = object_of(tool, at)
    kind = text(dict(fields), "type", at)
    if kind not in ("", "custom"):
        return Tool(kind, builtin=fields)
    fields.pop("type", None)
    name = text(fields, "name", at) or bad(joined(at, "name"), "is missing")
    return Tool(
        name,
        text(fields, "description", at),
        object_in(fields, "input_schema", at) or {},
        flag(fields, "strict", at),
        cache=object_in(fields, "cache_control", at),
        extra=left(fields),
    )
