"""The state of providers as a whole, from their breakers and the marks and cooldowns of their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from hub.records import TERMINAL
from hub.routing.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.call import Hub
    from hub.records import Connection
    from hub.resilience.resilience import Block

State = Literal["CLOSED", "HALF_OPEN", "OPEN"]


class Standing(msgspec.Struct, kw_only=True, frozen=True):
    """A provider as a whole: OPEN when none of its active connections can be used, HALF_OPEN when only some can.

    ``down`` counts connections out of action, ``last_failure`` is in epoch milliseconds, ``retry_after_ms`` is 0 unless it is OPEN.
    """

    provider: str
    state: State
    down: int
    total: int
    last_failure: int | None
    retry_after_ms: int = 0


def standing(hub: Hub, provider: str) -> Standing | None:
    """The state of one provider; None where it has no active connection."""
    connections = [connection for connection in hub.store.connections.of(provider) if connection.active]
    return _of(hub, provider, connections) if connections else None


def standings(hub: Hub) -> list[Standing]:
    """The state of every provider that has an active connection, by id."""
    providers = sorted({connection.provider for connection in hub.store.connections.all() if connection.active})
    return [found for provider in providers if (found := standing(hub, provider))]


def _of(hub: Hub, provider: str, connections: Sequence[Connection]) -> Standing:
    blocks = [hub.resilience.blocked(connection, provider, "") for connection in connections]
    out = [connection.test_status in TERMINAL or block is not None for connection, block in zip(connections, blocks, strict=True)]
    state: State = "HALF_OPEN" if any(out) or hub.resilience.breaker(provider) is BreakerState.HALF_OPEN else "CLOSED"
    back = 0.0
    if all(out):
        state, back = "OPEN", _soonest(blocks)
    return Standing(
        provider=provider,
        state=state,
        down=sum(out),
        total=len(connections),
        last_failure=max(connection.last_error_at or 0 for connection in connections) or None,
        retry_after_ms=max(0, round((back - hub.clock.monotonic()) * 1000)),
    )


def _soonest(blocks: Sequence[Block | None]) -> float:
    """When the first is back, on the monotonic clock; 0 where none comes back by itself."""
    return min((block.until for block in blocks if block is not None), default=0.0)
