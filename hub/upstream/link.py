"""One session with one upstream MCP server, for one principal (SEC-56). Imported at first use: the client is slow to load."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
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
from hub.upstream.callbacks import Callbacks
from hub.upstream.ears import Ears
from hub.upstream.gate import Gate
from hub.upstream.listing import LISTINGS, MOST_BYTES
from hub.upstream.ongoing import CURRENT
from hub.upstream.pinning import MOST_BYTES as MOST_ITEM
from hub.upstream.pinning import MOST_TOOLS, size
from hub.upstream.program import Program
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack
    from pathlib import Path

    from mcp.client.session import ClientSession

    from hub.outbound.client import Outbound
    from hub.upstream.listing import Listing
    from hub.upstream.model import Server
    from hub.upstream.ongoing import Ongoing

    Told = Callable[[str, dict[str, Any]], None]

log = logger("hub.upstream")

_OPEN_SECONDS = 30.0
_CLOSE_SECONDS = 10.0
#: A standing stream may be silent for so long before it is opened anew; longer where one call may take longer.
_SILENCE_SECONDS = 300.0
_PAGES = 100
#: Results as they came: the typed forms leave out what they do not know, and a pin covers the whole object.
_RAW: Any = TypeAdapter(dict[str, Any])
_HEADER_MISMATCH = -32020
_METHOD_NOT_FOUND = -32601
_LISTS: dict[str, Any] = {
    "tools": types.ListToolsRequest,
    "resources": types.ListResourcesRequest,
    "templates": types.ListResourceTemplatesRequest,
    "prompts": types.ListPromptsRequest,
}
_REQUESTS: dict[str, tuple[Any, Any]] = {
    "tools/call": (types.CallToolRequest, types.CallToolRequestParams),
    "resources/read": (types.ReadResourceRequest, types.ReadResourceRequestParams),
    "prompts/get": (types.GetPromptRequest, types.GetPromptRequestParams),
    "completion/complete": (types.CompleteRequest, types.CompleteRequestParams),
}


class Link:
    """A session. Open it with :meth:`open`, use it from any task, end it with :meth:`close`; ``dead`` when it ended by itself."""

    def __init__(self, name: str, server: Server, outbound: Outbound, *, told: Told, auth: httpx2.Auth | None = None) -> None:
        self.name = name
        self.server = server
        self._auth = auth
        self.used_at = 0.0
        self.busy = 0
        self._outbound = outbound
        self._told = told
        self._callbacks = Callbacks()
        self._client: Client | None = None
        self._program: Program | None = None
        self._greeted = False
        self._ears: Ears | None = None
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
            async with asyncio.timeout(_OPEN_SECONDS):
                await asyncio.shield(ready)
        except TimeoutError:
            await self.close()
            raise Unavailable(f"the MCP server {self.name} did not greet within {_OPEN_SECONDS:.0f} s", retry_after=30) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session and, on stdio, the program."""
        self._stop.set()
        if self._task is None:
            return
        if not self._greeted:
            # It waits for a server that says nothing, and not for us.
            self._task.cancel()
        done, _ = await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)

    def facts(self) -> tuple[str, str]:
        """What the server calls itself, and the revision agreed on."""
        if self._client is None:
            return "", ""
        info = self._client.server_info
        return (f"{info.title or info.name} {info.version or ''}".strip()[:200] if info else "", self._client.protocol_version)

    async def listed(self) -> dict[str, list[dict[str, Any]]]:
        """What the server lists, by kind; a kind that it has none of, or does not tell of now, is empty or left out.

        At most MOST_TOOLS of a kind and MOST_BYTES of all are taken (REL-18). Raises as :meth:`request` does where
        the tools cannot be read.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        left = MOST_BYTES
        for listing in LISTINGS:
            try:
                found[listing.kind], left = await self._pages(listing, left)
            except UpstreamFailed as error:
                if error.data.get("rpc") == _METHOD_NOT_FOUND:
                    found[listing.kind] = []
                elif listing.kind == "tools":
                    raise
                else:
                    log.warning("a server's list could not be read", server=self.name, list=listing.kind, reason=error.message)
        return found

    async def _pages(self, listing: Listing, left: int) -> tuple[list[dict[str, Any]], int]:
        """The pages of one list, and how many bytes of others may still be taken."""
        declared = self._client.server_capabilities if self._client else None
        if getattr(declared, listing.capability, None) is None and listing.kind != "tools":
            return [], left
        found: list[dict[str, Any]] = []
        cursor, seen = None, set[str | None]()
        while len(seen) < _PAGES and cursor not in seen and len(found) <= MOST_TOOLS and left > 0:
            seen.add(cursor)
            request = _LISTS[listing.kind](params=types.PaginatedRequestParams(cursor=cursor))
            page = await self._ask(request, seconds=self.server.timeout_seconds)
            taken, left = _taken(page.get(listing.field, ()), left)
            found += taken
            cursor = page.get("nextCursor")
            if not cursor and len(found) <= MOST_TOOLS:
                return found, left
        log.warning("a server states more than is taken", server=self.name, list=listing.kind, taken=min(len(found), MOST_TOOLS))
        return found[:MOST_TOOLS], left

    async def request(self, ongoing: Ongoing) -> dict[str, Any]:
        """One round of a request; its raw result. Cancelling cancels it there.

        Raises UpstreamFailed for an error of the protocol, UpstreamTimeout, and Unavailable when the session ended meanwhile.
        """
        kind, params = _REQUESTS[ongoing.method]
        request = kind(params=params.model_validate(ongoing.params, by_name=False))
        self.busy += 1
        self._callbacks.ongoing[ongoing] = None
        try:
            return await self._ask(request, seconds=self.server.timeout_seconds, ongoing=ongoing)
        finally:
            del self._callbacks.ongoing[ongoing]
            self.busy -= 1

    async def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, by the server's own URIs, and of no others."""
        if self._ears is not None:
            await self._ears.watch(uris)

    async def _ask(self, request: types.Request[Any, Any], *, seconds: float, ongoing: Ongoing | None = None) -> dict[str, Any]:
        if self._client is None or self.dead:
            raise self._gone()
        asked = asyncio.ensure_future(self._sent(request, seconds, ongoing))
        ended = asyncio.ensure_future(self.ended())
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

    async def _sent(self, request: types.Request[Any, Any], seconds: float, ongoing: Ongoing | None) -> dict[str, Any]:
        session = self._client.session if self._client else None
        if session is None:
            raise self._gone()
        report: Any = ongoing.report if ongoing is not None and ongoing.ctx.report is not None else None
        try:
            async with asyncio.timeout(seconds) as limit:
                if ongoing is not None:
                    ongoing.limit = limit
                return await _answered(session, request, report)
        except TimeoutError:
            raise UpstreamTimeout(f"the MCP server {self.name} did not answer within {seconds:g} s") from None
        except ValidationError:
            raise UpstreamFailed(f"the MCP server {self.name} sent an answer that is not in the protocol's form") from None
        except MCPError as error:
            if self.dead:
                raise self._gone() from None
            raise UpstreamFailed(f"the MCP server {self.name} answers: {masked(error.message[:500])}", data={"rpc": error.code}) from None

    async def ended(self) -> None:
        """Return when the session ended, or is to end."""
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
        CURRENT.set(None)
        try:
            async with contextlib.AsyncExitStack() as stack:
                gate = Gate(self.name, told=self._told, end=self._stop.set)
                client = Client(
                    gate.streams(await self._transport(stack, headers, env, path)),
                    client_info=types.Implementation(name="hubroute", version=VERSION),
                    cache=None,
                    **self._callbacks.options(sampling=self.server.sampling != "off"),
                )
                self._client = await stack.enter_async_context(client)
                self._greeted = True
                self._ears = Ears(self.name, client, partial(self._ask, seconds=self.server.timeout_seconds))
                stack.push_async_callback(self._ears.close)
                self._ears.begin()
                if not ready.done():
                    ready.set_result(None)
                await self.ended()
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

    def _refused(self, error: BaseException) -> HubError:
        error = _innermost(error)
        if isinstance(error, HubError):
            return error
        words = masked(str(error) or type(error).__name__)[:300]
        last = self._program.errors[-1] if self._program and self._program.errors else ""
        return Unavailable(f"the MCP server {self.name} cannot be used: {words}{'; it said: ' + last if last else ''}", retry_after=5)


async def _answered(session: ClientSession, request: types.Request[Any, Any], report: Any) -> dict[str, Any]:
    try:
        return await session.send_request(request, _RAW, progress_callback=report)
    except MCPError as error:
        if error.code != _HEADER_MISMATCH:
            raise
        await session.list_tools()  # it wants parameters repeated as headers; the list says which
        return await session.send_request(request, _RAW, progress_callback=report)


def _taken(items: list[dict[str, Any]], left: int) -> tuple[list[dict[str, Any]], int]:
    """As many of a page's items as fit into so many bytes, and how many bytes are left."""
    taken: list[dict[str, Any]] = []
    for item in items[: MOST_TOOLS + 1]:
        if left <= 0:
            break
        left -= size(item) or MOST_ITEM
        taken.append(item)
    return taken, left


def _innermost(error: BaseException) -> BaseException:
    """The first cause in groups of them."""
    inner: Any = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - groups are generic
    return inner  # pyright: ignore[reportUnknownVariableType]
