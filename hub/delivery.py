"""Signed messages to addresses that callers chose: each is POSTed until it is taken, refused, or has been tried often enough (SEC-58)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from hub import signing
from hub.errors import BadRequest, HubError
from hub.log import logger, masked
from hub.outbound.address import parse_url
from hub.outbound.base import Fault, Limits, OutboundError, Outgoing, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.clock import Clock
    from hub.outbound.base import Headers, Incoming, Origin
    from hub.outbound.client import Outbound
    from hub.secret import Secret

log = logger("hub.delivery")

#: Seconds to wait before each further try, give or take a fifth.
WAITS = (1.0, 2.0, 4.0, 8.0)
_JITTER = 0.2
_TIMEOUTS = Timeouts(connect=5, first_byte=10, idle=5, write=10)
_LIMITS = Limits(head=16 * 1024, body=64 * 1024)
_LOOK_UP_SECONDS = 5.0
#: So many tries at once in all and to one host, so that one that is slow leaves room for the others. The rest wait.
_AT_ONCE = 64
_AT_ONCE_EACH = 8
#: Client errors that may pass.
_PASSING = frozenset({408, 429})
_GONE = 410


#: Bytes of an answer that are kept for who looks into a failure.
_EXCERPT = 512
#: A whole try, whatever the receiver does: it may send a byte now and then.
_TRY_SECONDS = 30.0


class Verdict(StrEnum):
    """What became of a message."""

    TAKEN = "taken"
    REFUSED = "refused"  # the receiver, or our own check of its address, will not have it
    GONE = "gone"  # the receiver wants nothing any more
    DOWN = "down"  # it did not answer well in all tries


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go: an http or https URL, further headers, and the secrets that sign (two while one replaces the other)."""

    url: str
    headers: Mapping[str, str]
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: what came of it, and what the receiver said. ``status`` is 0 and ``reason`` set where there was no answer."""

    verdict: Verdict
    status: int = 0
    reason: str = ""
    excerpt: str = ""
    retry_after: float | None = None


class Deliverer:
    """Sends messages; one for a hub. ``allowed`` is the setting: hosts that may be private or spoken to without TLS."""

    def __init__(self, outbound: Outbound, clock: Clock, *, allowed: str = "") -> None:
        #: Its own, as no setting for connections may open private addresses to what callers choose (SEC-10).
        self.outbound = outbound
        self._clock = clock
        self._allowed = frozenset(name for one in allowed.split(",") if (name := one.strip().lower()))
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def check(self, url: str, field: str) -> None:
        """Raise BadRequest naming ``field`` unless messages may be sent there (SEC-10 to 13).

        A listed host need not be known yet: the owner vouches for its name, and its address is judged with each delivery. Of all others,
        one that is not known and one that is private get the same words, which therefore tell nothing of the hub's network.
        """
        origin, _ = parse_url(url, field=field)
        listed = self._listed(origin)
        if origin.scheme != "https" and not listed:
            raise BadRequest(f"{field} must begin with https://, unless the owner lists its host in push_allowed_hosts", field=field)
        try:
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                await self.outbound.guard.resolve(origin, private=listed)
        except (OutboundError, TimeoutError) as error:
            if listed and not (isinstance(error, OutboundError) and error.fault is Fault.ADDRESS_REFUSED):
                return
            words = "its host has no public address; the owner of the hub can list a private one in push_allowed_hosts"
            raise BadRequest(f"{field} is not usable: {words}", field=field, code="address_refused") from None

    async def send(self, target: Target, message_id: str, body: bytes) -> Verdict:
        """Deliver a message, JSON, in at most five tries. The same id is sent again with each try, so that a receiver can tell."""
        for wait in (0.0, *WAITS):
            if wait:
                await asyncio.sleep(self.spread(wait))
            made = await self.attempt(target, message_id, body)
            if made.verdict is not Verdict.DOWN:
                return made.verdict
        log.warning("a message was not taken", message=message_id, host=parse_url(target.url)[0].host, tries=len(WAITS) + 1)
        return Verdict.DOWN

    def spread(self, seconds: float) -> float:
        """A wait, give or take a fifth."""
        return seconds * self._clock.random.uniform(1 - _JITTER, 1 + _JITTER)

    async def attempt(self, target: Target, message_id: str, body: bytes) -> Attempt:
        """Try once to deliver a message, JSON, signed now. Never raises for what the receiver does."""
        host = parse_url(target.url)[0].host
        lane = self._lanes.setdefault(host, asyncio.Semaphore(_AT_ONCE_EACH))
        async with lane, self._slots:
            made = await self._try(target, message_id, body)
        if made.verdict is not Verdict.TAKEN:
            log.info("a message was not taken", message=message_id, status=made.status, reason=made.reason)
        return made

    async def _try(self, target: Target, message_id: str, body: bytes) -> Attempt:
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                incoming = await self._post(target, message_id, body)
                excerpt = await _ended(incoming)
        except OutboundError as error:
            # The address was fine when it was given, and is judged again with every connection (SEC-11).
            refused = error.fault is Fault.ADDRESS_REFUSED
            return Attempt(Verdict.REFUSED if refused else Verdict.DOWN, reason=error.message)
        except TimeoutError:
            return Attempt(Verdict.DOWN, reason=f"no whole answer in {_TRY_SECONDS:.0f} s")
        except HubError as error:
            return Attempt(Verdict.REFUSED, reason=error.message)
        return Attempt(_verdict(incoming.status), incoming.status, excerpt=excerpt, retry_after=_retry_after(incoming.headers))

    async def _post(self, target: Target, message_id: str, body: bytes) -> Incoming:
        origin, path = parse_url(target.url, field="url")
        listed = self._listed(origin)
        if origin.scheme != "https" and not listed:
            raise BadRequest("the host is not listed in push_allowed_hosts any more")
        signed = signing.sign([one.reveal() for one in target.secrets], message_id, self._clock.now_ms() // 1000, body)
        sent = {"content-type": "application/json", "user-agent": "hubroute", **target.headers, **signed}
        headers = [(name.encode(), value.encode()) for name, value in sent.items()]
        return await self.outbound.send(Outgoing(origin, "POST", path, headers, body, private=listed, timeouts=_TIMEOUTS, limits=_LIMITS))

    def _listed(self, origin: Origin) -> bool:
        names = (origin.host, f"[{origin.host}]")
        return any(name in self._allowed or f"{name}:{origin.port}" in self._allowed for name in names)


def _verdict(status: int) -> Verdict:
    """What a status says of a message."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    if status == _GONE:
        return Verdict.GONE
    # A redirect is not followed (SEC-12), and tried again it would be one again.
    return Verdict.REFUSED if 300 <= status < 500 and status not in _PASSING else Verdict.DOWN


def _retry_after(headers: Headers) -> float | None:
    """When a receiver wants to be tried again, in seconds; dates are not read."""
    value = next((value for name, value in headers if name == b"retry-after"), b"")
    return float(value) if value.isdigit() and len(value) < 10 else None


async def _ended(incoming: Incoming) -> str:
    """Read an answer to its end, so that its connection can be used again; one that is too long is closed. Its first words."""
    start = b""
    try:
        async for piece in incoming:
            start += piece[: _EXCERPT - len(start)]
    except OutboundError:
        pass
    finally:
        await incoming.close()
    return masked(start.decode("utf-8", "replace"))
