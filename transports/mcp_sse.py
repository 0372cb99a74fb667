"""MCP over the older HTTP+SSE transport at ``/api/mcp/sse``, for clients that know nothing newer.

GET opens a stream, whose first event names the address to POST messages to: the same path with a
session id. Deprecated by the protocol since 2025-03-26 in favour of ``/api/mcp/stream``.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import anyio

from hub.errors import BadRequest, NotFound
from transports import _mcp
from transports._http import Route

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange
    from transports._mcp_pipe import Pipe

PATH = "/api/mcp/sse"
DOOR = _mcp.door_at(PATH)
KEEP_ALIVE_SECONDS = 15.0

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    # 2025-03-26, when the protocol replaced this transport (RFC 9745).
    (b"deprecation", b"@1742947200"),
    (b"link", b'</api/mcp/stream>; rel="successor-version"'),
]


def routes(hub: Hub) -> list[Route]:
    """One address: GET opens a stream, POST delivers a message to it."""
    door = _Door(_mcp.of(hub))
    return [
        Route(PATH, door.open, DOOR, methods=("GET",)),
        Route(PATH, door.deliver, DOOR, methods=("POST",)),
    ]


class _Door:
    """The open streams: session id -> the principal that opened it and its connection to the server."""

    def __init__(self, mcp: _mcp.Mcp) -> None:
        self._mcp = mcp
        self._open: dict[str, tuple[str, Pipe]] = {}

    async def open(self, exchange: Exchange) -> None:
        """Serve one client until it leaves; leaving cancels what it asked for."""
        if not await _mcp.admitted(exchange, "sse"):
            return
        pipe = await self._mcp.pipe()
        session = secrets.token_urlsafe(24)
        self._open[session] = (exchange.caller.key_id, pipe)
        exchange.cancel_when_gone()
        try:
            async with self._mcp.standing(exchange):
                await exchange.start(200, _HEADERS)
                await exchange.chunk(f"event: endpoint\r\ndata: {PATH}?session_id={session}\r\n\r\n".encode())
                async with anyio.create_task_group() as group:
                    group.start_soon(pipe.run)
                    await _forward(pipe, exchange)
        finally:
            del self._open[session]
            pipe.close()

    async def deliver(self, exchange: Exchange) -> None:
        """Take one message. A session of another principal is answered like one that does not exist (SEC-55)."""
        if not await _mcp.admitted(exchange, "sse"):
            return
        session = exchange.query.get("session_id", "")
        if not session:
            raise BadRequest("session_id is missing: open the stream with GET first and post to the address it names", field="session_id")
        owner, pipe = self._open.get(session, ("", None))
        if pipe is None or owner != exchange.caller.key_id:
            raise NotFound("no such session; open a new stream with GET")
        await pipe.feed(await exchange.body(), _mcp.Visitor(exchange.caller, exchange.head.session, exchange.ctx.address))
        await exchange.answer(202, b"Accepted", [(b"content-type", b"text/plain")])


async def _forward(pipe: Pipe, exchange: Exchange) -> None:
    """Send the server's messages as events, and a comment when there are none for a while."""
    try:
        while (data := await pipe.next(KEEP_ALIVE_SECONDS)) is not None:
            await exchange.chunk(b"event: message\r\ndata: " + data + b"\r\n\r\n" if data else b": ping\r\n\r\n")
    finally:
        pipe.hang_up()
