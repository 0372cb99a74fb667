"""A JSON request to an address that the operator configured, through the one way out (D13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from hub.outbound.address import parse_url
from hub.outbound.base import Limits, Outgoing, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.outbound.base import Incoming
    from hub.outbound.client import Outbound

_TIMEOUTS = Timeouts(connect=10, first_byte=20, idle=20)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. ``headers`` has lower-case names; of a repeated one the last value."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
    """Status and body of an answer of at most ``most`` bytes. Raises OutboundError, and BadRequest for an address that is none.

    Redirects are not followed. ``private`` allows private addresses, where whoever configured the address said so.
    """
    found = await exchange(outbound, method, url, headers=headers, body=body, most=most, private=private)
    return found.status, found.body


async def exchange(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    most: int = 1024 * 1024,
    private: bool = False,
    timeouts: Timeouts = _TIMEOUTS,
) -> Answer:
    """As :func:`fetch`, with the headers of the answer."""
    incoming = await begin(outbound, method, url, headers=headers, body=body, most=most, private=private, timeouts=timeouts)
    return Answer(incoming.status, headers_of(incoming), await incoming.read())


async def begin(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    most: int = 1024 * 1024,
    private: bool = False,
    timeouts: Timeouts = _TIMEOUTS,
) -> Incoming:
    """As :func:`fetch`, once the head of the answer is there. Read the answer or close it, on every path."""
    origin, target = parse_url(url)
    sent: dict[str, Any] = {"accept": "application/json", "user-agent": "hubroute", **(headers or {})}
    if body is not None:
        sent["content-type"] = "application/json"
    return await outbound.send(
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


def headers_of(incoming: Incoming) -> dict[str, str]:
    """The headers of an answer as text."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in incoming.headers}
