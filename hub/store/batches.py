"""Batches and their items: what waits, who works on it until when, and what came of it.

An item that waits or is worked on has ``due_at``: when it may be taken, which for one that is worked on is the end of its lease. One
that is done has none. What came of an item, its usage rows and the counts of its batch are stored in one transaction, so that a kill
leaves an item either done and billed or neither.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from hub.records import UsageRow
from hub.store import columns, files, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.clock import Clock
    from hub.store.database import Database, Link
    from hub.store.files import FileRow

#: The states in which a batch is still worked on.
OPEN = ("validating", "in_progress", "finalizing", "cancelling")
_OPEN = ", ".join(f"'{state}'" for state in OPEN)
_BATCH = (
    "id", "key_id", "status", "input_file_id", "facts", "total", "completed", "failed", "input_tokens", "cached_tokens", "output_tokens",
    "reasoning_tokens", "created_at", "expires_at", "owner", "due_at",
)  # fmt: skip
_ITEM = ("batch_id", "line", "custom_id", "category", "start", "size", "owner", "due_at", "tries", "ok", "result")
_PUT = columns.insert("batches", _BATCH)
_PUT_ITEM = columns.insert("batch_items", _ITEM)
_FIND = "SELECT * FROM batches WHERE id = ? AND key_id = ?"
_LIST = "SELECT * FROM batches WHERE key_id = ? AND (? = 0 OR (created_at, id) < (?, ?)) ORDER BY created_at DESC, id DESC LIMIT ?"
_WORKED_ON = f"SELECT * FROM batches WHERE status IN ({_OPEN}) ORDER BY created_at, id"  # noqa: S608 - constants
_OF_KEY = f"SELECT COUNT(*) AS found FROM batches WHERE key_id = ? AND status IN ({_OPEN})"  # noqa: S608 - constants
_READING = f"SELECT id FROM batches WHERE input_file_id = ? AND status IN ({_OPEN}) LIMIT 1"  # noqa: S608 - constants
_GET = "SELECT * FROM batches WHERE id = ?"
_CHANGE = "UPDATE batches SET status = ?, facts = ? WHERE id = ?"
_DELETE = f"DELETE FROM batches WHERE id = ? AND key_id = ? AND status NOT IN ({_OPEN}) RETURNING id"  # noqa: S608 - constants
_COUNT = (
    "UPDATE batches SET completed = completed + ?, failed = failed + ?, input_tokens = input_tokens + ?, "
    "cached_tokens = cached_tokens + ?, output_tokens = output_tokens + ?, reasoning_tokens = reasoning_tokens + ? WHERE id = ?"
)
_LEASE = f"UPDATE batches SET owner = ?, due_at = ? WHERE id = ? AND status IN ({_OPEN}) AND (owner = ? OR due_at <= ?) RETURNING id"  # noqa: S608 - constants
_CLAIM = (
    "UPDATE batch_items SET owner = ?, due_at = ? WHERE batch_id = ? AND line IN (SELECT line FROM batch_items "
    "WHERE batch_id = ? AND category = ? AND due_at <= ? ORDER BY due_at, line LIMIT ?{}) RETURNING line, custom_id, start, size, tries"
)
_DONE = (
    "UPDATE batch_items SET owner = '', due_at = NULL, ok = ?, result = ? "
    "WHERE batch_id = ? AND line = ? AND due_at IS NOT NULL RETURNING line"
)
_BACK = "UPDATE batch_items SET owner = '', due_at = ?, tries = ? WHERE batch_id = ? AND line = ? AND owner = ?"
_RENEW = "UPDATE batch_items SET due_at = ? WHERE owner = ?"
_RENEW_BATCHES = "UPDATE batches SET due_at = ? WHERE owner = ?"
_FREE = "UPDATE batch_items SET owner = '', due_at = 0 WHERE owner <> ''"
_FREE_BATCHES = "UPDATE batches SET owner = '', due_at = 0 WHERE owner <> ''"
_ELSEWHERE = "SELECT COUNT(*) AS found FROM batch_items WHERE batch_id = ? AND owner <> '' AND owner <> ? AND due_at > ?"
_RESULTS = "SELECT line, custom_id, due_at, ok, result FROM batch_items WHERE batch_id = ? AND line > ? ORDER BY line LIMIT ?"
_LEFT_OF = (
    "SELECT line, custom_id, start, size, tries FROM batch_items "
    "WHERE batch_id = ? AND line > ? AND due_at IS NOT NULL ORDER BY line LIMIT ?"
)
_FORGET = (
    "DELETE FROM batch_items WHERE batch_id = ? AND line IN (SELECT line FROM batch_items WHERE batch_id = ? LIMIT 1000) RETURNING line"
)
_OVER = f"SELECT DISTINCT batch_id FROM batch_items WHERE batch_id NOT IN (SELECT id FROM batches WHERE status IN ({_OPEN}))"  # noqa: S608 - constants


class Vendored(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A batch that a provider works off itself, until it is ``over``; what is left then is the hub's own work.

    ``began_at`` (epoch ms) is set before anything is sent, ``id`` is the provider's once it is known. ``bound`` is the most that it costs,
    in dollars. ``held`` says that budgets hold that: a process that dies leaves it set, and budgets count the whole of it then.
    """

    connection: str
    model: str
    began_at: int = 0
    id: str = ""
    bound: float = 0.0
    held: bool = False
    over: bool = False


class Facts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What of a batch is never searched for. ``times`` are epoch ms by OpenAI's names; ``categories`` are what items are limited by."""

    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    categories: list[str] = []
    model: str | None = None
    errors: list[dict[str, Any]] = []
    output_file_id: str | None = None
    error_file_id: str | None = None
    output_seconds: int | None = None
    times: dict[str, int] = {}
    vendor: Vendored | None = None


class Batch(msgspec.Struct, kw_only=True):
    """A batch. Times in epoch ms; the counts are of items that are done."""

    id: str
    key_id: str
    status: str
    input_file_id: str
    facts: Facts
    total: int
    created_at: int
    expires_at: int
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    owner: str = ""
    due_at: int = 0


class NewItem(msgspec.Struct, array_like=True):
    """A line of the input: where it is in the file, in bytes, and what it counts against."""

    line: int
    custom_id: str
    category: str
    start: int
    size: int


class Item(msgspec.Struct):
    """A line that this process works on."""

    line: int
    custom_id: str
    start: int
    size: int
    tries: int


class Result(msgspec.Struct):
    """What came of a line: its line of the output or error file, and the usage rows that it left."""

    batch_id: str
    line: int
    ok: bool
    text: str
    rows: list[UsageRow]


class Back(msgspec.Struct):
    """A line that goes back to those that wait, until ``due_at``."""

    batch_id: str
    line: int
    due_at: int
    tries: int


class Written(msgspec.Struct):
    """A line for the output: ``text`` is what came of it, empty where nothing did."""

    line: int
    custom_id: str
    ok: bool
    text: str


class BatchRows:
    """The tables of batches and items. ``owner`` names this process in leases, which hold for ``lease_seconds`` without another word."""

    def __init__(self, database: Database, clock: Clock, lease_seconds: int) -> None:
        self._database = database
        self._clock = clock
        self.lease_seconds = lease_seconds
        self.owner = clock.new_id("prc_")
        self._claim = _CLAIM.format("" if database.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED")

    async def create(self, batch: Batch, items: Sequence[NewItem]) -> None:
        """Keep a new batch with all its items, on the disk when this returns."""
        rows = [(batch.id, one.line, columns.text(one.custom_id), one.category, one.start, one.size, "", 0, 0, False, "") for one in items]

        def work(link: Link) -> None:
            link.run(_PUT, *_values(batch))
            link.many(_PUT_ITEM, rows)

        await self._database.write(work, durable=True)

    async def find(self, batch_id: str, key_id: str) -> Batch | None:
        """A key's batch."""
        rows = await self._database.read(lambda link: link.run(_FIND, columns.text(batch_id), columns.text(key_id)))
        return _batch(rows[0]) if rows else None

    async def list(self, key_id: str, *, after: Batch | None, limit: int) -> list[Batch]:
        """A key's batches, the newest first."""
        place = (1, after.created_at, after.id) if after is not None else (0, 0, "")
        return [_batch(row) for row in await self._database.read(lambda link: link.run(_LIST, key_id, *place, limit))]

    async def worked_on(self) -> list[Batch]:
        """All batches that are not over, the oldest first."""
        return [_batch(row) for row in await self._database.read(lambda link: link.run(_WORKED_ON))]

    async def open_of(self, key_id: str) -> int:
        """How many batches of a key are not over."""
        rows = await self._database.read(lambda link: link.run(_OF_KEY, columns.text(key_id)))
        return rows[0]["found"]

    async def reading(self, file_id: str) -> str:
        """The batch that still reads a file; empty for none."""
        rows = await self._database.read(lambda link: link.run(_READING, file_id))
        return rows[0]["id"] if rows else ""

    async def change(
        self, batch_id: str, states: Sequence[str], edit: Callable[[Batch], None], made: Sequence[FileRow] = ()
    ) -> Batch | None:
        """Edit the status and the facts of a batch that is in one of these states, and add the files that it made; None where it is not."""

        def work(link: Link) -> Batch | None:
            rows = link.run(_GET if link.dialect == "sqlite" else f"{_GET} FOR UPDATE", columns.text(batch_id))
            if not rows or rows[0]["status"] not in states:
                return None
            batch = _batch(rows[0])
            edit(batch)
            files.insert(link, made)
            link.run(_CHANGE, batch.status, columns.encoded(batch.facts), batch.id)
            return batch

        return await self._database.write(work, durable=True)

    async def delete(self, batch_id: str, key_id: str) -> bool:
        """Forget a batch that is over; whether it was there and over."""
        return bool(await self._database.write(lambda link: link.run(_DELETE, columns.text(batch_id), columns.text(key_id))))

    async def lease(self, batch: Batch) -> bool:
        """Become the one who ends a batch; False while another process does."""
        now = self._clock.now_ms()
        return bool(await self._database.write(lambda link: link.run(_LEASE, self.owner, self._until(now), batch.id, self.owner, now)))

    async def claim(self, batch_id: str, category: str, *, limit: int) -> list[Item]:
        """Take items to work on, in their order; those of a process that is gone, too."""
        now = self._clock.now_ms()
        given = (self.owner, self._until(now), batch_id, batch_id, category, now, limit)
        rows = await self._database.write(lambda link: link.run(self._claim, *given))
        return sorted((Item(**row) for row in rows), key=lambda item: item.line)

    async def store(self, results: Sequence[Result | Back]) -> None:
        """Store what came of items, each once: what another process has stored before stays."""
        made = [(self._clock.new_id("u"), row) for one in results if isinstance(one, Result) for row in one.rows]
        names = {id(row): name for name, row in made}

        def work(link: Link) -> None:
            kept: list[Result] = []
            for one in results:
                if isinstance(one, Back):
                    link.run(_BACK, one.due_at, one.tries, one.batch_id, one.line, self.owner)
                elif link.run(_DONE, one.ok, columns.text(one.text), one.batch_id, one.line):
                    kept.append(one)
            usage.save(link, [(names[id(row)], row) for one in kept for row in one.rows])
            _count(link, kept)

        await self._database.write(work)

    async def renew(self) -> None:
        """Say that this process still works on what it took."""
        until = self._until(self._clock.now_ms())

        def work(link: Link) -> None:
            link.run(_RENEW, until, self.owner)
            link.run(_RENEW_BATCHES, until, self.owner)

        await self._database.write(work)

    async def free(self, owner: str = "") -> None:
        """A process works on nothing any more. With no name nobody does: the process before this one is gone, and there is no other."""
        of, names = (" AND owner = ?", (owner,)) if owner else ("", ())
        await self._database.write(lambda link: (link.run(_FREE + of, *names), link.run(_FREE_BATCHES + of, *names)))

    def _until(self, now: int) -> int:
        """When a lease of now ends."""
        return now + self.lease_seconds * 1000

    async def elsewhere(self, batch_id: str) -> bool:
        """Whether another process works on items of a batch."""
        now = self._clock.now_ms()
        rows = await self._database.read(lambda link: link.run(_ELSEWHERE, batch_id, self.owner, now))
        return rows[0]["found"] > 0

    async def results(self, batch_id: str, after: int, limit: int) -> list[Written]:
        """Items with what came of them, in their order, after a line."""
        rows = await self._database.read(lambda link: link.run(_RESULTS, batch_id, after, limit))
        return [Written(row["line"], row["custom_id"], bool(row["ok"]), "" if row["due_at"] is not None else row["result"]) for row in rows]

    async def left_of(self, batch_id: str, after: int, limit: int) -> list[Item]:
        """Items that are not done, in their order, after a line."""
        return [Item(**row) for row in await self._database.read(lambda link: link.run(_LEFT_OF, batch_id, after, limit))]

    async def forget(self, batch_id: str) -> None:
        """Delete the items of a batch that is over, in small transactions."""
        while await self._database.write(lambda link: link.run(_FORGET, batch_id, batch_id)):
            pass

    async def left(self) -> list[str]:
        """Batches that are over and whose items a kill left."""
        return [row["batch_id"] for row in await self._database.read(lambda link: link.run(_OVER))]


def _count(link: Link, kept: Sequence[Result]) -> None:
    """Add to the counts of the batches, in the same order in every process."""
    sums: dict[str, Counter[str]] = {}
    for one in kept:
        at = sums.setdefault(one.batch_id, Counter())
        at["completed" if one.ok else "failed"] += 1
        for row in one.rows:
            at["input"] += row.usage.prompt
            at["cached"] += row.usage.cache_read
            at["output"] += row.usage.output
            at["reasoning"] += row.usage.reasoning
    for batch_id, at in sorted(sums.items()):
        link.run(_COUNT, *(at[name] for name in ("completed", "failed", "input", "cached", "output", "reasoning")), batch_id)


def _values(batch: Batch) -> list[object]:
    return [columns.encoded(batch.facts) if name == "facts" else getattr(batch, name) for name in _BATCH]


def _batch(row: dict[str, Any]) -> Batch:
    fields: dict[str, Any] = {name: row[name] for name in _BATCH}
    fields["facts"] = msgspec.json.decode(row["facts"], type=Facts)
    return Batch(**fields)
