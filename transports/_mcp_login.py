"""A login that a tool needs first, asked of the client's user where the client can open an address (URL-mode elicitation).

On 2026-07-28 by an interim result: the user opens the address, the client repeats the call, and the call waits for
the login. On 2025-11-25 by the error -32042, after which the client repeats the call itself. Others get the plain
error, which has the address in its words. The page behind it says whom the login is for, so it needs no state here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hub.errors import NotFound
from transports._mcp_tools import failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import HandlerResult, ServerRequestContext

    from hub.call import Hub
    from hub.context import Context
    from hub.errors import LoginRequired
    from transports._mcp_tools import Tool

    Ctx = ServerRequestContext[Any, Any]

LOGIN = "login"
#: How long a repeated call waits for the user to come back: shorter than clients wait for an answer. And between two looks.
_PATIENCE_SECONDS, _POLL_SECONDS = 45.0, 0.25


class Logins:
    """Asks for logins at upstream servers. One for each hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def before(self, tool: Tool, call: Context) -> None:
        """Raise LoginRequired now for a tool whose call is confirmed first: nobody is to confirm what cannot be done."""
        if not tool.skill.source:
            return
        upstreams = self._hub.upstreams
        server = upstreams.documents.find(tool.skill.source)
        if server is not None and server.body.oauth is not None:
            await upstreams.logins.ready(server, call.caller.key_id, call.caller.name)

    async def settle(self, error: LoginRequired, ctx: Ctx, call: Context, again: Callable[[], Awaitable[HandlerResult]]) -> HandlerResult:
        """What to answer to a call that needs a login: an interim result, the call's result after the login, or the failure.

        Raises MCPError -32042 for clients of 2025-11-25 that can open addresses.
        """
        url = str(error.data.get("loginUrl") or "")
        if not url or not _can_open(ctx):
            return failure(error, call.request_id)
        words = f"{error.data['server']} wants you to log in before its tools can be used."
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            asked = types.ElicitRequestURLParams(message=words, url=url, elicitation_id=self._hub.clock.new_id("login_"))
            raise UrlElicitationRequiredError([asked], error.message)
        responses: dict[str, Any] = (ctx.params or {}).get("inputResponses") or {}
        if LOGIN not in responses:
            ask = {"method": "elicitation/create", "params": {"mode": "url", "message": words, "url": url}}
            return {"resultType": "input_required", "inputRequests": {LOGIN: ask}}
        if _accepted(responses[LOGIN]) and await self._came(str(error.data["server"]), call):
            return await again()
        return failure(error, call.request_id)

    async def _came(self, server: str, call: Context) -> bool:
        """Wait until the caller has a new login."""
        before = self._login(server, call)
        until = self._hub.clock.monotonic() + _PATIENCE_SECONDS
        while self._login(server, call) == before:
            if self._hub.clock.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _login(self, server: str, call: Context) -> str:
        upstreams = self._hub.upstreams
        try:
            found = upstreams.logins.find(upstreams.named(server), call.caller.key_id)
        except NotFound:
            return ""
        return found.body.login if found is not None else ""


def _can_open(ctx: Ctx) -> bool:
    """Whether the client says that it can show its user an address to open."""
    declared = ctx.session.client_capabilities
    return declared is not None and declared.elicitation is not None and declared.elicitation.url is not None


def _accepted(response: Any) -> bool:
    match response:
        case {"action": "accept"}:
            return True
        case _:
            return False
