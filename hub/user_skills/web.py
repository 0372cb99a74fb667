"""The way out for addresses that models and skills choose: public ones, no redirects, bounded in size and time (SEC-10 to 15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hub.errors import UpstreamFailed
from hub.outbound.address import parse_url
from hub.outbound.base import Limits, Outgoing, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.outbound.base import Headers
    from hub.outbound.client import Outbound

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
#: Headers that are about the connection, and not a caller's to set.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive", "expect"})


class Web:
    """Sends requests. ``allowed`` lists hosts (``name`` or ``name:port``) that may be private. The outbound object is its own, as no
    setting for connections may open private addresses to what callers choose."""

    def __init__(self, outbound: Outbound, *, allowed: str = "") -> None:
        self._outbound = outbound
        self._allowed = frozenset(name for one in allowed.split(",") if (name := one.strip().lower()))

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, seconds: float, most: int, field: str
    ) -> tuple[int, Headers, bytes]:
        """Status, headers and body of an answer, redirects included. Raises BadRequest naming ``field``, OutboundError."""
        origin, target = parse_url(url, field=field)
        listed = origin.host in self._allowed or f"{origin.host}:{origin.port}" in self._allowed
        sent = {"accept": "*/*", "user-agent": "hubroute"}
        sent |= {name.lower(): value for name, value in headers.items() if name.lower() not in _OURS}
        limit = Timeouts(connect=min(10.0, seconds), first_byte=seconds, idle=seconds, write=seconds)
        pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
        outgoing = Outgoing(origin, method, target, pairs, body, private=listed, timeouts=limit, limits=Limits(body=most))
        incoming = await self._outbound.send(outgoing)
        return incoming.status, incoming.headers, await incoming.read()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._outbound.aclose()


def value_of(headers: Headers, body: bytes) -> object:
    """A body as JSON where it says that it is, else as text."""
    kind = next((value.decode("latin-1") for name, value in headers if name == b"content-type"), "")
    if "json" in kind:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UpstreamFailed("the answer says that it is JSON and is not") from None
    return body.decode("utf-8", "replace")
