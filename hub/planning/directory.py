"""What can be called now: providers with a connection, prefixes and names that owners gave, models that connections name.

Worked out of the store when first asked for, and kept until connections, keys or settings change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.providers.catalog import Catalog
    from hub.records import Connection
    from hub.store import Store

T = TypeVar("T")

#: The stored value that holds the owner's names of models.
ALIASES = "modelAliases"
#: That which holds the models put out of use.
REPLACED = "modelReplacements"


class Directory:
    """``demo`` is the setting of that name: when the built-in providers answer."""

    def __init__(self, store: Store, catalog: Catalog, *, demo: Literal["auto", "on", "off"]) -> None:
        self._store = store
        self._demo = demo
        self.builtin = frozenset(row.id for row in catalog.providers.values() if row.builtin)
        self._kept: dict[str, Any] = {}

    def forget(self) -> None:
        """Something changed."""
        self._kept.clear()

    def connected(self) -> frozenset[str]:
        """Providers that can be used now: those with an active connection, and the built-in ones as the setting says (D3)."""
        return self._once("connected", self._connected)

    def _connected(self) -> frozenset[str]:
        real = frozenset(connection.provider for connection in self._store.connections.all() if connection.active)
        if self._demo == "on" or (self._demo == "auto" and not real):
            return real | self.builtin
        return real

    def prefixes(self) -> dict[str, str]:
        """Prefixes that owners gave to their own endpoints -> ``provider``, or ``provider/connection`` where one has it alone."""
        return self._once("prefixes", self._prefixes)

    def _prefixes(self) -> dict[str, str]:
        found: dict[str, list[Connection]] = {}
        for connection in self._store.connections.all():
            prefix = connection.data.get("prefix", "")
            if prefix and connection.active:
                found.setdefault(prefix, []).append(connection)
        return {
            prefix: connections[0].provider if len(connections) > 1 else f"{connections[0].provider}/{connections[0].id}"
            for prefix, connections in found.items()
        }

    def aliases(self) -> dict[str, str]:
        """Names that the owner gave to models, exact or with wildcards -> ``provider/model`` or a combo."""
        return self._store.values.get(ALIASES, {})

    def replaced(self) -> dict[str, str]:
        """Models that the owner put out of use -> those in their place; itself for one that stays whatever the catalogue says."""
        return self._store.values.get(REPLACED, {})

    def discovered(self) -> dict[str, set[str]]:
        """Provider -> model ids that its connections name, beside those of the catalogue."""
        return self._once("discovered", self._discovered)

    def _discovered(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for connection in self._store.connections.all():
            found.setdefault(connection.provider, set()).update(connection.models)
        return found

    def _once(self, name: str, work_out: Callable[[], T]) -> T:
        found = self._kept.get(name)
        if found is None:
            found = self._kept[name] = work_out()
        return found
