"""MCP over streamable HTTP at ``/api/mcp/stream``: revisions up to 2025-11-25 with sessions, and 2026-07-28 without, on one address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        receive = await _body(exchange) if exchange.method == "POST" else exchange.receive
        if exchange.method == "GET":
            async with mcp.standing(exchange):
                await _serve(mcp, exchange, receive)
        else:
            await _serve(mcp, exchange, receive)

    return [Route(PATH, handle, _mcp.DOOR, methods=("POST", "GET", "DELETE"))]


async def _serve(mcp: _mcp.Mcp, exchange: Exchange, receive: Receive) -> None:
    """Let the SDK answer. Its handlers find in the scope who calls."""
    sessions = await mcp.sessions()
    exchange.scope["hubroute.visitor"] = _mcp.Visitor(exchange.caller, exchange.head.session)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            await exchange.start(message["status"], message["headers"])
        else:
            await exchange.send(message)

    await sessions.handle(exchange.scope, receive, send)


async def _body(exchange: Exchange) -> Receive:
    """Read the body under our own limit, and give it to the SDK in one piece."""
    data = await exchange.body()
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> Any:
        return waiting.pop() if waiting else await exchange.receive()

    return receive
