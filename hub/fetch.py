"""Small requests to addresses that somebody configured, through the one way out (D13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

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
    """A whole answer; header names are lower-case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str:
        """Every value of a header, joined by commas; empty when there is none."""
        return header_of(self.headers, name)


def header_of(headers: list[tuple[bytes, bytes]], name: str) -> str:
    """Every value of a header by its lower-case name, joined by commas; empty when there is none."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key == name.encode())


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
    """Status and body of an answer of at most ``most`` bytes to a JSON request. Raises OutboundError, and BadRequest for a bad address.

    Redirects are not followed. ``private`` allows private addresses, where whoever configured the address said so.
    """
    answer = await exchange(outbound, method, url, headers=headers, body=body, most=most, private=private)
    return answer.status, answer.body


async def exchange(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    form: Mapping[str, str] | None = None,
    most: int = 1024 * 1024,
    private: bool = False,
    body_of: frozenset[int] | None = None,
    timeouts: Timeouts = _TIMEOUTS,
) -> Answer:
    """The whole answer to a request. As :func:`begin`.

    With ``body_of`` the body is read for these statuses alone, since that of others may be a stream without an end.
    """
    incoming = await begin(outbound, method, url, headers=headers, body=body, form=form, most=most, private=private, timeouts=timeouts)
    if body_of is not None and incoming.status not in body_of:
        await incoming.close()
        return Answer(incoming.status, incoming.headers, b"")
    return Answer(incoming.status, incoming.headers, await incoming.read())


async def begin(
    outbound: Outbound,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    form: Mapping[str, str] | None = None,
    most: int = 1024 * 1024,
    private: bool = False,
    timeouts: Timeouts = _TIMEOUTS,
) -> Incoming:
    """Send a request with a JSON ``body``, a ``form``, or neither; returns once the head of the answer is there.

    Read the answer or close it, on every path. Limits and errors are those of :func:`fetch`.
    """
    origin, target = parse_url(url)
    sent: dict[str, Any] = {"accept": "application/json", "user-agent": "hubroute", **(headers or {})}
    data = b""
    if form is not None:
        sent["content-type"] = "application/x-www-form-urlencoded"
        data = urlencode(form).encode()
    elif body is not None:
        sent["content-type"] = "application/json"
        data = orjson.dumps(body)
    return await outbound.send(
        Outgoing(
            origin,
            method,
            target,
            [(name.encode(), value.encode()) for name, value in sent.items()],
            data,
            private=private,
            timeouts=timeouts,
            limits=Limits(body=most),
        )
    )
