"""Our engines as an httpx transport, so that SDKs and management code use ordinary httpx on checked connections.

Imported at first use; :meth:`hub.outbound.client.Outbound.transport` is the way in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from hub.outbound.base import Fault, Origin, OutboundError, Outgoing, Timeouts
from hub.outbound.head import OWNED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    from hub.outbound.base import Incoming

    Send = Callable[[Outgoing], Coroutine[Any, Any, Incoming]]

_ERRORS: dict[Fault, type[httpx.TransportError]] = {
    Fault.CONNECT_TIMEOUT: httpx.ConnectTimeout,
    Fault.FIRST_BYTE_TIMEOUT: httpx.ReadTimeout,
    Fault.IDLE_TIMEOUT: httpx.ReadTimeout,
    Fault.POOL_BUSY: httpx.PoolTimeout,
    Fault.PROXY_FAILED: httpx.ProxyError,
    Fault.WRITE_FAILED: httpx.WriteError,
    Fault.CLOSED_BEFORE_ANSWER: httpx.RemoteProtocolError,
    Fault.MALFORMED_ANSWER: httpx.RemoteProtocolError,
    Fault.TRUNCATED: httpx.RemoteProtocolError,
    Fault.TOO_LARGE: httpx.RemoteProtocolError,
    Fault.BAD_ENCODING: httpx.RemoteProtocolError,
}
# Bodies arrive decoded, so the engine says itself which encodings it can take.
_DROPPED = OWNED | {b"accept-encoding"}


class HubTransport(httpx.AsyncBaseTransport):
    """Give it to ``httpx.AsyncClient(transport=...)``. Each redirect hop passes the address check anew (SEC-12).

    Errors are httpx's, with the OutboundError as ``__cause__``. Closing the client closes no connection.
    """

    def __init__(self, send: Send, *, private: bool = False) -> None:
        self._send = send
        self._private = private

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's body streams."""
        try:
            incoming = await self._send(_outgoing(request, await request.aread(), self._private))
        except OutboundError as error:
            raise _translated(error, request) from error
        return httpx.Response(incoming.status, headers=incoming.headers, stream=_Body(incoming, request), request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, incoming: Incoming, request: httpx.Request) -> None:
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


def _outgoing(request: httpx.Request, body: bytes, private: bool) -> Outgoing:
    url = request.url
    scheme = url.scheme
    if scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol(f"only http and https can be sent, not {scheme}", request=request)
    given: dict[str, float | None] = request.extensions.get("timeout", {})
    default = Timeouts()
    read = given.get("read")
    times = Timeouts(
        connect=given.get("connect") or default.connect,
        first_byte=read or default.first_byte,
        idle=read or default.idle,
        write=given.get("write") or default.write,
    )
    return Outgoing(
        origin=Origin(scheme, url.raw_host.decode("ascii"), url.port or (443 if scheme == "https" else 80)),
        method=request.method,
        target=url.raw_path.decode("ascii"),
        headers=[(name, value) for name, value in request.headers.raw if name.lower() not in _DROPPED],
        body=body,
        private=private,
        timeouts=times,
    )


def _translated(error: OutboundError, request: httpx.Request) -> httpx.TransportError:
    return _ERRORS.get(error.fault, httpx.ConnectError)(error.message, request=request)
