"""Confirmation of what destroys something, before it is done (SEC-64).

A client that can ask its user is asked to: in a session by a request in the middle of the call, on
2026-07-28 by an interim result whose sealed state comes back with the answer. The SDK binds that state to
principal, tool, arguments and time; that it counts once is our part. Such a client cannot confirm in the
user's place. One that cannot ask says ``confirm: true`` in the arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hub.errors import BadRequest, Cancelled, Unauthenticated
from hub.log import masked, secret_name
from hub.upstream.rounds import ours
from transports._mcp import visitor_of
from transports._mcp_tools import CONFIRM, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import ServerRequestContext

    from hub.call import Hub
    from hub.context import Context
    from transports._mcp_tools import Tool

    Ctx = ServerRequestContext[Any, Any]

#: How long an answer is waited for, and how long a sealed state can be used, in seconds.
_PATIENCE = 600.0
_SHOWN = 500


class Confirm:
    """Asks whether a destructive tool may run. One for each hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: States that came back, with when they may be forgotten, epoch ms.
        self._used: dict[str, int] = {}

    def boundary(self, audience: str) -> RequestStateBoundary:
        """The middleware that seals states and opens them; every process on the hub's database can open them."""
        key = self._hub.store.derive("mcp request state")
        security = RequestStateSecurity(keys=[key], ttl=_PATIENCE, bind_principal=lambda ctx: visitor_of(ctx).caller.key_id)
        return RequestStateBoundary(security, default_audience=audience)

    async def settle(self, tool: Tool, arguments: Mapping[str, Any], ctx: Ctx, call: Context) -> dict[str, Any] | None:
        """Return None when the tool may run, or the interim result that asks the client.

        Raises Forbidden and InvalidInput as the call would, BadRequest where ``confirm`` is missing, Cancelled when the user said no.
        """
        given = tool.plain(arguments)
        self._hub.allow(tool.skill, call)
        tool.skill.validate(given)
        if not _can_ask(ctx):
            if arguments.get(CONFIRM) is not True:
                raise BadRequest(
                    f"{tool.name} cannot be undone; ask the user, then call it with {CONFIRM}: true", code="unconfirmed", field=CONFIRM
                )
            return None
        question = _question(tool, given)
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            params = ctx.params or {}
            state = params.get("requestState")
            if state is None:
                return _interim(question, self._hub.clock.new_id("ask_"))
            if ours(state):
                return None  # the tool's own server asks for more; the user agreed before it could
            await self.use(str(state))
            agreed = _agreed(params.get("inputResponses"))
        else:
            agreed = await self._ask(question, ctx)
            call.caller = self._now(call)
        if not agreed:
            error = Cancelled(f"{tool.name} was not confirmed by the user; nothing was changed", code="declined")
            self._hub.declined(tool.skill, given, call, error)
            raise error
        return None

    async def _ask(self, question: str, ctx: Ctx) -> bool:
        """Ask within a session. Silence for ten minutes is no."""
        with anyio.move_on_after(_PATIENCE):
            try:
                answer = await ctx.session.elicit_form(question, _SCHEMA, related_request_id=ctx.request_id)
            except MCPError:
                return False
            return answer.action == "accept" and (answer.content or {}).get(CONFIRM) is True
        return False

    def _now(self, call: Context) -> Any:
        """The caller after the wait: its key may have been revoked meanwhile."""
        caller = self._hub.still(call.caller)
        if caller is None:
            raise Unauthenticated("the key is not valid any more; nothing was changed")
        return caller

    async def use(self, state: str) -> None:
        """Take a state, which counts once on all processes. Raises MCPError in the words of a state that was tampered with."""
        now = self._hub.clock.now_ms()
        until = now + round(_PATIENCE * 1000)
        self._used = {name: end for name, end in self._used.items() if end > now}
        if state in self._used:
            raise _refused()
        self._used[state] = until
        replays = self._hub.store.replays
        token = replays.token()
        claim = await replays.claim(f"mcp-confirm {state}", "", token, until=until)
        if not claim.token:
            raise _refused()
        await replays.done(f"mcp-confirm {state}", token, "", until=until)


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {CONFIRM: {"type": "boolean", "title": "Go ahead", "description": "Do it; it cannot be undone.", "default": False}},
    "required": [CONFIRM],
}


def _can_ask(ctx: Ctx) -> bool:
    """Whether the client can show its user a form."""
    declared = ctx.session.client_capabilities
    elicitation = declared.elicitation if declared is not None else None
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return False
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or ctx.session.can_send_request


def _question(tool: Tool, given: Mapping[str, Any]) -> str:
    """What the user reads: what would be done, and to what. Our own words first, the model's arguments after them."""
    shown = {name: "…" if secret_name(name) else value for name, value in given.items()}
    return f"{tool.skill.summary} Run {tool.name} with {masked(as_text(shown))[:_SHOWN]}? It cannot be undone."


def _agreed(responses: Any) -> bool:
    """Whether the answers that a client sent hold the user's yes."""
    match responses:
        case {"confirm": {"action": "accept", "content": {"confirm": True}}}:
            return True
        case _:  # declined, cancelled, unticked, or something else altogether
            return False


def _interim(question: str, state: str) -> dict[str, Any]:
    ask = {"method": "elicitation/create", "params": {"mode": "form", "message": question, "requestedSchema": _SCHEMA}}
    return {"resultType": "input_required", "inputRequests": {CONFIRM: ask}, "requestState": state}


def _refused() -> MCPError:
    return MCPError(types.INVALID_PARAMS, "Invalid or expired requestState", {"reason": "invalid_request_state"})
