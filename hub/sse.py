"""Server-sent events, read as the WHATWG standard says (section 9.2.6), from bytes cut anywhere.

Two departures, both for model providers: an event without ``data`` lines is not shown (as the standard
has it), but one that the stream's end cut off before its blank line is, so that the caller can judge it;
and one event may not grow past a cap.
"""

from __future__ import annotations

import msgspec

from hub.errors import UpstreamFailed

MAX_EVENT = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event. ``event`` is its type, ``message`` where the stream names none; ``id`` the last id the stream gave."""

    event: str
    data: bytes
    id: str = ""


class SseParser:
    """Feed it a stream's bytes as they come; it yields events as they complete.

    Raises UpstreamFailed when one event is larger than ``limit`` bytes.
    """

    __slots__ = ("_after_cr", "_buffer", "_id", "_limit", "_started")

    def __init__(self, *, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._started = False
        self._after_cr = False
        self._id = ""

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that these bytes complete."""
        data = self._whole(data)
        if not data:
            return []
        *blocks, rest = data.split(b"\n\n")
        if rest:
            self._buffer += rest
            self._check(len(rest), self._limit + 1)  # one byte of grace: the newline before the blank line
        if len(data) > self._limit:
            self._check(max(map(len, blocks), default=0), self._limit)
        events: list[SseEvent] = []
        for block in blocks:
            # by far the most common shape; everything else takes the long way
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(SseEvent("message", block[6:], self._id))
            elif (event := self._event(block)) is not None:
                events.append(event)
        return events

    def end(self) -> list[SseEvent]:
        """The stream is over: the event that lacked only its closing blank line, if any."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        event = self._event(rest.removesuffix(b"\n")) if rest else None
        return [event] if event is not None else []

    def _whole(self, data: bytes) -> bytes:
        """What is held and what came, once it has a complete event; with unified line ends. Else empty."""
        if not self._started:
            data = self._skip_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._unify(data)
        buffer = self._buffer
        if not buffer:
            return data
        held = len(buffer)
        buffer += data
        if buffer.find(b"\n\n", held - 1) < 0:
            self._check(len(buffer), self._limit + 1)
            return b""
        data = bytes(buffer)
        buffer.clear()
        return data

    def _check(self, size: int, limit: int) -> None:
        if size > limit:
            self._buffer.clear()
            raise UpstreamFailed(f"the provider sent an event larger than {self._limit} bytes")

    def _skip_bom(self, data: bytes) -> bytes:
        data = bytes(self._buffer) + data
        self._buffer.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._buffer += data
            return b""
        self._started = True
        return data.removeprefix(_BOM)

    def _unify(self, data: bytes) -> bytes:
        # A CR is taken as a line end at once; the LF that may follow it in the next piece is then skipped.
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _event(self, block: bytes) -> SseEvent | None:
        name, values = b"", list[bytes]()
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if value.startswith(b" "):
                value = value[1:]
            if field == b"data":
                values.append(value)
            elif field == b"event":
                name = value
            elif field == b"id" and b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        if not values:
            return None
        data = values[0] if len(values) == 1 else b"\n".join(values)
        return SseEvent(name.decode("utf-8", "replace") or "message", data, self._id)
