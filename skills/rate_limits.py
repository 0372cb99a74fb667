"""What is limited now: the request queue of each connection and the models that are locked, and how to unlock them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from hub.context import Context
from hub.resilience.throttle import LineStatus, limits_for
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso

if TYPE_CHECKING:
    from hub.resilience.outage import Outage


class Lockout(Wire):
    """A model that is locked at one connection. ``source`` says where the wait is from: header, text, rule, backoff."""

    provider: str
    model: str
    connection_id: str
    reason: str
    remaining_ms: int
    expires_at: str | None
    failure_count: int
    since: str | None
    source: str


class LockoutList(Wire):
    """The locked models, the one that is free soonest first."""

    items: list[Lockout]
    total: int


class Unlock(Body):
    """A model of a provider, or all of them."""

    provider: str | None = Field(default=None, min_length=1, max_length=100, description="Provider id or alias.")
    model: str | None = Field(default=None, min_length=1, max_length=256, description="Model id, as the list shows it.")
    all: Literal[True] | None = Field(default=None, description="True unlocks every model.")

    @model_validator(mode="after")
    def _one_or_all(self) -> Self:
        named = self.provider is not None and self.model is not None
        if bool(self.all) == named or (self.all and (self.provider or self.model)):
            raise ValueError("give provider and model, or all: true")
        return self


class Unlocked(Wire):
    """How many locks are gone."""

    ok: bool = True
    cleared: int


class LimitedConnection(Wire):
    """The line of one connection. ``enabled``: calls wait in it; ``done`` counts the calls that passed through it in this process."""

    connection_id: str
    provider: str
    name: str
    rate_limit_protection: bool
    enabled: bool
    active: bool
    queued: int
    running: int
    executing: int
    done: int


class LineLoad(Wire):
    """Calls that wait and run."""

    queued: int
    running: int
    executing: int


class CacheCount(Wire):
    """Entries of a cache."""

    entries: int = 0
    patterns: int = 0


class SignatureStats(Wire):
    """The seed's cache of reasoning signatures. This hub has none: signatures travel in the messages, so all counts are 0 for good."""

    tool: CacheCount = CacheCount()
    family: CacheCount = CacheCount()
    session: CacheCount = CacheCount()
    default_count: int = 0
    note: str = "this hub keeps no signature cache: signatures travel in the messages"


class RateLimits(Wire):
    """Queues, locks and counters. ``overview`` has the lines that are in use, by ``provider:connection``."""

    connections: list[LimitedConnection]
    overview: dict[str, LineLoad]
    lockouts: list[Lockout]
    cache_stats: SignatureStats


def _lockouts(ctx: Context) -> list[Lockout]:
    now_ms = ctx.hub.clock.now_ms()
    return [_lockout(one, now_ms) for one in ctx.hub.resilience.lockouts()]


def _lockout(one: Outage, now_ms: int) -> Lockout:
    return Lockout(
        provider=one.provider,
        model=one.model,
        connection_id=one.connection,
        reason=one.reason,
        remaining_ms=max(0, one.until - now_ms),
        expires_at=iso(one.until),
        failure_count=one.level,
        since=iso(one.since),
        source=one.source,
    )


@skill("lockouts-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/resilience/model-cooldowns")], read_only=True)
async def list_lockouts(ctx: Context, ask: Nothing) -> LockoutList:
    """List the models that are locked at a connection, with the reason and the time left."""
    items = _lockouts(ctx)
    return LockoutList(items=items, total=len(items))


@skill(
    "lockouts-clear",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/resilience/model-cooldowns")],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def clear_lockouts(ctx: Context, ask: Unlock) -> Unlocked:
    """Unlock a model at every connection of its provider, or all models; calls may use them at once."""
    hub = ctx.hub
    if ask.all:
        return Unlocked(cleared=hub.resilience.clear_lockouts())
    provider, model = ask.provider or "", ask.model or ""
    row = hub.catalog.find(provider)
    return Unlocked(cleared=hub.resilience.clear_lockout(row.id if row else provider, model))


@skill(
    "rate-limits",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/rate-limits"), Rest("GET", "/api/rate-limit", moved="/api/rate-limits")],
    read_only=True,
)
async def rate_limits(ctx: Context, ask: Nothing) -> RateLimits:
    """Show the request queue of each connection, and the models that are locked."""
    hub = ctx.hub
    lines, queue = hub.throttle.status(), hub.preferences.current.resilience_settings.request_queue
    idle = LineStatus(0, 0, 0)
    rows: list[LimitedConnection] = []
    overview: dict[str, LineLoad] = {}
    for one in hub.store.connections.all():
        line = lines.get(one.id, idle)
        rows.append(
            LimitedConnection(
                connection_id=one.id,
                provider=one.provider,
                name=one.name,
                rate_limit_protection=one.rules.rate_limit,
                enabled=limits_for(one.rules, queue, hub.catalog.profile(one.provider)) is not None,
                active=one.active,
                queued=line.queued,
                running=line.running,
                executing=line.running,
                done=line.done,
            )
        )
        if one.id in lines:
            overview[f"{one.provider}:{one.id}"] = LineLoad(queued=line.queued, running=line.running, executing=line.running)
    return RateLimits(connections=rows, overview=overview, lockouts=_lockouts(ctx), cache_stats=SignatureStats())
