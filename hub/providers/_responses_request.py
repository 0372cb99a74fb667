"""The internal model as a request of the Responses API (routing.md 4.2).

Argument text, schemas and ids go out as they came. Source: OpenAI API reference, "Create a model response".
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.chat import Document, Image, Message, Opaque, Reasoning, Refusal, Role, Text, ToolCall, ToolMode, ToolResult
from hub.errors import BadRequest
from hub.providers._encoding import Encoding, kind_of, wants
from hub.providers._signature import unmark

if TYPE_CHECKING:
    from hub.chat import ChatRequest, JsonObject, OutputFormat, Part, Thinking, Tool, ToolChoice
    from hub.providers.base import Target

DIALECT = "openai-responses"
#: Asks for the reasoning itself, which only its vendor can read and which goes back with the next turn.
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
#: The API takes no lower limit of tokens.
LEAST_TOKENS = 16

_CHAT = "openai"
#: Fields that chat completions and this API share.
_SHARED = ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier")
#: Kinds of parts inside a message; whatever else is an item of its own.
_CONTENT = frozenset({"input_text", "input_image", "input_file", "input_audio", "output_text", "refusal", "text"})
#: What ``store`` and ``include`` ask for here is for the hub's sake: nobody loses anything where a provider has no such field.
_OURS = frozenset({"store", "include"})


def encode(request: ChatRequest, target: Target) -> tuple[bytes, list[str]]:
    """The body, and the names of what it cannot carry. Raises BadRequest for a part that the format cannot express."""
    encoding = Encoding(request, target, dialect=DIALECT)
    encoding.drop_set("n", "seed", "frequency_penalty", "presence_penalty", "top_k")
    if request.stop:
        encoding.drop("stop")
    body: JsonObject = {"model": target.model, "input": _Items(encoding).made()}
    _tools(encoding, body)
    _options(encoding, body)
    if request.thinking is not None:
        _thinking(encoding, body, request.thinking)
    if request.format is not None and request.format.kind != "text":
        body["text"] = {"format": _format(request.format)}
    _rest(encoding, body)
    # What other dialects ask is never kept by a provider, unless they say so; its reasoning has to travel instead.
    body.setdefault("store", False)
    _include(encoding, body)
    _fit(encoding, body)
    return msgspec.json.encode(body), encoding.dropped


class _Items:
    """Writes messages as items; free-form calls are remembered, as what they gave is an item of another kind."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._items: list[JsonObject] = []
        self._custom: set[str] = set()

    def made(self) -> list[JsonObject]:
        """The items of the whole conversation."""
        for index, message in enumerate(self._encoding.request.messages):
            self._encoding.envelope(message)
            self._message(message, index)
        return self._items

    def _message(self, message: Message, index: int) -> None:
        content: list[JsonObject] = []
        role = Role.USER if message.role is Role.TOOL else message.role
        for part in message.parts:
            item = self._item(part, index)
            if item is None:
                said = self._content(part, role, index)
                content += [said] if said is not None else []
                continue
            content = self._said(role, content)
            self._items += [item] if item else []
        self._said(role, content)

    def _said(self, role: Role, content: list[JsonObject]) -> list[JsonObject]:
        """Close a message before an item that is none; gives the next one's content, empty."""
        if content:
            self._items.append({"type": "message", "role": role.value, "content": content})
        return []

    def _item(self, part: Part, index: int) -> JsonObject | None:
        """A part that is an item of its own: empty where it is left out, None where it belongs in a message."""
        match part:
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part, index)
            case Reasoning():
                return _reasoning(self._encoding, part)
            case Opaque() if part.dialect == DIALECT and part.value.get("type") not in _CONTENT:
                return part.value
            case _:
                return None

    def _call(self, call: ToolCall) -> JsonObject:
        encoding = self._encoding
        for name, given in (("tool_call.signature", call.signature), ("cache_control", call.cache)):
            if given:
                encoding.drop(name)
        if call.extra.get("type") == "custom":
            self._custom.add(call.id)
            return {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
        return {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments or "{}",
            **encoding.kept(call.extra),
        }

    def _result(self, result: ToolResult, index: int) -> JsonObject:
        encoding = self._encoding
        for name, given in (("tool_result.is_error", result.is_error), ("cache_control", result.cache)):
            if given:
                encoding.drop(name)
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        return {
            "type": kind,
            "call_id": result.call_id,
            "output": self._output(result, index),
            **encoding.kept(result.extra),
        }

    def _output(self, result: ToolResult, index: int) -> str | list[JsonObject]:
        """Plain words where there is nothing else, parts where a tool answered with pictures or files."""
        texts = [part.text for part in result.parts if isinstance(part, Text) and not part.extra]
        if len(texts) == len(result.parts) and len(texts) < 2:
            return "".join(texts)
        made = (self._content(part, Role.USER, index) for part in result.parts)
        return [part for part in made if part is not None]

    def _content(self, part: Part, role: Role, index: int) -> JsonObject | None:
        encoding = self._encoding
        match part:
            case Text():
                return _text(encoding, part, role) if part.text or part.extra else None
            case Refusal():
                return {"type": "refusal", "refusal": part.text} if role is Role.ASSISTANT else {"type": "input_text", "text": part.text}
            case Opaque():
                return encoding.opaque(part, dialect=DIALECT)
            case Image() | Document() if role is Role.USER:
                return _image(encoding, part, index) if isinstance(part, Image) else _document(encoding, part, index)
            case _:
                encoding.drop(f"{role}.{kind_of(part)}")
                return None


def _text(encoding: Encoding, part: Text, role: Role) -> JsonObject:
    if part.cache is not None:
        encoding.drop("cache_control")
    kind = "output_text" if role is Role.ASSISTANT else "input_text"
    return {"type": kind, "text": part.text, **(encoding.kept(part.extra) if part.extra else {})}


def _image(encoding: Encoding, image: Image, index: int) -> JsonObject:
    if image.cache is not None:
        encoding.drop("cache_control")
    if not image.url and not image.data:
        raise BadRequest(f"messages[{index}]: an image needs a url, or base64 data", field=f"messages[{index}].content")
    url = image.url or f"data:{image.media_type or 'image/png'};base64,{image.data}"
    return {"type": "input_image", "image_url": url, "detail": image.detail or "auto", **encoding.kept(image.extra)}


def _document(encoding: Encoding, part: Document, index: int) -> JsonObject:
    if part.cache is not None:
        encoding.drop("cache_control")
    field = f"messages[{index}].content"
    if part.media_type.startswith("audio/"):
        raise BadRequest(f"messages[{index}]: this API takes no sound; choose a model that is reached by another", field=field)
    if part.media_type.startswith("text/") and part.data and not encoding.own:
        return {"type": "input_text", "text": _plain(part, field)}
    return {"type": "input_file", **_file(part, field), **encoding.kept(part.extra)}


def _file(part: Document, field: str) -> JsonObject:
    named = {"filename": part.filename} if part.filename else {}
    if part.file_id:
        return {"file_id": part.file_id, **named}
    if part.url:
        return {"file_url": part.url, **named}
    if not part.data:
        raise BadRequest(f"{field}: a file needs a url, an id or base64 data", field=field)
    data = part.data if part.data.startswith("data:") or not part.media_type else f"data:{part.media_type};base64,{part.data}"
    return {"filename": part.filename or "document", "file_data": data}


def _plain(part: Document, field: str) -> str:
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadRequest("a text document's data must be base64 of UTF-8 text", field=field) from error


def _reasoning(encoding: Encoding, part: Reasoning) -> JsonObject:
    """Reasoning that this vendor encrypted; no other can be read there, and the vendor would refuse the whole call."""
    signature = unmark(DIALECT, part.signature)
    if part.redacted or not signature:
        encoding.drop("reasoning")
        return {}
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": signature}


def _tools(encoding: Encoding, body: JsonObject) -> None:
    tools = [made for tool in encoding.request.tools if (made := _tool(encoding, tool)) is not None]
    choice = encoding.request.tool_choice
    if tools:
        body["tools"] = tools
        if choice is not None:
            _choose(body, choice)
    elif choice is not None and choice.mode in (ToolMode.REQUIRED, ToolMode.ONE):
        encoding.drop("tool_choice")


def _tool(encoding: Encoding, tool: Tool) -> JsonObject | None:
    if tool.builtin is not None:
        return _builtin(encoding, tool.name, tool.builtin)
    if tool.cache is not None:
        encoding.drop("cache_control")
    made: JsonObject = {"type": "function", "name": tool.name, "parameters": tool.schema or {"type": "object", "properties": {}}}
    if tool.description:
        made["description"] = tool.description
    if tool.strict is not None or not encoding.own:
        # Here a schema is enforced where nothing is said; elsewhere it is not.
        made["strict"] = bool(tool.strict)
    return {**made, **encoding.kept(tool.extra)} if tool.extra else made


def _builtin(encoding: Encoding, name: str, tool: JsonObject) -> JsonObject | None:
    if encoding.own:
        return tool
    if encoding.request.dialect == _CHAT and name == "custom":
        return _custom(tool)
    encoding.drop(f"tools.{name}")
    return None


def _custom(tool: JsonObject) -> JsonObject:
    """A free-form tool of chat completions; there what it is lies one level deeper."""
    inner: JsonObject = tool.get("custom") or {}
    shape: Any = inner.get("format")
    if isinstance(shape, dict) and isinstance(cast("JsonObject", shape).get("grammar"), dict):
        inner = {**inner, "format": {"type": "grammar", **cast("JsonObject", shape)["grammar"]}}
    return {"type": "custom", **inner}


def _choose(body: JsonObject, choice: ToolChoice) -> None:
    if choice.mode is ToolMode.ONE:
        kinds = {tool.get("name"): tool["type"] for tool in body["tools"]}
        kind = kinds.get(choice.name, "function")
        body["tool_choice"] = {"type": kind, "name": choice.name}
    elif choice.mode is not ToolMode.AUTO or choice.parallel is None:
        body["tool_choice"] = choice.mode.value
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _options(encoding: Encoding, body: JsonObject) -> None:
    request = encoding.request
    tokens = encoding.max_tokens()
    if tokens is not None:
        body["max_output_tokens"] = max(tokens, LEAST_TOKENS)
        if tokens < LEAST_TOKENS:
            encoding.drop("max_tokens:raised")
    given = {"temperature": request.temperature, "top_p": request.top_p, "user": request.user or None}
    given["top_logprobs"] = request.top_logprobs if request.logprobs else None
    body.update({name: value for name, value in given.items() if value is not None})
    if request.stream:
        body["stream"] = True


def _thinking(encoding: Encoding, body: JsonObject, asked: Thinking) -> None:
    wanted = wants(asked)
    if encoding.lacks("reasoning"):
        if wanted:
            encoding.drop("thinking")
        return
    made: JsonObject = {}
    effort = _word(encoding, asked) if wanted else asked.effort
    # Not to think is a word that only some models know; a client that says it knows that its model does.
    if effort and (wanted or effort == "none"):
        made["effort"] = effort
    if wanted and encoding.request.dialect not in (DIALECT, _CHAT):
        made["summary"] = "auto"  # clients of other dialects see what a model thinks when they ask it to
    extra = dict(asked.extra)
    extra.pop("type", None)  # another dialect's, and what effort and budget say
    made.update(encoding.kept(extra))
    if made:
        body["reasoning"] = made


def _word(encoding: Encoding, asked: Thinking) -> str:
    if asked.budget is not None:
        encoding.drop("thinking.budget")
    effort = asked.effort or _effort(asked.budget)
    return "xhigh" if effort == "max" else effort


def _effort(budget: int | None) -> str:
    """The effort word for a budget in tokens (routing.md 4.2)."""
    if budget is None or budget <= 0:
        return ""
    return next((word for limit, word in ((1024, "low"), (10_240, "medium"), (131_071, "high")) if budget <= limit), "xhigh")


def _format(wanted: OutputFormat) -> JsonObject:
    if wanted.kind == "json":
        return {"type": "json_object"}
    made: JsonObject = {"type": "json_schema", "name": wanted.name or "response", "schema": wanted.schema}
    more = {"strict": wanted.strict, "description": wanted.description or None}
    return {**made, **{name: value for name, value in more.items() if value is not None}}


def _rest(encoding: Encoding, body: JsonObject) -> None:
    """The client's other fields: sent on in their own dialect and where chat completions have the same; else reported."""
    extra = dict(encoding.request.extra)
    if encoding.request.dialect == _CHAT:
        body.update({name: extra.pop(name) for name in (*_SHARED, "store") if name in extra})
        verbosity = extra.pop("verbosity", None)
        if verbosity is not None:
            body["text"] = {**body.get("text", {}), "verbosity": verbosity}
        extra.pop("stream_options", None)
    for name, value in encoding.kept(extra).items():
        if name.startswith("text."):
            body["text"] = {**body.get("text", {}), name.removeprefix("text."): value}
        else:
            body.setdefault(name, value)


def _include(encoding: Encoding, body: JsonObject) -> None:
    """What is to come with the answer. Only models that reason can give their reasoning; others refuse the call."""
    request = encoding.request
    able = encoding.has("reasoning") or (encoding.target.model_row is None and request.thinking is not None)
    wanted = [name for name, holds in ((ENCRYPTED, able), (LOGPROBS, request.logprobs)) if holds]
    asked: list[Any] = body.get("include") or []
    if wanted or asked:
        body["include"] = [*asked, *(name for name in wanted if name not in asked)]


def _fit(encoding: Encoding, body: JsonObject) -> None:
    """Take out what this model or provider refuses, and add what its row says of every request."""
    encoding.refuse(body, {"max_tokens": ""})
    for name in encoding.target.provider.refuses:
        if body.pop(name, None) is not None and name not in _OURS:
            encoding.drop(name)
    for name, value in encoding.target.provider.request_defaults.items():
        body.setdefault(name, value)
