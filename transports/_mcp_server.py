"""The SDK's low-level MCP server over the skill registry: both protocol revisions, tools, progress, cancellation (D16).

Imported through :mod:`transports._mcp` only, because the SDK is slow to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server import CacheHint, Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hub.errors import Forbidden, HubError, Internal
from hub.log import logger
from hub.version import VERSION
from transports._mcp import Visitor
from transports._mcp_tools import Tools, failure

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from hub.call import Hub
    from hub.context import Context, Progress
    from transports._http import Receive, Scope, Send
    from transports._mcp_tools import Tool

log = logger("transports.mcp")

INSTRUCTIONS = """\
HubRoute is one hub for many model providers: it knows their models, accounts, quotas and prices, and chooses between them.
Ask it to route a request, to list models and providers, to check quotas and health, to report costs, or to explain a choice.
Names of models are `provider/model`, `auto`, or a bare model id. A failed call says what to do next; retry only when it says so.
"""

#: How long clients may reuse a list. It depends on the key, so it is private to the client.
_LIST = CacheHint(ttl_ms=60_000, scope="private")
_LISTS_KEPT = 256


def build(hub: Hub) -> Server[Any]:
    """The server of a hub."""
    doors = _Handlers(hub)
    server: Server[Any] = Server(
        "hubroute",
        version=VERSION,
        title="HubRoute",
        instructions=INSTRUCTIONS,
        cache_hints={"tools/list": _LIST, "server/discover": _LIST},
        get_tool_input_schema=lambda name: doors.tools.mirrored().get(name),
    )
    # Added one by one, handlers may return plain dictionaries: one pass over the result less than with models.
    server.add_request_handler("tools/list", types.PaginatedRequestParams, doors.list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, doors.call_tool)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, doors.set_level)
    # The default middleware makes a trace span for each message, though no exporter is there.
    server.middleware[:] = [doors.remember_list]
    if hub.settings.test_profile == "conformance":
        importlib.import_module("transports._mcp_conformance").add(server)
    return server


class Sessions:
    """The requests of streamable HTTP: sessions for revisions with a handshake, single exchanges for 2026-07-28."""

    def __init__(self, server: Server[Any], hub: Hub) -> None:
        # Host and Origin are checked by the app, for every door alike; the body's size by the exchange.
        self._manager = StreamableHTTPSessionManager(server, max_request_body_size=hub.settings.max_body_mb * 1024 * 1024)

    def run(self) -> AbstractAsyncContextManager[None]:
        """While entered, requests are served; leaving it ends every session."""
        return self._manager.run()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the visitor in the scope. A session can be used by the principal that opened it only (SEC-55)."""
        caller = scope["hubroute.visitor"].caller
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=caller.key_id, scopes=[]))
        await self._manager.handle_request(scope, receive, send)


def visitor_of(ctx: ServerRequestContext[Any, Any]) -> Visitor:
    """Who sent the message that is being handled."""
    request: Any = ctx.request
    return request if isinstance(request, Visitor) else request.scope["hubroute.visitor"]


class _Handlers:
    """What the server does with each method."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._tools = Tools(hub.skills, version=hub.skills.version)
        self._lists: dict[tuple[frozenset[str], str, str], HandlerResult] = {}

    @property
    def tools(self) -> Tools:
        """The tools as the registry has them now; imported ones come and go."""
        if self._tools.version != self.hub.skills.version:
            self._tools = Tools(self.hub.skills, version=self.hub.skills.version)
            self._lists.clear()
        return self._tools

    def _profile(self, ctx: ServerRequestContext[Any, Any]) -> str:
        """Which tools the caller's lists show: the key's own choice, else the hub's (D9)."""
        return visitor_of(ctx).caller.limits.mcp_profile or self.hub.preferences.current.mcp_profile

    async def list_tools(self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams) -> dict[str, Any]:
        """``tools/list``: one page of what the caller may use."""
        if params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "Invalid cursor: tools/list has one page")
        return {"tools": self.tools.shown(visitor_of(ctx).caller.scopes, profile=self._profile(ctx)), "resultType": "complete"}

    async def call_tool(self, ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams) -> HandlerResult:
        """``tools/call``: the hub's one path. A tool that the caller may not see does not exist for it (SEC-03, SEC-54)."""
        visitor = visitor_of(ctx)
        tool = self.tools.by_name.get(params.name)
        if tool is None:
            raise unknown_tool(params.name)
        call = self.hub.context(visitor.caller, "mcp", session=visitor.session)
        call.report = _reporter(ctx)
        try:
            return await tool.call(self.hub, params.arguments or {}, call)
        except Forbidden as error:
            if not tool.skill.scopes <= visitor.caller.scopes:
                raise unknown_tool(params.name) from None
            return failure(error, call.request_id)
        except HubError as error:
            return failure(error, call.request_id)
        except Exception as error:  # noqa: BLE001 - the transport boundary: what a view of ours raises stays in the log
            return failure(_fault(tool, call, error), call.request_id)

    async def set_level(self, ctx: ServerRequestContext[Any, Any], params: types.SetLevelRequestParams) -> types.EmptyResult:
        """``logging/setLevel``: accepted; the hub's own log does not go to clients."""
        return types.EmptyResult()

    async def remember_list(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Keep the wire form of ``tools/list`` per scope set and revision: the registry does not change while the hub runs."""
        if ctx.method != "tools/list" or not _plain_list(ctx):
            return await call_next(ctx)
        key = (visitor_of(ctx).caller.scopes, self._profile(ctx), ctx.protocol_version)
        found = self._lists.get(key) if self.tools.version == self.hub.skills.version else None
        if found is None:
            found = await call_next(ctx)
            if len(self._lists) >= _LISTS_KEPT:
                self._lists.clear()
            self._lists[key] = found
        return found


def _plain_list(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether a list may be answered from memory: no cursor to refuse, and a handshake where the revision has one."""
    greeted = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or ctx.session.client_params is not None
    return greeted and (ctx.params or {}).get("cursor") is None


def unknown_tool(name: str) -> MCPError:
    """The refusal of a tool that does not exist, or not for this caller."""
    return MCPError(types.INVALID_PARAMS, f"Unknown tool: {name[:100]}")


def _reporter(ctx: ServerRequestContext[Any, Any]) -> Progress | None:
    """What passes a skill's progress on to a client that asked for it. Values that do not grow are left out, as the protocol demands."""
    if ctx.meta is None or ctx.meta.get("progress_token") is None:
        return None
    last = float("-inf")

    async def report(done: float, total: float | None, words: str) -> None:
        nonlocal last
        if done > last:
            last = done
            await ctx.session.report_progress(done, total, words or None)

    return report


def _fault(tool: Tool, call: Context, error: Exception) -> Internal:
    log.error("tool failed", tool=tool.name, request_id=call.request_id, exc_info=error)
    return Internal(f"{tool.name} failed inside the hub; the log has the cause under {call.request_id}")
