"""The interface of the outbound module: one request out, one answer in, and exactly what failed and when.

Two engines stand behind it: :mod:`hub.outbound.http1` (our keep-alive HTTP/1.1 pool, the hot one) and
:mod:`hub.outbound.breadth` (httpx: proxies, SOCKS, HTTP/2). :class:`hub.outbound.client.Outbound` picks
by target. Both check and pin the address before they connect (:mod:`hub.outbound.address`, SEC-10 to 15).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from hub.errors import HubError, Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Headers = list[tuple[bytes, bytes]]
Fixed = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``first_byte`` runs from the request's last byte to the answer's head, ``idle`` between body reads."""

    connect: float = 30.0
    first_byte: float = 600.0
    idle: float = 600.0
    write: float = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what an upstream may send (SEC B8): head and whole-body bytes, decompression included."""

    head: int = 64 * 1024
    body: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to go through: its URL with credentials, whether it may itself be at a private address, and the id that its owner knows.

    ``fault`` says why it cannot be used now: requests then fail, since nothing goes around it.
    """

    url: str = field(repr=False)
    private: bool = False
    id: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes: ``scheme`` http or https, lower-case ``host`` (IDNA), ``port``."""

    scheme: str
    host: str
    port: int


class Payload(ABC):
    """A body that is sent a piece at a time. Its length is known; iterating begins anew each time, so that it can be sent again."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Access(Protocol):
    """Credentials that run out and are renewed, such as the tokens of a login."""

    async def headers(self) -> tuple[Headers, int]:
        """The headers to send now, and the number of the credentials in them. Raises OutboundError where there are none to be had."""
        ...

    async def renewed(self, serial: int) -> bool:
        """The upstream refused the credentials of this number: whether there are newer ones now, or could be made."""
        ...


@dataclass(slots=True)
class Outgoing:
    """One request. ``target`` is path and query as sent; ``headers`` lack Host and Content-Length (the engine adds them).

    A tuple of headers is checked once and its bytes are kept, for callers that send the same ones again.
    ``private`` allows private and loopback addresses for this request (a connection's own switch, SEC-15);
    ``proxy`` is what the request goes through, and never around (REL-21); ``http2`` asks for the breadth engine. ``sign`` makes of it
    what is sent, where that needs the whole request and the moment; ``access`` holds credentials that have to be fetched first and may be
    renewed.
    """

    origin: Origin
    method: str
    target: str
    headers: Headers | Fixed
    body: bytes | Payload = b""
    private: bool = False
    proxy: Proxy | None = None
    http2: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    sign: Callable[[Outgoing], Outgoing] | None = None
    access: Access | None = None

    @property
    def whole(self) -> bytes:
        """The body of a request that is no upload."""
        if not isinstance(self.body, bytes):
            raise TypeError("this body is read a piece at a time")
        return self.body


class Incoming(Protocol):
    """An answer whose head has arrived. Either :meth:`read` it, or iterate it, then :meth:`close` it.

    Header names are lower-case. Iterating yields non-empty body pieces as they arrive, content decoded
    when the upstream compressed it. A failure after the head raises an OutboundError with ``started`` True.
    """

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The whole body, at most ``limits.body`` bytes, and close."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None:
        """Give the connection back if the body is complete, else drop it at once. May be called twice."""
        ...


class Engine(Protocol):
    """One way to send a request. Raises OutboundError; on cancellation the connection is dropped at once."""

    async def send(self, request: Outgoing) -> Incoming: ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class Socket(Protocol):
    """An open WebSocket to an upstream. One task receives; several may send."""

    async def receive(self) -> str | bytes:
        """The next message. Raises SocketClosed."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message; returns when the upstream can take more. Raises SocketClosed."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, waiting a moment for the other side to do so too. May be called twice."""
        ...


class SocketClosed(Exception):
    """The other side closed a WebSocket; ``code`` is 1006 where it only went away, 1005 where it gave none (RFC 6455, 7.1.5)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code}")
        self.code = code
        self.reason = reason


class HandshakeRefused(Exception):
    """An upstream answered a request for a WebSocket with a plain answer; header names are lower-case."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"refused with status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class Fault(StrEnum):
    """What went wrong on the way to or from an upstream."""

    ADDRESS_REFUSED = "address_refused"  # the address check said no; nothing was sent
    NAME_UNKNOWN = "name_unknown"  # DNS has no answer
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_FAILED = "tls_failed"
    WRITE_FAILED = "write_failed"  # connection lost or stuck while the request was sent
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    CLOSED_BEFORE_ANSWER = "closed_before_answer"
    MALFORMED_ANSWER = "malformed_answer"
    IDLE_TIMEOUT = "idle_timeout"
    TRUNCATED = "truncated"  # the body ended before its framing said so
    TOO_LARGE = "too_large"
    BAD_ENCODING = "bad_encoding"  # content-encoding unknown or corrupt
    PROXY_FAILED = "proxy_failed"
    POOL_BUSY = "pool_busy"  # every connection this hub may open to the origin is in use
    LOGIN_FAILED = "login_failed"  # the access token could not be refreshed now
    LOGIN_ENDED = "login_ended"  # only a new login helps


#: Faults that are this hub's or the operator's doing; they say nothing about the provider's health.
LOCAL_FAULTS = frozenset({Fault.ADDRESS_REFUSED, Fault.PROXY_FAILED, Fault.POOL_BUSY})
TIMEOUTS = frozenset({Fault.CONNECT_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT, Fault.IDLE_TIMEOUT})


class OutboundError(HubError):
    """A request could not be completed. ``started`` says whether the answer's head had arrived.

    ``reached`` is False while no byte of the request can have been processed by the upstream. ``reason`` says more of a proxy that
    failed: ``name_unknown``, ``refused``, ``timeout``, ``auth`` or ``protocol``.
    """

    shape = Shape(502, "server_error", "bad_gateway", -32010, "api_error")

    def __init__(self, fault: Fault, message: str, *, started: bool = False, reached: bool = False, reason: str = "") -> None:
        super().__init__(message, code=fault.value)
        self.fault = fault
        self.started = started
        self.reached = reached
        self.reason = reason

    @property
    def status(self) -> int:
        """504 for timeouts, 502 for all other faults."""
        return 504 if self.fault in TIMEOUTS else 502
