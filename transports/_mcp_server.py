"""The SDK's low-level MCP server over the skill registry: both protocol revisions, tools, progress, cancellation (D16).

Imported through :mod:`transports._mcp` only, because the SDK is slow to load.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server import CacheHint, NotificationOptions, Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from hub.errors import Forbidden, HubError, LoginRequired
from hub.version import VERSION
from transports._mcp import NAME, TITLE, visitor_of
from transports._mcp_asker import arm
from transports._mcp_confirm import Confirm
from transports._mcp_imported import Imported
from transports._mcp_login import Logins
from transports._mcp_notes import notes_of, set_level
from transports._mcp_prompt_texts import PROMPTS
from transports._mcp_prompts import Prompts
from transports._mcp_resources import Resources
from transports._mcp_tools import failure, fault
from transports._mcp_watch import Watch

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from hub.call import Hub
    from hub.context import Context, Progress
    from transports._http import Receive, Scope, Send
    from transports._mcp import Mcp
    from transports._mcp_tools import Tool, Tools

INSTRUCTIONS = """\
HubRoute is one hub for many model providers: it knows their models, accounts, quotas and prices, and chooses between them.
Ask it to route a request, to list models and providers, to check quotas and health, to report costs, or to explain a choice.
Names of models are `provider/model`, `auto`, or a bare model id. A failed call says what to do next; retry only when it says so.
"""

#: How long clients may reuse a list. It depends on the key, so it is private to the client.
_LIST = CacheHint(ttl_ms=60_000, scope="private")
#: The list of resources has the combos in it.
_RESOURCES = CacheHint(ttl_ms=30_000, scope="private")
#: What a resource shows is true when it is read; clients that watch it hear of changes.
_READ = CacheHint(ttl_ms=1_000, scope="private")
_LISTS_KEPT = 256


def build(mcp: Mcp) -> Server[Any]:
    """The server of a hub."""
    hub = mcp.hub
    doors = _Handlers(mcp)
    server: Server[Any] = _Server(
        NAME,
        version=VERSION,
        title=TITLE,
        instructions=INSTRUCTIONS,
        cache_hints={
            "tools/list": _LIST,
            "server/discover": _LIST,
            "prompts/list": _LIST,
            "resources/templates/list": _LIST,
            "resources/list": _RESOURCES,
            "resources/read": _READ,
        },
        get_tool_input_schema=lambda name: doors.tools.mirrored().get(name),
    )
    # Added one by one, handlers may return plain dictionaries: one pass over the result less than with models.
    server.add_request_handler("tools/list", types.PaginatedRequestParams, doors.list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, doors.call_tool)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
    # The default middleware makes a trace span for each message, though no exporter is there.
    server.middleware[:] = [doors.remember_list, doors.confirm.boundary(server.name)]
    doors.resources.add(server)
    doors.prompts.add(server)
    doors.watch.add(server)
    server.add_request_handler("completion/complete", types.CompleteRequestParams, doors.complete)
    if hub.settings.test_profile == "conformance":
        importlib.import_module("transports._mcp_conformance").add(server, hub, doors.watch)
    return server


def accepts(capabilities: Any, client: Any) -> bool:
    """Whether what a client of 2026-07-28 declares of itself in a request is as the protocol demands."""
    version = MODERN_PROTOCOL_VERSIONS[-1]
    meta = {types.PROTOCOL_VERSION_META_KEY: version, types.CLIENT_CAPABILITIES_META_KEY: capabilities}
    if client is not None:
        meta[types.CLIENT_INFO_META_KEY] = client
    try:
        methods.validate_client_request("tools/call", version, {"name": "x", "arguments": {}, "_meta": meta})
    except ValidationError:
        return False
    return True


class _Server(Server[Any]):
    """Tells clients of earlier revisions that lists may change; the SDK leaves that to who starts the loop."""

    def create_initialization_options(self, notification_options: NotificationOptions | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the SDK's, with changes of all three lists announced."""
        told = notification_options or NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(told, *args, **kwargs)


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


class _Handlers:
    """What the server does with each method."""

    def __init__(self, mcp: Mcp) -> None:
        self._mcp = mcp
        hub = self.hub = mcp.hub
        self._lists_of = (0, False)
        self._lists: dict[tuple[frozenset[str], str, str], HandlerResult] = {}
        self.confirm = Confirm(hub)
        self.logins = Logins(hub)
        self.imported = Imported(hub, self.confirm)
        self.resources = Resources(hub, self.imported)
        self.watch = Watch(hub, self.resources)
        self.prompts = Prompts(hub, PROMPTS, self.imported)

    @property
    def tools(self) -> Tools:
        """The tools as the registry has them now; imported ones come and go."""
        tools = self._mcp.tools
        if (state := (tools.version, tools.brief)) != self._lists_of:
            self._lists_of = state
            self._lists.clear()
        return tools

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
        call = self.hub.context(visitor.caller, "mcp", session=visitor.session, address=visitor.address)
        call.report = _reporter(ctx)
        notes = notes_of(ctx)
        if notes is None:
            return await self._call(tool, params.arguments or {}, ctx, call)
        call.note = notes.note
        try:
            result = await self._call(tool, params.arguments or {}, ctx, call)
            await notes.flush()
            return result
        finally:
            notes.stop()

    async def _call(self, tool: Tool, arguments: dict[str, Any], ctx: ServerRequestContext[Any, Any], call: Context) -> HandlerResult:
        """The result of a call, a failed one too; where a login is needed first, what asks for it. Raises MCPError for what is no call."""
        try:
            return await self._tried(tool, arguments, ctx, call)
        except LoginRequired as error:
            return await self.logins.settle(error, ctx, call, partial(self._called, tool, arguments, ctx, call))

    async def _called(self, tool: Tool, arguments: dict[str, Any], ctx: ServerRequestContext[Any, Any], call: Context) -> HandlerResult:
        try:
            return await self._tried(tool, arguments, ctx, call)
        except LoginRequired as error:
            return failure(error, call.request_id)

    async def _tried(self, tool: Tool, arguments: dict[str, Any], ctx: ServerRequestContext[Any, Any], call: Context) -> HandlerResult:
        """The result of a call, a failed one too. Raises LoginRequired, and MCPError for what is no call at all."""
        try:
            if (tool.skill.destructive or tool.skill.source) and (asked := await self._before(tool, arguments, ctx, call)) is not None:
                return asked
            return await tool.call(self.hub, arguments, call)
        except LoginRequired:
            raise
        except Forbidden as error:
            if not tool.skill.scopes <= call.caller.scopes:
                raise unknown_tool(tool.name) from None
            return failure(error, call.request_id)
        except HubError as error:
            return failure(error, call.request_id)
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - the transport boundary: what a view of ours raises stays in the log
            return fault(tool, call, error)

    async def _before(self, tool: Tool, arguments: dict[str, Any], ctx: ServerRequestContext[Any, Any], call: Context) -> Any:
        """What asks the client before a tool runs, None where it may run: whether it is meant. Lets other servers' tools ask meanwhile."""
        if tool.skill.destructive:
            await self.logins.before(tool, call)
            if (asked := await self.confirm.settle(tool, arguments, ctx, call)) is not None:
                return asked
        if tool.skill.source:
            await arm(call, ctx, self.confirm)
        return None

    async def complete(self, ctx: ServerRequestContext[Any, Any], params: types.CompleteRequestParams) -> dict[str, Any]:
        """``completion/complete``: values for an argument of a prompt, or for a name in a resource's address."""
        ref, asked = params.ref, params.argument
        theirs = await self.imported.complete(params, ctx)
        if theirs is not None:
            return {"completion": theirs, "resultType": "complete"}
        if isinstance(ref, types.PromptReference):
            found = await self.prompts.complete(ref.name, asked.name, asked.value, ctx)
        else:
            found = await self.resources.complete(str(ref.uri), asked.name, asked.value, ctx)
        if found is None:
            raise MCPError(types.INVALID_PARAMS, "There is no such prompt, resource template or argument")
        return {"completion": found, "resultType": "complete"}

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
