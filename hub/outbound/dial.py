"""Connecting to addresses that passed the check: several at a staggered start, then TLS for the name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, TypeVar

from hub.outbound.base import Fault, OutboundError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    Address = tuple[int, str]
    P = TypeVar("P", bound=asyncio.BaseProtocol)

_STAGGER = 0.25  # RFC 8305 section 5


def tls_context() -> ssl.SSLContext:
    """A client context that verifies names and chains, TLS 1.2 or newer, ALPN HTTP/1.1.

    Trusts the system's store (``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` apply), and certifi's where the
    system has none, as in small containers.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    paths = ssl.get_default_verify_paths()
    if not paths.cafile and not (paths.capath and os.listdir(paths.capath)):
        import certifi  # noqa: PLC0415 - deferred: most systems have a store of their own

        context.load_verify_locations(certifi.where())
    return context


@contextlib.asynccontextmanager
async def connect_deadline(seconds: float, where: str) -> AsyncGenerator[None]:
    """Bounds look-up, TCP and TLS together; raises OutboundError(CONNECT_TIMEOUT)."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise OutboundError(Fault.CONNECT_TIMEOUT, f"{where} did not accept a connection in {seconds:g} s") from error


async def open_socket(addresses: Sequence[Address], port: int, *, budget: float, where: str) -> socket.socket:
    """A TCP connection to the first address that accepts one.

    Attempts start 250 ms apart, closer together when ``budget`` seconds would not let all of them start
    in its first half, and at once when the one before failed (REL-21: 19 dead of 20).
    """
    try:
        if len(addresses) == 1:
            return await _dial(addresses[0], port)
        return await _race(_interleaved(addresses), port, min(_STAGGER, budget / (2 * len(addresses))))
    except TimeoutError as error:
        raise OutboundError(Fault.CONNECT_TIMEOUT, f"{where} did not accept a connection in time") from error
    except OSError as error:
        raise OutboundError(Fault.CONNECT_FAILED, f"{where} does not accept connections") from error


async def start_protocol(factory: Callable[[], P], sock: socket.socket, *, tls: ssl.SSLContext | None, host: str, budget: float) -> P:
    """Run a protocol over a connected socket, through TLS for ``host`` where a context is given."""
    loop = asyncio.get_running_loop()
    started = False
    try:
        if tls is None:
            _, protocol = await loop.create_connection(factory, sock=sock)
        else:
            # The caller's own deadline is the shorter one; this only replaces the library's 60 s.
            _, protocol = await loop.create_connection(factory, sock=sock, ssl=tls, server_hostname=host, ssl_handshake_timeout=budget + 5)
        started = True
    except ssl.SSLCertVerificationError as error:
        raise OutboundError(Fault.TLS_FAILED, f"the certificate of {host} is not accepted: {error.verify_message}") from error
    except (OSError, ssl.CertificateError) as error:
        fault = Fault.TLS_FAILED if tls is not None else Fault.CONNECT_FAILED
        raise OutboundError(fault, f"no secure connection to {host}" if tls is not None else f"the connection to {host} failed") from error
    finally:
        if not started:
            sock.close()
    return protocol


async def _dial(address: Address, port: int) -> socket.socket:
    family, ip = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    connected = False
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, (ip, port))
        connected = True
    finally:
        if not connected:
            sock.close()
    return sock


async def _race(addresses: list[Address], port: int, stagger: float) -> socket.socket:
    tasks: list[asyncio.Task[socket.socket]] = []
    chosen: socket.socket | None = None
    try:
        for address in addresses:
            tasks.append(asyncio.ensure_future(_dial(address, port)))
            chosen = await _first(tasks, stagger)
            if chosen is not None:
                return chosen
        while chosen is None and not all(task.done() for task in tasks):
            chosen = await _first(tasks, None)
    finally:
        _discard(tasks, chosen)
    if chosen is None:
        raise OSError("no address accepts connections")
    return chosen


async def _first(tasks: list[asyncio.Task[socket.socket]], seconds: float | None) -> socket.socket | None:
    """Wait until an attempt ends or the time is over; the socket of one that succeeded."""
    running = [task for task in tasks if not task.done()]
    if running:
        await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return next((task.result() for task in tasks if task.done() and task.exception() is None), None)


def _discard(tasks: list[asyncio.Task[socket.socket]], chosen: socket.socket | None) -> None:
    for task in tasks:
        if not task.done():
            task.cancel()
        elif task.exception() is None and task.result() is not chosen:
            task.result().close()


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Both families in turn, each in its own order, beginning with the first one's (RFC 8305 section 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, other)) if address is not None]
