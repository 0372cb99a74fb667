"""The way of a WebSocket through an HTTP proxy: CONNECT with the library's own protocol, over a socket to a checked and pinned address.

The proxy is never gone around (REL-21). SOCKS proxies have no such way here: the library's wants another package.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from websockets.asyncio.client import HTTPProxyConnection
from websockets.exceptions import InvalidProxyMessage, InvalidProxyStatus
from websockets.proxy import Proxy as Address

from hub.outbound.base import Fault, OutboundError
from hub.outbound.breadth import parse_proxy, unreachable
from hub.outbound.dial import open_socket, start_protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.client import ClientConnection
    from websockets.uri import WebSocketURI

    from hub.outbound.address import AddressGuard
    from hub.outbound.base import Outgoing, Proxy

_CREDENTIALS = 407


class _Asking(HTTPProxyConnection):
    """The library's CONNECT, which stumbles over a proxy that closes: the end comes once as such and once more with the connection's."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if not self.response.done():
            super().connection_lost(exc)


async def through(
    proxy: Proxy,
    request: Outgoing,
    uri: WebSocketURI,
    *,
    guard: AddressGuard,
    tls: Callable[[], ssl.SSLContext],
    make: Callable[[], ClientConnection],
) -> ClientConnection:
    """A connection to a request's origin through a proxy, its handshake still to come. Raises OutboundError."""
    guard.check_literal(request.origin.host, private=request.private)
    budget, host = request.timeouts.connect, request.origin.host
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(budget):
            asking = await _opened(proxy, uri, guard=guard, tls=tls, budget=budget)
    except TimeoutError as error:
        raise OutboundError(Fault.PROXY_FAILED, "the proxy did not open a connection in time", reason="timeout") from error
    connection, transport, done = make(), asking.transport, False
    try:
        if uri.secure:
            # With the first protocol: the library's own must not hear of a connection that was lost before it was made.
            secured = await loop.start_tls(transport, asking, tls(), server_hostname=host, ssl_handshake_timeout=budget)
            if secured is None:
                raise OutboundError(Fault.TLS_FAILED, f"no secure connection to {host} through the proxy")
            transport = secured
        transport.set_protocol(connection)
        connection.connection_made(transport)
        done = True
    except ssl.SSLCertVerificationError as error:
        raise OutboundError(Fault.TLS_FAILED, f"the certificate of {host} is not accepted: {error.verify_message}") from error
    except (OSError, TimeoutError, ssl.CertificateError) as error:
        raise OutboundError(Fault.TLS_FAILED, f"no secure connection to {host} through the proxy") from error
    finally:
        if not done:
            transport.abort()
    return connection


async def _opened(proxy: Proxy, uri: WebSocketURI, *, guard: AddressGuard, tls: Callable[[], ssl.SSLContext], budget: float) -> _Asking:
    """A tunnel to the origin of an address, open at the proxy."""
    scheme, place, auth = parse_proxy(proxy.url)
    if scheme not in ("http", "https"):
        words = "WebSockets do not go through SOCKS proxies; give this connection an HTTP proxy or none"
        raise OutboundError(Fault.PROXY_FAILED, words, reason="protocol")
    user, password = (part.decode("latin-1") for part in auth) if auth else (None, None)
    address = Address(scheme, place.host, place.port, user, password)
    try:
        addresses = await guard.resolve(place, private=proxy.private)
        sock = await open_socket(addresses, place.port, budget=budget, where=place.host)
        context = tls() if scheme == "https" else None
        asking = await start_protocol(lambda: _Asking(uri, address), sock, tls=context, host=place.host, budget=budget)
    except OutboundError as error:
        raise unreachable(error) from error
    opened = False
    try:
        await asking.response
        opened = True
    except InvalidProxyStatus as error:
        if error.response.status_code == _CREDENTIALS:
            raise OutboundError(Fault.PROXY_FAILED, "the proxy asks for other credentials", reason="auth") from error
        words = f"the proxy refused to open a connection (HTTP {error.response.status_code})"
        raise OutboundError(Fault.PROXY_FAILED, words, reason="refused") from error
    except (InvalidProxyMessage, OSError) as error:
        raise OutboundError(Fault.PROXY_FAILED, "the proxy did not open a connection", reason="protocol") from error
    finally:
        if not opened:
            asking.transport.abort()
    return asking
