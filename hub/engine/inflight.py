"""The requests under way: who asked what, and which connection works on it. A dict insert and a delete for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.records import UsageRow


class InFlight:
    """Holds the usage row of each request while it runs; the row names provider, model and connection as attempts change them."""

    def __init__(self) -> None:
        self._rows: dict[int, UsageRow] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, row: UsageRow) -> None:
        """A request starts."""
        self._rows[id(row)] = row

    def end(self, row: UsageRow) -> None:
        """It is over, however it ended. May be called twice."""
        self._rows.pop(id(row), None)

    def all(self) -> list[UsageRow]:
        """The requests under way, oldest first. They are still being written: read them, keep none."""
        return list(self._rows.values())

    def running(self, connection_ids: Iterable[str]) -> dict[str, int]:
        """How many requests each of these connections works on."""
        found = dict.fromkeys(connection_ids, 0)
        for row in self._rows.values():
            if row.connection_id in found:
                found[row.connection_id] += 1
        return found
