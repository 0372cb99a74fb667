"""WebSockets to providers: the address checked and pinned as for any request (SEC-10 to 15), then the library's client over that socket.

Imported with the first: the library is off the cold-start path.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.uri import parse_uri

from hub.outbound.base import Fault, HandshakeRefused, OutboundError, SocketClosed
from hub.outbound.dial import connect_deadline, open_socket, start_protocol
from hub.outbound.head import check_request, header_lines, host_header

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from hub.outbound.address import AddressGuard
    from hub.outbound.base import Outgoing

#: The library logs frames and heads, which hold credentials and prompts: it goes nowhere (SEC-22).
_SILENT = logging.getLogger("hubroute.silent")
_SILENT.disabled = True
#: Headers of a request with a body, which a handshake has not.
_BODY_HEADERS = frozenset({b"content-type", b"accept-encoding"})
_CLOSING = 2.0
_ABNORMAL = 1006


class Socket:
    """:class:`hub.outbound.base.Socket` of the library's connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        """See :class:`hub.outbound.base.Socket`."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise _closed(closed) from closed

    async def send(self, message: str | bytes) -> None:
        """See :class:`hub.outbound.base.Socket`."""
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise _closed(closed) from closed

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See :class:`hub.outbound.base.Socket`."""
        try:
            await self._connection.close(code, reason)
        finally:
            self.drop()

    def drop(self) -> None:
        """Cut it."""
        self._connection.transport.abort()


async def dial(request: Outgoing, *, guard: AddressGuard, tls: Callable[[], ssl.SSLContext], most: int) -> Socket:
    """A WebSocket at a request's target. ``most`` bounds a message in bytes.

    Raises OutboundError, HandshakeRefused where the other side answers with anything but the socket, and BadRequest for a header or
    target that must not be sent. Cancellation closes the connection at once.
    """
    origin, times = request.origin, request.timeouts
    check_request(request.method, request.target)
    lines = header_lines([pair for pair in request.headers if pair[0].lower() not in _BODY_HEADERS]).split(b"\r\n")
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, _, value in (line.partition(b": ") for line in lines) if name]
    secure = origin.scheme == "https"
    uri = parse_uri(f"{'wss' if secure else 'ws'}://{host_header(origin)}{request.target}")

    def make() -> ClientConnection:
        return ClientConnection(ClientProtocol(uri, max_size=most, logger=_SILENT), close_timeout=_CLOSING)

    if request.proxy is not None:
        # Few conversations go through a proxy.
        from hub.outbound.websocket_proxy import through  # noqa: PLC0415 - see above

        connection = await through(request.proxy, request, uri, guard=guard, tls=tls, make=make)
    else:
        async with connect_deadline(times.connect, origin.host):
            addresses = await guard.resolve(origin, private=request.private)
            sock = await open_socket(addresses, origin.port, budget=times.connect, where=origin.host)
            context = tls() if secure else None
            connection = await start_protocol(make, sock, tls=context, host=origin.host, budget=times.connect)
    opened = False
    try:
        await _shake(connection, headers, min(times.connect, times.first_byte))
        opened = True
    finally:
        if not opened:
            connection.transport.abort()
    connection.start_keepalive()
    return Socket(connection)


async def _shake(connection: ClientConnection, headers: list[tuple[str, str]], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await connection.handshake(headers, user_agent_header=None)
    except TimeoutError as error:
        raise OutboundError(Fault.FIRST_BYTE_TIMEOUT, "the upstream did not open the WebSocket in time", reached=True) from error
    except InvalidStatus as error:
        answer = error.response
        found = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.raw_items()]
        raise HandshakeRefused(answer.status_code, found, bytes(answer.body or b"")) from error
    except InvalidMessage as error:
        raise OutboundError(Fault.CLOSED_BEFORE_ANSWER, "the upstream closed the connection without an answer", reached=True) from error
    except (InvalidHandshake, ConnectionClosed, OSError, EOFError) as error:
        raise OutboundError(Fault.MALFORMED_ANSWER, "the upstream's answer opens no WebSocket", reached=True) from error


def _closed(closed: ConnectionClosed) -> SocketClosed:
    said = closed.rcvd
    return SocketClosed(said.code, said.reason) if said is not None else SocketClosed(_ABNORMAL, "")
