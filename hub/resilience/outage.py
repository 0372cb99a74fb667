"""Outages as they are stored and shown: what is out of action, why, since when and until when, in wall time.

One row a breaker and a lock in the learned state. One that ends is stored as ended for a while, so that
other processes on the same database hear of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.state import State

KIND = "outage"
#: How long the news that an outage is over is kept for other processes; milliseconds.
_NEWS_MS = 60_000
_MOST_KNOWN = 4096


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """One thing out of action. ``since`` and ``until`` are epoch milliseconds, ``level`` counts failures or doublings.

    ``scope`` is provider, connection or model; ``source`` says where the wait is from: header, text, rule, backoff, stored.
    ``version`` names one change of it; ``ended`` says that it is over. ``state`` is the breaker's.
    """

    scope: Literal["provider", "connection", "model"]
    provider: str = ""
    connection: str = ""
    model: str = ""
    since: int
    until: int
    reason: str = ""
    source: str = ""
    level: int = 0
    state: str = ""
    ended: bool = False
    version: str = ""

    @property
    def triple(self) -> tuple[str, str, str]:
        """Provider, connection id and model."""
        return self.provider, self.connection, self.model

    @property
    def seconds(self) -> float:
        """How long it lasts as it was made, whatever the wall clock has done since."""
        return max(0, self.until - self.since) / 1000

    def at(self, level: int, state: str = "") -> Outage:
        """The same with its level, and a breaker's state."""
        return msgspec.structs.replace(self, level=level, state=state)


class Outages:
    """Keeps outages in the learned state, and turns their times from one clock to the other."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        #: Identity -> the version that this process made or took over last.
        self._known: dict[str, str] = {}
        state.follow(KIND)

    def shown(
        self, scope: Literal["provider", "connection", "model"], triple: tuple[str, str, str], since: float, until: float,
        reason: str, source: str,
    ) -> Outage:  # fmt: skip
        """An outage whose moments are monotonic seconds, in wall time."""
        base = self._clock.now_ms() - self._clock.monotonic() * 1000
        provider, connection, model = triple
        return Outage(
            scope=scope,
            provider=provider,
            connection=connection,
            model=model,
            since=round(base + since * 1000),
            until=round(base + until * 1000),
            reason=reason,
            source=source,
        )

    def keep(
        self, scope: Literal["provider", "model"], triple: tuple[str, str, str], since: float, until: float, reason: str,
        *, source: str, level: int, grace: float,
    ) -> Outage:  # fmt: skip
        """Store an outage until ``grace`` seconds after its end: until then it is probed and not stormed."""
        made = msgspec.structs.replace(self.shown(scope, triple, since, until, reason, source).at(level), version=self._clock.new_id("o"))
        self._put(made, forget=made.until + round(grace * 1000))
        return made

    def over(self, scope: Literal["provider", "model"], triple: tuple[str, str, str]) -> None:
        """Store that an outage has ended."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        made = msgspec.structs.replace(self.shown(scope, triple, now, now, "", ""), ended=True, version=self._clock.new_id("o"))
        self._put(made, forget=now_ms + _NEWS_MS)

    def fresh(self) -> list[Outage]:
        """What was loaded from the store and is not what this process knows already."""
        found: list[Outage] = []
        for identity, (one, _) in self._state.take(KIND, Outage).items():
            if self._known.get(identity) != one.version:
                self._know(identity, one.version)
                found.append(one)
        return found

    def ends(self, one: Outage, now: float) -> float:
        """When a stored outage ends, in monotonic seconds: never later than its whole length from now (REL-12)."""
        return now + min((one.until - self._clock.now_ms()) / 1000, one.seconds)

    def _put(self, made: Outage, *, forget: int) -> None:
        identity = "\n".join((made.scope, *made.triple))
        self._know(identity, made.version)
        self._state.put(KIND, identity, made, until=forget)

    def _know(self, identity: str, version: str) -> None:
        self._known.pop(identity, None)
        self._known[identity] = version
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
