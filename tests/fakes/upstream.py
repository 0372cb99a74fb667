"""A provider that misbehaves on demand: a raw HTTP/1.1 server on 127.0.0.1 for tests.

    async with FaultUpstream() as upstream:
        upstream.answer(reset_before_head(), json_answer({"ok": True}))   # first request, all later ones
        ... use upstream.url, upstream.origin ...
        assert upstream.requests[0].body == b"..."
        assert await upstream.closed_by_client(timeout=1)

``answer(*behaviours)`` sets one behaviour per request in order of arrival; the last one repeats.
``script(handler)`` chooses a behaviour by request: ``handler(request) -> Behaviour``.
A behaviour is what a function below returns, or ``Behaviour(run)`` with your own
``async def run(exchange: Exchange)``, which writes with ``await exchange.write(bytes)`` and may end with
``exchange.reset()`` (RST), ``exchange.close()`` (FIN), ``await exchange.hold()`` (wait until the client
goes) or nothing (keep-alive). Every behaviour ends when the client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hub.outbound.base import Origin, Outgoing

if TYPE_CHECKING:
    import ssl

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Received:
    """A request as it came; header names lower-case. ``number`` counts from 1 on its connection."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    number: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with one request; ``early`` starts it when the head has arrived and never reads the body."""

    run: Callable[[Exchange], Awaitable[None]]
    early: bool = False


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, wire: _Wire, request: Received) -> None:
        self.request = request
        self._wire = wire

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client is slow."""
        if not self._wire.gone.is_set():
            self._wire.transport.write(data)
            await self._wire.writable.wait()

    async def head(self, status: int = 200, headers: Iterable[tuple[str, str]] = (), *, length: int | None = None) -> None:
        """A head; without ``length`` the body is chunked."""
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in (*headers, framing))]
        await self.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def chunk(self, data: bytes) -> None:
        """One chunk; an empty one ends the body."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def hold(self) -> None:
        """Wait until the client has closed."""
        await self._wire.gone.wait()

    async def pause(self, seconds: float) -> bool:
        """Let time pass; True when the client went away meanwhile."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wire.gone.wait(), seconds)
        return self._wire.gone.is_set()

    def reset(self) -> None:
        """Close with RST."""
        self._wire.ours = True
        sock = self._wire.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._wire.transport.abort()

    def close(self) -> None:
        """Close with FIN, what was written first."""
        self._wire.ours = True
        self._wire.transport.close()


class FaultUpstream:
    """See the module's docstring. ``tls`` serves HTTPS; ``requests`` and ``connections`` count what came."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.open = 0
        self.closed = asyncio.Event()
        self._tls = tls
        self._queue: list[Behaviour] = [json_answer({"ok": True})]
        self._handler: Callable[[Received], Behaviour] | None = None
        self._wires: set[_Wire] = set()
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        # asyncio switches Nagle off only where it reads the protocol here
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.bind(("127.0.0.1", 0))
        self._server = await loop.create_server(lambda: _Wire(self), sock=sock, ssl=self._tls, backlog=1024)
        self.port: int = sock.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        wires = list(self._wires)
        for wire in wires:
            wire.ours = True
            wire.transport.abort()
        await asyncio.gather(*(wire.ended() for wire in wires))

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def origin(self) -> Origin:
        return Origin("https" if self._tls else "http", "127.0.0.1", self.port)

    def outgoing(self, body: bytes = b"{}", *, method: str = "POST", target: str = "/v1/chat", **fields: Any) -> Outgoing:
        """A request to this upstream, private addresses allowed; ``fields`` are those of Outgoing."""
        fields.setdefault("headers", [(b"content-type", b"application/json")])
        fields.setdefault("private", True)
        return Outgoing(fields.pop("origin", self.origin), method, target, body=body, **fields)

    def answer(self, *behaviours: Behaviour) -> None:
        """One behaviour per request from now on; the last one repeats."""
        self._queue, self._handler = list(behaviours), None

    def script(self, handler: Callable[[Received], Behaviour]) -> None:
        """Choose by the whole request; ``early`` has no effect here."""
        self._handler = handler

    def queued(self) -> Behaviour | None:
        """The behaviour that is known before the body arrives."""
        if self._handler is not None:
            return None
        return self._queue.pop(0) if len(self._queue) > 1 else self._queue[0]

    def scripted(self, request: Received) -> Behaviour:
        assert self._handler is not None
        return self._handler(request)

    async def closed_by_client(self, timeout: float = 1.0) -> bool:
        """Whether a client closed a connection (since :attr:`closed` was last cleared) within the time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closed.wait(), timeout)
        return self.closed.is_set()

    async def received(self, count: int = 1, timeout: float = 5.0) -> None:
        """Wait until so many requests have come in all."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def note(self, request: Received) -> None:
        self.requests.append(request)
        async with self._arrived:
            self._arrived.notify_all()

    def joined(self, wire: _Wire) -> None:
        self.connections += 1
        self.open += 1
        self._wires.add(wire)

    def left(self, wire: _Wire) -> None:
        self.open -= 1
        self._wires.discard(wire)


@dataclass(slots=True)
class _Head:
    method: str
    target: str
    headers: dict[str, str]
    length: int


class _Wire(asyncio.Protocol):
    """One connection: cuts requests out of the bytes and runs their behaviours one after the other."""

    def __init__(self, upstream: FaultUpstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.ours = False  # this side ended it
        self._served = 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._upstream.joined(self)
        self._task = asyncio.ensure_future(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    def eof_received(self) -> None:
        self._upstream.closed.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ours:
            self._upstream.closed.set()
        self.gone.set()
        self._more.set()
        self.writable.set()

    async def ended(self) -> None:
        """The behaviour has come to its end."""
        await self.gone.wait()
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        try:
            while not self.gone.is_set():
                head = await self._head()
                if head is None:
                    return
                await self._run(head)
        finally:
            self._upstream.left(self)

    async def _run(self, head: _Head) -> None:
        self._served += 1
        request = Received(head.method, head.target, head.headers, b"", self._served)
        behaviour = self._upstream.queued()
        if behaviour is not None and behaviour.early:
            self.transport.pause_reading()
        else:
            request.body = await self._body(head.length)
        await self._upstream.note(request)
        if not self.gone.is_set():
            await (behaviour or self._upstream.scripted(request)).run(Exchange(self, request))

    async def _head(self) -> _Head | None:
        while b"\r\n\r\n" not in self._buffer:
            if not await self._wait():
                return None
        raw, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return _Head(method, target, headers, int(headers.get("content-length", 0)))

    async def _body(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not await self._wait():
                break
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    async def _wait(self) -> bool:
        self._more.clear()
        if not self.gone.is_set():
            await self._more.wait()
        return not self.gone.is_set()


# -- behaviours: answers that are right


def raw(*pieces: bytes, delay: float = 0.0, then: str = "keep") -> Behaviour:
    """Write bytes as they are, ``delay`` seconds apart; ``then`` is keep, close, reset or hold."""

    async def run(exchange: Exchange) -> None:
        for index, piece in enumerate(pieces):
            if index and await exchange.pause(delay):
                return
            await exchange.write(piece)
        await _end(exchange, then)

    return Behaviour(run)


def answer_bytes(body: bytes, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Behaviour:
    """A body with its length, in one write with its head."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return raw(f"HTTP/1.1 {status} Status\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body)


def json_answer(value: object, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Behaviour:
    """A JSON answer."""
    return answer_bytes(json.dumps(value).encode(), status=status, headers=[("content-type", "application/json"), *headers])


def sse(events: Iterable[str | bytes], *, delay: float = 0.0, end: bytes = b"data: [DONE]\n\n", then: str = "keep") -> Behaviour:
    """An event stream, one chunk per event: str becomes ``data: ...``, bytes go as they are. ``then``: as in :func:`raw`,
    or ``open``: the last chunk never comes."""
    pieces = [event if isinstance(event, bytes) else f"data: {event}\n\n".encode() for event in events]

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "text/event-stream")])
        for piece in [*pieces, *([end] if end else [])]:
            await exchange.chunk(piece)
            if delay and await exchange.pause(delay):
                return
        if then == "keep":
            await exchange.chunk(b"")
        else:
            await _end(exchange, "hold" if then == "open" else then)

    return Behaviour(run)


def compressed(body: bytes, *, keep: int | None = None, encoding: str = "gzip", data: bytes | None = None) -> Behaviour:
    """A gzip answer; ``keep`` truncates the compressed bytes, ``data`` replaces them."""
    packed = (gzip.compress(body) if data is None else data)[:keep]
    return answer_bytes(packed, headers=[("content-encoding", encoding), ("content-type", "application/json")])


def until_close(body: bytes) -> Behaviour:
    """A body that ends with the connection."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + body, then="close")


def after_informational(body: bytes, *, statuses: Iterable[int] = (100, 103)) -> Behaviour:
    """1xx heads first, then the answer."""
    early = b"".join(b"HTTP/1.1 %d Early\r\nlink: </x>\r\n\r\n" % status for status in statuses)
    return raw(early, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


# -- behaviours: faults


def reset_before_head() -> Behaviour:
    """RST in place of an answer."""
    return raw(then="reset")


def close_before_head() -> Behaviour:
    """FIN in place of an answer."""
    return raw(then="close")


def reset_after_head() -> Behaviour:
    """RST between head and body."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", b"", delay=0.02, then="reset")


def cut(body: bytes, *, at: int, then: str = "reset") -> Behaviour:
    """A body with its length, broken off after ``at`` bytes (inside an event, inside a character)."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body[:at]), b"", delay=0.02, then=then)


def cut_sse(events: Iterable[str | bytes], *, last: bytes = b"", then: str = "reset") -> Behaviour:
    """Whole events, then ``last`` (part of one), then the end of the connection without terminator."""

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "text/event-stream")])
        for event in events:
            await exchange.chunk(event if isinstance(event, bytes) else f"data: {event}\n\n".encode())
        if last:
            await exchange.chunk(last)
        await exchange.pause(0.02)
        await _end(exchange, then)

    return Behaviour(run)


def silent() -> Behaviour:
    """Never an answer."""
    return raw(then="hold")


def head_then_silent(*, body: bytes = b"") -> Behaviour:
    """A head (and ``body``), then nothing."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body) + 10, body), then="hold")


def drip(body: bytes, *, every: float, head: bool = False) -> Behaviour:
    """One byte at a time; ``head`` drips the head as well."""
    start = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    pieces = (start + body) if head else body
    return raw(*([] if head else [start]), *(bytes([byte]) for byte in pieces), delay=every)


def comments_only(*, every: float) -> Behaviour:
    """An event stream of keep-alive comments without end."""

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "text/event-stream")])
        while not await exchange.pause(every):
            await exchange.chunk(b": ping\n\n")

    return Behaviour(run)


def malformed_json() -> Behaviour:
    """Status 200, JSON that stops in the middle."""
    return answer_bytes(b'{"id": "x", "choices": [', headers=[("content-type", "application/json")])


def html() -> Behaviour:
    """Status 200, a login page."""
    return answer_bytes(b"<!doctype html><html><body>Sign in</body></html>", headers=[("content-type", "text/html")])


def bad_chunks() -> Behaviour:
    """A chunk size that is no number."""
    return raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n", b"zz\r\nno", delay=0.02, then="hold")


def huge_head(size: int) -> Behaviour:
    """One header of ``size`` bytes."""
    return raw(b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * size + b"\r\ncontent-length: 2\r\n\r\nok")


def huge_line(size: int) -> Behaviour:
    """An event of ``size`` bytes without a line end, then silence."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: " + b"a" * size, then="hold")


def stale(otherwise: Behaviour) -> Behaviour:
    """Serve the first request of every connection; close without an answer when another arrives on it."""

    async def run(exchange: Exchange) -> None:
        if exchange.request.number > 1:
            exchange.close()
        else:
            await otherwise.run(exchange)

    return Behaviour(run)


def never_reads() -> Behaviour:
    """Take the head, never the body."""

    async def run(exchange: Exchange) -> None:
        await exchange.hold()

    return Behaviour(run, early=True)


def answers_early(status: int = 413) -> Behaviour:
    """Answer when the head has arrived, and close without reading the body."""

    async def run(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 %d Status\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno" % status)
        await exchange.hold()

    return Behaviour(run, early=True)


async def _end(exchange: Exchange, then: str) -> None:
    if then == "reset":
        exchange.reset()
    elif then == "close":
        exchange.close()
    elif then == "hold":
        await exchange.hold()
    else:
        assert then == "keep", then
