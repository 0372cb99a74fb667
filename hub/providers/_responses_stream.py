"""Streams of the Responses API, decoded and passed through. Source: OpenAI API reference, "Streaming events"."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hub.chat import (
    ChatEvent,
    Failed,
    Finished,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Used,
)
from hub.citations import from_responses
from hub.providers._arguments import CallIds
from hub.providers._openai_response import text, usage_of, whole
from hub.providers._responses_answer import (
    BETWEEN,
    ITEM,
    OBJECT,
    RESPONSE,
    Item,
    Response,
    arguments_of,
    call_id,
    finish_of,
    picture,
    thought_of,
)
from hub.providers._responses_request import DIALECT
from hub.providers._signature import mark
from hub.providers._stream import SseFrames, StreamDecoder, StreamWatcher, failed_of

_NONE = msgspec.Raw()
_CALLS = frozenset({"function_call", "custom_tool_call"})


class _Event(msgspec.Struct):
    """Any event, as far as it is read; ``type`` says which fields it has."""

    type: str = ""
    output_index: Any = None
    summary_index: Any = None
    delta: Any = None
    item: msgspec.Raw = _NONE
    response: msgspec.Raw = _NONE
    annotation: JsonObject | None = None
    logprobs: Any = None


class _Open:
    """An item of the output that has begun. ``call`` counts tool calls; ``said`` whether anything of it was told.

    ``before`` are the characters of the answer before the part of it that is told now.
    """

    __slots__ = ("before", "call", "kind", "said")

    def __init__(self, kind: str, call: int = 0, before: int = 0) -> None:
        self.before = before
        self.kind = kind
        self.call = call
        self.said = False


_event = msgspec.json.Decoder(_Event)


class ResponsesDecoder(StreamDecoder):
    """One stream. Servers that leave out the pieces of an item and tell it whole at its end are read, too."""

    def __init__(self) -> None:
        super().__init__(SseFrames())
        self._items: dict[object, _Open] = {}
        self._ids = CallIds(b"")
        self._calls = 0
        self._said = 0
        self._begun = False
        self._readers = {
            "response.created": self._started,
            "response.in_progress": self._started,
            "response.output_item.added": self._added,
            "response.output_item.done": self._done,
            "response.output_text.delta": self._text,
            "response.output_text.annotation.added": self._annotation,
            "response.refusal.delta": self._refusal,
            "response.reasoning_summary_part.added": self._paragraph,
            "response.content_part.added": self._paragraph,
            "response.reasoning_summary_text.delta": self._thought,
            "response.reasoning_text.delta": self._thought,
            "response.function_call_arguments.delta": self._arguments,
            "response.custom_tool_call_input.delta": self._arguments,
            "response.completed": self._ended,
            "response.incomplete": self._ended,
            "response.failed": self._failed,
        }

    def read(self, frame: bytes) -> list[ChatEvent]:
        """The events of one event of the stream; those of other kinds have none."""
        if frame.strip() == b"[DONE]":  # some compatible servers end as chat completions do
            return []
        event = _event.decode(frame)
        if event.type == "error" or (not event.type and b'"error"' in frame):
            return self.fail(_error_of(OBJECT.decode(frame)))
        reader = self._readers.get(event.type)
        return reader(event) if reader is not None else []

    def closing(self) -> list[ChatEvent] | None:
        """Only one of the last events ends an answer."""
        return None

    def _started(self, event: _Event) -> list[ChatEvent]:
        if self._begun:
            return []
        self._begun = True
        found = RESPONSE.decode(event.response)
        self._ids = CallIds(text(found.id).encode())
        return [Started(text(found.id), text(found.model), whole(found.created_at))]

    def _item(self, event: _Event) -> _Open:
        return self._items.get(event.output_index) or _Open("")

    def _added(self, event: _Event) -> list[ChatEvent]:
        item = ITEM.decode(event.item)
        opened = self._items[event.output_index] = _Open(item.type, self._calls, self._said)
        if item.type not in _CALLS:
            return []
        self._calls += 1
        return [ToolCallStarted(opened.call, self._ids.take(call_id(item)), text(item.name))]

    def _text(self, event: _Event) -> list[ChatEvent]:
        self._item(event).said = True
        words = text(event.delta)
        self._said += len(words)
        return [TextDelta(words, extra=_likely(event.logprobs))] if words or event.logprobs else []

    def _annotation(self, event: _Event) -> list[ChatEvent]:
        opened = self._items.get(event.output_index)
        # what belongs to an item that was told whole came with it
        return _sources([event.annotation], opened.before) if event.annotation and opened is not None else []

    def _refusal(self, event: _Event) -> list[ChatEvent]:
        self._item(event).said = True
        return [RefusalDelta(text(event.delta))] if event.delta else []

    def _paragraph(self, event: _Event) -> list[ChatEvent]:
        opened = self._item(event)
        opened.before = self._said
        return [ReasoningDelta(BETWEEN)] if opened.said and opened.kind == "reasoning" else []

    def _thought(self, event: _Event) -> list[ChatEvent]:
        self._item(event).said = True
        return [ReasoningDelta(text(event.delta))] if event.delta else []

    def _arguments(self, event: _Event) -> list[ChatEvent]:
        opened = self._item(event)
        if opened.kind not in _CALLS:
            raise msgspec.ValidationError("a piece of a call that never began")
        opened.said = True
        return [ToolCallDelta(opened.call, text(event.delta))] if event.delta else []

    def _done(self, event: _Event) -> list[ChatEvent]:
        """An item is complete: what was not told in pieces, and what comes only now."""
        begun = [] if event.output_index in self._items else self._added(event)
        opened = self._items.pop(event.output_index)
        item = ITEM.decode(event.item)
        if item.type in _CALLS:
            return begun if opened.said else [*begun, ToolCallDelta(opened.call, arguments_of(item))]
        if item.type == "message":
            return [] if opened.said else self._told(item)
        if item.type == "reasoning":
            signature, words = mark(DIALECT, text(item.encrypted_content)), "" if opened.said else thought_of(item)
            return [ReasoningDelta(words, signature)] if words or signature else []
        return [TextDelta("", extra=_beyond(item, event.item))]

    def _told(self, item: Item) -> list[ChatEvent]:
        """A message that came in no pieces."""
        events: list[ChatEvent] = []
        for piece in item.content or ():
            if refusal := text(piece.get("refusal")):
                events.append(RefusalDelta(refusal))
                continue
            words, before = text(piece.get("text")), self._said
            self._said += len(words)
            events.append(TextDelta(words, extra=_likely(piece.get("logprobs"))))
            events += _sources(piece.get("annotations"), before)
        return events

    def _ended(self, event: _Event) -> list[ChatEvent]:
        found = RESPONSE.decode(event.response)
        self.over = True
        self.usage = usage_of(found.usage) or self.usage
        if event.type == "response.incomplete":
            found.status = "incomplete"
        finish, extra = finish_of(found, called=self._calls > 0)
        ended: list[ChatEvent] = [Finished(finish, extra=extra)]
        return [*ended, Used(self.usage)] if self.usage is not None else ended

    def _failed(self, event: _Event) -> list[ChatEvent]:
        found = RESPONSE.decode(event.response)
        self.usage = usage_of(found.usage) or self.usage
        return self.fail(_failure_of(found))


def _beyond(item: Item, raw: msgspec.Raw) -> JsonObject:
    """An item that events have no place for: a picture, or one that its own dialect alone knows."""
    if item.type == "image_generation_call" and item.result:
        made = picture(item)
        return {"image": {"media_type": made.media_type, "data": made.data}}
    return {"opaque": {"dialect": DIALECT, "value": OBJECT.decode(raw)}}


def _likely(logprobs: object) -> JsonObject:
    """Log probabilities of the tokens of a text, as they come beside it."""
    return {"logprobs": {"content": logprobs, "refusal": None}} if logprobs and isinstance(logprobs, list) else {}


def _sources(notes: object, before: int) -> list[ChatEvent]:
    found = from_responses(notes, before)
    return [TextDelta("", extra={"sources": found})] if found else []


def _failure_of(found: Response) -> Failed:
    """Why an answer failed, as the event that ends it."""
    return _error_of({"error": found.error or {"message": "the provider could not complete its answer", "code": "server_error"}})


def _error_of(told: JsonObject) -> Failed:
    """An error event: its fields lie in it, or, from some servers, in its ``error``."""
    inner: Any = told.get("error")
    flat: Any = {"message": told.get("message") or inner, "code": told.get("code")}
    error: Any = inner if isinstance(inner, dict) else flat  # pyright: ignore[reportUnknownVariableType] - JSON
    return failed_of(msgspec.json.encode({"error": error}))


class ResponsesWatcher(StreamWatcher):
    """Follows a passed-through stream: the usage of its last event, how it ended, errors."""

    def __init__(self) -> None:
        super().__init__(_MARKS)

    def read(self, frame: bytes) -> None:
        """Learn from an event that ends the stream."""
        event = _event.decode(frame)
        if event.type == "error":
            failed = _error_of(OBJECT.decode(frame))
        elif event.type not in _LAST:
            return
        else:
            found = RESPONSE.decode(event.response)
            self.usage = usage_of(found.usage)
            self.finished = True
            if event.type != "response.failed":
                return
            failed = _failure_of(found)
        self.fail(msgspec.json.encode({"error": {"message": failed.message, "code": failed.code}}))


_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_MARKS = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"')
