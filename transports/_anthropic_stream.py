"""Writes a stream of the Messages API: one block after another, each begun, filled and closed.

Source: Anthropic API reference, "Streaming Messages".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from hub.chat import (
    ChatEvent,
    Failed,
    Finish,
    Finished,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
)
from hub.citations import to_anthropic
from hub.errors import HubError, UpstreamRejected, anthropic_body
from hub.seals import UNSIGNED, sealed
from transports._anthropic_chat import ending, message_id, redacted, thinking, usage_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.citations import Source

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b":%b}}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_TEXT = b'text_delta","text'
_THINKING = b'thinking_delta","thinking'
_SIGNATURE = b'signature_delta","signature'
_ARGUMENTS = b'input_json_delta","partial_json'
_CITATION = b'citations_delta","citation'

_json = msgspec.json.Encoder().encode


def event(kind: str, body: JsonObject) -> bytes:
    """One event."""
    return b"event: " + kind.encode() + b"\ndata: " + _json({"type": kind, **body}) + b"\n\n"


class _Call:
    """A tool call whose block has begun. Its arguments so far tell whether more may come."""

    __slots__ = ("block", "pieces")

    def __init__(self, block: int) -> None:
        self.block = block
        self.pieces: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether the arguments are whole."""
        try:
            msgspec.json.decode("".join(self.pieces), type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeError):
            return False
        return True


class StreamEncoder:
    """Writes events of the internal model. One call of :meth:`feed` makes one piece to send.

    Blocks of calls whose arguments are not complete stay open beside each other, as some servers send several calls at
    once, piece by piece; all other blocks are closed before the next begins. Of several choices the first is told: the dialect has one.
    ``id`` is the request's, which names a message whose provider did not.
    """

    def __init__(self, id: str, model: str) -> None:  # noqa: A002 - the wire's name
        self._request = id
        self._id = message_id(id)
        self._model = model
        self._began = False
        self._blocks = 0
        #: The open block of words: its index, its kind, and whether thinking has its signature.
        self._open = -1
        self._kind = ""
        self._signed = False
        self._calls: dict[int, _Call] = {}
        self._usage = Usage()
        self._finish: Finished | None = None
        self._failed = False

    def feed(self, events: list[ChatEvent]) -> bytes:
        """The events in the dialect, joined."""
        out: list[bytes] = []
        for one in events:
            if type(one) is TextDelta and self._kind == "text" and not one.choice and not one.extra:
                out.append(_DELTA % (self._open, _TEXT, _json(one.text)))
            elif not getattr(one, "choice", 0):
                out.append(self._WRITERS[type(one)](self, one))
        return b"".join(out)

    def end(self) -> bytes:
        """What closes the message; nothing after an error event."""
        if self._failed:
            return b""
        last = self._finish or Finished(Finish.STOP)
        told = event("message_delta", {"delta": ending(last.reason, last.stop_sequence, last.extra), "usage": usage_of(self._usage)})
        return self._start() + self._close() + self._close_calls() + told + _END

    def error(self, error: HubError) -> bytes:
        """The error event, the last of a stream: without ``message_stop``, so that no client takes it for a finished one (REL-01)."""
        self._failed = True
        error.request_id = error.request_id or self._request
        return b"event: error\ndata: " + _json(anthropic_body(error)) + b"\n\n"

    def _start(self) -> bytes:
        """The message's head; empty when it was written already."""
        if self._began:
            return b""
        self._began = True
        message: JsonObject = {"id": self._id, "type": "message", "role": "assistant", "model": self._model, "content": []}
        message.update({"stop_reason": None, "stop_sequence": None, "usage": usage_of(self._usage)})
        return event("message_start", {"message": message}) + _PING

    def _close(self) -> bytes:
        """The end of the open block of words."""
        index, self._open = self._open, -1
        kind, self._kind = self._kind, ""
        if index < 0:
            return b""
        unsigned = kind == "thinking" and not self._signed
        return (_DELTA % (index, _SIGNATURE, _json(UNSIGNED)) if unsigned else b"") + _STOP % index

    def _close_calls(self, *, only_complete: bool = False) -> bytes:
        done = [index for index, call in self._calls.items() if not only_complete or call.complete]
        return b"".join(_STOP % self._calls.pop(index).block for index in done)

    def _begin(self, block: JsonObject | bytes, kind: str = "") -> bytes:
        """The start of the next block, after the end of the one before; ``kind`` for one of words, which stays open."""
        before = self._start() + self._close() + self._close_calls(only_complete=True)
        index = self._blocks
        self._blocks += 1
        if kind:
            self._open, self._kind, self._signed = index, kind, False
        return before + event("content_block_start", {"index": index, "content_block": block})

    def _whole(self, block: JsonObject) -> bytes:
        """A block that comes in one piece."""
        begun = self._begin(block)
        return begun + _STOP % (self._blocks - 1)

    def _started(self, one: Started) -> bytes:
        self._usage = one.usage or self._usage
        if one.id.startswith("msg_"):
            self._id = one.id
        return self._start()

    def _text(self, one: TextDelta) -> bytes:
        opaque: Any = one.extra.get("opaque")
        if opaque is not None:
            return self._whole(opaque["value"]) if opaque.get("dialect") == "anthropic" else b""
        begun = self._begin({"type": "text", "text": ""}, "text") if one.text and self._kind != "text" else b""
        said = _DELTA % (self._open, _TEXT, _json(one.text)) if one.text else b""
        return begun + said + (self._cited(one.extra["sources"]) if "sources" in one.extra else b"")

    def _cited(self, sources: list[Source]) -> bytes:
        """Notes to the text that was said; what follows them is another text."""
        notes = to_anthropic(sources)
        begun = self._begin({"type": "text", "text": ""}, "text") if notes and self._kind not in ("text", "cited") else b""
        self._kind = "cited" if notes else self._kind
        return begun + b"".join(_DELTA % (self._open, _CITATION, _json(note)) for note in notes)

    def _refusal(self, one: RefusalDelta) -> bytes:
        return self._text(TextDelta(one.text))

    def _reasoning(self, one: ReasoningDelta) -> bytes:
        if one.redacted:
            return self._whole(redacted(one.redacted))
        out = b""
        if self._kind != "thinking" or (self._signed and one.text):
            # A signature closes a thought; what follows is another one.
            out = self._begin(thinking("", ""), "thinking")
        if one.text:
            out += _DELTA % (self._open, _THINKING, _json(one.text))
        if one.signature:
            self._signed = True
            out += _DELTA % (self._open, _SIGNATURE, _json(one.signature))
        return out

    def _call(self, one: ToolCallStarted) -> bytes:
        seal = self._whole(redacted(sealed(one.id, one.signature))) if one.signature else b""
        begun = self._begin({"type": "tool_use", "id": one.id, "name": one.name, "input": {}})
        self._calls[one.index] = _Call(self._blocks - 1)
        return seal + begun

    def _arguments(self, one: ToolCallDelta) -> bytes:
        call = self._calls.get(one.index)
        if call is None or not one.arguments:
            return b""  # white space after arguments that were complete
        call.pieces.append(one.arguments)
        return _DELTA % (call.block, _ARGUMENTS, _json(one.arguments))

    def _finished(self, one: Finished) -> bytes:
        self._finish = one
        return b""

    def _used(self, one: Used) -> bytes:
        self._usage = one.usage
        return b""

    def _failure(self, one: Failed) -> bytes:
        return self.error(UpstreamRejected(one.message, upstream_status=one.status, code=one.code or None))

    _WRITERS: ClassVar[dict[type[Any], Callable[[StreamEncoder, Any], bytes]]] = {
        Started: _started,
        TextDelta: _text,
        ReasoningDelta: _reasoning,
        RefusalDelta: _refusal,
        ToolCallStarted: _call,
        ToolCallDelta: _arguments,
        Finished: _finished,
        Used: _used,
        Failed: _failure,
    }
