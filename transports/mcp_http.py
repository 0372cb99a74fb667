"""MCP over streamable HTTP at ``/api/mcp/stream``: revisions up to 2025-11-25 with sessions, and 2026-07-28 without, on one address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from transports import _mcp
from transports._http import Route

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange, Receive

PATH = "/api/mcp/stream"


def routes(hub: Hub) -> list[Route]:
    """One address; GET is the standing stream of a session, DELETE ends it."""
    mcp = _mcp.of(hub)

    async def handle(exchange: Exchange) -> None:
        if not await _mcp.admitted(exchange, "streamable-http"):
            return
        if exchange.method == "POST":
            await _post(mcp, exchange)
        elif exchange.method == "GET":
            async with mcp.standing(exchange):
                await _serve(mcp, exchange, exchange.receive)
        else:
            await _serve(mcp, exchange, exchange.receive)

    return [Route(PATH, handle, _mcp.DOOR, methods=("POST", "GET", "DELETE"))]


async def _post(mcp: _mcp.Mcp, exchange: Exchange) -> None:
    """Serve one message. A client that hangs up on the answer to a call cancels it, in every revision.

    Revisions with sessions let a client come back for an answer where events are kept. Here they are not: nobody would ever get
    this one, and the provider would be paid for it.
    """
    data = await exchange.body()
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": data, "more_body": False}]
    gone = False

    async def receive() -> Any:
        nonlocal gone
        message = waiting.pop() if waiting else await exchange.receive()
        gone = gone or message["type"] == "http.disconnect"
        return message

    complete = await _serve(mcp, exchange, receive)
    session = exchange.header(b"mcp-session-id")
    if gone and not complete and session:
        await _cancel(mcp, exchange, data)


async def _cancel(mcp: _mcp.Mcp, exchange: Exchange, data: bytes) -> None:
    """Tell a session that the call in a message is cancelled, as its client would have."""
    try:
        call: Any = orjson.loads(data)
    except ValueError:
        return
    if not isinstance(call, dict) or "id" not in call or "method" not in call:
        return
    params = {"requestId": call["id"], "reason": "the client hung up"}  # pyright: ignore[reportUnknownVariableType] - any JSON
    notice = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    waiting = [{"type": "http.request", "body": notice, "more_body": False}]

    async def receive() -> Any:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """Nobody is there to be told."""

    sessions = await mcp.sessions()
    await sessions.handle(exchange.scope, receive, send)


async def _serve(mcp: _mcp.Mcp, exchange: Exchange, receive: Receive) -> bool:
    """Let the SDK answer; whether the answer was complete. Its handlers find in the scope who calls."""
    sessions = await mcp.sessions()
    exchange.scope["hubroute.visitor"] = _mcp.Visitor(exchange.caller, exchange.head.session)
    # Space around a value is no part of it (RFC 9110, 5.5); the parser leaves it, and the SDK compares these with the message.
    exchange.scope["headers"] = [(name, value.strip() if name[:4] == b"mcp-" else value) for name, value in exchange.scope["headers"]]

    complete = False

    async def send(message: Any) -> None:
        nonlocal complete
        if message["type"] == "http.response.start":
            await exchange.start(message["status"], message["headers"])
        else:
            await exchange.send(message)
            complete = not message.get("more_body", False)

    await sessions.handle(exchange.scope, receive, send)
    return complete
