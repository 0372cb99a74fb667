"""Decodes Ollama's requests, chat and generate, into the internal model, naming the field at fault where one is not right.

Options that only Ollama has travel in ``extra`` under their path (``options.num_ctx``). Source: Ollama's API documentation,
"Generate a chat completion", "Generate a completion".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import (
    ChatRequest,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from hub.errors import BadRequest
from transports._fields import bad
from transports._raw_fields import Fields
from transports._tool_pairs import ToolPairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIALECT = "ollama"
#: Generate has an address and an answer of its own; what it asks for becomes a chat.
GENERATE = "ollama-generate"

_ROLES = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT, "tool": Role.TOOL}
_COUNTS = {"num_predict": "max_tokens", "top_k": "top_k", "seed": "seed"}
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
#: How the base64 of a picture begins: the format itself says no kind.
_PICTURES = {"iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp", "Qk": "image/bmp"}
#: What generate says of the model's own prompt template, or asks to be filled in between: a chat has no place for it.
_BEYOND = ("template", "context", "raw", "suffix")


def decode(body: bytes) -> ChatRequest:
    """A chat in the internal model. Raises BadRequest, its field like ``messages.2.content``."""
    return _guarded(body, _chat)


def decode_generate(body: bytes) -> ChatRequest:
    """A generate request as a chat of one turn. Raises BadRequest."""
    return _guarded(body, _generate)


def _guarded(body: bytes, read: Callable[[ChatRequest, Fields], None]) -> ChatRequest:
    try:
        fields = Fields(body)
        request = _begun(fields)
        read(request, fields)
        _options(request, fields.object("options"))
        request.extra |= fields.rest()
        return request
    except (RecursionError, UnicodeDecodeError) as error:
        raise BadRequest("Invalid JSON body: nested too deeply, or not UTF-8") from error


def _begun(fields: Fields) -> ChatRequest:
    model, streams = fields.text("model"), fields.flag("stream")
    if not model:
        bad("model", "is missing")
    request = ChatRequest(model=model, messages=[], dialect=DIALECT, stream=streams is not False, include_usage=True)
    request.format = _format(fields)
    request.thinking = _thinking(fields)
    request.logprobs, request.top_logprobs = fields.flag("logprobs"), fields.count("top_logprobs")
    return request


def _chat(request: ChatRequest, fields: Fields) -> None:
    pairs = ToolPairs()
    request.messages = [_message(item, pairs) for item in fields.objects("messages")]
    request.tools = [_tool(item) for item in fields.objects("tools")]


def _generate(request: ChatRequest, fields: Fields) -> None:
    system, prompt = fields.text("system"), fields.text("prompt")
    if system:
        request.messages.append(Message(Role.SYSTEM, [Text(system)]))
    parts: list[Part] = [Text(prompt)] if prompt else []
    request.messages.append(Message(Role.USER, [*parts, *_images(fields)]))
    request.extra |= {f"generate.{name}": value for name in _BEYOND if (value := fields.take(name))}


def _message(item: Fields, pairs: ToolPairs) -> Message:
    role = _ROLES.get(item.text("role"))
    if role is None:
        bad(item.path("role"), "must be system, user, assistant or tool")
    parts: list[Part] = []
    if thought := item.text("thinking"):
        parts.append(Reasoning(thought))
    if content := item.text("content"):
        parts.append(Text(content))
    parts += _images(item)
    if role is Role.TOOL:
        return _tool_message(item, parts, pairs)
    parts += [_call(call, pairs) for call in item.objects("tool_calls")]
    return Message(role, parts, extra=item.rest())


def _tool_message(item: Fields, parts: list[Part], pairs: ToolPairs) -> Message:
    name, older = item.text("tool_name"), item.text("name")
    call_id, asked = pairs.answered(name or older, item.text("tool_call_id"))
    if not call_id:
        bad(item.at, "no call of a tool comes before this result")
    return Message(Role.TOOL, [ToolResult(call_id, parts, name or older or asked, extra=item.rest())])


def _images(item: Fields) -> Iterator[Image]:
    path = item.path("images")
    for index, data in enumerate(item.texts("images")):
        kind = next((kind for start, kind in _PICTURES.items() if data.startswith(start)), "")
        if not kind:
            bad(f"{path}.{index}", "must be a PNG, JPEG, GIF, WebP or BMP picture in base64")
        yield Image(data=data, media_type=kind)


def _call(item: Fields, pairs: ToolPairs) -> ToolCall:
    function, given = item.object("function"), item.text("id")
    item.take("type")
    name = function.text("name") if function is not None else ""
    if function is None or not name:
        bad(item.path("function.name"), "is missing")
    function.take("index")
    arguments = function.raw("arguments")
    if arguments is not None:
        Fields(arguments, item.path("function.arguments"))
    words = bytes(arguments).decode() if arguments is not None else "{}"
    return ToolCall(pairs.asked(name, given), name, words, extra={**function.rest(), **item.rest()})


def _tool(item: Fields) -> Tool:
    kind, function = item.text("type") or "function", item.object("function")
    name = function.text("name") if function is not None else ""
    if kind != "function" or function is None or not name:
        bad(item.path("function.name"), "is missing; a tool is a function with a name")
    return Tool(name, function.text("description"), function.tree("parameters") or {}, extra={**function.rest(), **item.rest()})


def _options(request: ChatRequest, fields: Fields | None) -> None:
    if fields is None:
        return
    for wire, name in _COUNTS.items():
        setattr(request, name, fields.count(wire))
    if request.max_tokens is not None and request.max_tokens < 0:
        request.max_tokens = None  # -1 and -2 are "no limit" and "as much as fits"
    for wire, name in _NUMBERS.items():
        setattr(request, name, fields.number(wire))
    request.stop = fields.texts("stop", one=True)
    request.extra |= {f"options.{name}": value for name, value in fields.rest().items()}


def _format(fields: Fields) -> OutputFormat | None:
    if not fields.is_text("format"):
        schema = fields.tree("format")
        return None if schema is None else OutputFormat("schema", schema, name="response")
    word = fields.text("format")
    if word not in ("", "json"):
        bad("format", "must be json or a JSON Schema")
    return OutputFormat("json") if word else None


def _thinking(fields: Fields) -> Thinking | None:
    if fields.is_text("think"):
        word = fields.text("think").lower()
        if word not in ("true", "false"):
            return Thinking(effort=word) if word else None
        return Thinking(enabled=word == "true")
    wanted = fields.flag("think")
    return None if wanted is None else Thinking(enabled=wanted)
