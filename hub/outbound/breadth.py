"""The breadth engine: HTTP and SOCKS proxies and HTTP/2, on httpx's connection pools (httpcore).

The pools are used without ``httpx.AsyncClient``: they take a network backend, and that is where every
address is checked and pinned. A proxy that fails is an error; nothing ever goes around it (REL-21).
This module is imported at the first request that needs it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

import anyio
import httpcore

from hub.errors import BadRequest, NotConfigured
from hub.outbound.address import parse_url
from hub.outbound.base import Fault, Origin, OutboundError, Proxy
from hub.outbound.encoding import Decoder, content_encoding, strip_encoding
from hub.outbound.head import check_request, header_lines, host_header

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator

    from httpcore import AsyncNetworkStream
    from httpcore._backends.base import SOCKET_OPTION

    from hub.outbound.address import AddressGuard
    from hub.outbound.base import Headers, Outgoing, Timeouts

_KEEPALIVE = 60.0
_MOST_POOLS = 64
_HTTP_PROXIES = ("http", "https")
_SOCKS_PROXIES = ("socks5", "socks5h")
_PoolKey = tuple[Proxy | None, bool, bool]
#: What a fault on the way to a proxy says of it.
_REASONS = {Fault.NAME_UNKNOWN: "name_unknown", Fault.CONNECT_TIMEOUT: "timeout"}


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses the guard approved. TLS still names the host: httpcore takes that from the URL.

    For a proxy every fault but a refused address becomes PROXY_FAILED.
    """

    def __init__(self, guard: AddressGuard, *, private: bool, proxy: bool) -> None:
        self._guard = guard
        self._private = private
        self._proxy = proxy
        # httpcore defines this class twice, once for the case without anyio, which hides its methods.
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """One of the host's approved addresses; a dead one costs its share of the time that is left."""
        try:
            addresses = await self._guard.resolve(Origin("tcp", host, port), private=self._private)
            until = asyncio.get_running_loop().time() + (timeout or 30.0)
            for left in range(len(addresses), 0, -1):
                share = (until - asyncio.get_running_loop().time()) / left
                try:
                    return await self._inner.connect_tcp(addresses[-left][1], port, max(share, 0.01), local_address, socket_options)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    if left == 1:
                        raise _connect_fault(error, host) from error
            raise OutboundError(Fault.NAME_UNKNOWN, f"no address is known for {host}")
        except OutboundError as error:
            if not self._proxy:
                raise
            raise unreachable(error) from error

    async def sleep(self, seconds: float) -> None:
        """Used by httpcore between retries, which are off."""
        await self._inner.sleep(seconds)


class Progress:
    """How far a request has come, told by httpcore's trace events; moves the deadlines along."""

    def __init__(self, request: Outgoing, limits: dict[str, float]) -> None:
        self.in_proxy = False
        self.reached = False
        self.started = False
        self._tunnel = request.proxy is not None and (request.origin.scheme == "https" or request.proxy.url.startswith("socks"))
        self._proxied = request.proxy is not None
        self._times = request.timeouts
        self._limits = limits
        self.deadline: asyncio.Timeout | None = None
        self._shaking: AsyncNetworkStream | None = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's callback."""
        if event == "socks.connect_tcp.complete":
            self._shaking = info["return_value"]
        elif event.endswith("connect_tcp.started"):
            self.in_proxy = self._proxied
        elif event in ("proxy.start_tls.started", "socks.setup_socks5_connection.complete"):
            self.in_proxy = False
        elif event.endswith("send_request_headers.started") and not (self.in_proxy and self._tunnel):
            self._sending()

    async def end(self) -> None:
        """The request failed: close the socket of a SOCKS handshake, which httpcore leaves open."""
        if self._shaking is not None:
            with anyio.CancelScope(shield=True):
                await self._shaking.aclose()

    def _sending(self) -> None:
        """The request itself leaves: from here the limits for the answer apply."""
        self.in_proxy = False
        self.reached = True
        self._shaking = None
        self._limits["read"] = self._times.first_byte
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._times.write + self._times.first_byte)


class Streamed:
    """:class:`hub.outbound.base.Incoming` of this engine."""

    def __init__(self, response: httpcore.Response, request: Outgoing, progress: Progress) -> None:
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers]
        self._response = response
        self._limit = request.limits.body
        self._progress = progress
        encoding = content_encoding(self.headers) if request.method != "HEAD" else b""
        self._decoder = Decoder(encoding, self._limit) if encoding else None
        if encoding:
            self.headers = strip_encoding(self.headers)
        self._pieces = self._body()

    async def read(self) -> bytes:
        """See :class:`hub.outbound.base.Incoming`."""
        return b"".join([piece async for piece in self._pieces])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def close(self) -> None:
        """See :class:`hub.outbound.base.Incoming`."""
        await self._pieces.aclose()
        await self._response.aclose()

    async def _body(self) -> AsyncGenerator[bytes, None]:
        total = 0
        try:
            async with aclosing(self._raw()) as pieces:
                async for raw in pieces:
                    total += len(raw)
                    if total > self._limit:
                        raise OutboundError(Fault.TOO_LARGE, "the answer is too large", started=True, reached=True)
                    for data in self._decoded(raw):
                        yield data
            if self._decoder is not None:
                self._decoder.finish()
        finally:
            await self._response.aclose()

    def _decoded(self, raw: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            yield raw
            return
        self._decoder.feed(raw)
        while data := self._decoder.take():
            yield data

    async def _raw(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(cast("AsyncGenerator[bytes, None]", self._response.aiter_stream())) as pieces:
                async for raw in pieces:
                    if raw:
                        yield raw
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _fault(error, self._progress) from error


class Breadth:
    """:class:`hub.outbound.base.Engine` for proxies and HTTP/2. Pools are kept per (proxy, HTTP/2, private)."""

    def __init__(self, guard: AddressGuard, *, tls: Callable[[], ssl.SSLContext], max_per_origin: int = 512) -> None:
        self._guard = guard
        self._tls = tls
        self._limit = max_per_origin
        self._pools: dict[_PoolKey, httpcore.AsyncConnectionPool] = {}

    async def send(self, request: Outgoing) -> Streamed:
        """See :class:`hub.outbound.base.Engine`. Raises NotConfigured where an optional package is missing."""
        pool = self._pool(request)
        if request.proxy is not None:
            self._guard.check_literal(request.origin.host, private=request.private)
        times = request.timeouts
        limits = {"connect": times.connect, "pool": times.connect, "write": times.write, "read": times.connect}
        progress = Progress(request, limits)
        outgoing = _outgoing(request, {"timeout": limits, "trace": progress.trace})
        try:
            response = await self._answer(pool, outgoing, progress, times)
        except TimeoutError as error:
            raise _late(request, progress) from error
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise _fault(error, progress) from error
        progress.started = True
        limits["read"] = times.idle
        await _check_head(response, request)
        return Streamed(response, request, progress)

    async def _answer(
        self, pool: httpcore.AsyncConnectionPool, outgoing: httpcore.Request, progress: Progress, times: Timeouts
    ) -> httpcore.Response:
        try:
            async with asyncio.timeout(times.connect) as progress.deadline:
                return await pool.handle_async_request(outgoing)
        except BaseException:
            await progress.end()
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.aclose()

    def _pool(self, request: Outgoing) -> httpcore.AsyncConnectionPool:
        key = (request.proxy, request.http2, request.private)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= _MOST_POOLS:
                # Of proxies that have changed or gone; each holds a TLS context.
                self._pools = {one: kept for one, kept in self._pools.items() if kept.connections}
            pool = self._pools[key] = self._make(request)
        return pool

    def _make(self, request: Outgoing) -> httpcore.AsyncConnectionPool:
        if request.http2 and find_spec("h2") is None:
            raise NotConfigured("HTTP/2 needs the package h2: install httpx[http2]")
        proxy = request.proxy
        backend = PinnedBackend(self._guard, private=proxy.private if proxy else request.private, proxy=proxy is not None)
        # Every pool has a context of its own: httpcore sets ALPN on the one it is given.
        options: dict[str, Any] = {
            "ssl_context": self._tls(),
            "max_connections": self._limit,
            "max_keepalive_connections": self._limit,
            "keepalive_expiry": _KEEPALIVE,
            "http1": True,
            "http2": request.http2,
            "network_backend": backend,
        }
        if proxy is None:
            return httpcore.AsyncConnectionPool(**options)
        scheme, origin, auth = parse_proxy(proxy.url)
        url = httpcore.URL(scheme=scheme.encode(), host=origin.host.encode("ascii"), port=origin.port, target=b"/")
        if scheme in _HTTP_PROXIES:
            inner = self._tls() if scheme == "https" else None
            return httpcore.AsyncHTTPProxy(url, proxy_auth=auth, proxy_ssl_context=inner, **options)
        if find_spec("socksio") is None:
            raise NotConfigured("SOCKS proxies need the package socksio: install hubroute[socks]")
        # With the package, which few hubs need.
        from hub.outbound.socks import SocksPool  # noqa: PLC0415 - see above

        return SocksPool(url, proxy_auth=auth, **options)


def unreachable(error: OutboundError) -> OutboundError:
    """What a fault on the way to a proxy is to the request: a proxy's, unless its address was refused."""
    if error.fault is Fault.ADDRESS_REFUSED:
        return error
    return OutboundError(Fault.PROXY_FAILED, f"the proxy cannot be reached: {error.message}", reason=_REASONS.get(error.fault, "refused"))


def parse_proxy(proxy: str) -> tuple[str, Origin, tuple[bytes, bytes] | None]:
    """A proxy URL as scheme, address and credentials. Raises BadRequest; the URL is never repeated (it is a secret)."""
    scheme, mark, rest = proxy.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in _HTTP_PROXIES + _SOCKS_PROXIES:
        raise BadRequest("proxy is not usable: write http://, https:// or socks5:// and a host with port", field="proxy")
    user, at, address = rest.rpartition("@")
    origin, target = parse_url(f"{'https' if scheme == 'https' else 'http'}://{address}", field="proxy")
    if target != "/":
        raise BadRequest("proxy is not usable: a proxy has no path", field="proxy")
    port = 1080 if scheme in _SOCKS_PROXIES and not address.rstrip("/").endswith(f":{origin.port}") else origin.port
    name, _, password = user.partition(":")
    auth = (unquote_to_bytes(name), unquote_to_bytes(password)) if at else None
    return scheme, Origin(scheme, origin.host, port), auth


def _outgoing(request: Outgoing, extensions: dict[str, Any]) -> httpcore.Request:
    check_request(request.method, request.target)
    # Names and values are checked by our own rules, and the lines taken apart again for httpcore.
    lines = header_lines(request.headers).split(b"\r\n")[:-1]
    headers = [(b"Host", host_header(request.origin).encode("ascii"))]
    headers += [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"content-length", b"%d" % len(request.body)))
    origin = request.origin
    url = httpcore.URL(
        scheme=origin.scheme.encode("ascii"), host=origin.host.encode("ascii"), port=origin.port, target=request.target.encode("ascii")
    )
    return httpcore.Request(request.method, url, headers=headers, content=request.body, extensions=extensions)


async def _check_head(response: httpcore.Response, request: Outgoing) -> None:
    size = sum(len(name) + len(value) + 4 for name, value in response.headers)
    if request.proxy is not None and response.status == 407:
        await response.aclose()
        raise OutboundError(Fault.PROXY_FAILED, "the proxy asks for other credentials (407)", reason="auth")
    if size > request.limits.head:
        await response.aclose()
        raise OutboundError(Fault.TOO_LARGE, "the answer's head is too large", started=True, reached=True)


def _connect_fault(error: Exception, host: str) -> OutboundError:
    if isinstance(error, httpcore.ConnectTimeout):
        return OutboundError(Fault.CONNECT_TIMEOUT, f"{host} did not accept a connection in time")
    return OutboundError(Fault.CONNECT_FAILED, f"{host} does not accept connections")


def _late(request: Outgoing, progress: Progress) -> OutboundError:
    """The deadline of the whole request has passed."""
    if progress.in_proxy:
        return OutboundError(Fault.PROXY_FAILED, "the proxy did not open a connection in time", reason="timeout")
    if progress.reached:
        return OutboundError(Fault.FIRST_BYTE_TIMEOUT, "the upstream did not begin its answer in time", reached=True)
    return OutboundError(Fault.CONNECT_TIMEOUT, f"{request.origin.host} did not accept a connection in time")


def _fault(error: Exception, progress: Progress) -> OutboundError:
    """Ours for one of httpcore's, by kind and by how far the request had come."""
    if isinstance(error, httpcore.ProxyError) or progress.in_proxy:
        return _proxy_fault(error)
    if isinstance(error, httpcore.PoolTimeout):
        return OutboundError(Fault.POOL_BUSY, "all connections that may be opened are in use")
    fault, message = next((found for kind, found in _KINDS if isinstance(error, kind)), _MALFORMED)
    if progress.started:
        fault, message = _IN_BODY.get(fault, (fault, message))
    elif fault is Fault.MALFORMED_ANSWER and "disconnected" in str(error):
        fault, message = _CLOSED
    return OutboundError(fault, message, started=progress.started, reached=progress.reached)


def _proxy_fault(error: Exception) -> OutboundError:
    """What a proxy did instead of opening a connection; httpcore has only words for it."""
    said = str(error)
    if isinstance(error, httpcore.ProxyError):
        # An HTTP proxy's status and reason, or the SOCKS handshake's end. The proxy's own words are a stranger's.
        if said.startswith("407") or "auth" in said.lower() or "password" in said.lower():
            return OutboundError(Fault.PROXY_FAILED, "the proxy asks for other credentials", reason="auth")
        status = f" (HTTP {said[:3]})" if said[:3].isdigit() else ""
        return OutboundError(Fault.PROXY_FAILED, f"the proxy refused to open a connection{status}", reason="refused")
    reason = "timeout" if isinstance(error, httpcore.TimeoutException) else "protocol"
    return OutboundError(Fault.PROXY_FAILED, "the proxy did not open a connection", reason=reason)


_MALFORMED = (Fault.MALFORMED_ANSWER, "the answer is not valid HTTP")
_CLOSED = (Fault.CLOSED_BEFORE_ANSWER, "the upstream closed the connection without an answer")
# The backend raises our own errors for TCP, so httpcore's connect errors can only come from TLS.
_KINDS: tuple[tuple[type[Exception], tuple[Fault, str]], ...] = (
    (httpcore.ConnectTimeout, (Fault.CONNECT_TIMEOUT, "no secure connection in time")),
    (httpcore.ConnectError, (Fault.TLS_FAILED, "no secure connection: the certificate or TLS version is not accepted")),
    (httpcore.ReadTimeout, (Fault.FIRST_BYTE_TIMEOUT, "the upstream did not begin its answer in time")),
    (httpcore.WriteTimeout, (Fault.WRITE_FAILED, "the upstream took no bytes of the request in time")),
    (httpcore.WriteError, (Fault.WRITE_FAILED, "the upstream closed the connection while the request was sent")),
    (httpcore.ReadError, _CLOSED),
)
_IN_BODY: dict[Fault, tuple[Fault, str]] = {
    Fault.FIRST_BYTE_TIMEOUT: (Fault.IDLE_TIMEOUT, "the upstream was silent inside its answer"),
    Fault.CLOSED_BEFORE_ANSWER: (Fault.TRUNCATED, "the upstream closed the connection inside its answer"),
    Fault.MALFORMED_ANSWER: (Fault.TRUNCATED, "the upstream ended or broke its answer before its end"),
}
