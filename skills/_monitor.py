"""What watches accounts and conversations, in the seed's shapes: for the health report and for telemetry."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from typing import TYPE_CHECKING

from hub.wire import Wire, iso

if TYPE_CHECKING:
    from hub.call import Hub

_WARN, _EXHAUSTED = 80, 95
_TOP = 10


class Memory(Wire):
    """Bytes: ``rss`` and ``heap_used`` are the resident set now, ``heap_total`` its peak. The others are the seed's; Python has none."""

    rss: int
    heap_used: int
    heap_total: int
    external: int = 0
    array_buffers: int = 0


class Watched(Wire):
    """The tightest window of one account."""

    connection_id: str
    provider: str
    window: str
    status: str
    percent_used: float
    reset_at: str | None


class StatusCounts(Wire):
    """Accounts by how full their tightest window is: ``warning`` from 80 %, ``exhausted`` from 95 %, ``idle`` while nothing is known."""

    starting: int = 0
    idle: int = 0
    healthy: int = 0
    warning: int = 0
    exhausted: int = 0
    error: int = 0


class QuotaMonitor(Wire):
    """The quota that accounts have left, as their providers state it in their answers; nobody is asked for it."""

    active: int
    alerting: int
    exhausted: int
    errors: int
    status_counts: StatusCounts
    by_provider: dict[str, int]
    monitors: list[Watched]


class TopSession(Wire):
    """A conversation under way."""

    session_id: str
    request_count: int
    connection_id: str | None
    age_ms: int
    idle_ms: int
    created_at: str
    last_active_at: str


class SessionCounts(Wire):
    """Conversations of the last half hour. ``sticky_bound_count`` are those that stay on a connection, ``by_api_key`` counts by key id."""

    active_count: int
    sticky_bound_count: int
    by_api_key: dict[str, int]
    top: list[TopSession]


def memory() -> Memory:
    """What this process takes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        now = peak
    # The kernel keeps the peak in coarser steps than the present.
    return Memory(rss=now, heap_used=now, heap_total=max(now, peak))


def quota_monitor(hub: Hub) -> QuotaMonitor:
    """The accounts whose providers stated limits, the fullest first."""
    now = hub.clock.now_ms()
    monitors: list[Watched] = []
    connections = [one for one in hub.store.connections.all() if one.active]
    for connection in connections:
        window = hub.quotas.tightest(connection.id, now)
        if window is not None:
            monitors.append(
                Watched(
                    connection_id=connection.id,
                    provider=connection.provider,
                    window=window.name,
                    status="exhausted" if window.used >= _EXHAUSTED else "warning" if window.used >= _WARN else "healthy",
                    percent_used=round(window.used, 2),
                    reset_at=iso(window.reset_at) if window.reset_at is not None else None,
                )
            )
    counts = Counter(one.status for one in monitors)
    return QuotaMonitor(
        active=len(monitors),
        alerting=counts["warning"],
        exhausted=counts["exhausted"],
        errors=0,
        status_counts=StatusCounts(**counts, idle=len(connections) - len(monitors)),
        by_provider=dict(Counter(one.provider for one in monitors)),
        monitors=sorted(monitors, key=lambda one: -one.percent_used),
    )


def session_counts(hub: Hub) -> SessionCounts:
    """The conversations of this process."""
    now, live = hub.clock.now_ms(), hub.sessions.live()
    return SessionCounts(
        active_count=len(live),
        sticky_bound_count=sum(1 for one in live if one.connection_id),
        by_api_key=hub.sessions.by_key(),
        top=[
            TopSession(
                session_id=one.id,
                request_count=one.requests,
                connection_id=one.connection_id or None,
                age_ms=now - one.created_at,
                idle_ms=now - one.last_active,
                created_at=iso(one.created_at) or "",
                last_active_at=iso(one.last_active) or "",
            )
            for one in sorted(live, key=lambda one: -one.requests)[:_TOP]
        ],
    )
