"""MCP over streamable HTTP at ``/api/mcp/stream``: revisions up to 2025-11-25 with sessions, and 2026-07-28 without, on one address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from transports import _mcp
from transports._http import Route
from transports._mcp_fast import Fast

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange, Receive

PATH = "/api/mcp/stream"


def routes(hub: Hub) -> list[Route]:
    """One address; GET is the standing stream of a session, DELETE ends it."""
    mcp = _mcp.of(hub)
    fast = Fast(mcp)

    async def handle(exchange: Exchange) -> None:
        if not await _mcp.admitted(exchange, "streamable-http"):
            return
        if exchange.method == "POST":
            data = await exchange.body()
            if not await fast.answer(exchange, data):
                await _post(mcp, exchange, data, fast)
        elif exchange.method == "GET":
            async with mcp.standing(exchange):
                await _serve(mcp, exchange, exchange.receive)
        else:
            fast.learn(exchange, b"", await _serve(mcp, exchange, exchange.receive))

    return [Route(PATH, handle, _mcp.DOOR, methods=("POST", "GET", "DELETE"))]


async def _post(mcp: _mcp.Mcp, exchange: Exchange, data: bytes, fast: Fast) -> None:
    """Serve one message. A client that hangs up on the answer to a call cancels it, in every revision.

    Revisions with sessions let a client come back for an answer where events are kept. Here they are not: nobody would ever get
    this one, and the provider would be paid for it.
    """
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": data, "more_body": False}]
    gone = False

    async def receive() -> Any:
        nonlocal gone
        message = waiting.pop() if waiting else await exchange.receive()
        gone = gone or message["type"] == "http.disconnect"
        return message

    status = await _serve(mcp, exchange, receive)
    if status:
        fast.learn(exchange, data, status)
    session = exchange.header(b"mcp-session-id")
    if gone and not status and session:
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


async def _serve(mcp: _mcp.Mcp, exchange: Exchange, receive: Receive) -> int:
    """Let the SDK answer; the status of an answer that was complete, else 0. Its handlers find in the scope who calls."""
    sessions = await mcp.sessions()
    exchange.scope["hubroute.visitor"] = _mcp.Visitor(exchange.caller, exchange.head.session)

    status, complete = 0, False

    async def send(message: Any) -> None:
        nonlocal status, complete
        if message["type"] == "http.response.start":
            status = message["status"]
            await exchange.start(status, message["headers"])
        else:
            await exchange.send(message)
            complete = not message.get("more_body", False)

    await sessions.handle(exchange.scope, receive, send)
    return status if complete else 0
