"""One keep-alive HTTP/1.1 connection and the answers that arrive on it.

The parser is httptools'; this file decides what its callbacks mean, what failed and when. A connection
serves one request at a time. It is given back the moment an answer is complete, even before anybody
read it, and closed at once when an answer is given up.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from hub.outbound.base import Fault, OutboundError
from hub.outbound.encoding import Decoder, content_encoding, strip_encoding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.outbound.base import Headers, Outgoing, Payload, Timeouts

_NEVER = float("inf")
_HIGH = 256 * 1024  # unread bytes, past which the upstream is no longer read
_PIECES = 4096  # the same in pieces: a body of one-byte chunks costs far more memory than bytes
_UPLOAD = 64 * 1024
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Owner(Protocol):
    """Whom a connection belongs to. Each connection reports exactly one end of each lease."""

    def give_back(self, connection: Connection) -> None:
        """The answer is complete and the connection can serve the next request."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""
        ...


async def _steps(body: bytes | Payload) -> AsyncGenerator[bytes | memoryview]:
    """A body in steps of a size that a socket takes at once, as a rule."""
    if isinstance(body, bytes):
        view = memoryview(body)
        for start in range(0, len(body), _UPLOAD):
            yield view[start : start + _UPLOAD]
        return
    async for piece in body:
        view = memoryview(piece)
        for start in range(0, len(piece), _UPLOAD):
            yield view[start : start + _UPLOAD]


class Answer:
    """:class:`hub.outbound.base.Incoming` of this engine. ``stale`` marks a dead reused connection, safe to retry."""

    __slots__ = (
        "body_limit",
        "complete",
        "connection",
        "decoder",
        "error",
        "headers",
        "idle",
        "loop",
        "pieces",
        "size",
        "stale",
        "status",
        "waiter",
    )

    def __init__(self, connection: Connection, request: Outgoing) -> None:
        self.status = 0
        self.headers: Headers = []
        self.connection: Connection | None = connection
        self.loop = connection.loop
        self.idle = request.timeouts.idle
        self.body_limit = request.limits.body
        self.pieces: list[bytes] = []
        self.size = 0
        self.complete = False
        self.stale = False
        self.error: OutboundError | None = None
        self.decoder: Decoder | None = None
        self.waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """See :class:`hub.outbound.base.Incoming`."""
        if self.complete and self.decoder is None and self.error is None:
            return self.take()
        parts = [part async for part in self]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        while True:
            data = self.decoded() if self.decoder is not None else self.take()
            if data:
                return data
            if self.error is not None:
                raise self.error
            if self.complete:
                raise StopAsyncIteration
            await self.more()

    async def close(self) -> None:
        """See :class:`hub.outbound.base.Incoming`."""
        self.abandon()

    def abandon(self) -> None:
        """Drop the connection unless the answer is complete already."""
        self.pieces.clear()
        if self.connection is not None:
            self.connection.shut()
            self.connection = None
            self.error = self.error or OutboundError(Fault.TRUNCATED, "the answer was given up", started=True, reached=True)

    def opened(self) -> None:
        """The head is whole: see whether the body is encoded."""
        encoding = content_encoding(self.headers)
        if encoding:
            self.decoder = Decoder(encoding, self.body_limit)
            self.headers = strip_encoding(self.headers)

    def wake(self) -> None:
        """Let the reader run, where one waits."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def take(self) -> bytes:
        """All that has arrived and was not read yet."""
        pieces = self.pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.pieces = []
        self.size = 0
        if self.connection is not None and self.connection.held:
            self.connection.let_go()
        return data

    def decoded(self) -> bytes:
        """The same through the decoder, in bounded steps. A decoding fault drops the connection."""
        decoder = self.decoder
        if decoder is None:
            return b""
        try:
            data = decoder.take()
            if not data and self.pieces:
                decoder.feed(self.take())
                data = decoder.take()
            if not data and self.complete:
                decoder.finish()
        except OutboundError as error:
            self.decoder = None
            self.abandon()
            self.error = error
            raise
        return data

    async def more(self) -> None:
        """Wait for bytes, the end or a fault; the upstream may be silent for ``idle`` seconds."""
        connection = self.connection
        if connection is None:
            return
        self.waiter = self.loop.create_future()
        connection.arm(self.idle)
        arrived = False
        try:
            await self.waiter
            arrived = True
        finally:
            if not arrived:  # cancelled: nobody will read on
                self.abandon()


class Connection(asyncio.Protocol):
    """One connection, used by one request at a time; ``leased`` while a request holds its slot."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.owner = owner
        self.parser = HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.answer: Answer | None = None
        self.leased = False
        self.closed = False
        self.held = False  # reading is paused: the reader is behind
        self.served = 0
        self.born = loop.time()
        self.idle_since = 0.0
        self.deadline = _NEVER
        self.timer: asyncio.TimerHandle | None = None
        self.stalled = False  # the socket takes no more bytes for now
        self.drained: asyncio.Future[None] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the last answer."""
        self.heard = False  # a byte of the answer has arrived
        self.ready = False  # its head is whole
        self.done = False  # its body is whole
        self.keep = False  # the connection survives it
        self.sent = False  # the whole request was handed over
        self.framed = False  # the body's end is marked, not just the connection's end
        self.head_size = 0
        self.body_size = 0
        self.quiet = 0
        self.broken: tuple[Fault, str] | None = None

    # -- sending

    async def exchange(self, request: Outgoing, head: bytes) -> Answer:
        """Send a request and wait for the answer's head; on cancellation the connection is dropped at once."""
        answer = self.begin(request)
        waiter = answer.waiter = self.loop.create_future()
        finished = False
        try:
            if self.transport is None or self.closed:
                self.fail(Fault.CLOSED_BEFORE_ANSWER, "the connection closed before the request was sent", gone=True, reached=False)
            elif isinstance(request.body, bytes) and len(request.body) <= _UPLOAD:
                self.transport.write(head + request.body)
                self.sent = True
            else:
                await self.upload(answer, self.transport, head, request.body)
            if self.answer is answer and not self.ready and not self.stalled:
                self.arm(self.timeouts.first_byte)
            await waiter
            finished = True
        finally:
            if not finished:
                answer.abandon()
        return answer

    def begin(self, request: Outgoing) -> Answer:
        """Take up a request."""
        self.reset()
        self.timeouts: Timeouts = request.timeouts
        self.head_limit = request.limits.head
        self.bodiless = request.method == "HEAD"
        self.answer = Answer(self, request)
        return self.answer

    async def upload(self, answer: Answer, transport: asyncio.Transport, head: bytes, body: bytes | Payload) -> None:
        """Send a large body in steps, so that a stuck socket is noticed, and stop when the answer comes early."""
        transport.write(head)
        async with aclosing(_steps(body)) as steps:
            async for step in steps:
                if self.stalled:
                    self.drained = self.loop.create_future()
                    await self.drained
                if self.answer is not answer or self.ready:
                    return
                transport.write(step)
        self.sent = True

    def pause_writing(self) -> None:
        """The socket's buffer is full: from here on the write limit runs."""
        self.stalled = True
        if self.answer is not None and not self.ready:
            self.arm(self.timeouts.write)

    def resume_writing(self) -> None:
        """All bytes were taken: the answer is awaited, or the next step of an upload."""
        self.stalled = False
        if self.answer is not None and not self.ready:
            self.arm(self.timeouts.first_byte)
        self.release_upload()

    def release_upload(self) -> None:
        """Let a waiting upload look again."""
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)

    # -- receiving: callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Report a full buffer as soon as one byte is left unsent."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are so by interface, not by class
        self.transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; afterwards wake the reader once for all that came."""
        answer = self.answer
        if answer is None:
            self.shut()  # nobody asked: whatever this is must not become the next request's answer
            return
        self.heard = True
        self.quiet += len(data)
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self.done:
                self.fail(*(self.broken or (Fault.MALFORMED_ANSWER, "the answer is not valid HTTP")))
                return
            self.keep = False  # bytes behind a whole answer spoil the connection, not the answer
        if self.done:
            self.finish(answer)
        elif self.quiet > self.head_limit:
            # Heads, chunk marks and trailers without end; the parser itself sets no bound.
            self.fail(Fault.TOO_LARGE, "the answer's head is too large")
        elif self.ready:
            self.progress(answer)

    def progress(self, answer: Answer) -> None:
        """Head or body bytes arrived."""
        if answer.size > _HIGH or len(answer.pieces) > _PIECES:
            self.hold()
        if answer.waiter is not None:
            self.deadline = _NEVER
            self.release_upload()
            answer.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; for a body without framing that is its end."""
        answer = self.answer
        if self.closed or answer is None:
            self.shut()
        elif self.ready and not self.framed and exc is None:
            self.keep = False
            self.finish(answer)
        elif self.ready:
            self.fail(Fault.TRUNCATED, "the upstream closed the connection inside its answer")
        elif self.sent and not self.stalled:
            self.fail(Fault.CLOSED_BEFORE_ANSWER, "the upstream closed the connection without an answer", gone=True)
        else:
            self.fail(Fault.WRITE_FAILED, "the upstream closed the connection while the request was sent", gone=True)

    # -- receiving: callbacks of the parser

    def on_message_begin(self) -> None:
        """A second answer where one is due is an error."""
        if self.done:
            raise ValueError("surplus bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect headers; trailers are counted and dropped."""
        self.head_size += len(name) + len(value) + 4
        if self.head_size > self.head_limit:
            self.broken = (Fault.TOO_LARGE, "the answer's head is too large")
            raise ValueError("head too large")
        if not self.ready and self.answer is not None:
            name = name.lower()
            self.answer.headers.append((name, value.rstrip(b" \t")))
            if name in _FRAMING:
                self.frame(name, value)

    def frame(self, name: bytes, value: bytes) -> None:
        """Note how the body's end is marked."""
        self.framed = True
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self.broken = (Fault.BAD_ENCODING, "the answer has a transfer-encoding that was not asked for")
            raise ValueError("transfer-encoding")

    def on_headers_complete(self) -> None:
        """The head is whole, unless it is a 1xx one, which is skipped."""
        answer = self.answer
        if answer is None:
            return
        status = self.parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise ValueError("status out of place")
            answer.headers.clear()
            self.framed = False
            return
        answer.status = status
        self.ready = True
        self.quiet = 0
        if self.bodiless:
            self.done = True  # the parser does not know of HEAD and would wait for a body
        elif b"content-encoding" in map(_name, answer.headers):
            answer.opened()

    def on_body(self, body: bytes) -> None:
        """Keep a piece for the reader."""
        answer = self.answer
        if answer is None or self.done:
            return
        self.quiet = 0
        self.body_size += len(body)
        if self.body_size > answer.body_limit:
            self.broken = (Fault.TOO_LARGE, "the answer is too large")
            raise ValueError("body too large")
        answer.size += len(body)
        answer.pieces.append(body)

    def on_message_complete(self) -> None:
        """The body is whole; a 1xx head ends here too and does not count."""
        if self.ready and not self.done:
            self.done = True
            self.keep = self.parser.should_keep_alive()

    # -- ends

    def finish(self, answer: Answer) -> None:
        """The answer is whole: hand the connection on, then let the reader run."""
        answer.complete = True
        answer.connection = None
        self.answer = None
        self.deadline = _NEVER
        self.release_upload()
        if self.held:
            self.let_go()
        if self.keep and self.sent and not self.stalled and not self.closed:
            self.served += 1
            self.owner.give_back(self)
        else:
            self.shut()
        answer.wake()

    def fail(self, fault: Fault, message: str, *, gone: bool = False, reached: bool = True) -> None:
        """The answer cannot be completed. ``gone``: the connection was found closed, with no byte of an answer."""
        answer = self.answer
        if answer is not None:
            answer.stale = gone and not self.heard and self.served > 0
            answer.error = OutboundError(fault, message, started=self.ready, reached=reached)
            answer.connection = None
            self.answer = None
            self.release_upload()
            answer.wake()
        self.shut()

    def shut(self) -> None:
        """Close at once. May be called twice."""
        if self.closed:
            return
        self.closed = True
        self.answer = None
        self.release_upload()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.transport is not None:
            self.transport.abort()
        self.owner.lost(self)

    # -- flow and time

    def hold(self) -> None:
        """Read no further until the reader has caught up."""
        if not self.held and self.transport is not None and not self.transport.is_closing():
            self.held = True
            self.transport.pause_reading()

    def let_go(self) -> None:
        """Read on."""
        self.held = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def arm(self, seconds: float) -> None:
        """Set the deadline. The timer is moved only when it would ring too late, so most calls cost nothing."""
        self.deadline = deadline = self.loop.time() + seconds
        if self.timer is None:
            self.timer = self.loop.call_at(deadline, self.tick)
        elif self.timer.when() > deadline:
            self.timer.cancel()
            self.timer = self.loop.call_at(deadline, self.tick)

    def tick(self) -> None:
        """The timer rang: the deadline has passed, has moved, or is gone."""
        self.timer = None
        if self.deadline == _NEVER:
            return
        if self.loop.time() < self.deadline:
            self.timer = self.loop.call_at(self.deadline, self.tick)
        elif self.ready:
            self.fail(Fault.IDLE_TIMEOUT, f"the upstream was silent for {self.timeouts.idle:g} s inside its answer")
        elif self.stalled:
            self.fail(Fault.WRITE_FAILED, f"the upstream took no bytes of the request for {self.timeouts.write:g} s")
        else:
            self.fail(Fault.FIRST_BYTE_TIMEOUT, f"the upstream did not begin its answer in {self.timeouts.first_byte:g} s")


def _name(header: tuple[bytes, bytes]) -> bytes:
    return header[0]
