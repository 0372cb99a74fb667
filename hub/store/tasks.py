"""A2A tasks: stored before they are acknowledged, seen by their owner only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from hub.store import columns, deferred
from hub.store.sieve import Sieve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.records import TaskRow
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

_KIND = "tasks"
_UPSERT = (
    columns.insert("tasks", columns.TASKS) + " ON CONFLICT (id) DO UPDATE SET context_id = excluded.context_id, skill = excluded.skill, "
    "state = excluded.state, updated_at = excluded.updated_at, task = excluded.task WHERE tasks.owner = excluded.owner"
)
_GET = "SELECT * FROM tasks WHERE id = ?"
_DELETE = "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE state = ? AND updated_at < ? LIMIT 500) RETURNING id"
_IDS = "SELECT id FROM tasks WHERE id > ? ORDER BY id LIMIT 5000"
_UNCHANGED = "SELECT * FROM tasks WHERE state IN ({}) AND updated_at < ?"
#: The states that end a task, as the A2A dialects spell them.
FINISHED = tuple(
    spelling
    for state in ("completed", "failed", "canceled", "cancelled", "rejected")
    for spelling in (state, f"TASK_STATE_{state.upper()}")
)


class Tasks:
    """Tasks by id. ``owner`` None stands for the owner of the hub, who sees all."""

    def __init__(self, database: Database, queue: WriteBehind) -> None:
        self._database = database
        self._queue = queue
        self._sieve = Sieve()
        self._sieving: asyncio.Task[None] | None = None
        self._sieved = False
        queue.register(_KIND, _save)

    async def save(self, row: TaskRow) -> None:
        """Store a task or its newer state, committed when this returns. A task never changes its owner."""
        self._sieve.add(row.id)
        await self._database.write(lambda link: link.run(_UPSERT, *columns.task_values(row)))

    @property
    def alone(self) -> bool:
        """Whether this process is the only one on the database, so that what it has in memory is seen by everybody."""
        return self._database.dialect == "sqlite"

    def later(self, row: TaskRow) -> None:
        """Store a task that has ended with the rows that wait; who asks for it meanwhile gets it. Only while :attr:`alone`."""
        self._sieve.add(row.id)
        self._queue.add(_KIND, row)

    def fresh(self, task_id: str) -> bool:
        """Whether a task is certainly not stored, answered from memory. Only while :attr:`alone`; no at first, until all ids were read."""
        if self._sieved:
            return task_id not in self._sieve
        if self._sieving is None or self._sieving.done():
            self._sieving = asyncio.get_running_loop().create_task(self._read_ids())
        return False

    async def _read_ids(self) -> None:
        """Fill the sieve with what is stored. A database that fails is asked again with the next task."""
        last = ""
        with suppress(HubError):
            while ids := await self._database.read(lambda link, after=last: [row["id"] for row in link.run(_IDS, after)]):
                for task_id in ids:
                    self._sieve.add(task_id)
                last = ids[-1]
            self._sieved = True

    async def get(self, task_id: str, owner: str | None) -> TaskRow | None:
        """A task, None when there is none or it is another's: the two look alike (SEC-04)."""
        task = next((row for row in self._queue.pending(_KIND) if row.id == task_id), None)
        if task is None:
            rows = await self._database.read(lambda link: link.run(_GET, columns.text(task_id)))
            task = columns.task_of(rows[0]) if rows else None
        return task if task is not None and owner in (None, task.owner) else None

    async def list(
        self,
        owner: str | None,
        *,
        state: str | Sequence[str] | None = None,
        context_id: str | None = None,
        skill: str | None = None,
        updated_after: int | None = None,
        limit: int = 50,
        offset: int = 0,
        before: tuple[int, str] | None = None,
    ) -> tuple[list[TaskRow], int]:
        """Tasks, the latest changed first, and how many there are. ``state`` is one spelling or several.

        ``before`` is the ``(updated_at, id)`` of the last task of the page before; the count leaves it out.
        """
        await self._settle()
        states = (state,) if isinstance(state, str) else state
        where = {"owner": owner, "context_id": context_id, "skill": skill}
        return await self._database.query(
            lambda session: deferred.reports().task_page(
                session, where=where, states=states, updated_after=updated_after, limit=limit, offset=offset, before=before
            )
        )

    async def unchanged(self, states: Sequence[str], before: int) -> list[TaskRow]:
        """Every task in one of these states that last changed before ``before``. Plain SQL, because every start asks for it."""
        marks = ", ".join("?" for _ in states)
        rows = await self._database.read(lambda link: link.run(_UNCHANGED.format(marks), *map(columns.text, states), before))
        return [columns.task_of(row) for row in rows]

    async def counts(self, owner: str | None = None) -> dict[str, int]:
        """How many tasks are in each state."""
        await self._settle()
        return await self._database.query(lambda session: deferred.reports().task_counts(session, owner))

    async def delete_finished(self, before: int) -> int:
        """Delete ended tasks that have not changed since ``before``, in small transactions; how many went."""
        gone = 0
        for state in FINISHED:
            while rows := await self._database.write(lambda link, state=state: link.run(_DELETE, state, before)):
                gone += len(rows)
        return gone

    async def _settle(self) -> None:
        """Before a list: what waits to be stored belongs to it."""
        if next(self._queue.pending(_KIND), None) is not None:
            await self._queue.settle()

    async def close(self) -> None:
        """Stop reading ids. May be called twice."""
        if self._sieving is not None:
            self._sieving.cancel()
            with suppress(asyncio.CancelledError):
                await self._sieving


def _save(link: Link, rows: list[Any], again: bool) -> None:
    link.many(_UPSERT, [columns.task_values(row) for row in rows])
