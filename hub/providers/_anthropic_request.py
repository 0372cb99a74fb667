"""The internal model as a request of the Messages API (routing.md 4.2)."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.chat import Document, Image, Opaque, Reasoning, Refusal, Role, Text, ToolCall, ToolMode, ToolResult
from hub.citations import is_foreign
from hub.errors import BadRequest
from hub.providers import _anthropic_thinking as thinking
from hub.providers._arguments import object_of
from hub.providers._encoding import SYSTEM_ROLES, Encoding, join_turn, kind_of, merged
from hub.providers._signature import unmark

if TYPE_CHECKING:
    from hub.chat import ChatRequest, JsonObject, Part, Tool, ToolChoice
    from hub.providers.base import Target

DIALECT = "anthropic"
#: Tokens to ask for where neither the client nor the catalogue says: the API wants a number.
DEFAULT_TOKENS = 8192
MOST_DEFAULT_TOKENS = 32_000

_MODES = {ToolMode.AUTO: "auto", ToolMode.NONE: "none", ToolMode.REQUIRED: "any", ToolMode.ONE: "tool"}
_WIRE_NAMES = {"stop": "stop_sequences"}
#: Not fields of the body: these travel as headers.
_HEADERS = frozenset({"anthropic_beta", "anthropic_version"})


def encode(request: ChatRequest, target: Target) -> tuple[bytes, list[str]]:
    """The body, and the names of what it cannot carry. Raises BadRequest for a part that the format cannot express."""
    encoding = Encoding(request, target, dialect=DIALECT)
    encoding.drop_set("n", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")
    body: JsonObject = {"model": target.model}
    system, turns = _conversation(encoding)
    if system:
        body["system"] = system
    body["messages"] = turns
    _tools(encoding, body)
    _limits(encoding, body)
    _sampling(encoding, body)
    _format(encoding, body)
    thinking.apply(encoding, body)
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.stream:
        body["stream"] = True
    _rest(encoding, body)
    encoding.refuse(body, _WIRE_NAMES)
    return msgspec.json.encode(body), encoding.dropped


def betas(request: ChatRequest) -> str:
    """The value of the ``anthropic-beta`` header that an Anthropic client asked for, else empty."""
    asked: object = request.extra.get("anthropic_beta") if request.dialect == DIALECT else None
    names = cast("list[object]", asked) if isinstance(asked, list) else [asked]
    return ",".join(name for name in names if isinstance(name, str) and name)


def _conversation(encoding: Encoding) -> tuple[list[JsonObject], list[JsonObject]]:
    """System blocks and turns. Turns of the same role are joined, as the API wants them to alternate."""
    system: list[JsonObject] = []
    turns: list[JsonObject] = []
    for index, message in enumerate(encoding.request.messages):
        encoding.envelope(message)
        if message.role in SYSTEM_ROLES:
            system += [_text(encoding, text) for text in encoding.texts(message)]
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = [block for part in message.parts if (block := _block(encoding, part, index)) is not None]
        join_turn(turns, role, "content", blocks)
    for turn in turns:
        if turn["role"] == "user":
            # The API takes results only before anything else that the user says.
            turn["content"].sort(key=_after_results)
    return system, turns


def _after_results(block: JsonObject) -> bool:
    return block["type"] != "tool_result"


def _block(encoding: Encoding, part: Part, index: int) -> JsonObject | None:
    match part:
        case Text() | Refusal():
            return _text(encoding, part) if part.text else None
        case Image() | Document():
            return _image(encoding, part, index) if isinstance(part, Image) else _document(encoding, part, index)
        case ToolCall():
            return _call(encoding, part, index)
        case ToolResult():
            return _result(encoding, part, index)
        case Reasoning():
            return _reasoning(encoding, part)
        case Opaque():
            return encoding.opaque(part, dialect=DIALECT)


def _marked(encoding: Encoding, block: JsonObject, part: Text | Image | Document | ToolCall | ToolResult) -> JsonObject:
    """A block with its cache marker as the client wrote it, and the fields that only its own dialect knows."""
    if part.cache is not None:
        block["cache_control"] = part.cache
    if part.extra:
        block.update(encoding.kept(part.extra))
    return block


def _text(encoding: Encoding, part: Text | Refusal) -> JsonObject:
    block: JsonObject = {"type": "text", "text": part.text}
    if isinstance(part, Refusal):
        return block
    made = _marked(encoding, block, part)
    if isinstance(made.get("citations"), list):
        made["citations"] = [note for note in made["citations"] if not is_foreign(note)] or None
    return made


def _image(encoding: Encoding, part: Image, index: int) -> JsonObject:
    if part.detail not in ("", "auto"):
        encoding.drop("detail")
    source: JsonObject = {}
    if part.url:
        source = {"type": "url", "url": part.url}
    elif part.data and part.media_type:
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    elif "source" not in part.extra:
        raise BadRequest(f"messages[{index}]: an image needs a url, or base64 data with its media type", field=f"messages[{index}].content")
    return _marked(encoding, {"type": "image", "source": source}, part)


def _document(encoding: Encoding, part: Document, index: int) -> JsonObject:
    source: JsonObject = {}
    if part.file_id:
        source = {"type": "file", "file_id": part.file_id}
    elif part.url:
        source = {"type": "url", "url": part.url}
    elif part.media_type == "application/pdf":
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    elif part.media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _plain(part, index)}
    elif "source" not in part.extra:
        raise BadRequest(
            f"messages[{index}]: the Messages API takes PDF and plain text documents, not {part.media_type or 'a document without a type'}",
            field=f"messages[{index}].content",
        )
    block: JsonObject = {"type": "document", "source": source}
    if part.filename:
        block["title"] = part.filename
    return _marked(encoding, block, part)


def _plain(part: Document, index: int) -> str:
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadRequest(f"messages[{index}]: a text document is not base64 of UTF-8", field=f"messages[{index}].content") from error


_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")


def tool_id(call_id: str) -> str:
    """An id in the letters that the API takes; the same for a call and its result, and distinct where the originals are."""
    if call_id and _BAD_ID.search(call_id) is None:
        return call_id
    return f"{_BAD_ID.sub('_', call_id)[:40]}_{blake2b(call_id.encode(), digest_size=6).hexdigest()}"


def _call(encoding: Encoding, part: ToolCall, index: int) -> JsonObject:
    if part.signature:
        encoding.drop("tool_call.signature")
    block = {"type": "tool_use", "id": tool_id(part.id), "name": part.name, "input": object_of(part.arguments, message=index)}
    return _marked(encoding, block, part)


def _result(encoding: Encoding, part: ToolResult, index: int) -> JsonObject:
    content: list[JsonObject] = []
    for inner in part.parts:
        if isinstance(inner, Text | Image | Document | Opaque):
            block = _block(encoding, inner, index)
            content += [block] if block is not None else []
        else:
            encoding.drop(f"tool_result.{kind_of(inner)}")
    made: JsonObject = {"type": "tool_result", "tool_use_id": tool_id(part.call_id)}
    if content:
        made["content"] = content
    if part.is_error:
        made["is_error"] = True
    return _marked(encoding, made, part)


def _reasoning(encoding: Encoding, part: Reasoning) -> JsonObject | None:
    """A signed block as it came. One without this vendor's signature would be refused, so it is left out and reported."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    signature = unmark(DIALECT, part.signature, bare=True)
    if not signature:
        encoding.drop("reasoning")
        return None
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _tools(encoding: Encoding, body: JsonObject) -> None:
    tools = [made for tool in encoding.request.tools if (made := _tool(encoding, tool)) is not None]
    if tools:
        body["tools"] = tools
    choice = encoding.request.tool_choice
    if choice is not None and tools:
        body["tool_choice"] = _choice(choice)
    elif choice is not None and choice.mode in (ToolMode.REQUIRED, ToolMode.ONE):
        encoding.drop("tool_choice")


def _choice(choice: ToolChoice) -> JsonObject:
    wire: JsonObject = {"type": _MODES[choice.mode]}
    if choice.mode is ToolMode.ONE:
        wire["name"] = choice.name
    if choice.parallel is False and choice.mode is not ToolMode.NONE:
        wire["disable_parallel_tool_use"] = True
    return wire


def _tool(encoding: Encoding, tool: Tool) -> JsonObject | None:
    if tool.builtin is not None:
        if encoding.own:
            return tool.builtin
        encoding.drop(f"tools.{tool.name}")
        return None
    # The API wants every schema to say that it is an object; a schema that says nothing means the same.
    made: JsonObject = {"name": tool.name, "input_schema": tool.schema if "type" in tool.schema else {"type": "object", **tool.schema}}
    if tool.description:
        made["description"] = tool.description
    if tool.strict:
        made["strict"] = True
    if tool.cache is not None:
        made["cache_control"] = tool.cache
    return {**made, **encoding.kept(tool.extra)} if tool.extra else made


def _limits(encoding: Encoding, body: JsonObject) -> None:
    tokens = encoding.max_tokens() or encoding.target.provider.request_defaults.get("maxTokens")
    body["max_tokens"] = tokens or min(encoding.limit or DEFAULT_TOKENS, MOST_DEFAULT_TOKENS)
    given = encoding.request.stop
    stops = [stop for stop in given if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(given):
        encoding.drop("stop:blank")


def _sampling(encoding: Encoding, body: JsonObject) -> None:
    request, defaults = encoding.request, encoding.target.provider.request_defaults
    temperature: Any = request.temperature if request.temperature is not None else defaults.get("temperature")
    if temperature is not None:
        body["temperature"] = min(max(temperature, 0.0), 1.0)
        if body["temperature"] != temperature:
            encoding.drop("temperature:clamped")
    # Newer models refuse top_p beside temperature; 1 says nothing anyway.
    if request.top_p is not None and temperature is None:
        body["top_p"] = request.top_p
    elif request.top_p not in (None, 1):
        encoding.drop("top_p")
    if request.top_k is not None:
        body["top_k"] = request.top_k


def _format(encoding: Encoding, body: JsonObject) -> None:
    wanted = encoding.request.format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "schema" and not encoding.lacks("json_schema"):
        body["output_config"] = {"format": {"type": "json_schema", "schema": wanted.schema}}
    else:
        encoding.drop("response_format")


def _rest(encoding: Encoding, body: JsonObject) -> None:
    """The client's other fields: sent on by an Anthropic client, reported for all others."""
    for name, value in encoding.kept(encoding.request.extra).items():
        if name in _HEADERS:
            continue
        if name in ("output_config", "metadata"):
            body[name] = merged(value, body.get(name, {}))
        else:
            body.setdefault(name, value)
