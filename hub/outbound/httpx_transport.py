"""Our engines as a transport of httpx or httpx2, so that SDKs and management code use an ordinary client on checked connections.

Both libraries have the same interface and none of its classes in common; which one is wanted is given as its module.
Imported at first use; :meth:`hub.outbound.client.Outbound.transport` is the way in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hub.outbound.base import Fault, Origin, OutboundError, Outgoing, Timeouts
from hub.outbound.head import OWNED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from hub.outbound.base import Incoming

    Send = Callable[[Outgoing], Coroutine[Any, Any, Incoming]]

#: The library's error for each fault of ours, by name; ConnectError for all others.
_ERRORS: dict[Fault, str] = {
    Fault.CONNECT_TIMEOUT: "ConnectTimeout",
    Fault.FIRST_BYTE_TIMEOUT: "ReadTimeout",
    Fault.IDLE_TIMEOUT: "ReadTimeout",
    Fault.POOL_BUSY: "PoolTimeout",
    Fault.PROXY_FAILED: "ProxyError",
    Fault.WRITE_FAILED: "WriteError",
    Fault.CLOSED_BEFORE_ANSWER: "RemoteProtocolError",
    Fault.MALFORMED_ANSWER: "RemoteProtocolError",
    Fault.TRUNCATED: "RemoteProtocolError",
    Fault.TOO_LARGE: "RemoteProtocolError",
    Fault.BAD_ENCODING: "RemoteProtocolError",
}
# Bodies arrive decoded, so the engine says itself which encodings it can take.
_DROPPED = OWNED | {b"accept-encoding"}


@lru_cache(maxsize=4)
def transport_class(library: Any) -> Any:
    """The transport class of a library: ``transport_class(httpx)(send, private=False)`` for ``AsyncClient(transport=...)``.

    Each redirect hop passes the address check anew (SEC-12). Errors are the library's, with the OutboundError as
    ``__cause__``. Closing the client closes no connection.
    """

    body_class = _body_class(library)

    class HubTransport(library.AsyncBaseTransport):
        def __init__(self, send: Send, *, private: bool = False) -> None:
            self._send = send
            self._private = private

        async def handle_async_request(self, request: Any) -> Any:
            """Send one request; the answer's body streams."""
            if request.url.scheme not in ("http", "https"):
                raise library.UnsupportedProtocol(f"only http and https can be sent, not {request.url.scheme}", request=request)
            try:
                incoming = await self._send(_outgoing(request, await request.aread(), self._private))
            except OutboundError as error:
                raise _error(library, error, request) from error
            return library.Response(incoming.status, headers=incoming.headers, stream=body_class(incoming, request), request=request)

    return HubTransport


def _error(library: Any, error: OutboundError, request: Any) -> Exception:
    return getattr(library, _ERRORS.get(error.fault, "ConnectError"))(error.message, request=request)


def _body_class(library: Any) -> Any:
    """An answer's body, streamed, with the library's errors."""

    class Body(library.AsyncByteStream):
        def __init__(self, incoming: Incoming, request: Any) -> None:
            self._incoming = incoming
            self._request = request

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for piece in self._incoming:
                    yield piece
            except OutboundError as error:
                raise _error(library, error, self._request) from error

        async def aclose(self) -> None:
            await self._incoming.close()

    return Body


def _outgoing(request: Any, body: bytes, private: bool) -> Outgoing:
    url = request.url
    scheme: str = url.scheme
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
