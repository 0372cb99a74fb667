"""What a chat request is about, read from the client's bytes at a glance: its session's name, its start, its blocks.

One pass that builds nothing but references (about half a microsecond per kilobyte), for those that need no more than
this: session affinity and the strategy that follows provider caches. Works for every dialect that has ``messages`` or
``input``; a request in the internal model is read as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.engine.ask import ChatAsk

_NONE = msgspec.Raw(b"")
#: How much of one text, and how many messages and tools from the start, a fingerprint reads.
_TEXT = 4096
_LEADING = 32
_TOOLS = 512
_CACHE_MARK = re.compile(rb',?\s*"cache_control"\s*:\s*(?:null|\{[^{}]*\})')


class _Metadata(msgspec.Struct):
    session_id: Any = None
    sessionId: Any = None


class _Top(msgspec.Struct):
    """The members of a request that say something here."""

    model: Any = ""
    messages: list[msgspec.Raw] | None = None
    input: list[msgspec.Raw] | str | None = None
    system: msgspec.Raw = _NONE
    instructions: msgspec.Raw = _NONE
    tools: list[msgspec.Raw] | None = None
    metadata: msgspec.Raw = _NONE
    conversation_id: Any = None
    session_id: Any = None
    prompt_cache_key: Any = None


class _Session(msgspec.Struct):
    """The members that name a session."""

    metadata: msgspec.Raw = _NONE
    conversation_id: Any = None
    session_id: Any = None
    prompt_cache_key: Any = None


class _Message(msgspec.Struct):
    role: Any = ""
    content: msgspec.Raw = _NONE


class _Part(msgspec.Struct):
    text: msgspec.Raw = _NONE


class _Named(msgspec.Struct):
    name: Any = ""
    function: msgspec.Raw = _NONE


_TOP = msgspec.json.Decoder(_Top)
_SESSION = msgspec.json.Decoder(_Session)
_METADATA = msgspec.json.Decoder(_Metadata)
_MESSAGE = msgspec.json.Decoder(_Message)
_PARTS: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_PART = msgspec.json.Decoder(_Part)
_NAMED = msgspec.json.Decoder(_Named)


#: JSON text, of the client's own bytes where they are at hand.
Json: TypeAlias = bytes | msgspec.Raw


class Glance(msgspec.Struct, frozen=True):
    """A request in pieces, each as JSON: ``head`` what stands before the conversation, ``turns`` its messages."""

    model: str = ""
    session: str = ""
    head: Sequence[Json] = ()
    tools: Sequence[Json] = ()
    turns: Sequence[Json] = ()


_NOTHING = Glance()
_NO_METADATA = _Metadata()


def glance(ask: ChatAsk) -> Glance:
    """The pieces of a request; empty where it is not one that can be read."""
    found = _of_bytes(ask.raw.body, ask.model) if ask.raw is not None else _NOTHING
    return found if found.turns or found.session else _of_request(ask)


def session_in(ask: ChatAsk) -> str:
    """The session that a request's body names; empty where it names none. Half the price of a whole glance."""
    if ask.raw is None:
        return ""
    try:
        found = _SESSION.decode(ask.raw.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return session_named(
        metadata=found.metadata,
        conversation_id=found.conversation_id,
        session_id=found.session_id,
        prompt_cache_key=found.prompt_cache_key,
    )


def session_named(*, metadata: Json = b"", conversation_id: Any = None, session_id: Any = None, prompt_cache_key: Any = None) -> str:
    """The session that a body names in one of the fields clients use for it; empty where it names none.

    For doors that read these fields with the rest of their envelope. ``metadata`` is the member's JSON.
    """
    inner = _NO_METADATA
    if metadata:
        with suppress(msgspec.DecodeError):
            inner = _METADATA.decode(metadata)
    for value in (inner.session_id, inner.sessionId, conversation_id, session_id, prompt_cache_key):
        if isinstance(value, str) and value.strip():
            return value
    return ""


def fingerprint(seen: Glance) -> str:
    """16 hex digits of model, system text, first user message and tool names: the same for every turn of a conversation.

    Empty for a request without messages. Cache markers, which clients move from turn to turn, do not count.
    """
    if not seen.turns:
        return ""
    system, user = [_text(bytes(piece)) for piece in seen.head], b""
    for turn in seen.turns[:_LEADING]:
        role, text = _said(bytes(turn))
        if role in ("system", "developer"):
            system.append(text)
        elif role == "user" or not role:
            user = text
            break
    names = sorted(_name(tool) for tool in seen.tools[:_TOOLS])
    pieces = (seen.model.encode("utf-8", "replace"), b"\n".join(system)[:_TEXT], user, "\n".join(names).encode("utf-8", "replace"))
    digest = blake2b(digest_size=8)
    for piece in pieces:
        digest.update(b"%d:" % len(piece))
        digest.update(piece)
    return digest.hexdigest()


def unmarked(piece: Json) -> bytes:
    """A piece without cache markers. Quotes inside strings are escaped, so no text can look like one."""
    text = bytes(piece)
    return _CACHE_MARK.sub(b"", text) if b'"cache_control"' in text else text


def _of_bytes(body: bytes, model: str) -> Glance:
    try:
        top = _TOP.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING
    given = top.input
    turns: Sequence[Json] = top.messages or (given if isinstance(given, list) else ())
    if isinstance(given, str) and not turns:
        turns = (msgspec.json.encode({"role": "user", "content": given}),)
    return Glance(
        model,
        session_named(
            metadata=top.metadata,
            conversation_id=top.conversation_id,
            session_id=top.session_id,
            prompt_cache_key=top.prompt_cache_key,
        ),
        [piece for piece in (top.system, top.instructions) if bytes(piece) not in (b"", b"null")],
        top.tools or (),
        turns,
    )


def _of_request(ask: ChatAsk) -> Glance:
    try:
        request = ask.request()
    except (BadRequest, TypeError):
        return _NOTHING
    turns = tuple(msgspec.json.encode({"role": turn.role, "content": turn.parts}) for turn in request.messages)
    return Glance(ask.model, "", (), tuple(msgspec.json.encode(tool) for tool in request.tools), turns)


def _said(turn: bytes) -> tuple[str, bytes]:
    try:
        message = _MESSAGE.decode(turn)
    except msgspec.DecodeError:
        return "", unmarked(turn)[:_TEXT]
    return str(message.role), _text(bytes(message.content))


def _text(content: bytes) -> bytes:
    """The text of a content, be it a string or a list of parts, as JSON writes it, cut to what counts."""
    if content[:1] == b'"':
        return content[1:-1][:_TEXT]
    if content[:1] != b"[":
        return unmarked(content)[:_TEXT]
    try:
        parts = _PARTS.decode(content)[:_LEADING]
    except msgspec.DecodeError:
        return content[:_TEXT]
    return b"\n".join(_part(bytes(part)) for part in parts)[:_TEXT]


def _part(part: bytes) -> bytes:
    try:
        text = bytes(_PART.decode(part).text)
    except msgspec.DecodeError:
        text = b""
    return text[1:-1][:_TEXT] if text[:1] == b'"' else unmarked(part[:_TEXT])


def _name(tool: Json) -> str:
    try:
        named = _NAMED.decode(tool)
        return str(named.name or (_NAMED.decode(named.function).name if named.function else ""))
    except msgspec.DecodeError:
        return ""
