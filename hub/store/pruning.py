"""Deletes what is past its time, a few hundred rows a transaction, so that the writer never waits long (REL-24)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from hub.store.database import Database, Link

#: Most rows that one transaction deletes.
BATCH = 500
#: Pages that one transaction gives back to the disk.
PAGES = 64
#: Any constant number: PostgreSQL's lock that lets one process prune at a time.
_LOCK = 7_482_115_904
_LOCKED = "SELECT pg_try_advisory_xact_lock(?) AS held"


class Stale(msgspec.Struct, frozen=True):
    """Rows of one table that are older than a limit. ``key`` finds them again, ``column`` is what is compared."""

    table: str
    key: str
    column: str


#: By what the limit is: ``usage``, ``decisions`` and ``now`` in epoch milliseconds, ``hours`` and ``days`` since 1970.
STALE: dict[str, tuple[Stale, ...]] = {
    "usage": (
        Stale("usage", "id", "at"),
        Stale("compression_runs", "id", "at"),
        Stale("compression_engines", "run_id, engine", "at"),
    ),
    "decisions": (Stale("decisions", "request_id", "at"),),
    "now": (
        Stale("replays", "id", "expires_at"),
        Stale("responses", "id", "expires_at"),
        Stale("model_responses", "id", "expires_at"),
        Stale("compression_outputs", "id", "expires_at"),
        Stale("state", "kind, id", "until"),
        Stale("login_sessions", "id", "expires_at"),
        Stale("login_tries", "name", "forget_at"),
    ),
    "hours": (
        Stale("usage_hours", "hour, key_id, provider, model, connection_id, combo, source", "hour"),
        Stale("latency_hours", "hour, provider, model, process", "hour"),
    ),
    "days": (Stale("usage_days", "day, key_id, provider, model, connection_id, combo, source", "day"),),
}


class Pruning:
    """The statements of retention; when they run is :class:`hub.retention.Retention`'s."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sqlite = database.dialect == "sqlite"

    async def batch(self, stale: Stale, limit: int) -> int | None:
        """Delete at most :data:`BATCH` rows, the oldest first; how many went, None while another process prunes."""
        found = f"SELECT {stale.key} FROM {stale.table} WHERE {stale.column} < ? ORDER BY {stale.column} LIMIT ?"  # noqa: S608 - constants
        delete = f"DELETE FROM {stale.table} WHERE ({stale.key}) IN ({found}) RETURNING 1 AS gone"  # noqa: S608 - constant identifiers

        def work(link: Link) -> int | None:
            if not self._sqlite and not link.run(_LOCKED, _LOCK)[0]["held"]:
                return None
            return len(link.run(delete, limit, BATCH))

        return await self._database.write(work)

    async def free_pages(self) -> int:
        """Pages of the file that hold nothing and can be given back; 0 where that is the database's own business."""
        if not self._sqlite:
            return 0
        return await self._database.read(_free)

    async def give_back(self) -> None:
        """Give :data:`PAGES` free pages back to the disk. Needs a file that was made with incremental vacuum."""

        def work(link: Link) -> None:
            for _ in range(PAGES):
                # The driver steps such a statement once, and one step frees one page.
                link.run("PRAGMA incremental_vacuum(1)")

        await self._database.write(work)


def shrinks(link: Link) -> bool:
    """Whether a file can give pages back."""
    return link.dialect != "sqlite" or link.run("PRAGMA auto_vacuum")[0]["auto_vacuum"] == 2


def _free(link: Link) -> int:
    return link.run("PRAGMA freelist_count")[0]["freelist_count"] if shrinks(link) else 0
