"""The way out: the one object through which the hub reaches the world (D13)."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from hub.outbound.address import AddressGuard
from hub.outbound.base import Fault, OutboundError
from hub.outbound.dial import tls_context
from hub.outbound.http1 import Http1

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine

    from hub.outbound.address import Resolver
    from hub.outbound.base import Access, Headers, Incoming, Outgoing, Proxy, Socket
    from hub.outbound.breadth import Breadth
    from hub.outbound.http1 import Ages, PoolStats


T = TypeVar("T")


class OutboundStats(TypedDict):
    """Pools of the hot engine, and whether the breadth engine is loaded."""

    pools: list[PoolStats]
    breadth: bool


class Outbound:
    """Picks the engine of a request: HTTP/1.1 pools, or httpx's where a proxy or HTTP/2 is asked for.

    One per process, made anywhere, used within one event loop. ``max_per_origin`` bounds the requests
    in flight to one origin; more wait in order. ``resolver``, ``tls`` and ``ages`` are for tests.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        max_per_origin: int = 512,
        resolver: Resolver | None = None,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        ages: Ages | None = None,
    ) -> None:
        self.guard = AddressGuard(allow_private, resolver=resolver)
        self._limit = max_per_origin
        self._tls = tls
        self._http1 = Http1(self.guard, max_per_origin=max_per_origin, tls=tls, ages=ages)
        self._breadth: Breadth | None = None
        #: Told of each request that went through a proxy: what failed, None where an answer began, and after how many seconds.
        self.on_proxied: Callable[[Proxy, OutboundError | None, float], None] | None = None

    def send(self, request: Outgoing) -> Coroutine[Any, Any, Incoming]:
        """``await`` it for the answer's head. Read the answer or close it, on every path.

        Raises OutboundError, BadRequest for a header or target that must not be sent, NotConfigured where
        an optional package is missing. Cancellation closes the connection at once.
        """
        if request.access is not None:
            return self._with_access(request, request.access)
        if request.sign is not None:
            request = request.sign(request)
        if request.proxy is not None:
            return self._by(request.proxy, lambda: self._wide().send(request))
        if not request.http2:
            return self._http1.send(request)
        return self._wide().send(request)

    async def _with_access(self, request: Outgoing, access: Access) -> Incoming:
        """Send a request with credentials that may have run out: they are renewed once when the upstream refuses them."""
        headers, serial = await access.headers()
        incoming = await self.send(_carrying(request, headers))
        if incoming.status != 401:
            return incoming
        try:
            renewed = await access.renewed(serial)
        except BaseException:
            await incoming.close()
            raise
        if not renewed:
            return incoming
        await incoming.close()
        headers, _ = await access.headers()
        return await self.send(_carrying(request, headers))

    async def _by(self, proxy: Proxy, send: Callable[[], Awaitable[T]]) -> T:
        """Send something by way of a proxy, and tell how that went."""
        if proxy.fault:
            raise OutboundError(Fault.PROXY_FAILED, proxy.fault, reason="inactive")
        told, began = self.on_proxied, asyncio.get_running_loop().time()
        try:
            answer = await send()
        except OutboundError as error:
            if told is not None:
                told(proxy, error, asyncio.get_running_loop().time() - began)
            raise
        if told is not None:
            told(proxy, None, asyncio.get_running_loop().time() - began)
        return answer

    async def once(self, request: Outgoing) -> tuple[int, bytes]:
        """Send a request over connections of its own; status and body of the answer. For trying a proxy. Raises as :meth:`send` does."""
        from hub.outbound.breadth import Breadth  # noqa: PLC0415 - deferred, as below

        engine = Breadth(self.guard, tls=self._tls, max_per_origin=1)
        try:
            incoming = await engine.send(request)
            return incoming.status, await incoming.read()
        finally:
            await engine.aclose()

    async def websocket(self, request: Outgoing, *, most: int = 64 * 1024 * 1024) -> Socket:
        """Open a WebSocket at a request's target; close it, whatever happens. ``most`` bounds a message in bytes.

        Raises OutboundError, HandshakeRefused, and BadRequest for a header or target that must not be sent. An HTTP proxy that the request
        names is gone through; nothing ever goes around one (REL-21).
        """
        from hub.outbound.websocket import dial  # noqa: PLC0415 - deferred: the library is off the cold-start path

        if request.access is not None:
            request = _carrying(request, (await request.access.headers())[0])
        if request.proxy is None:
            return await dial(request, guard=self.guard, tls=self._http1.tls, most=most)
        return await self._by(request.proxy, lambda: dial(request, guard=self.guard, tls=self._http1.tls, most=most))

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        await self._http1.aclose()
        if self._breadth is not None:
            await self._breadth.aclose()

    def stats(self) -> OutboundStats:
        """Connections by origin, for metrics and the dashboard."""
        return OutboundStats(pools=self._http1.stats(), breadth=self._breadth is not None)

    def transport(self, private: bool = False, *, library: str = "httpx") -> Any:
        """This object as a transport of ``httpx`` or ``httpx2``; ``private`` allows private addresses for all that it sends."""
        from hub.outbound.httpx_transport import transport_class  # noqa: PLC0415 - deferred: off the cold-start path

        return transport_class(importlib.import_module(library))(self.send, private=private)

    def _wide(self) -> Breadth:
        if self._breadth is None:
            from hub.outbound.breadth import Breadth  # noqa: PLC0415 - deferred: httpcore is off the cold-start path

            self._breadth = Breadth(self.guard, tls=self._tls, max_per_origin=self._limit)
        return self._breadth


def _carrying(request: Outgoing, headers: Headers) -> Outgoing:
    """A request with its credentials, in place of headers of the same names."""
    names = {name.lower() for name, _ in headers}
    kept = [pair for pair in request.headers if pair[0].lower() not in names]
    return replace(request, headers=[*kept, *headers], access=None)
