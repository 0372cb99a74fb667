"""The three scopes that a failure may put out of action, kept apart: provider breaker, connection cooldown, model lockout.

The engine asks :meth:`Resilience.admit` right before a call and tells :meth:`Resilience.failed` or
:meth:`Resilience.succeeded` after it; the planner asks :meth:`Resilience.blocked`. Waits run on monotonic
time; what is stored is wall time (REL-12). A restart, and another process on the same database, know them.

Chats and the other services of an account (embeddings, speech, search ...) fail apart: what a server does to one of them locks this
service of the connection alone, while a refused credential or a limit is the account's and concerns them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hub.engine.fallback import Rule, Scope, rule_for
from hub.providers.catalog import CHAT
from hub.records import TERMINAL, TestStatus
from hub.resilience.outage import Outage, Outages
from hub.routing.breaker import Breaker, Breakers, BreakerState, Trip
from hub.routing.cooldown import Backoff, Cooldowns, Cooling
from hub.routing.lockout import Lock, Lockouts, Triple, is_service, of_service, until_midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hub.clock import Clock
    from hub.events import Events
    from hub.preferences import Breaker as BreakerSettings
    from hub.preferences import Cooldown, Profile, ResilienceSettings
    from hub.providers.base import Failure
    from hub.records import Connection
    from hub.store.state import State

BlockScope = Literal["provider", "connection", "model"]
#: Model servers of the owner's own are back soon, and are not worth a setting (routing.md 3.1).
_LOCAL = (Backoff(base=2.0, steps=3), Trip(threshold=2, reset=15.0))
#: Cooldowns whose connection was not tried again are forgotten after this time; seconds.
_FORGET = 3600.0
_SWEEP = 30.0
#: No stored cooldown may be longer than the longest hint and its jitter; seconds.
_COOLDOWN_MOST = 3660.0
CLEAN = {"test_status": TestStatus.ACTIVE, "last_error": "", "last_error_at": None, "cooldown_until": None, "backoff_level": 0}


@dataclass(frozen=True, slots=True)
class Block:
    """Why a target cannot be called now. ``until`` is in monotonic seconds; ``soft`` ones may be tried as a last resort."""

    scope: BlockScope
    reason: str
    until: float
    soft: bool
    source: str


class Resilience:
    """All that is out of action in this process.

    ``settings`` gives those in force, ``profile`` that of a provider id, ``per_model`` whether a connection counts by model, ``current``
    a connection's newest record (None where it has no row), ``mark`` notes a connection's health.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Callable[[], ResilienceSettings],
        profile: Callable[[str], Profile],
        per_model: Callable[[Connection], bool],
        mark: Callable[..., None],
        state: State,
        events: Events,
        current: Callable[[str], Connection | None] = lambda _: None,
    ) -> None:
        self.cooldowns = Cooldowns()
        self._breakers = Breakers()
        self._lockouts = Lockouts()
        # Looked at on every request: three plain containers, empty while all is well.
        self._failing = self._breakers.states
        self._cooled, self._open, self._locked = self.cooldowns.states, self._breakers.opened, self._lockouts.states
        self._clock = clock
        self._settings = settings
        self._profile = profile
        self._per_model = per_model
        self._mark = mark
        self._events = events
        self._current = current
        self._outages = Outages(state, clock)
        #: Connection -> the end of its cooldown as it was last made here or taken over.
        self._noted: dict[str, int | None] = {}
        self._seen: ResilienceSettings | None = None
        self._rules: dict[Profile, tuple[Backoff, Trip]] = {}
        self._swept = 0.0

    @property
    def quiet(self) -> bool:
        """Whether nothing is open, cooling, locked, or back from that and not yet proven."""
        return not (self._cooled or self._open or self._locked)

    def blocked(self, connection: Connection, provider: str, model: str, service: str = CHAT) -> Block | None:
        """Why this target cannot be called now; None when it can.

        Of several reasons the one that lasts longest of those that a last resort does not pass, else the longest: a provider
        that is down is told as such, however long its connections cool for it.
        """
        if not (self._cooled or self._open or self._locked):
            return None
        now = self._clock.monotonic()
        self._sweep(now)
        found = [*self._of_provider(provider, service, now), *self._of_account(connection, service, now)]
        for triple in _triples(connection, provider, model, service):
            lock = self._lockouts.of(triple, now)
            found += [Block("model", lock.reason, lock.until, soft=is_service(triple), source=lock.source)] if lock else []
        hard = [block for block in found if not block.soft]
        return max(hard or found, key=lambda block: block.until, default=None)

    def _of_provider(self, provider: str, service: str, now: float) -> Iterator[Block]:
        """What its breaker, which is that of its chats, says."""
        breaker = self._breakers.get(provider) if service == CHAT else None
        if breaker is not None and breaker.state(now) is BreakerState.OPEN:
            yield Block("provider", breaker.reason, breaker.until, soft=False, source="backoff")

    def _of_account(self, connection: Connection, service: str, now: float) -> Iterator[Block]:
        cooling = self.cooldowns.of(connection.id, now)
        if cooling is not None and self._concerns(connection, service):
            yield Block("connection", cooling.reason, cooling.until, cooling.soft, cooling.source)

    def admit(self, connection: Connection, provider: str, model: str, service: str = CHAT, *, last_resort: bool = False) -> bool:
        """Whether the call may be made; asked right before it. Where it is a probe, True claims it and others wait for its end.

        A call that was admitted ends in :meth:`failed` or :meth:`succeeded`, or in :meth:`release` when it was never made.
        ``last_resort`` lets a connection or a service through that failed in passing; a breaker or the lock of a model never.
        """
        if not (self._cooled or self._open or self._locked):
            return True
        return self._claimed(connection, provider, _triples(connection, provider, model, service), service, last_resort=last_resort)

    def _claimed(self, connection: Connection, provider: str, triples: tuple[Triple, ...], service: str, *, last_resort: bool) -> bool:
        """Whether nothing stands in a call's way; then what is to be probed is claimed for it."""
        now = self._clock.monotonic()
        if service == CHAT and self._breakers.blocks(provider, now):
            return False
        if any(self._lockouts.blocks(triple, now, last_resort=last_resort) for triple in triples):
            return False
        if self._concerns(connection, service) and not self.cooldowns.admit(connection.id, now, last_resort=last_resort):
            return False
        admitted = [self._lockouts.admit(triple, now, last_resort=last_resort) for triple in triples]
        return all(admitted) and (service != CHAT or self._breakers.admit(provider, now))

    def release(self, connection: Connection, provider: str, model: str, service: str = CHAT) -> None:
        """An admitted call was not made: who comes next may probe."""
        if not self.quiet:
            self._let_go(connection, provider, model, service)

    def failed(
        self,
        connection: Connection,
        provider: str,
        model: str,
        failure: Failure,
        *,
        service: str = CHAT,
        reached: bool = True,
        request: set[str] | None = None,
    ) -> Rule:
        """A call failed: leave alone what it concerns, and say what follows.

        ``request`` is kept by the caller for one request and holds the providers that it has counted against (routing.md 3.2: once a
        request); ``reached`` is False for a fault on the way. Faults of ours are none of the provider's and must not come here.
        """
        rule = rule_for(failure, per_model=self._per_model(connection), lenient=connection.rules.lenient, reached=reached)
        now = self._clock.monotonic()
        reason = f"{failure.status}: {failure.message}"[:100]
        backoff, trip = self._of(provider)
        if rule.base:
            backoff = replace(backoff, base=rule.base)
        self._let_go(connection, provider, model, service, breaker=not (rule.trips_breaker and service == CHAT))
        if rule.scope is Scope.TERMINAL:
            self._end(connection, rule, reason)
        elif rule.of_service and service != CHAT:
            self._lock(of_service(provider, connection.id, service), failure, backoff, trip.reset, reason)
        elif rule.scope is Scope.COOLDOWN:
            self._cool(connection, failure, rule, backoff, reason)
        elif rule.scope is Scope.LOCKOUT:
            self._lock((provider, connection.id, model), failure, backoff, trip.reset, reason)
        if rule.trips_breaker and service == CHAT:
            self._count(provider, trip, now, reason, request)
        return rule

    def succeeded(self, connection: Connection, provider: str, model: str, service: str = CHAT) -> None:
        """A call was answered: provider, connection, service and model work."""
        if not (self._failing or self._cooled or self._locked) and connection.test_status is not TestStatus.UNAVAILABLE:
            return
        if service == CHAT and provider in self._breakers:
            self._close(provider, "success")
        if self._locked:
            self._free(triple for triple in _triples(connection, provider, model, service) if triple in self._lockouts)
        if self._concerns(connection, service):
            self._recovered(connection)

    def clear_connection(self, connection_id: str) -> int:
        """Forget the cooldown and the locks of a connection, by hand; how many there were. What a person has to mend stays."""
        cleared = 0
        if self.cooldowns.clear(connection_id):
            cleared += 1
            current = self._current(connection_id)
            status = {} if current is None or current.test_status is not TestStatus.UNAVAILABLE else {"test_status": TestStatus.UNKNOWN}
            self._mark(connection_id, cooldown_until=None, backoff_level=0, **status)
        return cleared + self._unlock(connection_id=connection_id)

    def clear_breakers(self) -> int:
        """Close every breaker and forget the failures counted towards one; how many there were."""
        providers = list(self._breakers.all())
        for provider in providers:
            self._close(provider, "reset")
        return len(providers)

    def clear_lockout(self, provider: str, model: str) -> int:
        """Unlock a model at every connection of a provider; how many locks there were."""
        return self._unlock(provider=provider, model=model)

    def clear_lockouts(self) -> int:
        """Unlock every model; how many locks there were."""
        return self._unlock()

    def breaker(self, provider: str) -> BreakerState:
        """The state of a provider's breaker now."""
        return self._breakers.state(provider, self._clock.monotonic())

    def breakers(self) -> list[Outage]:
        """Every provider whose last request failed, by id; ``state`` says whether its breaker is open."""
        now = self._clock.monotonic()
        return [
            self._outages.shown("provider", (provider, "", ""), one.since if one.open else one.last, one.until, one.reason, "backoff")
            .at(one.failures, one.state(now).value)
            for provider, one in sorted(self._breakers.all().items())
        ]  # fmt: skip

    def lockouts(self) -> list[Outage]:
        """Every model that is locked now, the one that is free soonest first. ``level`` is the number of failures."""
        found = sorted(self._lockouts.active(self._clock.monotonic()).items(), key=lambda item: (item[1].until, item[0]))
        return [
            self._outages.shown("model", triple, lock.since, lock.until, lock.reason, lock.source).at(lock.count) for triple, lock in found
        ]

    def cooling(self) -> list[Outage]:
        """Every connection that cools now, the one that is back soonest first. ``level`` is its backoff level."""
        found = sorted(self.cooldowns.active(self._clock.monotonic()).items(), key=lambda item: (item[1].until, item[0]))
        return [
            self._outages.shown("connection", ("", name, ""), one.since, one.until, one.reason, one.source).at(one.level)
            for name, one in found
        ]

    def load(self, connections: Iterable[Connection]) -> None:
        """Take over what is stored, at the start and after each change here or in another process."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        for one in self._outages.fresh():
            self._take(one, now)
        known: set[str] = set()
        for connection in connections:
            known.add(connection.id)
            # A cooldown that began here is known better than its row tells: the row's time is the wall clock's.
            if connection.cooldown_until != self._noted.get(connection.id):
                self._take_row(connection, now, now_ms)
        for gone in self._noted.keys() - known:
            del self._noted[gone]
            self.cooldowns.clear(gone)

    def noted(self, connection_id: str, cooldown_until: int | None) -> None:
        """A connection's row was marked with this end of a cooldown, so that :meth:`load` does not take it for another's."""
        self._noted[connection_id] = cooldown_until

    def _of(self, provider: str) -> tuple[Backoff, Trip]:
        """How long a provider's connections wait and when its breaker opens, by its profile."""
        settings = self._settings()
        if settings is not self._seen:
            self._seen, self._rules = settings, rules_of(settings)
        return self._rules[self._profile(provider)]

    def _concerns(self, connection: Connection, service: str) -> bool:
        """Whether a connection's cooldown concerns a service: one that chats failed into in passing is theirs alone."""
        return service == CHAT or not self.cooldowns.soft(connection.id)

    def _let_go(self, connection: Connection, provider: str, model: str, service: str, *, breaker: bool = True) -> None:
        """A call is over or was never made: another may probe what it claimed."""
        if service == CHAT and breaker:
            self._breakers.release(provider)
        if self._concerns(connection, service):
            self.cooldowns.release(connection.id)
        for triple in _triples(connection, provider, model, service):
            self._lockouts.release(triple)

    def _spread(self) -> float:
        return self._clock.random.uniform(-1.0, 1.0)

    def _ended(self, connection: Connection) -> bool:
        """Whether a person has to act before this connection is used again."""
        return (self._current(connection.id) or connection).test_status in TERMINAL

    def _end(self, connection: Connection, rule: Rule, reason: str) -> None:
        told = self._ended(connection)
        self.cooldowns.clear(connection.id)
        now_ms = self._clock.now_ms()
        self._mark(connection.id, test_status=rule.status, last_error=reason, last_error_at=now_ms, cooldown_until=None)
        if not told:
            self._events.emit(
                "connection.ended",
                connection=connection.id, name=connection.name, provider=connection.provider, status=rule.status.value, reason=reason,
            )  # fmt: skip

    def _recovered(self, connection: Connection) -> None:
        known = self.cooldowns.clear(connection.id) or connection.test_status is TestStatus.UNAVAILABLE
        if known and not self._ended(connection):
            self._mark(connection.id, **CLEAN)

    def _cool(self, connection: Connection, failure: Failure, rule: Rule, backoff: Backoff, reason: str) -> None:
        if self._ended(connection):
            return  # a timer must not bring back what a person has to mend
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        state = self.cooldowns.fail(
            connection.id, now, reason=reason, soft=rule.soft, hint=failure.retry_after, backoff=backoff, spread=self._spread(),
            source=failure.source or "header",
        )  # fmt: skip
        self._mark(
            connection.id,
            test_status=TestStatus.UNAVAILABLE,
            last_error=reason,
            last_error_at=now_ms,
            cooldown_until=now_ms + round((state.until - now) * 1000),
            backoff_level=state.level,
        )

    def _lock(self, triple: tuple[str, str, str], failure: Failure, backoff: Backoff, window: float, reason: str) -> None:
        now = self._clock.monotonic()
        hint, source = failure.retry_after, failure.source or "header"
        if hint is None and failure.code == "daily_quota":
            hint, source = until_midnight(self._clock.now_ms()), "rule"
        before = self._lockouts.of(triple, now)
        lock = self._lockouts.fail(
            triple, now, reason=reason, backoff=backoff, window=window, hint=hint, spread=self._spread(), source=source
        )
        if lock is not before:
            self._outages.keep("model", triple, lock.since, lock.until, reason, source=lock.source, level=lock.count, grace=window)

    def _count(self, provider: str, trip: Trip, now: float, reason: str, request: set[str] | None) -> None:
        if request is not None:
            if provider in request:
                return
            request.add(provider)
        before = self._breakers.get(provider)
        was_open = before is not None and before.open
        if not self._breakers.fail(provider, now, trip, reason=reason):
            return
        one = self._breakers.get(provider) or Breaker()
        shown = self._outages.keep("provider", (provider, "", ""), now, one.until, reason, source="backoff", level=one.failures, grace=3600)
        if not was_open:
            self._events.emit("breaker.open", provider=provider, failures=one.failures, until=shown.until, reason=reason)

    def _close(self, provider: str, by: str) -> None:
        gone = self._breakers.succeed(provider)
        if gone is not None and gone.open:
            self._outages.over("provider", (provider, "", ""))
            self._events.emit("breaker.closed", provider=provider, failures=gone.failures, by=by)

    def _unlock(self, **which: str) -> int:
        return self._free(self._lockouts.find(**which))

    def _free(self, locked: Iterable[Triple]) -> int:
        """Unlock these; how many there were."""
        gone = [triple for triple in list(locked) if self._lockouts.clear(triple)]
        for triple in gone:
            self._outages.over("model", triple)
        return len(gone)

    def _take(self, one: Outage, now: float) -> None:
        """Take over what was stored, or changed in another process."""
        until = self._outages.ends(one, now)
        since = until - one.seconds
        backoff, trip = self._of(one.provider)
        if one.scope == "model":
            if one.ended:
                self._lockouts.clear(one.triple)
            else:
                lock = Lock(until, one.level, one.reason, since, one.source, until + trip.reset, probe=backoff.probe)
                self._lockouts.restore(one.triple, lock)
        elif one.ended:
            self._breakers.succeed(one.provider)
        else:
            self._breakers.restore(one.provider, Breaker(one.level, True, since, until, since, one.reason, trip.probe))

    def _take_row(self, connection: Connection, now: float, now_ms: int) -> None:
        until = self._noted[connection.id] = connection.cooldown_until
        if until is None:
            self.cooldowns.clear(connection.id)
        elif until > now_ms:
            made = connection.last_error_at
            # After a jump of the wall clock a row may end in years: no wait is longer than it was made.
            most = min(_COOLDOWN_MOST, (until - made) / 1000) if made is not None and made < until else _COOLDOWN_MOST
            left = min((until - now_ms) / 1000, most)
            since = now - max(0.0, most - left) if made is not None else now
            self.cooldowns.restore(
                connection.id,
                Cooling(now + left, connection.backoff_level, connection.last_error, soft=False, since=since, source="stored"),
            )

    def _sweep(self, now: float) -> None:
        """Forget, now and then, what ended long ago and was not asked for again, so that quiet comes back."""
        if now - self._swept > _SWEEP:
            self._swept = now
            self._lockouts.forget(now)
            self.cooldowns.forget(now - _FORGET)


def _triples(connection: Connection, provider: str, model: str, service: str) -> tuple[Triple, ...]:
    """The locks that concern a call: that of its model, and beside chats that of its service."""
    one = (provider, connection.id, model)
    return (one,) if service == CHAT else (one, of_service(provider, connection.id, service))


def rules_of(settings: ResilienceSettings) -> dict[Profile, tuple[Backoff, Trip]]:
    """Cooldown and breaker of each profile, in seconds."""
    made: dict[Profile, tuple[Backoff, Trip]] = {"local": _LOCAL}
    pairs: tuple[tuple[Profile, Cooldown, BreakerSettings], ...] = (
        ("oauth", settings.connection_cooldown.oauth, settings.provider_breaker.oauth),
        ("apikey", settings.connection_cooldown.apikey, settings.provider_breaker.apikey),
    )
    for name, cooldown, breaker in pairs:
        backoff = Backoff(base=cooldown.base_cooldown_ms / 1000, steps=cooldown.max_backoff_steps, hints=cooldown.use_upstream_retry_hints)
        made[name] = backoff, Trip(breaker.failure_threshold, breaker.reset_timeout_ms / 1000)
    return made
