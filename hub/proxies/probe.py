"""One try of a proxy: a real request through it to the probe's address, with what went wrong told apart."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.outbound.address import parse_url
from hub.outbound.base import Fault, Limits, OutboundError, Outgoing, Timeouts

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.outbound.base import Proxy
    from hub.outbound.client import Outbound

_TIMES = Timeouts(connect=10, first_byte=10, idle=10, write=10)
_LIMITS = Limits(body=64 * 1024)
_HEADERS = [(b"accept", b"application/json, text/plain"), (b"accept-encoding", b"identity"), (b"user-agent", b"hubroute")]
#: What an address may be written with; what looks like one and is none is passed over.
_ADDRESSES = re.compile(r"[0-9A-Fa-f:.]{3,45}")
_LOOKED_AT = 20
#: Faults beside those of the proxy itself, in the words of an answer.
_KINDS = {
    Fault.ADDRESS_REFUSED: "address_refused",
    Fault.TLS_FAILED: "tls",
    Fault.FIRST_BYTE_TIMEOUT: "timeout",
    Fault.IDLE_TIMEOUT: "timeout",
    Fault.CONNECT_TIMEOUT: "timeout",
}


@dataclass(slots=True)
class Probed:
    """How a try went. ``kind`` is empty where it worked, else ``name_unknown``, ``refused``, ``auth``, ``timeout``, ``tls``,
    ``address_refused``, ``protocol``, ``target`` (the probe's address answered with an error) or ``inactive``.

    ``seen_as`` is the public address that the probe's answer names, if any.
    """

    latency_ms: int
    kind: str = ""
    error: str = ""
    status: int | None = None
    seen_as: str = ""


async def probe(outbound: Outbound, clock: Clock, proxy: Proxy, url: str, *, private: bool) -> Probed:
    """Ask for ``url`` through a proxy, over a connection of its own. Never raises for what others do.

    ``private`` lets the address itself be private: for the one that the operator's settings name. Raises BadRequest for a bad URL.
    """
    origin, target = parse_url(url, field="target")
    if proxy.fault:
        return Probed(0, "inactive", proxy.fault)
    request = Outgoing(origin, "GET", target, _HEADERS, private=private, proxy=proxy, timeouts=_TIMES, limits=_LIMITS)
    began = clock.monotonic()
    try:
        status, body = await outbound.once(request)
    except OutboundError as error:
        return Probed(_since(clock, began), error.reason or _KINDS.get(error.fault, "protocol"), error.message)
    except HubError as error:
        return Probed(_since(clock, began), "protocol", error.message)
    took = _since(clock, began)
    if status >= 400:
        return Probed(took, "target", f"the probe's address answered with HTTP {status}", status)
    return Probed(took, status=status, seen_as=address_in(body))


def address_in(body: bytes) -> str:
    """The first IP address in an answer, as such services write it in JSON or plain text; empty for none."""
    for number, match in enumerate(_ADDRESSES.finditer(body.decode("latin-1"))):
        if number == _LOOKED_AT:
            break
        try:
            return str(ipaddress.ip_address(match[0].strip(".:") if "::" not in match[0] else match[0]))
        except ValueError:
            continue
    return ""


def _since(clock: Clock, began: float) -> int:
    return max(0, round((clock.monotonic() - began) * 1000))
