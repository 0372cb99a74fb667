"""Runs of installed skills: written when they are asked for, when they begin and when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.database import Database, Link

PENDING, RUNNING, SUCCESS, ERROR, TIMEOUT = STATES = ("pending", "running", "success", "error", "timeout")

_COLUMNS = (
    "id", "skill_id", "skill", "key_id", "session_id", "request_id", "door", "input", "output", "status", "error", "tries", "duration_ms",
    "created_at", "ended_at",
)  # fmt: skip
_PUT = columns.insert("skill_executions", _COLUMNS)
_BEGIN = "UPDATE skill_executions SET status = 'running' WHERE id = ? AND status = 'pending'"
_END = (
    "UPDATE skill_executions SET status = ?, output = ?, error = ?, tries = ?, duration_ms = ?, ended_at = ? "
    "WHERE id = ? AND ended_at IS NULL RETURNING id"
)
_LOST = (
    "UPDATE skill_executions SET status = 'error', error = 'the hub stopped while it ran', ended_at = ? "
    "WHERE ended_at IS NULL AND created_at < ? RETURNING id"
)
_WHERE = "(? = '' OR key_id = ?) AND (? = '' OR skill_id = ?) AND (? = '' OR status = ?)"
_PAGE = f"SELECT * FROM skill_executions WHERE {_WHERE} ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"  # noqa: S608 - constants
_TOTAL = f"SELECT COUNT(*) AS found FROM skill_executions WHERE {_WHERE}"  # noqa: S608 - constants
_GET = "SELECT * FROM skill_executions WHERE id = ?"
_OLD = (
    "DELETE FROM skill_executions WHERE id IN (SELECT id FROM skill_executions WHERE created_at < ? AND ended_at IS NOT NULL "
    "ORDER BY created_at LIMIT 500) RETURNING id"
)


class Execution(msgspec.Struct, kw_only=True):
    """One run. ``skill`` is ``name@version``; ``input`` and ``output`` are JSON text. ``duration_ms`` is of all tries. Times: epoch ms."""

    id: str
    skill_id: str
    skill: str
    key_id: str
    session_id: str = ""
    request_id: str = ""
    door: str = ""
    input: str = ""
    output: str = ""
    status: str = PENDING
    error: str = ""
    tries: int = 0
    duration_ms: int = 0
    created_at: int = 0
    ended_at: int | None = None


class SkillRuns:
    """The table."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, run: Execution) -> None:
        """A run is asked for."""
        values = tuple(_stored(getattr(run, name)) for name in _COLUMNS)
        await self._database.write(lambda link: link.run(_PUT, *values))

    async def begin(self, run: Execution) -> None:
        """It begins."""
        run.status = RUNNING
        await self._database.write(lambda link: link.run(_BEGIN, run.id))

    async def end(self, run: Execution) -> None:
        """It is over, as the record says."""
        run.ended_at = self._clock.now_ms()
        given = (
            run.status, columns.text(run.output), columns.text(run.error), run.tries, columns.amount(run.duration_ms), run.ended_at, run.id,
        )  # fmt: skip
        await self._database.write(lambda link: link.run(_END, *given))

    async def lost(self, before: int) -> int:
        """Runs that began before then and never ended are over: their process is gone; how many."""
        return len(await self._database.write(lambda link: link.run(_LOST, self._clock.now_ms(), before)))

    async def page(self, *, key_id: str, skill_id: str, status: str, limit: int, offset: int) -> tuple[list[Execution], int]:
        """Runs, the newest first, and how many there are; an empty filter lets all through."""
        where = tuple(columns.text(one) for one in (key_id, key_id, skill_id, skill_id, status, status))

        def work(link: Link) -> tuple[list[dict[str, Any]], int]:
            return link.run(_PAGE, *where, limit, offset), link.run(_TOTAL, *where)[0]["found"]

        rows, total = await self._database.read(work)
        return [Execution(**row) for row in rows], total

    async def get(self, run_id: str) -> Execution | None:
        """One run."""
        rows = await self._database.read(lambda link: link.run(_GET, columns.text(run_id)))
        return Execution(**rows[0]) if rows else None

    async def delete_before(self, at: int) -> int:
        """Delete runs that are over and older than that; how many went."""
        gone = 0
        while rows := await self._database.write(lambda link: link.run(_OLD, at)):
            gone += len(rows)
        return gone


def _stored(value: Any) -> Any:
    return columns.text(value) if isinstance(value, str) else value
