"""Answers of the Messages API, whole and streamed, in the internal model (routing.md 4.3 to 4.5)."""

from __future__ import annotations

import re

import msgspec

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Finish,
    Finished,
    JsonObject,
    Opaque,
    Part,
    Reasoning,
    ReasoningDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
    placed,
)
from hub.citations import from_anthropic
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED, CallIds, text_of
from hub.providers._encoding import counted
from hub.providers._failure import message_of
from hub.providers._stream import SseFrames, StreamDecoder, StreamWatcher, failed_of

DIALECT = "anthropic"

FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "refusal": Finish.REFUSAL,
    "pause_turn": Finish.PAUSE,
}
_STOP_REASONS = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
    Finish.REFUSAL: "refusal",
    Finish.PAUSE: "pause_turn",
    Finish.ERROR: "end_turn",
}
#: Reasons that have no finish of their own; the word itself is kept beside it.
_PLAIN = frozenset({"end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal", "pause_turn", None})

_NONE = msgspec.Raw()


def stop_reason(finish: Finish, *, stop_sequence: str = "") -> str:
    """The Messages API's word for a finish: what an answer that came from elsewhere shows to its clients."""
    return "stop_sequence" if finish is Finish.STOP and stop_sequence else _STOP_REASONS[finish]


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _Details | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NONE
    citations: list[JsonObject] | None = None


class _Answer(msgspec.Struct):
    content: list[msgspec.Raw]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: JsonObject | None = None
    container: JsonObject | None = None
    usage: msgspec.Raw = _NONE


class _WholeUsage(msgspec.Struct):
    content: list[msgspec.Raw]
    usage: msgspec.Raw = _NONE


_answer = msgspec.json.Decoder(_Answer)
_whole_usage = msgspec.json.Decoder(_WholeUsage)
_block = msgspec.json.Decoder(_Block)
_usage = msgspec.json.Decoder(_Usage)
_object = msgspec.json.Decoder(JsonObject)


def usage_from(raw: msgspec.Raw, before: Usage | None = None) -> Usage | None:
    """The usage of an answer, or of a stream's event on top of what an earlier one said; None where there is none.

    Counts in a stream are cumulative, so each is the larger of the two. Input excludes both cache counts.
    """
    try:
        given = _usage.decode(raw) if bytes(raw) not in (b"", b"null") else None
    except MALFORMED:
        given = None
    if given is None:
        return before
    made = given.cache_creation or _CacheCreation()
    details = given.output_tokens_details or _Details()
    hour = counted(made.ephemeral_1h_input_tokens)
    now = Usage(
        input=counted(given.input_tokens),
        cache_read=counted(given.cache_read_input_tokens),
        cache_write=counted(given.cache_creation_input_tokens) or hour + counted(made.ephemeral_5m_input_tokens),
        cache_write_1h=hour,
        output=counted(given.output_tokens),
        reasoning=counted(details.thinking_tokens),
    )
    return now if before is None else Usage(*map(max, msgspec.structs.astuple(before)[:6], msgspec.structs.astuple(now)[:6]))


def _not_an_answer(body: bytes, error: Exception) -> UpstreamFailed:
    said = message_of(body) if b'"error"' in body[:4096] or b"<" in body[:64] else ""
    words = f": {said}" if said else ""
    failed = UpstreamFailed(f"the provider's answer is not a Messages API answer{words}", upstream_status=200, code="malformed_answer")
    failed.__cause__ = error
    return failed


def parse(body: bytes) -> ChatResponse:
    """A whole answer. Raises UpstreamFailed when the body is anything else (REL-03)."""
    try:
        answer = _answer.decode(body)
        ids = CallIds(answer.id.encode() or body)
        parts = placed([_part(raw, ids) for raw in answer.content])
    except MALFORMED as error:
        raise _not_an_answer(body, error) from error
    calls = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(
        parts=parts,
        finish=finish_of(answer.stop_reason, calls=calls),
        stop_sequence=answer.stop_sequence or "",
        extra=_finish_extra(answer.stop_reason, answer.stop_details),
    )
    extra = {"container": answer.container} if answer.container else {}
    return ChatResponse(id=answer.id, model=answer.model, choices=[choice], usage=usage_from(answer.usage), extra=extra)


def usage_of(body: bytes) -> Usage | None:
    """The usage of a whole answer that is passed on as it is. Raises UpstreamFailed when it is not an answer."""
    try:
        return usage_from(_whole_usage.decode(body).usage)
    except MALFORMED as error:
        raise _not_an_answer(body, error) from error


def finish_of(reason: str | None, *, calls: bool) -> Finish:
    """The finish for a stop reason; a reason that is missing or new goes by whether tools were called."""
    return FINISHES.get(reason or "", Finish.TOOL_CALLS if calls else Finish.STOP)


def _finish_extra(reason: str | None, details: JsonObject | None) -> JsonObject:
    extra: JsonObject = {} if reason in _PLAIN else {"stop_reason": reason}
    if details:
        extra["stop_details"] = details
    return extra


def _part(raw: msgspec.Raw, ids: CallIds) -> Part:
    block = _block.decode(raw)
    if block.type == "tool_use":
        return ToolCall(id=ids.take(block.id), name=block.name or "", arguments=text_of(block.input))
    reader = _PARTS.get(block.type)
    return reader(block) if reader is not None else Opaque(DIALECT, _object.decode(raw))


def _text_part(block: _Block) -> Part:
    return Text(block.text or "", sources=from_anthropic(block.citations, 0, len(block.text or "")) if block.citations else [])


def _thinking_part(block: _Block) -> Part:
    return Reasoning(block.thinking or "", signature=block.signature or "")


def _redacted_part(block: _Block) -> Part:
    return Reasoning(redacted=block.data or "")


_PARTS = {"text": _text_part, "thinking": _thinking_part, "redacted_thinking": _redacted_part}


class _Start(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: msgspec.Raw = _NONE


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: JsonObject | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: JsonObject | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Start | None = None
    content_block: msgspec.Raw = _NONE
    delta: _Delta | None = None
    usage: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE


_event = msgspec.json.Decoder(_Event)


class _Open:
    """A content block that the stream has begun. ``call`` counts tool calls; ``opaque`` is a block of an unknown kind.

    ``before`` are the characters said before it; its ``citations`` wait until it is whole, which is what they belong to.
    """

    __slots__ = ("before", "call", "citations", "opaque", "pieces", "said", "whole")

    def __init__(self, before: int, *, call: int | None = None, whole: str = "{}", opaque: JsonObject | None = None) -> None:
        self.before = before
        self.citations: list[JsonObject] = []
        self.call = call
        self.whole = whole
        self.opaque = opaque
        self.pieces: list[str] = []
        self.said = False


class AnthropicDecoder(StreamDecoder):
    """A stream of the Messages API. The finish is told only at ``message_stop``, so that a cut stream never looks complete."""

    def __init__(self) -> None:
        super().__init__(SseFrames())
        self._blocks: dict[int, _Open] = {}
        self._ids = CallIds(b"")
        self._calls = 0
        self._said = 0
        self._finish: Finished | None = None
        self._readers = {
            "message_start": self._started,
            "content_block_start": self._block_started,
            "content_block_delta": self._delta,
            "content_block_stop": self._block_stopped,
            "message_delta": self._message_delta,
            "message_stop": self._stopped,
        }

    def read(self, frame: bytes) -> list[ChatEvent]:
        """The events of one event of the stream; pings and unknown kinds have none."""
        if frame == b"[DONE]":  # some compatible servers end as OpenAI does, after message_stop
            return []
        event = _event.decode(frame)
        if event.type == "error" or bytes(event.error) not in (b"", b"null"):
            return self.fail(failed_of(frame))
        reader = self._readers.get(event.type)
        return reader(event) if reader is not None else []

    def closing(self) -> list[ChatEvent] | None:
        """Only ``message_stop`` ends an answer."""
        return None

    def _started(self, event: _Event) -> list[ChatEvent]:
        start = event.message or _Start()
        self._ids = CallIds(start.id.encode())
        self.usage = usage_from(start.usage)
        return [Started(id=start.id, model=start.model, usage=self.usage)]

    def _block_started(self, event: _Event) -> list[ChatEvent]:
        block = _block.decode(event.content_block)
        opened = self._blocks[event.index] = _Open(self._said)
        match block.type:
            case "text":
                opened.citations = block.citations or []
                return self._text(block.text) if block.text else []
            case "thinking":
                return _reasoning(block.thinking, block.signature)
            case "redacted_thinking":
                return [ReasoningDelta(redacted=block.data or "")]
            case "tool_use":
                opened.call, opened.whole = self._calls, text_of(block.input)
                self._calls += 1
                return [ToolCallStarted(opened.call, id=self._ids.take(block.id), name=block.name or "")]
            case _:
                opened.opaque = _object.decode(event.content_block)
                return []

    def _delta(self, event: _Event) -> list[ChatEvent]:
        delta = event.delta or _Delta()
        if delta.partial_json:
            return self._arguments(self._blocks.get(event.index), delta.partial_json)
        if delta.text:
            return self._text(delta.text)
        if delta.citation:
            opened = self._blocks.setdefault(event.index, _Open(self._said))
            opened.citations.append(delta.citation)
            return []
        return _reasoning(delta.thinking, delta.signature)

    def _text(self, words: str) -> list[ChatEvent]:
        self._said += len(words)
        return [TextDelta(words)]

    def _arguments(self, opened: _Open | None, piece: str) -> list[ChatEvent]:
        if opened is None:
            raise msgspec.ValidationError("a piece of a block that never began")
        if opened.call is None:
            opened.pieces.append(piece)
            return []
        opened.said = True
        return [ToolCallDelta(opened.call, piece)]

    def _block_stopped(self, event: _Event) -> list[ChatEvent]:
        opened = self._blocks.pop(event.index, None)
        if opened is None:
            return []
        if opened.citations:
            return [TextDelta("", extra={"sources": from_anthropic(opened.citations, opened.before, self._said)})]
        if opened.call is not None and not opened.said:
            return [ToolCallDelta(opened.call, opened.whole)]
        if opened.opaque is not None:
            if opened.pieces:
                opened.opaque["input"] = msgspec.json.decode("".join(opened.pieces))
            return [TextDelta("", extra={"opaque": {"dialect": DIALECT, "value": opened.opaque}})]
        return []

    def _message_delta(self, event: _Event) -> list[ChatEvent]:
        self.usage = usage_from(event.usage, self.usage)
        delta = event.delta
        if delta is not None and delta.stop_reason is not None:
            self._finish = Finished(
                finish_of(delta.stop_reason, calls=self._calls > 0),
                stop_sequence=delta.stop_sequence or "",
                extra=_finish_extra(delta.stop_reason, delta.stop_details),
            )
        return []

    def _stopped(self, _event: _Event) -> list[ChatEvent]:
        self.over = True
        ended: list[ChatEvent] = [self._finish or Finished(finish_of(None, calls=self._calls > 0))]
        return [*ended, Used(self.usage)] if self.usage is not None else ended


def _reasoning(text: str | None, signature: str | None) -> list[ChatEvent]:
    return [ReasoningDelta(text or "", signature=signature or "")] if text or signature else []


class AnthropicWatcher(StreamWatcher):
    """Follows a passed-through stream: usage of its first and last events, the end mark, errors."""

    def __init__(self) -> None:
        super().__init__(_MARKS)

    def read(self, frame: bytes) -> None:
        """Learn from an event that holds a mark."""
        event = _event.decode(frame)
        if event.type == "error" or bytes(event.error) not in (b"", b"null"):
            self.fail(frame)
        elif event.type == "message_start" and event.message is not None:
            self.usage = usage_from(event.message.usage)
        elif event.type == "message_delta":
            self.usage = usage_from(event.usage, self.usage)
        elif event.type == "message_stop":
            self.finished = True


_MARKS = re.compile(rb'"(?:message_start|message_delta|message_stop|error)"')
