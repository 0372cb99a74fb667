"""Cloud agent tasks: stored before they are acknowledged; one process at a time looks after each; activities are only ever added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.cloud_agents.records import OVER, Activity, CloudTask, Status
from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.store.database import Database, Link

#: Activities kept of one task; an agent that says more is followed, but no longer written down.
MOST_ACTIVITIES = 5000
TASKS = (
    "id", "provider_id", "external_id", "credential_id", "status", "prompt", "source", "options", "result", "error", "idempotency",
    "next_poll_at", "wait_ms", "failures", "created_at", "updated_at", "completed_at",
)  # fmt: skip
ACTIVITIES = ("task_id", "seq", "id", "type", "content", "facts", "at")
_CREATE = columns.insert("cloud_agent_tasks", TASKS) + " ON CONFLICT (idempotency) DO NOTHING RETURNING id"
_BY_KEY = "SELECT * FROM cloud_agent_tasks WHERE idempotency = ?"
_GET = "SELECT * FROM cloud_agent_tasks WHERE id = ?"
_LIST = "SELECT * FROM cloud_agent_tasks WHERE (? = '' OR provider_id = ?) AND (? = '' OR status = ?) ORDER BY created_at DESC, id LIMIT ?"
_CHANGED = ("external_id", "status", "result", "error", "next_poll_at", "wait_ms", "failures", "updated_at", "completed_at")
_UPDATE = f"UPDATE cloud_agent_tasks SET {', '.join(f'{name} = ?' for name in _CHANGED)} WHERE id = ?"  # noqa: S608 - constants
_DUE = "SELECT * FROM cloud_agent_tasks WHERE next_poll_at <= ? ORDER BY next_poll_at LIMIT ?"
_NEXT = "SELECT MIN(next_poll_at) AS at FROM cloud_agent_tasks"
_CLAIM = "UPDATE cloud_agent_tasks SET next_poll_at = ? WHERE id = ? AND next_poll_at = ? RETURNING id"
_HURRY = "UPDATE cloud_agent_tasks SET next_poll_at = ? WHERE next_poll_at > ?"
_SEQ = "SELECT COALESCE(MAX(seq), 0) AS seq, COUNT(*) AS kept FROM cloud_agent_activities WHERE task_id = ?"
_ADD = columns.insert("cloud_agent_activities", ACTIVITIES) + " ON CONFLICT (task_id, id) DO NOTHING RETURNING seq"
_ACTIVITIES = "SELECT * FROM cloud_agent_activities WHERE task_id = ? ORDER BY seq"
_DELETE_ACTIVITIES = "DELETE FROM cloud_agent_activities WHERE task_id = ?"
_DELETE = "DELETE FROM cloud_agent_tasks WHERE id = ? RETURNING id"
_OLD = "SELECT id FROM cloud_agent_tasks WHERE status = ? AND updated_at < ? LIMIT 100"


class CloudTasks:
    """The table of tasks and that of their activities."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, task: CloudTask) -> CloudTask:
        """Store a new task; the one that has its idempotency key already, where there is one."""

        def work(link: Link) -> CloudTask:
            if link.run(_CREATE, *_values(task)) or task.idempotency is None:
                return task
            return _task(link.run(_BY_KEY, columns.text(task.idempotency))[0])

        return await self._database.write(work)

    async def save(self, task: CloudTask, activities: Iterable[Activity] = ()) -> int:
        """Store the newer state of a task and what is new of its activities; how many were. One that was deleted stays so."""
        new = list(activities)

        def work(link: Link) -> int:
            values = dict(zip(TASKS, _values(task), strict=True))
            link.run(_UPDATE, *(values[name] for name in _CHANGED), task.id)
            return _added(link, task.id, new) if new and link.run(_GET, task.id) else 0

        return await self._database.write(work)

    async def get(self, task_id: str) -> CloudTask | None:
        """A task."""
        rows = await self._database.read(lambda link: link.run(_GET, columns.text(task_id)))
        return _task(rows[0]) if rows else None

    async def activities(self, task_id: str) -> list[Activity]:
        """What was done in a task, in the order in which it was learned."""
        rows = await self._database.read(lambda link: link.run(_ACTIVITIES, columns.text(task_id)))
        return [
            Activity(id=row["id"], type=row["type"], content=row["content"], at=row["at"], metadata=msgspec.json.decode(row["facts"]))
            for row in rows
        ]

    async def list(self, *, provider: str = "", status: str = "", limit: int = 50) -> list[CloudTask]:
        """Tasks, the newest first."""
        provider, status = columns.text(provider), columns.text(status)
        rows = await self._database.read(lambda link: link.run(_LIST, provider, provider, status, status, limit))
        return [_task(row) for row in rows]

    async def due(self, now: int, *, limit: int) -> list[CloudTask]:
        """Tasks that somebody should look at."""
        return [_task(row) for row in await self._database.read(lambda link: link.run(_DUE, now, limit))]

    async def next(self) -> int | None:
        """When the next task is due; None when none is looked after."""
        rows = await self._database.read(lambda link: link.run(_NEXT))
        return rows[0]["at"]

    async def claim(self, task: CloudTask, until: int) -> bool:
        """Become the one who looks at a due task until a moment; False when another process was first."""
        taken = await self._database.write(lambda link: link.run(_CLAIM, until, task.id, task.next_poll_at))
        if taken:
            task.next_poll_at = until
        return bool(taken)

    async def hurry(self, now: int) -> None:
        """Every task is due: whoever looked after them is gone."""
        await self._database.write(lambda link: link.run(_HURRY, now, now))

    async def delete(self, task_id: str) -> bool:
        """Delete a task and its activities; whether it was there."""

        def work(link: Link) -> bool:
            link.run(_DELETE_ACTIVITIES, columns.text(task_id))
            return bool(link.run(_DELETE, columns.text(task_id)))

        return await self._database.write(work)

    async def prune(self, before: int) -> int:
        """Delete ended tasks that have not changed since ``before``; how many went."""
        gone = 0
        for status in OVER:
            while rows := await self._database.read(lambda link, status=status: link.run(_OLD, status.value, before)):
                for row in rows:
                    gone += await self.delete(row["id"])
        return gone


def _added(link: Link, task_id: str, activities: Sequence[Activity]) -> int:
    row = link.run(_SEQ, task_id)[0]
    seq, added = int(row["seq"]), 0
    for one in activities[: max(0, MOST_ACTIVITIES - int(row["kept"]))]:
        values = (
            task_id,
            seq + 1,
            *map(columns.text, (one.id, one.type, one.content)),
            columns.encoded(one.metadata),
            columns.whole(one.at),
        )
        if link.run(_ADD, *values):
            seq, added = seq + 1, added + 1
    return added


def _values(task: CloudTask) -> tuple[object, ...]:
    """A task in the order of :data:`TASKS`."""
    return (
        *map(columns.text, (task.id, task.provider_id, task.external_id, task.credential_id, task.status.value, task.prompt)),
        columns.encoded(task.source), columns.encoded(task.options),
        None if task.result is None else columns.encoded(task.result),
        columns.text(task.error), None if task.idempotency is None else columns.text(task.idempotency),
        columns.maybe(task.next_poll_at), task.wait_ms, task.failures, task.created_at, task.updated_at, columns.maybe(task.completed_at),
    )  # fmt: skip


def _task(row: dict[str, Any]) -> CloudTask:
    fields: dict[str, Any] = {name: row[name] for name in TASKS}
    for name in ("source", "options", "result"):
        fields[name] = None if row[name] is None else msgspec.json.decode(row[name])
    fields["status"] = Status(row["status"])
    return CloudTask(**fields)
