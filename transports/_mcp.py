"""The MCP side of one hub, shared by its doors: the SDK's server, loaded on first use, and the sessions of streamable HTTP.

The SDK costs most of a second to import, so it is imported here and nowhere else, in a worker thread
when the first client comes; the event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.errors import Unavailable, rpc_body
from transports._http import Door
from transports._mcp_tools import Tools

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mcp.server import Server
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext

    from hub.call import Hub
    from hub.context import Context
    from hub.errors import HubError
    from hub.records import Caller
    from transports._http import Exchange
    from transports._mcp_pipe import Pipe
    from transports._mcp_server import Sessions

SCOPE = "mcp:connect"
#: How the server names itself.
NAME, TITLE = "hubroute", "HubRoute"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sent one MCP message. Found by the handlers in the HTTP scope under ``hubroute.visitor``, or beside the message."""

    caller: Caller
    session: str = ""
    address: str = ""


def visitor_of(ctx: ServerRequestContext[Any, Any]) -> Visitor:
    """Who sent the message that is being handled."""
    request: Any = ctx.request
    return request if isinstance(request, Visitor) else request.scope["hubroute.visitor"]


def connection_of(ctx: ServerRequestContext[Any, Any]) -> Connection:
    """The connection that a message came by: what a session keeps, and its own channel to the client."""
    # The SDK has no public way from a request to its connection, and no other place that ends with a session.
    return ctx.session._connection  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001


def context_of(hub: Hub, ctx: ServerRequestContext[Any, Any]) -> Context:
    """A context for what the hub does to answer a message."""
    visitor = visitor_of(ctx)
    return hub.context(visitor.caller, "mcp", session=visitor.session, address=visitor.address)


def error_body(error: HubError) -> dict[str, Any]:
    """A refused message as a JSON-RPC error that belongs to no request. ``data["rpc"]`` is the code where JSON-RPC has one of its own."""
    body = rpc_body(error)
    code = error.data.get("rpc")
    if code is not None:
        body = {"code": code, "message": error.message}
    return {"jsonrpc": "2.0", "id": None, "error": body}


def door_at(path: str) -> Door:
    """The door at one of its addresses; access tokens are made for each by itself."""
    return Door("mcp", error=error_body, route_class=b"CLIENT_API", opens=SCOPE, resource=path)


class Mcp:
    """The MCP server of one hub. Get it with :func:`of`; it ends with the hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._tools: Tools | None = None
        self._loading: asyncio.Task[Server[Any]] | None = None
        self._starting: asyncio.Task[Sessions] | None = None
        self._running: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._standing: set[asyncio.Task[Any]] = set()
        hub.on_stop.append(self._stop)
        hub.on_close.append(self._close)

    @property
    def tools(self) -> Tools:
        """The tools as the registry has them now; imported ones come and go."""
        kept, version = self._tools, self.hub.skills.version
        brief = self.hub.preferences.current.compression.mcp_description_compression_enabled
        if kept is None or kept.version != version or kept.brief is not brief:
            kept = self._tools = Tools(self.hub.skills, version=version, brief=brief)
        return kept

    async def server(self) -> Server[Any]:
        """The SDK's server, fed from the registry. The first caller waits for the import, all others with it."""
        if self._loading is None or _failed(self._loading):
            self._loading = asyncio.create_task(self._load())
        return await asyncio.shield(self._loading)

    async def sessions(self) -> Sessions:
        """The sessions of the streamable HTTP door, running."""
        if self._starting is None or _failed(self._starting) or (self._running is not None and self._running.done()):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def accepts(self, capabilities: Any, client: Any) -> bool:
        """Whether the SDK takes what a client of 2026-07-28 declares of itself."""
        await self.server()
        return importlib.import_module("transports._mcp_server").accepts(capabilities, client)

    async def pipe(self) -> Pipe:
        """A new connection of messages to the server, for doors that frame messages themselves."""
        server = await self.server()
        return importlib.import_module("transports._mcp_pipe").Pipe(server)

    @asynccontextmanager
    async def standing(self, exchange: Exchange) -> AsyncGenerator[None]:
        """Around an answer that lasts until the client leaves: when the hub stops or the client's token ends, it ends in good order."""
        if self.hub.closing:
            raise Unavailable("the hub is stopping; connect again in a moment", retry_after=5)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served outside of a task")
        self._standing.add(task)
        endless = self.hub.at_end(exchange.caller, lambda: self._end(task))
        try:
            yield
        except asyncio.CancelledError:
            if task in self._standing or not exchange.started:
                raise
            task.uncancel()
            await exchange.finish()
        finally:
            endless()
            self._standing.discard(task)

    async def _load(self) -> Server[Any]:
        module = await asyncio.to_thread(importlib.import_module, "transports._mcp_server")
        return module.build(self)

    async def _start(self) -> Sessions:
        server = await self.server()
        sessions: Sessions = importlib.import_module("transports._mcp_server").Sessions(server, self.hub)
        ready = asyncio.Event()
        running = self._running = asyncio.create_task(self._run(sessions, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            waiting.cancel()
            running.result()
        return sessions

    async def _run(self, sessions: Sessions, ready: asyncio.Event) -> None:
        """Own the task group of all sessions: it must be entered and left in one task, which no request's task is."""
        async with sessions.run():
            ready.set()
            await self._ended.wait()

    def _stop(self) -> None:
        for task in list(self._standing):
            self._end(task)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._standing.discard(task)
        task.cancel()

    async def _close(self) -> None:
        self._ended.set()
        for task in (self._loading, self._starting, self._running):
            if task is not None:
                await asyncio.wait([task])


def of(hub: Hub) -> Mcp:
    """The MCP server of a hub, one for all its doors."""
    made: Mcp | None = hub.kept.get("mcp")
    if made is None:
        made = hub.kept["mcp"] = Mcp(hub)
    return made


async def admitted(exchange: Exchange, transport: str) -> bool:
    """Whether the caller may use MCP over this transport; answers the request when not.

    With the door switched off it says 503, with another transport chosen 400, both in the seed's plain form. Raises Forbidden
    without the scope, which the answer names (SEC-54).
    """
    wanted = exchange.hub.preferences.current
    if not wanted.mcp_enabled:
        await exchange.answer_json({"error": "MCP is switched off on this hub; set mcpEnabled in the settings to open it"}, status=503)
        return False
    if wanted.mcp_transport not in ("all", transport):
        words = f"this hub serves MCP over {wanted.mcp_transport}, not {transport}; set mcpTransport to {transport} or all to change that"
        await exchange.answer_json({"error": words}, status=400)
        return False
    exchange.hub.admit(SCOPE, exchange.ctx)
    return True


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
