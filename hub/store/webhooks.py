"""What is on its way to webhooks, and how each webhook does.

An event goes into the table with the rows that wait, within the queue's window. Who works on a delivery holds it under a lease; one whose
process dies is sent again when the lease runs out, so a receiver may see it twice, with the same ``webhook-id``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

#: States of a delivery. The first waits, the others are the end of it.
WAITING, DELIVERED, FAILED, CANCELLED = STATES = ("waiting", "delivered", "failed", "cancelled")

_COLUMNS = (
    "id", "webhook_id", "event", "message_id", "body", "state", "owner", "due_at", "tries", "status", "attempts", "created_at", "ended_at",
)  # fmt: skip
_PUT = columns.insert("webhook_deliveries", _COLUMNS) + " ON CONFLICT (id) DO NOTHING"
_DUE = "SELECT webhook_id, MIN(due_at) AS due_at, COUNT(*) AS waiting FROM webhook_deliveries WHERE due_at IS NOT NULL GROUP BY webhook_id"
_CLAIM = (
    "UPDATE webhook_deliveries SET owner = ?, due_at = ? WHERE id IN (SELECT id FROM webhook_deliveries "
    "WHERE webhook_id = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?{}) RETURNING *"
)
_STORE = (
    "UPDATE webhook_deliveries SET state = ?, owner = '', due_at = ?, tries = ?, status = ?, attempts = ?, ended_at = ? "
    "WHERE id = ? AND due_at IS NOT NULL RETURNING id"
)
_STAND = (
    "INSERT INTO webhook_standings (webhook_id, last_at, last_status, failures) VALUES (?, ?, ?, ?) ON CONFLICT (webhook_id) DO UPDATE SET "
    "last_at = excluded.last_at, last_status = excluded.last_status, "
    "failures = CASE WHEN excluded.failures = 0 THEN 0 ELSE webhook_standings.failures + 1 END RETURNING failures"
)
_FREE = "UPDATE webhook_deliveries SET owner = '', due_at = 0 WHERE owner <> '' AND due_at IS NOT NULL"
_CANCEL = "UPDATE webhook_deliveries SET state = ?, owner = '', due_at = NULL, ended_at = ? WHERE webhook_id = ? AND due_at IS NOT NULL"
_FORGET = "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE webhook_id = ? LIMIT 500) RETURNING id"
_FORGET_STANDING = "DELETE FROM webhook_standings WHERE webhook_id = ?"
_OLD = (
    "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries WHERE created_at < ? AND due_at IS NULL "
    "ORDER BY created_at LIMIT 500) RETURNING id"
)
_GET = "SELECT * FROM webhook_deliveries WHERE id = ? AND webhook_id = ?"
_PAGE = (
    "SELECT * FROM webhook_deliveries WHERE webhook_id = ? AND (? = '' OR state = ?) AND (? = '' OR event = ?) "
    "ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"
)
_TOTAL = "SELECT COUNT(*) AS found FROM webhook_deliveries WHERE webhook_id = ? AND (? = '' OR state = ?) AND (? = '' OR event = ?)"
_STANDINGS = "SELECT * FROM webhook_standings"


class Try(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One try: when it ended (epoch ms), how long it took, the status and the first words of the answer, or why there was none."""

    at: int
    latency_ms: int
    status: int = 0
    error: str = ""
    response: str = ""


class Delivery(msgspec.Struct, kw_only=True):
    """An event for a webhook. ``message_id`` is what the receiver knows it by, the same in every try and when it is sent again by hand."""

    id: str
    webhook_id: str
    event: str
    message_id: str
    body: str
    created_at: int
    state: str = WAITING
    owner: str = ""
    due_at: int | None = 0
    tries: int = 0
    status: int = 0
    attempts: list[Try] = []
    ended_at: int | None = None


class Standing(msgspec.Struct):
    """How a webhook does: when its last delivery ended and with what status, and how many in a row have failed."""

    webhook_id: str
    last_at: int
    last_status: int
    failures: int


class Due(msgspec.Struct):
    """When the next delivery of a webhook is due, and how many wait."""

    webhook_id: str
    due_at: int
    waiting: int


class WebhookRows:
    """The two tables. ``owner`` names this process in leases."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._owner = clock.new_id("prc_")
        self._claim = _CLAIM.format("" if database.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED")
        queue.register("webhook_deliveries", _save)

    def later(self, delivery: Delivery) -> None:
        """Take a delivery in, written behind."""
        self._queue.add("webhook_deliveries", delivery)

    async def settle(self) -> None:
        """Store what was taken in, unless the database fails."""
        await self._queue.settle()

    async def add(self, delivery: Delivery) -> None:
        """Take a delivery in, stored when this returns."""
        await self._database.write(lambda link: link.run(_PUT, *_values(delivery)))

    async def due(self) -> list[Due]:
        """For every webhook with deliveries that wait: when the next is due."""
        return [Due(**row) for row in await self._database.read(lambda link: link.run(_DUE))]

    async def claim(self, webhook_id: str, *, until: int, limit: int) -> list[Delivery]:
        """Take deliveries that are due, oldest first, to work on them until then."""
        given = (self._owner, until, webhook_id, self._clock.now_ms(), limit)
        rows = await self._database.write(lambda link: link.run(self._claim, *given))
        return sorted(map(_delivery, rows), key=lambda one: (one.created_at, one.id))

    async def store(self, delivery: Delivery) -> int:
        """Store what came of a try; how many deliveries of the webhook in a row have failed, 0 where this one did not end so."""

        def work(link: Link) -> int:
            ended = delivery.ended_at
            kept = link.run(
                _STORE, delivery.state, delivery.due_at, delivery.tries, delivery.status, columns.encoded(delivery.attempts), ended,
                delivery.id,
            )  # fmt: skip
            if not kept or ended is None or delivery.state == CANCELLED:
                return 0
            failed = int(delivery.state == FAILED)
            return link.run(_STAND, delivery.webhook_id, ended, delivery.status, failed)[0]["failures"]

        return await self._database.write(work)

    async def free(self) -> None:
        """Nobody works on anything: the process before this one is gone, and there is no other."""
        await self._database.write(lambda link: link.run(_FREE))

    async def cancel(self, webhook_id: str) -> None:
        """What waits for a webhook is not sent."""
        await self._database.write(lambda link: link.run(_CANCEL, CANCELLED, self._clock.now_ms(), webhook_id))

    async def forgive(self, webhook_id: str) -> None:
        """Forget how a webhook did."""
        await self._database.write(lambda link: link.run(_FORGET_STANDING, webhook_id))

    async def forget(self, webhook_id: str) -> None:
        """Delete everything of a webhook, in small transactions."""
        await self.forgive(webhook_id)
        while await self._database.write(lambda link: link.run(_FORGET, webhook_id)):
            pass

    async def delete_before(self, at: int) -> int:
        """Delete deliveries that are done and older than that; how many went."""
        gone = 0
        while rows := await self._database.write(lambda link: link.run(_OLD, at)):
            gone += len(rows)
        return gone

    async def get(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """One delivery of a webhook."""
        await self.settle()
        rows = await self._database.read(lambda link: link.run(_GET, columns.text(delivery_id), webhook_id))
        return _delivery(rows[0]) if rows else None

    async def page(self, webhook_id: str, *, state: str, event: str, limit: int, offset: int) -> tuple[list[Delivery], int]:
        """Deliveries of a webhook, newest first, and how many there are; an empty filter lets all through."""
        await self.settle()
        where = (webhook_id, state, state, columns.text(event), columns.text(event))

        def work(link: Link) -> tuple[list[dict[str, Any]], int]:
            return link.run(_PAGE, *where, limit, offset), link.run(_TOTAL, *where)[0]["found"]

        rows, total = await self._database.read(work)
        return list(map(_delivery, rows)), total

    async def standings(self) -> dict[str, Standing]:
        """How every webhook does, by its id."""
        rows = await self._database.read(lambda link: link.run(_STANDINGS))
        return {row["webhook_id"]: Standing(**row) for row in rows}


def _save(link: Link, rows: Sequence[Delivery], again: bool) -> None:
    # Storing one twice is harmless, its id is its own.
    link.many(_PUT, [_values(row) for row in rows])


def _values(row: Delivery) -> tuple[object, ...]:
    return (
        row.id, row.webhook_id, row.event, row.message_id, columns.text(row.body), row.state, row.owner, row.due_at, row.tries, row.status,
        columns.encoded(row.attempts), row.created_at, row.ended_at,
    )  # fmt: skip


def _delivery(row: dict[str, Any]) -> Delivery:
    fields: dict[str, Any] = {name: row[name] for name in _COLUMNS}
    fields["attempts"] = msgspec.json.decode(row["attempts"], type=list[Try])
    return Delivery(**fields)
