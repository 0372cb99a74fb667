"""Runs of evals and assessments: each is worked on by one process at a time, and what comes of its pieces is stored one by one.

A process that dies leaves its runs to the next, which goes on with the pieces that have no result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.database import Database, Link

_LIGHT = (
    "id", "kind", "subject", "group_id", "key_id", "status", "facts", "summary", "total", "done", "created_at", "ended_at",
    "owner", "due_at",
)  # fmt: skip
_NAMES = ", ".join(_LIGHT)
_ASSESSMENTS = ("model_id", "provider_id", "status", "tested_at", "body")
_PUT = columns.insert("eval_runs", (*_LIGHT, "work"))
_FIND = f"SELECT {_NAMES} FROM eval_runs WHERE id = ?"  # noqa: S608 - constants
_WORK = "SELECT work FROM eval_runs WHERE id = ?"
_LIST = (
    f"SELECT {_NAMES} FROM eval_runs WHERE kind = ? AND (? = '' OR subject = ?) AND (? = '' OR group_id = ?) "  # noqa: S608 - constants
    "AND (? = 0 OR status = 'completed') ORDER BY created_at DESC, id DESC LIMIT ?"
)
_OPEN = f"SELECT {_NAMES} FROM eval_runs WHERE ended_at IS NULL ORDER BY created_at, id"  # noqa: S608 - constants
_LEASE = (
    "UPDATE eval_runs SET owner = ?, due_at = ?, status = CASE WHEN status = 'queued' THEN 'running' ELSE status END "
    "WHERE id = ? AND ended_at IS NULL AND (owner = '' OR owner = ? OR due_at <= ?) RETURNING id"
)
_RENEW = "UPDATE eval_runs SET due_at = ? WHERE owner = ?"
_FREE = "UPDATE eval_runs SET owner = '', due_at = 0 WHERE owner <> ''"
_LEAVE = "UPDATE eval_runs SET owner = '', due_at = 0 WHERE owner = ?"
_CANCEL = "UPDATE eval_runs SET status = 'cancelling' WHERE id = ? AND status IN ('queued', 'running') RETURNING id"
_END = "UPDATE eval_runs SET status = ?, summary = ?, ended_at = ?, owner = '', due_at = 0 WHERE id = ? AND owner = ? RETURNING id"
_ADD = columns.insert("eval_results", ("run_id", "seq", "result")) + " ON CONFLICT (run_id, seq) DO NOTHING RETURNING seq"
_COUNT = "UPDATE eval_runs SET done = done + 1 WHERE id = ?"
_RESULTS = "SELECT seq, result FROM eval_results WHERE run_id = ? ORDER BY seq"
_DELETE_RESULTS = "DELETE FROM eval_results WHERE run_id = ?"
_DELETE = "DELETE FROM eval_runs WHERE id = ? AND ended_at IS NOT NULL RETURNING id"
_OLD = "SELECT id FROM eval_runs WHERE ended_at < ? LIMIT 50"
_ASSESSED = columns.insert("assessments", _ASSESSMENTS) + (
    " ON CONFLICT (model_id) DO UPDATE SET provider_id = excluded.provider_id, status = excluded.status,"
    " tested_at = excluded.tested_at, body = excluded.body"
)
_NEWER = "SELECT body, tested_at FROM assessments WHERE tested_at >= ?"
_FORGET = "DELETE FROM assessments WHERE tested_at < ? RETURNING model_id"


class Run(msgspec.Struct, kw_only=True):
    """A run. ``subject`` is its suite or scope, ``facts`` and ``summary`` are JSON of its kind; ``done`` of ``total`` pieces have a result.

    ``status``: queued, running, cancelling; over are completed, cancelled, stopped (by a limit) and failed. Times in epoch ms.
    """

    id: str
    kind: str
    subject: str
    group_id: str
    key_id: str
    status: str
    facts: str
    total: int
    created_at: int
    summary: str = ""
    done: int = 0
    ended_at: int | None = None
    owner: str = ""
    due_at: int = 0


class Assessed(msgspec.Struct):
    """What is known of a model, beside the run that found it out."""

    model_id: str
    provider_id: str
    status: str
    tested_at: int
    body: str


class RunRows:
    """The tables of runs, results and assessments. ``owner`` names this process in leases."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.owner = clock.new_id("prc_")

    async def create(self, runs: list[tuple[Run, str]]) -> None:
        """Keep new runs, each with its work (JSON); on the disk when this returns."""
        rows = [(*(_stored(getattr(run, name)) for name in _LIGHT), columns.text(work)) for run, work in runs]
        await self._database.write(lambda link: link.many(_PUT, rows), durable=True)

    async def find(self, run_id: str) -> Run | None:
        """A run by its id."""
        rows = await self._database.read(lambda link: link.run(_FIND, columns.text(run_id)))
        return Run(**rows[0]) if rows else None

    async def work(self, run_id: str) -> str:
        """What a run has to do, as JSON; empty where there is no such run."""
        rows = await self._database.read(lambda link: link.run(_WORK, columns.text(run_id)))
        return rows[0]["work"] if rows else ""

    async def list(self, kind: str, *, subject: str = "", group_id: str = "", completed: bool = False, limit: int = 20) -> list[Run]:
        """Runs of a kind, the newest first."""
        subject, group_id = columns.text(subject), columns.text(group_id)
        given = (kind, subject, subject, group_id, group_id, int(completed), limit)
        return [Run(**row) for row in await self._database.read(lambda link: link.run(_LIST, *given))]

    async def open(self) -> list[Run]:
        """All runs that are not over, the oldest first."""
        return [Run(**row) for row in await self._database.read(lambda link: link.run(_OPEN))]

    async def lease(self, run_id: str, until: int) -> bool:
        """Become the one who works on a run; False while another process does."""
        now = self._clock.now_ms()
        return bool(await self._database.write(lambda link: link.run(_LEASE, self.owner, until, run_id, self.owner, now)))

    async def renew(self, until: int) -> None:
        """Say that this process still works on its runs."""
        await self._database.write(lambda link: link.run(_RENEW, until, self.owner))

    async def free(self) -> None:
        """Nobody works on anything: the process before this one is gone, and there is no other."""
        await self._database.write(lambda link: link.run(_FREE))

    async def leave(self) -> None:
        """This process works on nothing any more."""
        await self._database.write(lambda link: link.run(_LEAVE, self.owner))

    async def cancel(self, run_id: str) -> bool:
        """Have a run end early; whether it was there and going on."""
        return bool(await self._database.write(lambda link: link.run(_CANCEL, columns.text(run_id)), durable=True))

    async def end(self, run_id: str, status: str, summary: str) -> bool:
        """A run that this process works on is over; False where it works on it no more."""
        given = (status, columns.text(summary), self._clock.now_ms(), run_id, self.owner)
        return bool(await self._database.write(lambda link: link.run(_END, *given), durable=True))

    async def add(self, run_id: str, seq: int, result: str, assessed: Assessed | None = None) -> bool:
        """Store what came of a piece, once; False where there is a result already. What it tells of a model is stored with it."""

        def work(link: Link) -> bool:
            if not link.run(_ADD, run_id, seq, columns.text(result)):
                return False
            link.run(_COUNT, run_id)
            if assessed is not None:
                link.run(_ASSESSED, *(_stored(getattr(assessed, name)) for name in _ASSESSMENTS))
            return True

        return await self._database.write(work)

    async def results(self, run_id: str) -> list[tuple[int, str]]:
        """The results of a run so far as (number of the piece, JSON), in the order of the pieces."""
        return [(row["seq"], row["result"]) for row in await self._database.read(lambda link: link.run(_RESULTS, columns.text(run_id)))]

    async def delete(self, run_id: str) -> bool:
        """Forget a run that is over with its results; whether it was there and over."""

        def work(link: Link) -> bool:
            if not link.run(_DELETE, columns.text(run_id)):
                return False
            link.run(_DELETE_RESULTS, columns.text(run_id))
            return True

        return await self._database.write(work)

    async def prune(self, before: int) -> int:
        """Forget the runs that ended before a moment, a few at a time; how many went."""
        gone = 0
        while rows := await self._database.read(lambda link: link.run(_OLD, before)):
            for row in rows:
                gone += await self.delete(row["id"])
        return gone

    async def assessments(self, since: int) -> list[tuple[str, int]]:
        """Assessments that were made at a moment or later, as (JSON, when)."""
        return [(row["body"], row["tested_at"]) for row in await self._database.read(lambda link: link.run(_NEWER, since))]

    async def forget_assessments(self, before: int) -> int:
        """Forget the models that were assessed last before a moment; how many went."""
        return len(await self._database.write(lambda link: link.run(_FORGET, before)))


def _stored(value: Any) -> Any:
    return columns.text(value) if isinstance(value, str) else value
