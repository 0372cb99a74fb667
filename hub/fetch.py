"""A JSON request to an address that the operator configured, through the one way out (D13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from hub.outbound.address import parse_url
from hub.outbound.base import Limits, Outgoing, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.outbound.client import Outbound

_TIMEOUTS = Timeouts(connect=10, first_byte=20, idle=20)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower-case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str:
        """Every value of a header, joined by commas; empty when there is none."""
        return ", ".join(value.decode("latin-1") for key, value in self.headers if key == name.encode())


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
    """Status and body of an answer. As :func:`exchange`."""
    answer = await exchange(outbound, method, url, headers=headers, body=body, most=most, private=private)
    return answer.status, answer.body


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
    return Answer(incoming.status, incoming.headers, await incoming.read())
