"""Money in the database: what each budget has spent, and what is held for calls under way.

A hub that is alone with its database keeps the truth in memory and the journal, and writes sums behind. Where
several share one (PostgreSQL) the truth is here: each change locks the budget's own row (period ""), in the order
of ids, so that none waits for another in a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

T = TypeVar("T")

_COLUMNS = ("budget_id", "period", "start", "spent", "held", "warned_at", "exceeded_at", "mark")
_UPSERT = (
    columns.insert("spend", _COLUMNS) + " ON CONFLICT (budget_id, period, start) DO UPDATE SET spent = excluded.spent, "
    "warned_at = excluded.warned_at, exceeded_at = excluded.exceeded_at, mark = excluded.mark"
)
_OLDER = "DELETE FROM spend WHERE budget_id = ? AND period = ? AND start < ?"
_FORGET = "DELETE FROM spend WHERE budget_id = ?"
_LOAD = "SELECT budget_id, period, start, spent, held, warned_at, exceeded_at, mark FROM spend"
_ANCHOR = columns.insert("spend", _COLUMNS) + " ON CONFLICT (budget_id, period, start) DO NOTHING"
_LOCK = "SELECT budget_id, held FROM spend WHERE period = '' AND budget_id = ANY(?) ORDER BY budget_id FOR UPDATE"
_WINDOWS = f"{_LOAD} WHERE period <> '' AND budget_id = ANY(?)"
_HELD = "UPDATE spend SET held = ? WHERE budget_id = ? AND period = ''"
_HOLD = columns.insert("holds", ("id", "budget_id", "amount", "process", "at"))
_SETTLE = "DELETE FROM holds WHERE id = ANY(?) RETURNING id, budget_id, amount"
#: Milliseconds of the database's own clock, so that processes whose clocks differ agree on who is alive.
_NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
_SEEN = f"INSERT INTO processes (id, seen_at) VALUES (?, {_NOW}) ON CONFLICT (id) DO UPDATE SET seen_at = {_NOW}"  # noqa: S608 - constants
_DEAD = f"NOT EXISTS (SELECT 1 FROM processes p WHERE p.id = holds.process AND p.seen_at >= {_NOW} - ?)"  # noqa: S608 - constants
_LEFT_BEHIND = f"SELECT DISTINCT budget_id FROM holds WHERE {_DEAD} ORDER BY budget_id"  # noqa: S608 - constants
_REAP = f"DELETE FROM holds WHERE budget_id = ANY(?) AND {_DEAD} RETURNING id, budget_id, amount"  # noqa: S608 - constants
_GONE = f"DELETE FROM processes WHERE seen_at < {_NOW} - ?"  # noqa: S608 - constants
_BYE = "DELETE FROM processes WHERE id = ? AND NOT EXISTS (SELECT 1 FROM holds WHERE process = processes.id)"


class PeriodRow(NamedTuple):
    """What one budget has spent in one period, in nano-dollars; times in epoch milliseconds."""

    period: str
    start: int
    spent: int
    warned_at: int | None
    exceeded_at: int | None


class Spending:
    """The rows of all budgets. ``exclusive`` is a connection for money alone, so that no other row delays it."""

    def __init__(self, database: Database, exclusive: Database, queue: WriteBehind) -> None:
        self._database = database
        self._exclusive = exclusive
        self._queue = queue
        queue.register("spend", _save)

    async def load(self) -> list[dict[str, Any]]:
        """Every row; for a hub that is alone with its database."""
        return await self._database.read(lambda link: link.run(_LOAD))

    async def rows(self, budget_id: str) -> tuple[int, list[dict[str, Any]]]:
        """What is held of one budget, and the rows of its periods, as the database has them now."""
        rows = await self._database.read(lambda link: link.run(f"{_LOAD} WHERE budget_id = ?", budget_id))
        held = sum(row["held"] for row in rows)
        return held, [row for row in rows if row["period"]]

    def put(self, budget_id: str, rows: Sequence[PeriodRow], mark: int) -> None:
        """Write the sums of a budget behind; ``mark`` is the record of the journal up to which they count."""
        self._queue.replace("spend", budget_id, (budget_id, tuple(rows), mark))

    async def forget(self, budget_id: str) -> None:
        """Delete the rows of a budget."""
        self._queue.forget("spend", budget_id)
        await self._database.write(lambda link: link.run(_FORGET, budget_id))

    async def transact(self, work: Callable[[Link], T]) -> T:
        """Run work in one transaction on the money's own connection. Raises the HubError of the database."""
        return await self._exclusive.write(work)


def lock(link: Link, budget_ids: Sequence[str]) -> dict[str, int]:
    """Lock budgets until the transaction ends; what is held of each."""
    wanted = sorted(budget_ids)
    found = {row["budget_id"]: row["held"] for row in link.run(_LOCK, wanted)}
    if len(found) < len(wanted):
        link.many(_ANCHOR, [(one, "", 0, 0, 0, None, None, 0) for one in wanted if one not in found])
        found = {row["budget_id"]: row["held"] for row in link.run(_LOCK, wanted)}
    return found


def windows(link: Link, budget_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The periods of locked budgets."""
    return link.run(_WINDOWS, list(budget_ids))


class Change(NamedTuple):
    """A locked budget to write back: ``held`` None leaves what is held, ``rolled`` says that a new period began."""

    budget_id: str
    rows: Sequence[PeriodRow]
    held: int | None
    rolled: bool


def save(link: Link, changes: Sequence[Change]) -> None:
    """Write locked budgets back, in as few statements as it takes."""
    upserts = [
        (one.budget_id, row.period, row.start, row.spent, 0, row.warned_at, row.exceeded_at, 0) for one in changes for row in one.rows
    ]
    held = [(one.held, one.budget_id) for one in changes if one.held is not None]
    older = [(one.budget_id, row.period, row.start) for one in changes if one.rolled for row in one.rows]
    for sql, rows in ((_UPSERT, upserts), (_HELD, held), (_OLDER, older)):
        if rows:
            link.many(sql, rows)


def clear(link: Link, budget_id: str) -> None:
    """Delete the periods of a locked budget; what is held of it stays."""
    link.run(f"{_FORGET} AND period <> ''", budget_id)


def hold(link: Link, rows: Sequence[tuple[str, str, int, str, int]]) -> None:
    """Write holds: id, budget, nano-dollars, process, epoch milliseconds."""
    link.many(_HOLD, rows)


def settle(link: Link, hold_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    """Take holds away; (hold, budget) -> amount of those that were there, so that each is settled once."""
    return {(row["id"], row["budget_id"]): row["amount"] for row in link.run(_SETTLE, list(hold_ids))}


def alive(link: Link, process: str) -> None:
    """Say that a process lives."""
    link.run(_SEEN, process)


def left_behind(link: Link, silent_ms: int) -> list[str]:
    """Budgets with holds of processes that have not been heard of for so long."""
    return [row["budget_id"] for row in link.run(_LEFT_BEHIND, silent_ms)]


def reap(link: Link, budget_ids: Sequence[str], silent_ms: int) -> list[dict[str, Any]]:
    """Take away the holds of such processes on locked budgets: rows of id, budget_id, amount."""
    return link.run(_REAP, list(budget_ids), silent_ms)


def sweep(link: Link, silent_ms: int) -> None:
    """Forget processes that have not been heard of for long; in a transaction of its own."""
    link.run(_GONE, silent_ms)


def goodbye(link: Link, process: str) -> None:
    """A process ends in order."""
    link.run(_BYE, process)


def _save(link: Link, rows: list[tuple[str, tuple[PeriodRow, ...], int]], again: bool) -> None:
    flat = [
        (budget, one.period, one.start, one.spent, 0, one.warned_at, one.exceeded_at, mark) for budget, all_, mark in rows for one in all_
    ]
    if flat:
        link.many(_UPSERT, flat)
        link.many(_OLDER, [(row[0], row[1], row[2]) for row in flat])
