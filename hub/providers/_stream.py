"""What the streaming adapters share: framing, faults, the end mark; and a watcher that looks without touching."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import msgspec

from hub.chat import Failed, Used
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED
from hub.providers._failure import classify
from hub.sse import MAX_EVENT, SseParser

if TYPE_CHECKING:
    from hub.chat import ChatEvent, Usage
    from hub.providers.base import Failure


class Frames(Protocol):
    """Cuts a stream into whole frames: the data of SSE events, or lines."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def end(self) -> list[bytes]: ...


class SseFrames:
    """The data of each server-sent event. Raises UpstreamFailed when one is too large."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        self._parser = SseParser()

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        return [event.data for event in self._parser.feed(data)]

    def end(self) -> list[bytes]:
        """The data of an event that lacked only its blank line."""
        return [event.data for event in self._parser.end()]


class LineFrames:
    """The non-empty lines of newline-delimited JSON. Raises UpstreamFailed when one is too large."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        pending = self._pending
        cut = data.rfind(b"\n") + 1
        pending += data[:cut] if cut else data
        if len(pending) > MAX_EVENT and (not cut or b"\n" not in pending[:MAX_EVENT]):
            raise UpstreamFailed(f"the provider sent a line larger than {MAX_EVENT} bytes")
        if not cut:
            return []
        whole = bytes(pending)
        pending.clear()
        pending += data[cut:]
        return [line for line in whole.split(b"\n") if line.strip()]

    def end(self) -> list[bytes]:
        """The last line, where it has no newline."""
        rest = bytes(self._pending)
        self._pending.clear()
        return [rest] if rest.strip() else []


class StreamDecoder(ABC):
    """Base of the decoders: a subclass reads whole frames and says when the answer is complete.

    Nothing is yielded after a Failed event, or after the end mark.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self.over = False
        self.usage: Usage | None = None

    @abstractmethod
    def read(self, frame: bytes) -> list[ChatEvent]:
        """The events of one frame. May raise what ``MALFORMED`` holds."""

    @abstractmethod
    def closing(self) -> list[ChatEvent] | None:
        """What is still to be said at the body's end; None when the answer is not complete."""

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that these bytes complete."""
        if self.over:
            return []
        try:
            frames = self._frames.feed(data)
        except UpstreamFailed as error:
            return self.fail(Failed(error.message, code="too_large"))
        events: list[ChatEvent] = []
        for frame in frames:
            if self.over:
                break
            try:
                events += self.read(frame)
            except MALFORMED:
                events += self.fail(Failed("the provider sent an event that its format does not allow", code="malformed_answer"))
        return events

    def end(self) -> list[ChatEvent]:
        """The body is over: the rest, or a Failed event when the stream stopped before its end mark."""
        events: list[ChatEvent] = []
        for frame in () if self.over else self._frames.end():
            try:
                events += self.read(frame)
            except MALFORMED:
                break  # cut off in the middle of its JSON: reported as truncated below
        if self.over:
            return events
        rest = self.closing()
        if rest is None:
            return events + self.fail(Failed("the provider ended its stream before the answer was complete", code="truncated"))
        self.over = True
        return events + rest

    def fail(self, failed: Failed) -> list[ChatEvent]:
        """The stream ends here with an error, after the usage known so far."""
        self.over = True
        return [Used(self.usage), failed] if self.usage is not None else [failed]


def failed_of(body: bytes) -> Failed:
    """An error object inside a stream, as the event that ends it."""
    failure = classify(200, [], body)
    return Failed(failure.message, code=failure.code, status=failure.status, retry_after=failure.retry_after)


class StreamWatcher(ABC):
    """Base of the watchers: passes whole events on as they came and reads only those that hold one of ``marks``.

    An event is held back until it is whole, so that a stream that begins with an error can still be answered by
    another target, and an error event of ours can follow at any moment. ``finished`` is True once the stream said
    how it ended, with an error too.
    """

    def __init__(self, marks: re.Pattern[bytes], *, lines: bool = False) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self.failure: Failure | None = None
        self._marks = marks
        self._lines = lines
        self._pending = bytearray()
        self._began = False

    @abstractmethod
    def read(self, frame: bytes) -> None:
        """Learn from one frame. May raise what ``MALFORMED`` holds."""

    def feed(self, data: bytes) -> bytes:
        """The whole events to pass on now. Raises UpstreamFailed when one is too large."""
        pending = self._pending
        if not pending and data.endswith(b"\n" if self._lines else b"\n\n"):
            return self._look(data)
        held = len(pending)
        pending += data
        cut = _last_break(pending, max(0, held - 3), lines=self._lines)
        if not cut:
            if len(pending) > MAX_EVENT:
                pending.clear()
                raise UpstreamFailed(f"the provider sent an event larger than {MAX_EVENT} bytes")
            return b""
        whole = bytes(pending[:cut])
        del pending[:cut]
        return self._look(whole)

    def end(self) -> bytes:
        """The last event where it lacked only its end, completed; a cut one is not passed on."""
        rest = bytes(self._pending).rstrip(b"\r\n")
        self._pending.clear()
        if not self._began and rest.lstrip()[:1] in _NO_STREAM and not self._lines:
            self.fail(rest if b'"error"' in rest else _NOT_A_STREAM)
            return b""
        return self._look(rest + (b"\n" if self._lines else b"\n\n")) if _complete(rest, lines=self._lines) else b""

    def _look(self, whole: bytes) -> bytes:
        """Learn from whole events, and pass them on."""
        self._began = True
        if self._marks.search(whole) is not None:
            for frame in _frames(whole, lines=self._lines):
                if self._marks.search(frame) is not None:
                    self._learn(frame)
        return whole

    def _learn(self, frame: bytes) -> None:
        try:
            self.read(frame)
        except MALFORMED:
            # The bytes go on as they came; an end that cannot be read is no end, which the engine reports.
            return

    def fail(self, body: bytes) -> None:
        """The stream reports an error, which ends it."""
        self.failure = classify(200, [], body)
        self.finished = True


#: A blank line, in any mix of the three line ends.
_BREAK = re.compile(rb"(?>\r\n|\n|\r){2}")
#: How a body begins that is a JSON document or a page instead of an event stream.
_NO_STREAM = (b"{", b"[", b"<")
_NOT_A_STREAM = b'{"error":{"message":"the provider answered with something that is no event stream","code":"malformed_answer"}}'


def _last_break(data: bytearray, start: int, *, lines: bool) -> int:
    """The position after the last frame end at or after ``start``; 0 when there is none."""
    if lines:
        return data.rfind(b"\n", start) + 1
    last = 0
    for found in _BREAK.finditer(data, start):
        if found.end() == len(data) and data.endswith(b"\r"):
            break  # the LF of this line end may still be on its way
        last = found.end()
    return last


def _frames(whole: bytes, *, lines: bool) -> list[bytes]:
    frames: Frames = LineFrames() if lines else SseFrames()
    return frames.feed(whole) + frames.end()


def _complete(rest: bytes, *, lines: bool) -> bool:
    """Whether what the stream ended with is whole all the same: an event or line whose JSON is complete."""
    try:
        return bool(rest) and all(msgspec.json.decode(frame) is not None for frame in _frames(rest, lines=lines) or [b"null"])
    except MALFORMED:
        return False
