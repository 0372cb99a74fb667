"""The OpenAI chat dialect as a client sees it: the request's envelope, and whole or streamed answers.

Source: OpenAI API reference, "Create chat completion", "The chat completion object" and its chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

import msgspec
import orjson

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    Image,
    JsonObject,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
)
from hub.citations import to_chat
from hub.engine.glance import session_named
from hub.errors import BadRequest, HubError, UpstreamRejected, openai_body
from hub.providers.base import RawChat
from hub.splice import edit
from transports._openai_decode import DIALECT, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["StreamEncoder", "decode", "encode", "envelope"]

Kind = TypeVar("Kind")

DONE = b"data: [DONE]\n\n"
_NONE = msgspec.Raw(b"")
#: Names that other servers use for ``stream`` (routing.md 1.1, step 2), and whether they mean its opposite.
_ALIASES = {"streaming": False, "non_stream": True, "disable_stream": True, "disable_streaming": True}
_FINISH = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
    Finish.REFUSAL: "content_filter",
    Finish.PAUSE: "stop",
    Finish.ERROR: "error",
}


class _Envelope(msgspec.Struct):
    """The fields that are read before the target is known; the rest of the body stays bytes."""

    model: Any = None
    messages: msgspec.Raw = _NONE
    stream: Any = None
    stream_options: Any = None
    streaming: Any = None
    non_stream: Any = None
    disable_stream: Any = None
    disable_streaming: Any = None
    temperature: Any = None
    n: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    metadata: msgspec.Raw = _NONE
    conversation_id: Any = None
    session_id: Any = None
    prompt_cache_key: Any = None


class _Tagged(msgspec.Struct):
    """The members of ``metadata`` that choose connections (routing.md 2.6)."""

    tags: list[str] | str = ""
    tag_match_mode: Literal["any", "all"] = "any"


_TAGGED = msgspec.json.Decoder(_Tagged)
_ENVELOPE = msgspec.json.Decoder(_Envelope)


def envelope(body: bytes, *, accept: str = "") -> RawChat:
    """What routing needs of a request, for the price of one scan (performance.md 2.5).

    ``accept`` is the client's Accept header: ``text/event-stream`` asks for a stream where the body does not say.
    Raises BadRequest for a body that is no JSON object, or lacks its model or messages.
    """
    try:
        found = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("Invalid JSON body") from error
    _require(found)
    stream = _wanted(found, accept)
    if (found.stream is True) is not stream or any(getattr(found, name) is not None for name in _ALIASES):
        body = _with_stream(body, stream)
    tags, all_tags = _tags(found.metadata) if b'"tags"' in bytes(found.metadata) else ((), False)
    return RawChat(
        DIALECT,
        body,
        found.model,
        stream,
        _asks_usage(found.stream_options),
        _count(found.max_tokens if found.max_completion_tokens is None else found.max_completion_tokens),
        _count(found.n),
        cacheable=_steady(found),
        session=session_named(
            metadata=found.metadata,
            conversation_id=found.conversation_id,
            session_id=found.session_id,
            prompt_cache_key=found.prompt_cache_key,
        ),
        tags=tags,
        all_tags=all_tags,
    )


def _require(found: _Envelope) -> None:
    """Raise BadRequest where the model or the messages are missing."""
    if not isinstance(found.model, str) or not found.model.strip():
        raise BadRequest("Missing model" if not found.model else "model: must be a string", field="model")
    start = b"".join(bytes(memoryview(found.messages)[:256]).split())
    if not start.startswith(b"[") or start.startswith(b"[]"):
        raise BadRequest("messages: must be a list with at least one message", field="messages")


def _tags(metadata: msgspec.Raw) -> tuple[tuple[str, ...], bool]:
    """The tags that a request asks for, as a list or with commas, and whether all must match. Raises BadRequest."""
    try:
        found = _TAGGED.decode(metadata)
    except msgspec.DecodeError as error:
        words = "metadata: tags is a list of strings or one with commas, tag_match_mode is any or all"
        raise BadRequest(words, field="metadata") from error
    tags = found.tags.split(",") if isinstance(found.tags, str) else found.tags
    return tuple(tag.strip() for tag in tags if tag.strip()), found.tag_match_mode == "all"


def _count(value: object) -> int | None:
    """A number of tokens or answers; whatever else a client sends is for the provider to judge."""
    return value if type(value) is int and value > 0 else None


def _steady(found: _Envelope) -> bool:
    """Whether the client asks for one answer, without chance."""
    return found.temperature == 0 and found.n in (None, 1)


def _asks_usage(options: object) -> bool:
    return isinstance(options, dict) and cast("JsonObject", options).get("include_usage") is True


def _wanted(found: _Envelope, accept: str) -> bool:
    if found.stream is not None:
        if not isinstance(found.stream, bool):
            raise BadRequest("stream: must be true or false", field="stream")
        return found.stream
    for name, opposite in _ALIASES.items():
        value = getattr(found, name)
        if isinstance(value, bool):
            return value is not opposite
    return "text/event-stream" in accept


def _with_stream(body: bytes, stream: bool) -> bytes:
    """The body with ``stream`` as decided, and without its other names."""
    if not any(b'"' + name.encode() + b'"' in body for name in _ALIASES):
        return edit(body, {"stream": orjson.dumps(stream)})
    tree = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name in _ALIASES:
        tree.pop(name, None)
    tree["stream"] = msgspec.Raw(orjson.dumps(stream))
    return msgspec.json.encode(tree)


def encode(response: ChatResponse, *, created: int) -> bytes:
    """A whole answer. ``created`` (seconds) stands in where the provider gives no time."""
    stamp = response.created or created
    body: JsonObject = {
        **response.extra,
        "id": response.id or f"chatcmpl-{stamp}",
        "object": "chat.completion",
        "created": stamp,
        "model": response.model,
        "choices": [_choice(choice) for choice in response.choices],
    }
    if response.usage is not None:
        body["usage"] = _usage(response.usage)
    return orjson.dumps(body)


def _choice(choice: Choice) -> JsonObject:
    words, refusals, thoughts = _only(choice, Text), _only(choice, Refusal), _only(choice, Reasoning)
    calls = list(map(_call, _only(choice, ToolCall)))
    lists = {
        "reasoning_details": [detail for part in thoughts for detail in _details(part.text, part.signature, part.redacted)],
        "tool_calls": calls,
        "images": list(map(_image, _only(choice, Image))),
        "annotations": _notes(words),
    }
    content = _joined(words) if words or not (calls or refusals) else None
    message: JsonObject = {"role": "assistant", "content": content, "refusal": _joined(refusals) or None}
    if thoughts:
        message["reasoning_content"] = _joined(thoughts)
    message.update({name: items for name, items in lists.items() if items})
    return {"index": choice.index, "message": message, "logprobs": choice.logprobs, "finish_reason": _FINISH[choice.finish]}


def _only(choice: Choice, kind: type[Kind]) -> list[Kind]:
    return [part for part in choice.parts if isinstance(part, kind)]


def _joined(parts: Sequence[Text | Refusal | Reasoning]) -> str:
    return "".join(part.text for part in parts)


def _call(call: ToolCall) -> JsonObject:
    if call.extra.get("type") == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    body: JsonObject = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    return {**body, **_signed(call.signature)}


def _signed(signature: str) -> JsonObject:
    """Where Google's own OpenAI-shaped answers put the signature of a call; clients send it back from there."""
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def _details(text: str, signature: str, redacted: str) -> list[JsonObject]:
    """Thinking that must come back unchanged, in the form OpenRouter's clients keep."""
    if redacted:
        return [{"type": "reasoning.encrypted", "data": redacted}]
    return [{"type": "reasoning.text", "text": text, "signature": signature}] if signature else []


def _notes(words: list[Text]) -> list[JsonObject]:
    return [note for part in words if part.sources for note in to_chat(part.sources)]


def _image(image: Image) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": image.url or f"data:{image.media_type};base64,{image.data}"}}


def _usage(usage: Usage) -> JsonObject:
    into: JsonObject = {"cached_tokens": usage.cache_read}
    if usage.cache_write:
        into["cache_creation_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": into,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


class StreamEncoder:
    """Writes events as chunks, into a template made once for the stream. One call of :meth:`feed` makes one piece to send.

    Call order: ``feed`` any number of times, then ``end`` or, when it broke, ``error``. With ``include_usage`` the last
    chunk before ``[DONE]`` states the usage.
    """

    def __init__(self, id: str, model: str, created: int, include_usage: bool) -> None:  # noqa: A002 - the wire's name
        head = orjson.dumps({"id": id, "object": "chat.completion.chunk", "created": created, "model": model})
        self._before = b"data: " + head[:-1]
        self._open = self._before + b',"choices":[{"index":'
        # as the vendor has it: with usage asked for, every chunk but the last says null
        self._null = b',"usage":null' if include_usage else b""
        self._close = b',"logprobs":null,"finish_reason":null}]' + self._null + b"}\n\n"
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._seen: set[int] = set()
        self._failed = False

    def feed(self, events: list[ChatEvent]) -> bytes:
        """The chunks for these events, joined."""
        out: list[bytes] = []
        for event in events:
            if type(event) is TextDelta and not event.extra:
                if event.choice not in self._seen:
                    out.append(self._role(event.choice))
                out += (self._open, b"%d" % event.choice, b',"delta":{"content":', msgspec.json.encode(event.text), b"}", self._close)
            else:
                out.append(self._WRITERS[type(event)](self, event))
        return b"".join(out)

    def end(self) -> bytes:
        """The usage the client asked for, and the end mark; nothing after an error event."""
        if self._failed:
            return b""
        if self._usage is None or not self._include_usage:
            return DONE
        return self._before + b',"choices":[],"usage":' + orjson.dumps(_usage(self._usage)) + b"}\n\n" + DONE

    def error(self, error: HubError) -> bytes:
        """An error event, the last of the stream: without ``[DONE]``, so that no client takes it for a finished one (REL-01)."""
        return b"data: " + orjson.dumps(openai_body(error)) + b"\n\n"

    def _role(self, choice: int) -> bytes:
        """The first chunk of a choice; empty when it was written already."""
        if choice in self._seen:
            return b""
        self._seen.add(choice)
        return self._open + b"%d" % choice + b',"delta":{"role":"assistant","content":"","refusal":null}' + self._close

    def _delta(self, choice: int, delta: JsonObject) -> bytes:
        return self._role(choice) + self._open + b"%d" % choice + b',"delta":' + orjson.dumps(delta) + self._close

    def _started(self, event: Started) -> bytes:
        self._usage = event.usage or self._usage
        return self._role(0)

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        delta: JsonObject = {"reasoning_content": event.text} if event.text else {}
        details = _details(event.text, event.signature, event.redacted)
        if details:
            delta["reasoning_details"] = details
        return self._delta(event.choice, delta) if delta else b""

    def _refusal(self, event: RefusalDelta) -> bytes:
        return self._delta(event.choice, {"refusal": event.text})

    def _tool_call(self, event: ToolCallStarted) -> bytes:
        call = {"index": event.index, "id": event.id, "type": "function", "function": {"name": event.name, "arguments": ""}}
        return self._delta(event.choice, {"tool_calls": [{**call, **_signed(event.signature)}]})

    def _arguments(self, event: ToolCallDelta) -> bytes:
        return self._delta(event.choice, {"tool_calls": [{"index": event.index, "function": {"arguments": event.arguments}}]})

    def _finished(self, event: Finished) -> bytes:
        reason = b',"delta":{},"logprobs":null,"finish_reason":"' + _FINISH[event.reason].encode() + b'"}]'
        return self._role(event.choice) + self._open + b"%d" % event.choice + reason + self._null + b"}\n\n"

    def _used(self, event: Used) -> bytes:
        self._usage = event.usage
        return b""

    def _failure(self, event: Failed) -> bytes:
        self._failed = True
        error = UpstreamRejected(event.message, upstream_status=event.status, code=event.code or None)
        return b"data: " + orjson.dumps(openai_body(error)) + b"\n\n"

    def _text(self, event: TextDelta) -> bytes:
        """Words with what comes beside them: sources, a picture, log probabilities. What only another dialect knows has no place."""
        delta: JsonObject = {"content": event.text} if event.text else {}
        notes, image, logprobs = to_chat(event.extra.get("sources", ())), event.extra.get("image"), event.extra.get("logprobs")
        if notes:
            delta["annotations"] = notes
        if image is not None:
            delta["images"] = [_image(Image(**image))]
        if logprobs:
            said = self._open + b"%d" % event.choice + b',"delta":' + orjson.dumps(delta)
            return self._role(event.choice) + said + self._close.replace(b"null", orjson.dumps(logprobs), 1)
        return self._delta(event.choice, delta) if delta else b""

    _WRITERS: ClassVar[dict[type[Any], Callable[[StreamEncoder, Any], bytes]]] = {
        Started: _started,
        TextDelta: _text,
        ReasoningDelta: _reasoning,
        RefusalDelta: _refusal,
        ToolCallStarted: _tool_call,
        ToolCallDelta: _arguments,
        Finished: _finished,
        Used: _used,
        Failed: _failure,
    }
