"""How proxies did: calls through each by the hour, of every process, as measured by the calls themselves."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from hub.outbound.base import Fault

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.outbound.base import OutboundError, Proxy
    from hub.store.state import State

HOUR_MS = 3_600_000
#: How far back it may be looked.
MOST_HOURS = 168
_KIND = "proxy-hour"
_SEPARATOR = "/"


class Tally(msgspec.Struct):
    """Calls of an hour, or of several. ``latency_ms`` is the sum over those that were answered, ``seen_at`` when the last one ended."""

    total: int = 0
    answered: int = 0
    errors: int = 0
    timeouts: int = 0
    latency_ms: int = 0
    seen_at: int = 0

    def add(self, other: Tally) -> None:
        """Count another's calls too."""
        self.total += other.total
        self.answered += other.answered
        self.errors += other.errors
        self.timeouts += other.timeouts
        self.latency_ms += other.latency_ms
        self.seen_at = max(self.seen_at, other.seen_at)


class Record:
    """Counts this process's calls, and adds up those of all."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._process = clock.new_id("p")
        self._hours: dict[str, Tally] = {}

    def note(self, proxy: Proxy, error: OutboundError | None, seconds: float) -> None:
        """A call through a proxy ended; one that the hub itself refused says nothing of it."""
        if not proxy.id or (error is not None and error.fault in (Fault.ADDRESS_REFUSED, Fault.POOL_BUSY)):
            return
        now = self._clock.now_ms()
        tally = self._tally(name := self._name(proxy.id, now))
        tally.total += 1
        tally.seen_at = now
        if error is None:
            tally.answered += 1
            tally.latency_ms += round(seconds * 1000)
        elif error.status == 504 or error.reason == "timeout":
            tally.timeouts += 1
        else:
            tally.errors += 1
        self._state.put(_KIND, name, tally, until=(now // HOUR_MS + MOST_HOURS + 1) * HOUR_MS)

    def _name(self, identity: str, now: int) -> str:
        return _SEPARATOR.join((identity, str(now // HOUR_MS), self._process))

    def _tally(self, name: str) -> Tally:
        found = self._hours.get(name)
        if found is None:
            hour = name.split(_SEPARATOR)[1]
            # Hours that are over are stored already, and read from there.
            self._hours = {one: tally for one, tally in self._hours.items() if one.split(_SEPARATOR)[1] == hour}
            found = self._hours[name] = Tally()
        return found

    async def since(self, hours: int) -> dict[str, Tally]:
        """By proxy, the calls of the last so many hours, the running one included."""
        oldest = self._clock.now_ms() // HOUR_MS - hours + 1
        stored = {name: msgspec.json.decode(body, type=Tally) for name, body in (await self._state.current(_KIND)).items()}
        found: dict[str, Tally] = defaultdict(Tally)
        for name, tally in {**stored, **self._hours}.items():
            identity, hour, _ = name.split(_SEPARATOR)
            if int(hour) >= oldest:
                found[identity].add(tally)
        return dict(found)

    def seen_at(self, identity: str) -> int:
        """When this process last saw an answer by way of a proxy, 0 for not in this hour."""
        tally = self._hours.get(self._name(identity, self._clock.now_ms()))
        return tally.seen_at if tally is not None and tally.answered and not (tally.errors or tally.timeouts) else 0
