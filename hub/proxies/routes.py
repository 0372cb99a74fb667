"""Which proxy a call to a provider goes through: the nearest level that names one decides.

The levels from near to far: the connection's own proxy URL, the account (the connection), the combo that led to it, the provider,
all. The answer is worked out when a call is made, and made once for each target until an owner changes something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hub.outbound.base import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.records import Connection

#: Level of a connection's own proxy URL, which no assignment gives.
OWN = "connection"
GLOBAL = "global"
Place = tuple[str, str]


class Way(NamedTuple):
    """The proxy of a call, and in words which one and why."""

    proxy: Proxy
    words: str


class Found(NamedTuple):
    """Where a proxy was found: its level, the thing of that level (empty for all), and the proxy's name."""

    level: str
    level_id: str
    proxy: Proxy
    name: str


class Routes:
    """The assignments in force. ``combos`` are the names of the combos that have one."""

    def __init__(self) -> None:
        self.combos: frozenset[str] = frozenset()
        self._places: Mapping[Place, tuple[Proxy, str]] = {}

    def replace(self, places: Mapping[Place, tuple[Proxy, str]]) -> None:
        """Take over the assignments: by scope and what it names (a combo by its name), the proxy and its name."""
        self._places = places
        self.combos = frozenset(name for scope, name in places if scope == "combo")

    def of(self, connection: Connection, combo: str = "") -> Way | None:
        """The way of a call through a connection, None where nothing stands between hub and provider."""
        if connection.proxy is None and not self._places:
            return None
        found = self.found(connection, combo)
        if found is None:
            return None
        where = found.level if found.level in (OWN, GLOBAL) else f"{found.level} {found.level_id}"
        return Way(found.proxy, f"proxy of {where}" + (f": {found.name}" if found.name else ""))

    def found(self, connection: Connection, combo: str = "") -> Found | None:
        """The same with its level."""
        if connection.proxy is not None:
            return Found(OWN, connection.id, Proxy(connection.proxy.reveal(), private=connection.allow_private), "")
        for place in (("account", connection.id), ("combo", combo), ("provider", connection.provider), (GLOBAL, "")):
            found = self._places.get(place)
            if found is not None:
                return Found(*place, *found)
        return None
