"""Named JSON values: what settings the owner changes while the hub runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest
from hub.store import columns, deferred
from hub.store.inputs import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.clock import Clock
    from hub.store.changes import Changes

#: Names with this prefix hold the vault's keys and are none of a caller's business.
RESERVED = "vault."


class Values:
    """Values by name, in memory after the load. What :meth:`get` returns must not be changed in place."""

    def __init__(self, changes: Changes, clock: Clock) -> None:
        self._changes = changes
        self._clock = clock
        self._values: dict[str, Any] = {}
        self._times: dict[str, int] = {}

    def load(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over the stored values."""
        kept = [row for row in rows if not row["name"].startswith(RESERVED)]
        self._values = {row["name"]: msgspec.json.decode(row["value"]) for row in kept}
        self._times = {row["name"]: row["updated_at"] for row in kept}

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or ``default``."""
        return self._values.get(name, default)

    def changed_at(self, name: str) -> int:
        """When the value was last set, in epoch milliseconds; 0 for one that is not."""
        return self._times.get(name, 0)

    def all(self) -> dict[str, Any]:
        """Every value by name."""
        return dict(self._values)

    async def set(self, name: str, value: Any) -> None:
        """Store a JSON value. Raises BadRequest for a name that is reserved or cannot be stored."""
        name = self._named(name)
        text = columns.encoded(value)
        row: dict[str, Any] = {"name": name, "value": text, "updated_at": self._clock.now_ms()}

        def apply(_: None) -> None:
            self._values[name] = msgspec.json.decode(text)
            self._times[name] = row["updated_at"]

        await self._changes.make(lambda session: deferred.management().put(session, "values", row), apply)

    async def delete(self, name: str) -> None:
        """Remove a value; nothing happens when there is none."""
        name = self._named(name)

        def apply(_: bool) -> None:
            self._values.pop(name, None)

        await self._changes.make(lambda session: deferred.management().remove(session, "values", name), apply)

    def _named(self, name: str) -> str:
        if name.startswith(RESERVED):
            raise BadRequest(f"names that start with {RESERVED!r} are reserved", field="name")
        return words("name", name, limit=200)
