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
#: Pieces of an answer that are looked at: a list comes in one or two, and a long stream must not pile up.
_PIECES = 4
DOOR = _mcp.door_at(PATH)


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

    return [Route(PATH, handle, DOOR, methods=("POST", "GET", "DELETE"))]


async def _post(mcp: _mcp.Mcp, exchange: Exchange, data: bytes, fast: Fast) -> None:
    """Serve one message. A client that hangs up on the answer to a call cancels it, in every revision.

    Revisions with sessions let a client come back for an answer where events are kept. Here they are not: nobody would ever get
    this one, and the provider would be paid for it.
    """
    if exchange.caller.issuer:
        _step_up(exchange, data)
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": data, "more_body": False}]
    gone = False

    async def receive() -> Any:
        nonlocal gone
        message = waiting.pop() if waiting else await exchange.receive()
        gone = gone or message["type"] == "http.disconnect"
        return message

    answer, key = list[bytes](), fast.list_key(exchange)
    status = await _serve(mcp, exchange, receive, answer)
    if status:
        fast.learn(exchange, data, status, b"".join(answer), key)
    session = exchange.header(b"mcp-session-id")
    if gone and not status and session:
        await _cancel(mcp, exchange, data)


def _step_up(exchange: Exchange, data: bytes) -> None:
    """Raise Forbidden for a call of a tool of ours for which the caller's token lacks a scope that its issuer could give it.

    Clients that log in then ask for just that scope (SEC-54). To keys, and where no token helps, the tool does not exist.
    """
    try:
        call: Any = orjson.loads(data)
        name = call["params"]["name"] if call["method"] == "tools/call" else None
    except (ValueError, TypeError, KeyError):
        return
    hub, caller = exchange.hub, exchange.caller
    skill = hub.skills.by_tool.get(name) if isinstance(name, str) else None
    if skill is None or skill.source or skill.scopes <= caller.scopes:
        return
    issuer = hub.oauth.issuers[caller.issuer]
    if all(issuer.asking(frozenset({scope})) for scope in skill.scopes - caller.scopes):
        hub.allow(skill, exchange.ctx)


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


async def _serve(mcp: _mcp.Mcp, exchange: Exchange, receive: Receive, answer: list[bytes] | None = None) -> int:
    """Let the SDK answer; the status of an answer that was complete, else 0. Its first pieces go to ``answer``, too.

    The SDK's handlers find in the scope who calls.
    """
    sessions = await mcp.sessions()
    exchange.scope["hubroute.visitor"] = _mcp.Visitor(exchange.caller, exchange.head.session, exchange.ctx.address)
    # Space around a value is no part of it (RFC 9110, 5.5); the parser leaves it, and the SDK compares these with the message.
    exchange.scope["headers"] = [(name, value.strip() if name[:4] == b"mcp-" else value) for name, value in exchange.scope["headers"]]

    status, complete = 0, False

    async def send(message: Any) -> None:
        nonlocal status, complete
        if message["type"] == "http.response.start":
            status = message["status"]
            await exchange.start(status, message["headers"])
        else:
            if answer is not None and len(answer) < _PIECES:
                answer.append(message.get("body", b""))
            await exchange.send(message)
            complete = not message.get("more_body", False)

    await sessions.handle(exchange.scope, receive, send)
    return status if complete else 0
