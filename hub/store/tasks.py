"""A2A tasks: stored before they are acknowledged, seen by their owner only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.store import columns, deferred

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.records import TaskRow
    from hub.store.database import Database

_UPSERT = (
    columns.insert("tasks", columns.TASKS) + " ON CONFLICT (id) DO UPDATE SET context_id = excluded.context_id, skill = excluded.skill, "
    "state = excluded.state, updated_at = excluded.updated_at, task = excluded.task WHERE tasks.owner = excluded.owner"
)
_GET = "SELECT * FROM tasks WHERE id = ?"
_DELETE = "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE state = ? AND updated_at < ? LIMIT 500) RETURNING id"
_UNCHANGED = "SELECT * FROM tasks WHERE state IN ({}) AND updated_at < ?"
#: The states that end a task, as the A2A dialects spell them.
FINISHED = tuple(
    spelling
    for state in ("completed", "failed", "canceled", "cancelled", "rejected")
    for spelling in (state, f"TASK_STATE_{state.upper()}")
)


class Tasks:
    """Tasks by id. ``owner`` None stands for the owner of the hub, who sees all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, row: TaskRow) -> None:
        """Store a task or its newer state, committed when this returns. A task never changes its owner."""
        await self._database.write(lambda link: link.run(_UPSERT, *columns.task_values(row)))

    async def get(self, task_id: str, owner: str | None) -> TaskRow | None:
        """A task, None when there is none or it is another's: the two look alike (SEC-04)."""
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
        return await self._database.query(lambda session: deferred.reports().task_counts(session, owner))

    async def delete_finished(self, before: int) -> int:
        """Delete ended tasks that have not changed since ``before``, in small transactions; how many went."""
        gone = 0
        for state in FINISHED:
            while rows := await self._database.write(lambda link, state=state: link.run(_DELETE, state, before)):
                gone += len(rows)
        return gone
