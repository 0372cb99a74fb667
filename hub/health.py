"""The state of providers as a whole, from the marks and cooldowns of their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from hub.records import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.call import Hub
    from hub.records import Connection

State = Literal["CLOSED", "HALF_OPEN", "OPEN"]


class Standing(msgspec.Struct, kw_only=True, frozen=True):
    """A provider as a whole: OPEN when none of its active connections can be used, HALF_OPEN when only some can.

    ``down`` counts connections out of action, ``last_failure`` is in epoch milliseconds.
    """

    provider: str
    state: State
    down: int
    total: int
    last_failure: int | None


def standing(hub: Hub, provider: str) -> Standing | None:
    """The state of one provider; None where it has no active connection."""
    connections = [connection for connection in hub.store.connections.of(provider) if connection.active]
    return _of(hub, provider, connections) if connections else None


def standings(hub: Hub) -> list[Standing]:
    """The state of every provider that has an active connection, by id."""
    providers = sorted({connection.provider for connection in hub.store.connections.all() if connection.active})
    return [found for provider in providers if (found := standing(hub, provider))]


def _of(hub: Hub, provider: str, connections: Sequence[Connection]) -> Standing:
    now = hub.clock.monotonic()
    down = sum(
        connection.test_status in TERMINAL or hub.resilience.cooldowns.of(connection.id, now) is not None for connection in connections
    )
    last = max((connection.last_error_at or 0 for connection in connections), default=0)
    state: State = "CLOSED" if not down else "OPEN" if down == len(connections) else "HALF_OPEN"
    return Standing(provider=provider, state=state, down=down, total=len(connections), last_failure=last or None)
