"""A JSON request to an address that the operator configured, through the one way out (D13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hub.outbound.address import parse_url
from hub.outbound.base import Limits, Outgoing, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.outbound.client import Outbound

_TIMEOUTS = Timeouts(connect=10, first_byte=20, idle=20)


class Fetched(NamedTuple):
    """A whole answer. Header names are lower-case; of a repeated one the last counts."""

    status: int
    body: bytes
    headers: dict[str, str]


async def fetch(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    most: int = 1024 * 1024,
    private: bool = False,
) -> tuple[int, bytes]:
    """Status and body of an answer. As :func:`fetch_whole`."""
    answer = await fetch_whole(outbound, method, url, headers=headers, body=body, most=most, private=private)
    return answer.status, answer.body


async def fetch_whole(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    most: int = 1024 * 1024,
    private: bool = False,
    timeouts: Timeouts = _TIMEOUTS,
) -> Fetched:
    """An answer of at most ``most`` bytes. Raises OutboundError, and BadRequest for an address that is none.

    Redirects are not followed. ``private`` allows private addresses, where whoever configured the address said so.
    """
    origin, target = parse_url(url)
    sent: dict[str, Any] = {"accept": "application/json", "user-agent": "hubroute", **(headers or {})}
    if body is not None:
        sent["content-type"] = "application/json"
    incoming = await outbound.send(
        Outgoing(
            origin,
            method,
            target,
            [(name.encode(), value.encode()) for name, value in sent.items()],
            b"" if body is None else orjson.dumps(body),
            private=private,
            timeouts=timeouts,
            limits=Limits(body=most),
        )
    )
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in incoming.headers}
    return Fetched(incoming.status, await incoming.read(), found)
