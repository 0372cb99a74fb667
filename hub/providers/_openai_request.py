"""Encodes the internal chat model as an OpenAI chat request, and says what that format cannot carry.

Argument text, schemas and ids go out as they came. Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import orjson

from hub.chat import Document, Image, Message, Opaque, Reasoning, Refusal, Role, Text, ToolCall, ToolMode, ToolResult
from hub.errors import BadRequest
from hub.providers._signature import unmark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.chat import ChatRequest, JsonObject, OutputFormat, Part, Thinking, Tool, ToolChoice
    from hub.providers.base import Target

DIALECT = "openai"
_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_SAME_NAME = ("temperature", "top_p", "seed", "n", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")


def encode_request(request: ChatRequest, target: Target) -> tuple[bytes, list[str]]:
    """The body for ``target`` and the client fields that were left out or moved (D20).

    Raises BadRequest for content that the format cannot express at all.
    """
    return _Encoder(request, target).encode()


class _Encoder:
    """One request on its way out; collects what is dropped."""

    def __init__(self, request: ChatRequest, target: Target) -> None:
        self._request = request
        self._row = target.model_row
        self._target = target
        self._same = request.dialect == DIALECT
        self._dropped: dict[str, None] = {}

    def encode(self) -> tuple[bytes, list[str]]:
        body: JsonObject = {"model": self._target.model, "messages": self._messages()}
        self._options(body)
        self._tools(body)
        self._stream(body)
        self._extra(body)
        self._fit(body)
        return orjson.dumps(body), list(self._dropped)

    def _drop(self, name: str) -> None:
        self._dropped[name] = None

    def _drop_some(self, name: str, values: Sequence[object]) -> None:
        if any(values):
            self._drop(name)

    def _messages(self) -> list[JsonObject]:
        out: list[JsonObject] = []
        moved: list[JsonObject] = []
        for index, message in enumerate(self._request.messages):
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            rest = [part for part in message.parts if not isinstance(part, ToolResult)]
            out += [self._tool_message(index, message, result, moved) for result in results]
            if not rest and (results or message.role is Role.TOOL):
                continue
            # tool messages have to follow their call without a gap, so pictures wait for the end of the run
            _flush(out, moved)
            out.append(self._message(index, message, rest))
        _flush(out, moved)
        return out

    def _message(self, index: int, message: Message, parts: Sequence[Part]) -> JsonObject:
        body: JsonObject = {"role": message.role.value}
        if message.role is Role.ASSISTANT:
            self._assistant(index, body, parts)
        else:
            body["content"] = self._content(index, message.role, parts)
        return self._named(body, message)

    def _named(self, body: JsonObject, message: Message) -> JsonObject:
        if message.name:
            body["name"] = message.name
        if self._same:
            return {**message.extra, **body}
        for name in message.extra:
            self._drop(f"messages.{name}")
        return body

    def _assistant(self, index: int, body: JsonObject, parts: Sequence[Part]) -> None:
        calls = [self._call(part) for part in parts if isinstance(part, ToolCall)]
        thoughts = [part for part in parts if isinstance(part, Reasoning)]
        refusals = [part.text for part in parts if isinstance(part, Refusal)]
        spoken = [part for part in parts if not isinstance(part, ToolCall | Reasoning | Refusal)]
        body["content"] = self._content(index, Role.ASSISTANT, spoken) if spoken or not (calls or refusals) else None
        if refusals:
            body["refusal"] = "".join(refusals)
        if calls:
            body["tool_calls"] = calls
        self._thoughts(body, thoughts)

    def _thoughts(self, body: JsonObject, thoughts: list[Reasoning]) -> None:
        text = "".join(part.text for part in thoughts)
        if text and self._takes("reasoning_content"):
            body["reasoning_content"] = text
        elif text:
            self._drop("reasoning_content")
        signed = [part for part in thoughts if part.signature]
        own = [detail for part in signed if (detail := _signed(part)) is not None]
        if own:
            body["reasoning_details"] = own
        if len(own) < len(signed):
            self._drop("reasoning.signature")
        self._drop_some("reasoning.redacted", [part.redacted for part in thoughts])

    def _call(self, call: ToolCall) -> JsonObject:
        if call.signature:
            self._drop("tool_call.signature")
        extra = call.extra if self._same else {}
        if extra.get("type") == "custom":
            return {**extra, "id": call.id, "custom": {"name": call.name, "input": call.arguments}}
        return self._marked(
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}, **extra}, call.cache
        )

    def _tool_message(self, index: int, message: Message, result: ToolResult, moved: list[JsonObject]) -> JsonObject:
        texts: list[Part] = [part for part in result.parts if isinstance(part, Text)]
        others: list[Part] = [part for part in result.parts if not isinstance(part, Text)]
        if result.is_error:
            self._drop("tool_result.is_error")
        if others:
            moved.append({"type": "text", "text": f"Content of tool result {result.call_id}:"})
            moved += [encoded for part in others if (encoded := self._part(index, Role.USER, part)) is not None]
            self._drop("tool_result.images (moved to a user message)")
        body: JsonObject = {"role": "tool", "tool_call_id": result.call_id, "content": self._content(index, Role.TOOL, texts)}
        return self._named(self._marked({**(result.extra if self._same else {}), **body}, result.cache), message)

    def _content(self, index: int, role: Role, parts: Sequence[Part]) -> str | list[JsonObject]:
        texts = [part for part in parts if isinstance(part, Text)]
        if len(texts) == len(parts) and self._joinable(role, texts) and not self._kept(texts):
            self._drop_some("cache_control", [part.cache for part in texts])
            return "\n".join(part.text for part in texts)
        return [encoded for part in parts if (encoded := self._part(index, role, part)) is not None]

    def _kept(self, texts: list[Text]) -> bool:
        """Whether there are markers that only a list of parts has a place for."""
        return self._request.keep_markers and any(part.cache for part in texts)

    def _joinable(self, role: Role, texts: list[Text]) -> bool:
        """Whether a string says the same. Many servers take a list of parts in user messages only."""
        if self._same:
            return not texts or (len(texts) == 1 and not texts[0].cache and not texts[0].extra)
        return len(texts) < 2 or role is not Role.USER

    def _part(self, index: int, role: Role, part: Part) -> JsonObject | None:
        if isinstance(part, Text):
            return self._marked({"type": "text", "text": part.text, **(part.extra if self._same else {})}, part.cache)
        if isinstance(part, Opaque):
            if part.dialect == DIALECT:
                return part.value
            self._drop(f"messages.content.{part.value.get('type', 'unknown')}")
            return None
        if role is Role.ASSISTANT:
            self._drop(f"assistant.{type(part).__name__.lower()}")
            return None
        if isinstance(part, Image):
            return self._image(part)
        return self._document(index, part) if isinstance(part, Document) else None

    def _image(self, image: Image) -> JsonObject:
        url = image.url or f"data:{image.media_type or 'image/png'};base64,{image.data}"
        inner: JsonObject = {"url": url}
        if image.detail:
            inner["detail"] = image.detail
        return self._marked({"type": "image_url", "image_url": inner, **(image.extra if self._same else {})}, image.cache)

    def _document(self, index: int, part: Document) -> JsonObject:
        if not part.file_id and not part.data:
            raise BadRequest("this provider takes documents as data; send base64, no address", field=f"messages.{index}.content")
        if part.data and part.media_type in _AUDIO:
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": _AUDIO[part.media_type]}}
        if part.data and part.media_type.startswith("text/") and not self._same:
            return {"type": "text", "text": _plain(index, part)}
        return self._marked({"type": "file", "file": _file(part), **(part.extra if self._same else {})}, part.cache)

    def _marked(self, body: JsonObject, cache: JsonObject | None) -> JsonObject:
        if cache is None:
            return body
        if self._same or self._request.keep_markers:
            return {**body, "cache_control": cache}
        self._drop("cache_control")
        return body

    def _options(self, body: JsonObject) -> None:
        request = self._request
        for name in _SAME_NAME:
            value = getattr(request, name)
            if value is not None:
                body[name] = value
        if request.max_tokens is not None:
            body["max_tokens" if self._takes("max_tokens") else "max_completion_tokens"] = request.max_tokens
        body.update({name: value for name, value in (("stop", request.stop), ("user", request.user)) if value})
        self._own(body, "top_k", request.top_k)
        if request.thinking is not None:
            self._thinking(body, request.thinking)
        if request.format is not None and request.format.kind != "text":
            body["response_format"] = _response_format(request.format)

    def _own(self, body: JsonObject, name: str, value: object) -> None:
        """A field that only clients of this dialect can have meant for this server."""
        if value is not None and self._same:
            body[name] = value
        elif value is not None:
            self._drop(name)

    def _thinking(self, body: JsonObject, thinking: Thinking) -> None:
        effort = thinking.effort or _effort(thinking.budget)
        if not thinking.enabled or not effort:
            return
        if self._same:
            body["reasoning_effort"] = effort
            return
        if self._row is not None and self._row.caps and "reasoning" not in self._row.caps:
            self._drop("thinking")
            return
        body["reasoning_effort"] = "xhigh" if effort == "max" else effort
        if thinking.budget is not None:
            self._drop("thinking.budget")

    def _tools(self, body: JsonObject) -> None:
        tools = [encoded for tool in self._request.tools if (encoded := self._tool(tool)) is not None]
        choice = self._request.tool_choice
        if tools:
            body["tools"] = tools
        if choice is None:
            return
        if not tools:
            if choice.mode in (ToolMode.REQUIRED, ToolMode.ONE):
                self._drop("tool_choice")
            return
        _choose(body, choice)

    def _tool(self, tool: Tool) -> JsonObject | None:
        if tool.builtin is not None:
            if self._same:
                return tool.builtin
            self._drop(f"tools.{tool.name}")
            return None
        function: JsonObject = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if tool.schema:
            function["parameters"] = tool.schema
        if tool.strict is not None:
            function["strict"] = tool.strict
        if tool.extra and not self._same:
            self._drop("tools.extra")
        return self._marked({"type": "function", "function": function, **(tool.extra if self._same else {})}, tool.cache)

    def _stream(self, body: JsonObject) -> None:
        if self._request.stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}

    def _extra(self, body: JsonObject) -> None:
        for name, value in self._request.extra.items():
            if not self._same:
                self._drop(name)
            elif name == "stream_options" and isinstance(value, dict):
                if self._request.stream:
                    body[name] = {**value, "include_usage": True}
            else:
                body.setdefault(name, value)

    def _fit(self, body: JsonObject) -> None:
        for name in self._row.drop_params if self._row is not None else ():
            if name in body:
                del body[name]
                self._drop(name)
        for name, value in self._target.provider.request_defaults.items():
            body.setdefault(name, value)

    def _takes(self, name: str) -> bool:
        return self._row is None or name not in self._row.drop_params


def _signed(part: Reasoning) -> JsonObject | None:
    """Thinking with this dialect's own signature, in the form it came in (OpenRouter); another's is of no use here."""
    signature = unmark(DIALECT, part.signature)
    return {"type": "reasoning.text", "text": part.text, "signature": signature} if signature else None


def _flush(out: list[JsonObject], moved: list[JsonObject]) -> None:
    if moved:
        out.append({"role": "user", "content": list(moved)})
        moved.clear()


def _plain(index: int, part: Document) -> str:
    try:
        return base64.b64decode(part.data, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadRequest("a text document's data must be base64 of UTF-8 text", field=f"messages.{index}.content") from error


def _file(part: Document) -> JsonObject:
    if part.file_id:
        return {"file_id": part.file_id, **({"filename": part.filename} if part.filename else {})}
    return {"file_data": _data_url(part), "filename": part.filename or "document"}


def _data_url(part: Document) -> str:
    if part.data.startswith("data:") or not part.media_type:
        return part.data
    return f"data:{part.media_type};base64,{part.data}"


def _effort(budget: int | None) -> str:
    """The effort word for a budget in tokens (routing.md 4.2)."""
    if budget is None:
        return ""
    return next((word for limit, word in ((1024, "low"), (10_240, "medium"), (131_071, "high")) if budget <= limit), "xhigh")


def _choose(body: JsonObject, choice: ToolChoice) -> None:
    if choice.mode is ToolMode.ONE:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.mode is not ToolMode.AUTO or choice.parallel is None:
        body["tool_choice"] = choice.mode.value
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _response_format(wanted: OutputFormat) -> JsonObject:
    if wanted.kind == "json":
        return {"type": "json_object"}
    inner: dict[str, Any] = {"name": wanted.name or "response", "schema": wanted.schema}
    if wanted.strict is not None:
        inner["strict"] = wanted.strict
    if wanted.description:
        inner["description"] = wanted.description
    return {"type": "json_schema", "json_schema": inner}
