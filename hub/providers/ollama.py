"""The adapter for Ollama's own chat API: newline-delimited JSON, tool arguments as objects, images as base64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Image, Opaque, Reasoning, Refusal, Role, Text, ToolCall, ToolMode, ToolResult
from hub.errors import BadRequest
from hub.providers import _ollama_answer as answer
from hub.providers._arguments import object_of
from hub.providers._encoding import SYSTEM_ROLES, Encoding, kind_of, merged, nested, wants
from hub.providers._request import build
from hub.providers._wire import Reading, WireFormat
from hub.providers.base import Adapter, Prepared, RawChat, Target
from hub.splice import replace_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.chat import ChatRequest, JsonObject, Message, Part, Thinking, Tool
    from hub.outbound.base import Outgoing

DIALECT = "ollama"

_OPTIONS = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


def encode(request: ChatRequest, target: Target) -> tuple[bytes, list[str]]:
    """The body, and the names of what it cannot carry. Raises BadRequest for a part that the format cannot express."""
    encoding = Encoding(request, target, dialect=DIALECT)
    messages: list[JsonObject] = []
    for index, message in enumerate(request.messages):
        encoding.envelope(message)
        messages += _messages(encoding, message, index)
    body: JsonObject = {"model": target.model, "messages": messages, "stream": request.stream}
    _tools(encoding, body)
    if request.format is not None and request.format.kind != "text":
        body["format"] = request.format.schema if request.format.kind == "schema" else "json"
    if request.thinking is not None:
        _think(encoding, body, request.thinking)
    if request.logprobs:
        body["logprobs"] = True
        body |= {"top_logprobs": request.top_logprobs} if request.top_logprobs else {}
    encoding.drop_set("n", "user")
    extra = nested(encoding.kept(request.extra))
    for name in extra.pop("generate", ()):
        encoding.drop(name)
    options = merged(extra.pop("options", None), _options(encoding))
    if options:
        body["options"] = options
    return msgspec.json.encode({**extra, **body}), encoding.dropped


def _options(encoding: Encoding) -> JsonObject:
    given = {wire: getattr(encoding.request, name) for name, wire in _OPTIONS.items()}
    given["num_predict"] = encoding.max_tokens()
    options: JsonObject = {name: value for name, value in given.items() if value is not None and value != []}
    encoding.refuse(options, _OPTIONS)
    return options


def _messages(encoding: Encoding, message: Message, index: int) -> list[JsonObject]:
    """The messages that one becomes: each tool result is one of its own."""
    if message.role in SYSTEM_ROLES:
        texts = encoding.texts(message)
        return [{"role": "system", "content": "\n".join(text.text for text in texts)}] if texts else []
    made = [_result(encoding, part, index) for part in message.parts if isinstance(part, ToolResult)]
    rest = [part for part in message.parts if not isinstance(part, ToolResult)]
    if rest:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        made.append({"role": role, **_content(encoding, rest, index)})
    return made


def _content(encoding: Encoding, parts: Sequence[Part], index: int) -> JsonObject:
    made: dict[str, list[Any]] = {"content": [], "thinking": [], "images": [], "tool_calls": []}
    for part in parts:
        _put(encoding, part, index, made)
    joined: JsonObject = {"content": "\n".join(made.pop("content")), "thinking": "".join(made.pop("thinking")), **made}
    return {name: value for name, value in joined.items() if value or name == "content"}


def _put(encoding: Encoding, part: Part, index: int, made: dict[str, list[Any]]) -> None:
    match part:
        case Text() | Refusal():
            made["content"] += [part.text] if part.text else []
            _report(encoding, part)
        case Image():
            made["images"].append(_image(encoding, part, index))
        case Reasoning():
            made["thinking"].append(part.text)
            if part.signature or part.redacted:
                encoding.drop("reasoning.signature")
        case ToolCall():
            made["tool_calls"].append(_call(encoding, part, index))
        case Opaque():
            encoding.opaque(part, dialect=DIALECT)
        case _:
            raise BadRequest(
                f"messages[{index}]: this provider takes text and images, not a {kind_of(part)}", field=f"messages[{index}].content"
            )


def _report(encoding: Encoding, part: Text | Refusal | Image | ToolCall | ToolResult) -> None:
    """Name what a part has beside its content: a cache marker, signatures, citations."""
    if isinstance(part, Refusal):
        return
    if part.cache is not None:
        encoding.drop("cache_control")
    for name in part.extra:
        encoding.drop(name)


def _image(encoding: Encoding, part: Image, index: int) -> str:
    if not part.data:
        raise BadRequest(
            f"messages[{index}]: this provider takes images as base64 data only, and does not fetch addresses",
            field=f"messages[{index}].content",
        )
    if part.detail not in ("", "auto"):
        encoding.drop("detail")
    _report(encoding, part)
    return part.data


def _call(encoding: Encoding, part: ToolCall, index: int) -> JsonObject:
    if part.signature:
        encoding.drop("tool_call.signature")
    _report(encoding, part)
    made: JsonObject = {"function": {"name": part.name, "arguments": object_of(part.arguments, message=index)}}
    return {"id": part.id, **made} if part.id else made


def _result(encoding: Encoding, part: ToolResult, index: int) -> JsonObject:
    content = _content(encoding, part.parts, index)
    made: JsonObject = {"role": "tool", **content}
    for name, value in (("tool_name", part.name), ("tool_call_id", part.call_id)):
        if value:
            made[name] = value
    if part.is_error:
        encoding.drop("tool_result.is_error")
    _report(encoding, part)
    return made


def _tools(encoding: Encoding, body: JsonObject) -> None:
    choice = encoding.request.tool_choice
    tools = [made for tool in encoding.request.tools if (made := _tool(encoding, tool)) is not None]
    # The format has no tool_choice; without tools none can be called, which is what "none" asks for.
    if tools and (choice is None or choice.mode is not ToolMode.NONE):
        body["tools"] = tools
    if choice is not None and choice.mode in (ToolMode.REQUIRED, ToolMode.ONE):
        encoding.drop("tool_choice")
    if choice is not None and choice.parallel is False:
        encoding.drop("parallel_tool_calls")


def _tool(encoding: Encoding, tool: Tool) -> JsonObject | None:
    if tool.builtin is not None:
        encoding.drop(f"tools.{tool.name}")
        return None
    for name, given in (("tools.strict", tool.strict), ("cache_control", tool.cache)):
        if given:
            encoding.drop(name)
    function: JsonObject = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": {key: value for key, value in function.items() if value}, **encoding.kept(tool.extra)}


def _think(encoding: Encoding, body: JsonObject, asked: Thinking) -> None:
    wanted = wants(asked)
    if encoding.lacks("reasoning"):
        if wanted:
            encoding.drop("thinking")
        return
    for name in asked.extra:
        encoding.drop(name)
    if not wanted:
        body["think"] = False
    elif asked.effort in _LEVELS:
        body["think"] = _LEVELS[asked.effort]
    else:
        body["think"] = True
        if asked.budget is not None:
            encoding.drop("thinking.budget")


class _Listed(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Listed]


def _models(body: bytes) -> list[str]:
    return [model.name for model in msgspec.json.decode(body, type=_Models).models]


class Ollama(WireFormat):
    """Encodes to, decodes from and passes through ``/api/chat``."""

    name = "ollama"
    dialect = DIALECT
    reading = Reading(answer.parse, answer.usage_of, _models, answer.OllamaDecoder, answer.OllamaWatcher)
    models_path = "/api/tags"

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        body, dropped = encode(request, target)
        return Prepared(self._send(target, body), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes with the model's name replaced."""
        return Prepared(self._send(target, replace_model(raw.body, target.model)))

    def _send(self, target: Target, body: bytes) -> Outgoing:
        row = target.provider
        return build(target, row.chat_path or "/api/chat", body, query=row.chat_query)


adapter: Adapter = Ollama()
