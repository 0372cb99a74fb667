"""The OpenAI door: ``/v1/chat/completions`` and ``/v1/models``, as any OpenAI-compatible client expects them."""

from __future__ import annotations

from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hub.ask import ChatAsk, ChatReply, Hints, StreamHead, StreamTail
from hub.errors import HubError, openai_body
from hub.wire import header
from transports import _hints
from transports._http import Door, Exchange, Route
from transports._openai_chat import StreamEncoder, decode, encode, envelope
from transports._progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.call import Hub
    from hub.providers.base import RawChat

DOOR = Door("openai", error=openai_body, token_headers=(b"x-api-key", b"api-key"), route_class=b"CLIENT_API")

_PATH = "/v1/chat/completions"
_PLAIN = Hints(endpoint=_PATH)
_CACHES = frozenset({"cache", "semantic", "lexical"})
_HIT = ((b"x-omniroute-cache", b"HIT"), (b"x-omniroute-cache-hit", b"true"))
_MISS = ((b"x-omniroute-cache", b"MISS"), (b"x-omniroute-cache-hit", b"false"))
_JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-omniroute-latency-ms", b"0"),
]


def routes(hub: Hub) -> list[Route]:
    """The door's routes."""
    return [Route(_PATH, completions, DOOR, methods=("POST",))]


async def completions(exchange: Exchange) -> None:
    """``POST /v1/chat/completions``, streaming or not."""
    raw = envelope(await exchange.body())
    ask = _asked(exchange, raw)
    hub = exchange.hub
    exchange.cancel_when_gone()
    if raw.stream:
        await _stream(exchange, ask, hub.stream(hub.find("chat-stream"), ask, exchange.ctx))
    else:
        await _answer(exchange, ask, await hub.call(hub.find("chat"), ask, exchange.ctx))


def _asked(exchange: Exchange, raw: RawChat) -> ChatAsk:
    head = exchange.head
    hints = _PLAIN if head.wishes is None and not head.session else _hints.read(head, _PATH)
    if raw.tags:
        hints = replace(hints, tags=raw.tags, all_tags=raw.all_tags)
    connection = head.wishes.get("connection", "") if head.wishes else ""
    return ChatAsk(raw, decode=decode, connection=connection, hints=hints)


async def _answer(exchange: Exchange, ask: ChatAsk, reply: ChatReply) -> None:
    response = reply.response
    body = reply.body if response is None else encode(response, created=response.created or exchange.hub.clock.now_ms() // 1000)
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
    if reply.dropped:
        headers.append((b"x-hubroute-dropped", _header(", ".join(reply.dropped))))
    await exchange.answer(200, body or b"", headers)


async def _stream(exchange: Exchange, ask: ChatAsk, items: AsyncGenerator[Any]) -> None:
    """Send a stream; an error after the first byte becomes an error event, never a silent stop (REL-01)."""
    async with aclosing(items):
        head: StreamHead = await anext(items)
        encoder = await _begin(exchange, ask, head)
        progress = Progress(exchange.hub.clock) if ask.hints.progress else None
        try:
            async for item in items:
                data = item if isinstance(item, bytes) else b"" if isinstance(item, StreamTail) else encoder.feed(item)
                if progress is not None:
                    data = progress.after(item, data)
                if data:
                    await exchange.chunk(data)
        except HubError as error:
            await exchange.finish(encoder.error(error))
            return
    await exchange.finish(b"" if head.lossless else encoder.end())


async def _begin(exchange: Exchange, ask: ChatAsk, head: StreamHead) -> StreamEncoder:
    headers = [
        *_STREAM_HEADERS,
        *_place(head.provider, head.model),
        *_said(ask, head.source),
    ]
    if head.dropped:
        headers.append((b"x-hubroute-dropped", _header(", ".join(head.dropped))))
    if ask.hints.progress:
        headers.append((b"x-omniroute-progress", b"enabled"))
    await exchange.start(200, headers)
    return StreamEncoder(
        id=f"chatcmpl-{exchange.request_id}",
        model=head.model,
        created=exchange.hub.clock.now_ms() // 1000,
        include_usage=ask.raw is not None and ask.raw.include_usage,
    )


@lru_cache(maxsize=1024)
def _place(provider: str, model: str) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """The headers that say where an answer is from."""
    return (b"x-omniroute-provider", provider.encode()), (b"x-omniroute-model", _header(model))


def _said(ask: ChatAsk, source: str) -> list[tuple[bytes, bytes]]:
    """The headers that say whether an answer was there before, and whose conversation it belongs to; none for most requests."""
    headers: list[tuple[bytes, bytes]] = []
    if ask.cacheable:
        headers += _HIT if source in _CACHES else _MISS
    if source != "upstream":
        headers.append((b"x-hubroute-source", source.encode()))
        if source == "idempotent":
            headers.append((b"x-omniroute-idempotent", b"true"))
    if ask.session_id.startswith("ext:"):
        headers.append((b"x-omniroute-session-id", ask.session_id.encode()))
    return headers


def _header(text: str) -> bytes:
    return header(text).encode()
