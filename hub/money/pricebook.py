"""Prices that the owner set, and those that were imported: stored as the seed names them, read by :class:`hub.money.prices.Prices`.

A field that the owner set lies over what the layers below know of the model; where input or output is set, their long-context rates
no longer fit and are left out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.providers.catalog import Price

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.providers.catalog import Catalog
    from hub.store.values import Values

#: provider id -> model id -> field of the wire -> US dollars per million tokens.
Table = dict[str, dict[str, dict[str, Any]]]

#: The seed's names on the wire -> ours.
FIELDS = {"input": "input", "output": "output", "cached": "cache_read", "reasoning": "reasoning", "cache_creation": "cache_write"}
_OVERRIDES = "pricing.overrides"
_SYNCED = "pricing.synced"


class PriceBook:
    """Both layers in force, as provider id -> model id -> price. Replaced as a whole when they change."""

    def __init__(self, values: Values, catalog: Catalog) -> None:
        self._values = values
        self._catalog = catalog
        self._seen: tuple[Any, Any] = (None, None)
        self._turn = asyncio.Lock()  # a change reads, merges and stores
        self.overrides: Mapping[str, Mapping[str, Price]] = {}
        self.synced: Mapping[str, Mapping[str, Price]] = {}

    def refresh(self, *, again: bool = False) -> bool:
        """Take over what is stored, ``again`` also where only the rows beneath it changed; whether anything changed."""
        stored = (self._values.get(_OVERRIDES), self._values.get(_SYNCED))
        if stored == self._seen and not again:
            return False
        self._seen = stored
        self.synced = {} if stored[1] is None else msgspec.convert(stored[1], dict[str, dict[str, Price]])
        self.overrides = {
            provider: {name: self._laid(provider, name, fields) for name, fields in models.items()}
            for provider, models in self.set_by_hand().items()
        }
        return True

    def set_by_hand(self) -> Table:
        """What the owner set, and nothing else."""
        return _copied(self._values.get(_OVERRIDES) or {})

    async def change(self, patch: Table) -> Table:
        """Set fields of prices; None takes a field away. What is set afterwards. The patch has been checked."""
        async with self._turn:
            table = self.set_by_hand()
            for provider, models in patch.items():
                for model, fields in models.items():
                    kept = table.setdefault(provider, {}).get(model, {}) | fields
                    table[provider][model] = {name: value for name, value in kept.items() if value is not None}
            return await self._store(table)

    async def drop(self, provider: str = "", model: str = "") -> Table:
        """Take away what was set for a model, a provider, or all. What is still set."""
        async with self._turn:
            table = self.set_by_hand()
            for name in [provider] if provider else list(table):
                if model:
                    table.get(name, {}).pop(model, None)
                else:
                    table.pop(name, None)
            return await self._store(table)

    async def replace_synced(self, table: Mapping[str, Mapping[str, Price]]) -> None:
        """Replace what was imported; what the owner set stays as it is."""
        await self._values.set(_SYNCED, msgspec.to_builtins(table))

    async def _store(self, table: Table) -> Table:
        kept = {
            provider: left for provider, models in table.items() if (left := {name: fields for name, fields in models.items() if fields})
        }
        await self._values.set(_OVERRIDES, kept)
        return kept

    def _laid(self, provider: str, model: str, fields: dict[str, Any]) -> Price:
        row = self._catalog.find(provider)
        listed = row.model(model) if row else None
        below = self.synced.get(provider, {}).get(model) or (listed.price if listed else None) or Price()
        changes: dict[str, Any] = {FIELDS[name]: value for name, value in fields.items() if name in FIELDS}
        if "input" in changes or "output" in changes:
            changes["tiers"] = ()
        return msgspec.structs.replace(below, **changes)


def wire(price: Price) -> dict[str, float | None]:
    """A price in the fields of the wire; None is unknown, never free."""
    return {name: getattr(price, ours) for name, ours in FIELDS.items()}


def _copied(stored: Any) -> Table:
    table = cast("Table", stored)
    return {provider: {model: dict(fields) for model, fields in models.items()} for provider, models in table.items()}
