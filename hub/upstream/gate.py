"""Between the SDK's client and a server: what a server may pour in (REL-18), and what it is told of the client of each request."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import mcp_types as types

from hub.log import logger
from hub.upstream.listing import LISTINGS
from hub.upstream.ongoing import CURRENT
from hub.upstream.pinning import MOST_TOOLS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

log = logger("hub.upstream")

#: Notifications that are taken at once, and a second after them; requests of the server likewise.
_NOTICES, _NOTICES_A_SECOND = 200.0, 100.0
_REQUESTS, _REQUESTS_A_SECOND = 40.0, 20.0
#: Requests of a server that wait for our answer, and those that came too fast in a row.
_MOST_OPEN, _MOST_PRESSED = 64, 60
_BREATH = 0.002
_LISTS = tuple(listing.field for listing in LISTINGS)
#: What is never left out, however much there is of it: the answers of a session depend on these.
_NEEDED = frozenset({"notifications/cancelled", "notifications/subscriptions/acknowledged"})


class Gate:
    """One session's. ``told`` hears of every notification, those that are left out too; ``end`` ends the session."""

    def __init__(self, name: str, *, told: Callable[[str, dict[str, Any]], None], end: Callable[[], None]) -> None:
        self._name = name
        self._told = told
        self._end = end
        self._notices = _Bucket(_NOTICES, _NOTICES_A_SECOND)
        self._requests = _Bucket(_REQUESTS, _REQUESTS_A_SECOND)
        self._open: set[Any] = set()
        self._pressed = 0
        self.left_out = 0

    @asynccontextmanager
    async def streams(self, transport: Any) -> AsyncGenerator[Any]:
        """The streams of a transport, with the gate between."""
        async with transport as (read, write):
            yield _Read(read, self), _Write(write, self)

    async def lets(self, item: Any) -> bool:
        """Whether a message goes on to the client's session; waits where there are too many that must."""
        message = getattr(item, "message", None)
        if isinstance(message, types.JSONRPCNotification):
            self._told(message.method, message.params or {})
            return await self._notice(message.method)
        if isinstance(message, types.JSONRPCRequest):
            await self._request(message.id)
        elif isinstance(message, types.JSONRPCResponse):
            _cut(message.result)
        return True

    async def _request(self, identity: Any) -> None:
        """A server that asks faster than it may waits; one that goes on, or takes no answers, is ended."""
        self._pressed = 0 if self._requests.full else self._pressed + self._requests.empty
        self._open.add(identity)
        if self._pressed > _MOST_PRESSED or len(self._open) > _MOST_OPEN:
            log.warning("a server asks without end; its session is ended", server=self._name)
            self._end()
        await self._requests.take()

    async def _notice(self, method: str) -> bool:
        if self._notices.empty and method not in _NEEDED:
            self.left_out += 1
            if self.left_out == 1:
                log.warning("a server floods its session; some notifications are left out", server=self._name, method=method[:100])
            if not self.left_out % 64:
                # The others' turn: a server that writes on finds its pipe full.
                await asyncio.sleep(_BREATH)
            return False
        await self._notices.take()
        return True

    def goes(self, item: Any) -> None:
        """Look at a message on its way to the server."""
        message = item.message
        if isinstance(message, (types.JSONRPCResponse, types.JSONRPCError)):
            self._open.discard(message.id)
        elif isinstance(message, types.JSONRPCRequest):
            _stamp(message.params)


def _cut(result: dict[str, Any]) -> None:
    """Leave of a list what is taken of it and one more: checking each of a hundred thousand entries takes seconds and hundreds of MB."""
    for field in _LISTS:
        items = result.get(field)
        if isinstance(items, list):
            del cast("list[Any]", items)[MOST_TOOLS + 1 :]


def _stamp(params: dict[str, Any] | None) -> None:
    """Say what the client of this request can be asked, where the revision says it with each request (2026-07-28)."""
    ongoing = CURRENT.get()
    meta: Any = (params or {}).get("_meta")
    if ongoing is None or not isinstance(meta, dict) or types.CLIENT_CAPABILITIES_META_KEY not in meta:
        return
    stamped = cast("dict[str, Any]", meta)
    stamped[types.CLIENT_CAPABILITIES_META_KEY] = ongoing.capabilities
    if ongoing.ctx.note is not None:
        stamped[types.LOG_LEVEL_META_KEY] = "info"


class _Bucket:
    """So many at once, and so many a second."""

    def __init__(self, most: float, a_second: float) -> None:
        self._most, self._rate = most, a_second
        self._left = most
        self._at = asyncio.get_running_loop().time()

    @property
    def empty(self) -> bool:
        self._refill()
        return self._left < 1

    @property
    def full(self) -> bool:
        self._refill()
        return self._left >= self._most

    async def take(self) -> None:
        """Take one; wait for it where none is left."""
        if self.empty:
            await asyncio.sleep((1 - self._left) / self._rate)
            self._refill()
        self._left -= 1

    def _refill(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now


class _Read:
    """A transport's stream of messages from the server."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    @property
    def last_context(self) -> Any:
        """The SDK finds here which request of ours a message came back on."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> Any:
        """The next message that is let in. Raises anyio.EndOfStream."""
        while True:
            item = await self._inner.receive()
            if await self._gate.lets(item):
                return item

    def __aiter__(self) -> _Read:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Close it."""
        await self._inner.aclose()

    async def __aenter__(self) -> _Read:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


class _Write:
    """A transport's stream of messages to the server."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def send(self, item: Any, /) -> None:
        """Send a message."""
        self._gate.goes(item)
        await self._inner.send(item)

    async def aclose(self) -> None:
        """Close it."""
        await self._inner.aclose()

    async def __aenter__(self) -> _Write:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()
