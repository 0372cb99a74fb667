"""The MCP client's HTTP library over our one way out: every address is checked and pinned (D13, SEC-10 to SEC-12).

Imported at first use; the client's library is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from hub.outbound.base import Fault, Limits, Origin, OutboundError, Outgoing, Timeouts
from hub.outbound.head import OWNED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.outbound.base import Incoming
    from hub.outbound.client import Outbound

_DROPPED = OWNED | {b"accept-encoding"}
_SLOW = frozenset({Fault.FIRST_BYTE_TIMEOUT, Fault.IDLE_TIMEOUT})
_LIMITS = Limits(body=64 * 1024 * 1024)


def client(outbound: Outbound, headers: dict[str, str], *, private: bool, seconds: float) -> httpx2.AsyncClient:
    """An HTTP client of the MCP transports with these headers on every request. ``seconds`` bounds the wait for an answer's head."""
    timeout = httpx2.Timeout(30.0, read=max(seconds, 300.0))
    return httpx2.AsyncClient(transport=_Transport(outbound, private), headers=headers, timeout=timeout)


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, outbound: Outbound, private: bool) -> None:
        self._outbound = outbound
        self._private = private

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the answer's body streams."""
        url = request.url
        read = request.extensions.get("timeout", {}).get("read") or 300.0
        outgoing = Outgoing(
            Origin(url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)),
            request.method,
            url.raw_path.decode("ascii"),
            [(name, value) for name, value in request.headers.raw if name.lower() not in _DROPPED],
            await request.aread(),
            private=self._private,
            timeouts=Timeouts(connect=10.0, first_byte=read, idle=read),
            limits=_LIMITS,
        )
        try:
            incoming = await self._outbound.send(outgoing)
        except OutboundError as error:
            raise _translated(error, request) from error
        return httpx2.Response(incoming.status, headers=incoming.headers, stream=_Body(incoming, request), request=request)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, incoming: Incoming, request: httpx2.Request) -> None:
        self._incoming = incoming
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._incoming:
                yield piece
        except OutboundError as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        await self._incoming.close()


def _translated(error: OutboundError, request: httpx2.Request) -> httpx2.TransportError:
    kind = httpx2.ReadTimeout if error.fault in _SLOW else httpx2.ReadError if error.started else httpx2.ConnectError
    return kind(error.message, request=request)
