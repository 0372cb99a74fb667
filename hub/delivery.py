"""Signed messages to addresses that callers chose: each is POSTed until it is taken, refused, or has been tried often enough (SEC-58)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from hub import signing
from hub.errors import BadRequest, HubError
from hub.log import logger
from hub.outbound.address import parse_url
from hub.outbound.base import Fault, Limits, OutboundError, Outgoing, Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.clock import Clock
    from hub.outbound.base import Incoming, Origin
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
        host = parse_url(target.url)[0].host
        lane = self._lanes.setdefault(host, asyncio.Semaphore(_AT_ONCE_EACH))
        for wait in (0.0, *WAITS):
            if wait:
                await asyncio.sleep(wait * self._clock.random.uniform(1 - _JITTER, 1 + _JITTER))
            async with lane, self._slots:
                verdict = await self._try(target, message_id, body)
            if verdict is not Verdict.DOWN:
                return verdict
        log.warning("a message was not taken", message=message_id, host=host, tries=len(WAITS) + 1)
        return Verdict.DOWN

    async def _try(self, target: Target, message_id: str, body: bytes) -> Verdict:
        try:
            status = await self._post(target, message_id, body)
        except OutboundError as error:
            # The address was fine when it was given, and is judged again with every connection (SEC-11).
            refused = error.fault is Fault.ADDRESS_REFUSED
            log.info("a message was not delivered", message=message_id, reason=error.message)
            return Verdict.REFUSED if refused else Verdict.DOWN
        except HubError as error:
            log.warning("a message cannot be sent", message=message_id, reason=error.message)
            return Verdict.REFUSED
        if 200 <= status < 300:
            return Verdict.TAKEN
        log.info("a message was not taken", message=message_id, status=status)
        if status == _GONE:
            return Verdict.GONE
        # A redirect is not followed (SEC-12), and tried again it would be one again.
        return Verdict.REFUSED if 300 <= status < 500 and status not in _PASSING else Verdict.DOWN

    async def _post(self, target: Target, message_id: str, body: bytes) -> int:
        origin, path = parse_url(target.url, field="url")
        listed = self._listed(origin)
        if origin.scheme != "https" and not listed:
            raise BadRequest("the host is not listed in push_allowed_hosts any more")
        signed = signing.sign([one.reveal() for one in target.secrets], message_id, self._clock.now_ms() // 1000, body)
        sent = {"content-type": "application/json", "user-agent": "hubroute", **target.headers, **signed}
        headers = [(name.encode(), value.encode()) for name, value in sent.items()]
        incoming = await self.outbound.send(
            Outgoing(origin, "POST", path, headers, body, private=listed, timeouts=_TIMEOUTS, limits=_LIMITS)
        )
        await _ended(incoming)
        return incoming.status

    def _listed(self, origin: Origin) -> bool:
        names = (origin.host, f"[{origin.host}]")
        return any(name in self._allowed or f"{name}:{origin.port}" in self._allowed for name in names)


async def _ended(incoming: Incoming) -> None:
    """Read an answer whose status says all, so that its connection can be used again; one that is too long is closed."""
    try:
        await incoming.read()
    except OutboundError:
        await incoming.close()
