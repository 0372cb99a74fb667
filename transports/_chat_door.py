"""What every chat dialect's door does alike: ask, answer as a whole or as a stream, say in headers where it is from.

A new dialect is one file with ``routes(hub)``: it reads its client's envelope into a :class:`RawChat` and hands that to
:func:`serve` with its :class:`Dialect`.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from hub.engine.ask import ChatAsk, ChatReply, Hints, StreamHead
from hub.errors import HubError
from hub.wire import header
from transports import _hints
from transports._progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.chat import ChatEvent, ChatRequest, ChatResponse
    from hub.engine.ask import StreamItem
    from hub.providers.base import RawChat
    from transports._http import Exchange

    Headers = list[tuple[bytes, bytes]]

_CACHES = frozenset({"cache", "semantic", "lexical"})
_HIT = ((b"x-omniroute-cache", b"HIT"), (b"x-omniroute-cache-hit", b"true"))
_MISS = ((b"x-omniroute-cache", b"MISS"), (b"x-omniroute-cache-hit", b"false"))
_JSON = (b"content-type", b"application/json")
EVENT_STREAM = b"text/event-stream; charset=utf-8"


class Encoder(Protocol):
    """Writes a stream in a dialect. ``feed`` any number of times, then ``end`` or, when it broke, ``error``.

    After a Failed event, and in a stream whose provider speaks the dialect itself, ``end`` is empty or is not called. One whose client
    wants another framing than providers have also has ``passed(data)`` and ``passed_end()``, which frame what passes; one whose clients
    look for an error in a piece of the body of its own has ``bare(error)``, sent before ``error``, and ``fault``, what Failed said.
    """

    def feed(self, events: list[ChatEvent]) -> bytes:
        """These events in the dialect, joined into one piece to send; may be empty."""
        ...

    def end(self) -> bytes:
        """What closes a stream that reached its end."""
        ...

    def error(self, error: HubError) -> bytes:
        """The error event that ends a stream, without its end mark, so that no client takes it for a finished one (REL-01)."""
        ...


class Address:
    """Where a dialect's requests come in. ``path`` is the address under which they count as the same (``Hints.endpoint``).

    ``content_type`` is a stream's. A stream that is no event stream carries no progress events.
    """

    __slots__ = ("path", "plain", "progress", "stream_headers")

    def __init__(self, path: str, *, content_type: bytes = EVENT_STREAM) -> None:
        self.path = path
        #: The hints of a client that wishes nothing.
        self.plain = Hints(endpoint=path)
        self.progress = content_type == EVENT_STREAM
        self.stream_headers: Headers = [
            (b"content-type", content_type),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (b"x-omniroute-latency-ms", b"0"),
        ]


class Dialect(Address):
    """One client dialect, as :func:`serve` needs it.

    ``decode`` reads a body into the internal model and raises BadRequest; ``encode`` writes a whole answer; ``encoder`` makes the
    writer of one stream.
    """

    __slots__ = ("decode", "encode", "encoder")

    def __init__(
        self,
        path: str,
        *,
        decode: Callable[[bytes], ChatRequest],
        encode: Callable[[ChatResponse, Exchange, ChatAsk], bytes],
        encoder: Callable[[Exchange, ChatAsk, StreamHead], Encoder],
        content_type: bytes = EVENT_STREAM,
    ) -> None:
        super().__init__(path, content_type=content_type)
        self.decode = decode
        self.encode = encode
        self.encoder = encoder


async def serve(exchange: Exchange, dialect: Dialect, raw: RawChat, decode: Callable[[bytes], ChatRequest] | None = None) -> None:
    """Answer a request, streaming or not. ``decode`` replaces the dialect's where a body does not say all, as with a model in the path.

    Raises HubError before the answer has begun.
    """
    ask = asked(exchange, dialect, raw, decode or dialect.decode)
    hub = exchange.hub
    exchange.cancel_when_gone()
    if raw.stream:
        await _stream(exchange, dialect, ask, hub.stream(hub.find("chat-stream"), ask, exchange.ctx))
    else:
        reply: ChatReply = await hub.call(hub.find("chat"), ask, exchange.ctx)
        body = reply.body if reply.response is None else dialect.encode(reply.response, exchange, ask)
        await exchange.answer(200, body or b"", reply_headers(ask, reply))


def asked(exchange: Exchange, dialect: Address, raw: RawChat, decode: Callable[[bytes], ChatRequest]) -> ChatAsk:
    """The request with what its headers wish for. Raises BadRequest naming a header."""
    head = exchange.head
    hints = dialect.plain if head.wishes is None and not head.session else _hints.read(head, dialect.path)
    if raw.tags:
        hints = replace(hints, tags=raw.tags, all_tags=raw.all_tags)
    connection = head.wishes.get("connection", "") if head.wishes else ""
    return ChatAsk(raw, decode=decode, connection=connection, hints=hints)


def seconds(exchange: Exchange) -> int:
    """The time in seconds since the epoch, as dialects state it."""
    return exchange.hub.clock.now_ms() // 1000


def reply_headers(ask: ChatAsk, reply: ChatReply) -> Headers:
    """The headers of a whole answer."""
    row, usage = reply.row, reply.usage
    headers = [
        _JSON,
        *_place(row.provider, row.model),
        (b"x-omniroute-latency-ms", str(row.latency_ms).encode()),
        (b"x-omniroute-tokens-in", str(usage.prompt).encode()),
        (b"x-omniroute-tokens-out", str(usage.output).encode()),
    ]
    headers += _said(ask, reply.source)
    if row.cost is not None:
        headers.append((b"x-omniroute-response-cost", f"{row.cost:.10f}".encode()))
    if reply.compression:
        headers.append((b"x-omniroute-compression", plain_header(reply.compression)))
    if reply.notice:
        headers.append((b"x-hubroute-deprecated", plain_header(reply.notice)))
    if reply.dropped:
        headers.append((b"x-hubroute-dropped", plain_header(", ".join(reply.dropped))))
    return headers


def stream_headers(dialect: Address, ask: ChatAsk, head: StreamHead) -> Headers:
    """The headers of a stream."""
    headers = [
        *dialect.stream_headers,
        *_place(head.provider, head.model),
        *_said(ask, head.source),
    ]
    if head.compression:
        headers.append((b"x-omniroute-compression", plain_header(head.compression)))
    if head.notice:
        headers.append((b"x-hubroute-deprecated", plain_header(head.notice)))
    if head.dropped:
        headers.append((b"x-hubroute-dropped", plain_header(", ".join(head.dropped))))
    if ask.hints.progress and dialect.progress:
        headers.append((b"x-omniroute-progress", b"enabled"))
    return headers


def plain_header(text: str) -> bytes:
    """A header value: printable ASCII only, whatever a model is called (SEC-29)."""
    return header(text).encode()


async def _stream(exchange: Exchange, dialect: Dialect, ask: ChatAsk, items: AsyncGenerator[Any]) -> None:
    """Send a stream; an error after the first byte becomes an error event, never a silent stop (REL-01)."""
    async with aclosing(items):
        head: StreamHead = await anext(items)
        await exchange.start(200, stream_headers(dialect, ask, head))
        encoder = dialect.encoder(exchange, ask, head)
        progress = Progress(exchange.hub.clock) if ask.hints.progress and dialect.progress else None
        passed: Callable[[bytes], bytes] | None = getattr(encoder, "passed", None)
        try:
            async for item in items:
                data = _data(item, encoder, passed)
                if progress is not None:
                    data = progress.after(item, data)
                if data:
                    await exchange.chunk(data)
        except HubError as error:
            await _broken(exchange, encoder, error)
            return
    if (fault := getattr(encoder, "fault", None)) is not None:
        await _broken(exchange, encoder, fault)
    else:
        await exchange.finish(_ending(encoder, lossless=head.lossless))


async def _broken(exchange: Exchange, encoder: Encoder, error: HubError) -> None:
    bare: Callable[[HubError], bytes] | None = getattr(encoder, "bare", None)
    if bare is not None and (data := bare(error)):
        await exchange.chunk(data)
    await exchange.finish(encoder.error(error))


def _data(item: StreamItem, encoder: Encoder, passed: Callable[[bytes], bytes] | None) -> bytes:
    """What is sent for an item of a stream; may be empty."""
    if isinstance(item, bytes):
        return item if passed is None else passed(item)
    return encoder.feed(item) if isinstance(item, list) else b""


def _ending(encoder: Encoder, *, lossless: bool) -> bytes:
    ending: Callable[[], bytes] | None = getattr(encoder, "passed_end", None) if lossless else encoder.end
    return ending() if ending is not None else b""


@lru_cache(maxsize=1024)
def _place(provider: str, model: str) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """The headers that say where an answer is from."""
    return (b"x-omniroute-provider", provider.encode()), (b"x-omniroute-model", plain_header(model))


def _said(ask: ChatAsk, source: str) -> Headers:
    """The headers that say whether an answer was there before, and whose conversation it belongs to; none for most requests."""
    headers: Headers = []
    if ask.cacheable:
        headers += _HIT if source in _CACHES else _MISS
    if source != "upstream":
        headers.append((b"x-hubroute-source", source.encode()))
        if source == "idempotent":
            headers.append((b"x-omniroute-idempotent", b"true"))
    if ask.session_id.startswith("ext:"):
        headers.append((b"x-omniroute-session-id", ask.session_id.encode()))
    return headers
