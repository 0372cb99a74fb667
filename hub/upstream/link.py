"""One session with one upstream MCP server, for one principal (SEC-56). Imported at first use: the client is slow to load."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx2
import mcp_types as types
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from hub.errors import HubError, Unavailable, UpstreamFailed, UpstreamTimeout
from hub.log import logger, masked
from hub.upstream.pinning import MOST_TOOLS
from hub.upstream.program import Program
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack
    from pathlib import Path

    from hub.context import Context
    from hub.outbound.client import Outbound
    from hub.upstream.model import Server

log = logger("hub.upstream")

_OPEN_SECONDS = 30.0
#: A standing stream may be silent for so long before it is opened anew; longer where one call may take longer.
_SILENCE_SECONDS = 300.0
_PAGES = 100
#: Results as they came: the typed forms leave out what they do not know, and a pin covers the whole object.
_RAW: Any = TypeAdapter(dict[str, Any])
_HEADER_MISMATCH = -32020


class Link:
    """A session. Open it with :meth:`open`, use it from any task, end it with :meth:`close`; ``dead`` when it ended by itself."""

    def __init__(
        self, name: str, server: Server, outbound: Outbound, *, changed: Callable[[], None], auth: httpx2.Auth | None = None
    ) -> None:
        self.name = name
        self.server = server
        self._auth = auth
        self.used_at = 0.0
        self.busy = 0
        self._outbound = outbound
        self._changed = changed
        self._client: Client | None = None
        self._program: Program | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def dead(self) -> bool:
        """Whether the session ended, by itself or by :meth:`close`."""
        return self._task is None or self._task.done() or (self._program is not None and self._program.closed.is_set())

    async def open(self, *, headers: dict[str, str], env: dict[str, str], path: Path | None) -> None:
        """Connect and greet. Raises Unavailable with the reason when the server cannot be reached or says nothing of sense."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(ready, headers, env, path))
        try:
            await asyncio.wait_for(asyncio.shield(ready), _OPEN_SECONDS)
        except TimeoutError:
            await self.close()
            raise Unavailable(f"the MCP server {self.name} did not greet within {_OPEN_SECONDS:.0f} s", retry_after=30) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session and, on stdio, the program."""
        self._stop.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=10)
            if not done:
                self._task.cancel()

    def facts(self) -> tuple[str, str]:
        """What the server calls itself, and the revision agreed on."""
        if self._client is None:
            return "", ""
        info = self._client.server_info
        return (f"{info.title or info.name} {info.version or ''}".strip()[:200] if info else "", self._client.protocol_version)

    async def tools(self) -> tuple[list[dict[str, Any]], bool]:
        """The tools as the server states them, at most MOST_TOOLS, and whether there were more (REL-18). Raises as :meth:`call` does."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor)
            page = await self._ask(types.ListToolsRequest(params=params), seconds=self.server.timeout_seconds)
            found += [tool for tool in page.get("tools", ()) if isinstance(tool, dict)]
            cursor = page.get("nextCursor")
            if len(found) > MOST_TOOLS or not cursor:
                break
        return found[:MOST_TOOLS], len(found) > MOST_TOOLS or bool(cursor)

    async def call(self, tool: str, arguments: dict[str, Any], ctx: Context) -> dict[str, Any]:
        """Call a tool; its raw result. Cancelling cancels it there.

        Raises UpstreamFailed for an error of the protocol, UpstreamTimeout, and Unavailable when the session ended meanwhile.
        """
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        self.busy += 1
        try:
            return await self._ask(request, seconds=self.server.timeout_seconds, ctx=ctx)
        finally:
            self.busy -= 1

    async def _ask(self, request: types.Request[Any, Any], *, seconds: float, ctx: Context | None = None) -> dict[str, Any]:
        if self._client is None or self.dead:
            raise self._gone()
        report = _reporter(ctx) if ctx is not None and ctx.report is not None else None
        asked = asyncio.ensure_future(self._sent(request, seconds, report))
        ended = asyncio.ensure_future(self._ended())
        try:
            # A program that dies takes its answers with it: the wait ends at once, not at the limit.
            await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise self._gone()
            return asked.result()
        finally:
            for task in (asked, ended):
                if not task.done():
                    task.cancel()
            await asyncio.wait({asked, ended})

    async def _sent(self, request: types.Request[Any, Any], seconds: float, report: Any) -> dict[str, Any]:
        session = self._client.session if self._client else None
        if session is None:
            raise self._gone()
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await session.send_request(request, _RAW, progress_callback=report)
                except MCPError as error:
                    if error.code != _HEADER_MISMATCH:
                        raise
                    await session.list_tools()  # it wants parameters repeated as headers; the list says which
                    return await session.send_request(request, _RAW, progress_callback=report)
        except TimeoutError:
            raise UpstreamTimeout(f"the MCP server {self.name} did not answer within {seconds:g} s") from None
        except ValidationError:
            raise UpstreamFailed(f"the MCP server {self.name} sent an answer that is not in the protocol's form") from None
        except MCPError as error:
            if self.dead:
                raise self._gone() from None
            raise UpstreamFailed(f"the MCP server {self.name} answers: {masked(error.message[:500])}", data={"rpc": error.code}) from None

    async def _ended(self) -> None:
        waits = [asyncio.ensure_future(self._stop.wait())]
        if self._program is not None:
            waits.append(asyncio.ensure_future(self._program.closed.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    def _gone(self) -> Unavailable:
        words = self._program.errors[-1] if self._program and self._program.errors else ""
        said = f"; its last words: {words}" if words else ""
        return Unavailable(f"the session with the MCP server {self.name} ended{said}; it is opened again by the next call", retry_after=1)

    async def _run(self, ready: asyncio.Future[None], headers: dict[str, str], env: dict[str, str], path: Path | None) -> None:
        """Own the client's task group: it has to be entered and left in one task."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = Client(
                    await self._transport(stack, headers, env, path),
                    client_info=types.Implementation(name="hubroute", version=VERSION),
                    message_handler=self._heard,
                    cache=None,
                )
                self._client = await stack.enter_async_context(client)
                if not ready.done():
                    ready.set_result(None)
                await self._ended()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            if not ready.done():
                ready.set_exception(self._refused(error))
            else:
                log.warning("an upstream session ended", server=self.name, reason=masked(str(error))[:300])

    async def _transport(self, stack: AsyncExitStack, headers: dict[str, str], env: dict[str, str], path: Path | None) -> Any:
        server = self.server
        if server.transport == "stdio":
            if path is None:
                raise RuntimeError("a program without a path")
            self._program = Program(path, server.args, env, server.digest)
            return self._program.streams()

        def http_client(**_: Any) -> httpx2.AsyncClient:
            transport = self._outbound.transport(server.allow_private, library="httpx2")
            silence = max(server.timeout_seconds, _SILENCE_SECONDS)
            limits = httpx2.Timeout(_OPEN_SECONDS, read=silence)
            return httpx2.AsyncClient(transport=transport, headers=headers, auth=self._auth, timeout=limits)

        if server.transport == "sse":
            factory: Any = http_client
            return sse_client(server.url, httpx_client_factory=factory)
        return streamable_http_client(server.url, http_client=await stack.enter_async_context(http_client()))

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._changed()

    def _refused(self, error: BaseException) -> HubError:
        error = _innermost(error)
        if isinstance(error, HubError):
            return error
        words = masked(str(error) or type(error).__name__)[:300]
        last = self._program.errors[-1] if self._program and self._program.errors else ""
        return Unavailable(f"the MCP server {self.name} cannot be used: {words}{'; it said: ' + last if last else ''}", retry_after=5)


def _reporter(ctx: Context) -> Any:
    async def report(done: float, total: float | None, words: str | None) -> None:
        await ctx.progress(done, total, words or "")

    return report


def _innermost(error: BaseException) -> BaseException:
    """The first cause in groups of them."""
    inner: Any = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - groups are generic
    return inner  # pyright: ignore[reportUnknownVariableType]
