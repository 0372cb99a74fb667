"""The Messages API as a client sees it: the request's envelope, whole answers, errors.

Source: Anthropic API reference, "Create a Message", "Errors".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import ChatResponse, Choice, Image, JsonObject, Opaque, Part, Reasoning, Refusal, Text, ToolCall, Usage
from hub.citations import to_anthropic
from hub.errors import BadRequest
from hub.providers._anthropic_answer import stop_reason
from hub.providers.base import RawChat
from hub.seals import sealed, shown_signature
from transports._anthropic_decode import DIALECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.chat import Finish

_NONE = msgspec.Raw(b"")
#: The id of a conversation within what clients send as the id of their user.
_SESSION = re.compile(r'(?:session_|"session_id"\s*:\s*")([0-9A-Za-z-]{8,64})')
_BETA = b"anthropic-beta"


class _Metadata(msgspec.Struct):
    user_id: Any = None


class _Envelope(msgspec.Struct):
    """The fields that are read before the target is known; the rest of the body stays bytes."""

    model: Any = None
    messages: msgspec.Raw = _NONE
    stream: Any = None
    max_tokens: Any = None
    temperature: Any = None
    metadata: msgspec.Raw = _NONE


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_METADATA = msgspec.json.Decoder(_Metadata)


def envelope(body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> RawChat:
    """What routing needs of a request, for the price of one scan. ``headers`` are the request's, names in lower case.

    Raises BadRequest for a body that is no JSON object, or lacks its model or messages.
    """
    try:
        found = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("the body is not a JSON object") from error
    _require(found)
    tokens = found.max_tokens
    return RawChat(
        DIALECT,
        body,
        found.model,
        stream=found.stream is True,
        max_tokens=tokens if type(tokens) is int and tokens > 0 else None,
        headers=tuple(("anthropic-beta", value.decode("latin-1")) for name, value in headers if name == _BETA),
        cacheable=found.temperature == 0,
        session=_session(found.metadata),
    )


def _require(found: _Envelope) -> None:
    """Raise BadRequest for a request without its model or messages, or with a stream that is none."""
    if not isinstance(found.model, str) or not found.model.strip():
        raise BadRequest("model: is missing" if not found.model else "model: must be a string", field="model")
    start = b"".join(bytes(memoryview(found.messages)[:256]).split())
    if not start.startswith(b"[") or start.startswith(b"[]"):
        raise BadRequest("messages: must be a list with at least one message", field="messages")
    if not isinstance(found.stream, bool | None):
        raise BadRequest("stream: must be true or false", field="stream")


def _session(metadata: msgspec.Raw) -> str:
    """The conversation that a request belongs to, by the id of its user; empty where it names none."""
    try:
        user = _METADATA.decode(metadata).user_id if metadata else None
    except msgspec.DecodeError:
        return ""
    if not isinstance(user, str):
        return ""
    named = _SESSION.search(user)
    return named[1] if named is not None else user


def encode(response: ChatResponse, *, fallback_id: str) -> bytes:
    """A whole answer. The dialect has one choice; ``fallback_id`` names an answer whose provider did not."""
    choice = response.choices[0] if response.choices else Choice([])
    body: JsonObject = {
        **response.extra,
        "id": message_id(response.id or fallback_id),
        "type": "message",
        "role": "assistant",
        "model": response.model,
        "content": [block for part in choice.parts for block in _blocks(part)],
        **ending(choice.finish, choice.stop_sequence, choice.extra),
        "usage": usage_of(response.usage or Usage()),
    }
    return msgspec.json.encode(body)


def message_id(given: str) -> str:
    """An id as the dialect's are."""
    return given if given.startswith("msg_") else f"msg_{given}"


def ending(finish: Finish, stop_sequence: str, extra: JsonObject) -> JsonObject:
    """Why an answer ended; a reason that only this dialect has is kept as it came."""
    told: JsonObject = {"stop_reason": extra.get("stop_reason") or stop_reason(finish, stop_sequence=stop_sequence)}
    told["stop_sequence"] = stop_sequence or None
    if extra.get("stop_details"):
        told["stop_details"] = extra["stop_details"]
    return told


def usage_of(usage: Usage) -> JsonObject:
    """Usage: input without what was read from the cache or written to it, each in a place of its own."""
    told: JsonObject = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write:
        hour = usage.cache_write_1h
        told["cache_creation"] = {"ephemeral_5m_input_tokens": usage.cache_write - hour, "ephemeral_1h_input_tokens": hour}
    return told


def _blocks(part: Part) -> list[JsonObject]:
    writer = _WRITERS.get(type(part))
    return writer(part) if writer is not None else []


def _words(part: Text | Refusal) -> list[JsonObject]:
    notes = to_anthropic(part.sources) if isinstance(part, Text) and part.sources else []
    return [{"type": "text", "text": part.text, **({"citations": notes} if notes else {})}] if part.text or notes else []


def _thoughts(part: Reasoning) -> list[JsonObject]:
    return [redacted(part.redacted)] if part.redacted else [thinking(part.text, shown_signature(part.signature))]


def _call(part: ToolCall) -> list[JsonObject]:
    call: JsonObject = {"type": "tool_use", "id": part.id, "name": part.name, "input": input_of(part.arguments)}
    return [redacted(sealed(part.id, part.signature)), call] if part.signature else [call]


def _picture(part: Image) -> list[JsonObject]:
    source = {"type": "url", "url": part.url} if part.url else {"type": "base64", "media_type": part.media_type, "data": part.data}
    return [{"type": "image", "source": source}]


def _opaque(part: Opaque) -> list[JsonObject]:
    return [part.value] if part.dialect == DIALECT else []


_WRITERS: dict[type[Any], Callable[[Any], list[JsonObject]]] = {
    Text: _words,
    Refusal: _words,
    Reasoning: _thoughts,
    ToolCall: _call,
    Image: _picture,
    Opaque: _opaque,
}


def thinking(text: str, signature: str) -> JsonObject:
    """A block of thinking."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted(data: str) -> JsonObject:
    """A block of thinking that nobody may read."""
    return {"type": "redacted_thinking", "data": data}


def input_of(arguments: str) -> Any:
    """The arguments of a call as the object that the dialect wants. Text that is none, as of a free-form tool, is its one member."""
    if not arguments.strip():
        return {}
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError):
        return {"input": arguments}
    return msgspec.Raw(arguments.encode())
