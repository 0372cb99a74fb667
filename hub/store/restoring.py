"""Puts an archive in the place of what is stored, in one transaction of the database that serves meanwhile.

Who reads goes on with the old state until the commit, who changes it waits for that; a kill at any moment leaves the one or the other.
On PostgreSQL what takes long is done before anybody has to wait: the archive's rows are put beside the tables first (:func:`aside`).
The archive is one that :mod:`hub.store.scratch` has made anew. With a backup of this very hub what was
set up goes back, and what has happened stays: usage, money, the audit log, files, batches and tasks go on. So no restore gives a
budget money back or does work twice. A backup of another hub replaces everything.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import psycopg

from hub.errors import Unavailable
from hub.store.archive import LIVE, Column, columns, names, tables
from hub.store.tables import Base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from hub.store.database import Driver, Link

#: What is set by hand: the counter of changes goes on, and the audit log may.
APART = LIVE | {"revision", "audit_log"}
#: What owners set up: it goes back with every restore, and so does a table that none of these names.
SET_UP = frozenset({"api_keys", "connections", "values", "documents", "login_owner"})
#: What has happened and what is at work, which no restore of a hub's own backup undoes; missing rows of the first group are added.
ADDED = frozenset({
    "usage", "usage_hours", "usage_days", "latency_hours", "decisions", "replays", "responses", "model_responses",
    "tasks", "push_configs", "cloud_agent_tasks", "cloud_agent_activities", "state",
    "eval_runs", "eval_results", "assessments", "compression_runs", "compression_engines", "webhook_standings", "skill_executions",
    "memories", "memory_vectors",
})  # fmt: skip
ONGOING = frozenset({"spend", "files", "batches", "batch_items", "compression_outputs", "webhook_deliveries"})
#: What the tables of :func:`aside` are called.
_STAGED = "staged_"
_BATCH = 500
#: Shorter than PostgreSQL's own look for deadlocks, so that who is in our way is never the one to fail.
_LOCK_MS, _TRIES = 300, 60
_FREED = (
    "UPDATE batch_items SET owner = '', due_at = 0 WHERE owner <> '' AND due_at IS NOT NULL",
    "UPDATE batches SET owner = '', due_at = 0 WHERE owner <> ''",
    # Sealed by the vault that was here before.
    "DELETE FROM request_contents",
)
_HELD = (
    "INSERT INTO spend (budget_id, period, start, spent, held, warned_at, exceeded_at, mark) "
    "SELECT budget_id, '', 0, 0, sum(amount), NULL, NULL, 0 FROM holds GROUP BY budget_id "
    "ON CONFLICT (budget_id, period, start) DO UPDATE SET held = excluded.held"
)
_VALUE = 'INSERT INTO "values" (name, value, updated_at) VALUES (?, ?, 0) ON CONFLICT (name) DO UPDATE SET value = excluded.value'


class Plan(NamedTuple):
    """How an archive is put back.

    ``before`` is called when nobody can change anything any more, and keeps the old state. ``vault`` are the rows of the vault that are
    to be there afterwards, ``keep_audit`` says that the audit log is the same and goes on, ``mark`` is the last record of the
    journal of money that the old state counts.
    """

    archive: Path
    before: Callable[[], None]
    vault: Mapping[str, str]
    own: bool
    chained: bool
    mark: int


def aside(driver: Driver, plan: Plan) -> Link | None:
    """A connection whose transaction holds the rows to be put back, but for those that are there; None on SQLite, which needs none.

    It is the caller's to close. Raises HubError.
    """
    if driver.dialect == "sqlite":
        return None
    link: Link | None = None
    try:
        link = driver.connect(writer=True)
        with closing(sqlite3.connect(plan.archive, isolation_level=None)) as source:
            for table, added in _taken(plan):
                _stage(link, source, table, added=added)
    except BaseException as error:
        if link is not None:
            link.raw.close()
        if isinstance(error, driver.errors):
            raise driver.explain(error) from error
        raise
    return link


def restore(link: Link, plan: Plan) -> list[dict[str, Any]]:
    """Do it, on SQLite's writer or the connection of :func:`aside`; the sums of budgets that are there now.

    Raises the driver's own errors.
    """
    return _into_sqlite(link, plan) if link.dialect == "sqlite" else _into_postgres(link, plan)


def _into_sqlite(link: Link, plan: Plan) -> list[dict[str, Any]]:
    raw = cast("sqlite3.Connection", link.raw)
    raw.execute("ATTACH ? AS restored", (str(plan.archive),))
    try:
        link.begin(durable=True)
        plan.before()
        for table, added in _taken(plan):
            listed = names(columns(raw, table))
            if not added:
                link.run(f'DELETE FROM main."{table}"')  # noqa: S608 - names from our own schema
            source = f'SELECT {listed} FROM restored."{table}" WHERE true ON CONFLICT DO NOTHING'  # noqa: S608 - as above
            link.run(f'INSERT INTO main."{table}" ({listed}) {source}')
        found = raw.execute("SELECT version, audit_seq, audit_hash FROM restored.revision").fetchone()
        spent = _settle(link, plan, found)
        link.commit()
    finally:
        raw.rollback()
        raw.execute("DETACH restored")
    return spent


def _into_postgres(link: Link, plan: Plan) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(plan.archive, isolation_level=None)) as source:
        _alone(link, plan)
        plan.before()
        for table, added in _taken(plan):
            listed = names(columns(source, table))
            if not added:
                link.run(f'DELETE FROM "{table}"')  # noqa: S608 - names from our own schema
            staged = f'SELECT {listed} FROM "{_STAGED}{table}" ON CONFLICT DO NOTHING'  # noqa: S608 - as above
            link.run(f'INSERT INTO "{table}" ({listed}) {staged}')
        found = source.execute("SELECT version, audit_seq, audit_hash FROM revision").fetchone()
    if not plan.own:
        link.run(_HELD)
    spent = _settle(link, plan, found)
    link.commit()
    return spent


def _stage(link: Link, source: sqlite3.Connection, table: str, *, added: bool) -> None:
    """Put an archive's rows into a table of this connection's own; with ``added`` only those that are missing now."""
    listed, staged = columns(source, table), f"{_STAGED}{table}"
    link.run(f'CREATE TEMPORARY TABLE "{staged}" (LIKE "{table}") ON COMMIT DROP')
    with (
        cast("psycopg.Connection[tuple[Any, ...]]", link.raw)
        .cursor()
        .copy(f'COPY "{staged}" ({names(listed)}) FROM STDIN'.encode()) as copy
    ):
        for row in _rows(source, table, listed):
            copy.write_row(row)
    if added:
        link.run(f'ANALYZE "{staged}"')
        same = " AND ".join(f'here."{key.name}" = there."{key.name}"' for key in Base.metadata.tables[table].primary_key)
        link.run(f'DELETE FROM "{staged}" AS here USING "{table}" AS there WHERE {same}')  # noqa: S608 - names from our own schema


def _alone(link: Link, plan: Plan) -> None:
    """Have the tables that are replaced for writing, as one: what others write now is finished, what they write next waits.

    With a backup of this hub the rest goes on: money is held and settled, and calls are written down.
    """
    apart: frozenset[str] = LIVE | ADDED | ONGOING if plan.own else frozenset()
    listed = ", ".join(f'"{table}"' for table in tables() if table not in apart)
    for _ in range(_TRIES):
        link.run("SAVEPOINT alone")
        link.run(f"SET LOCAL lock_timeout = {_LOCK_MS:d}")
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            link.run(f"LOCK TABLE {listed} IN EXCLUSIVE MODE")
            link.run("SET LOCAL lock_timeout = 0")
            return
        link.run("ROLLBACK TO SAVEPOINT alone")
    raise Unavailable("the database is too busy to be restored now; nothing was changed, try again", retry_after=5)


def _rows(source: sqlite3.Connection, table: str, listed: list[Column]) -> Iterator[tuple[Any, ...]]:
    """Rows of an archive as PostgreSQL takes them."""
    flags = [place for place, column in enumerate(listed) if column.kind == "boolean"]
    cursor = source.execute(f'SELECT {names(listed)} FROM "{table}"')  # noqa: S608 - names from our own schema
    while rows := cursor.fetchmany(_BATCH):
        for row in rows:
            values = list(row)
            for place in flags:
                values[place] = None if values[place] is None else bool(values[place])
            yield tuple(values)


def _taken(plan: Plan) -> Iterator[tuple[str, bool]]:
    """The tables that an archive fills, and whether its rows are added to what is there."""
    for table in tables():
        if table not in APART and not (plan.own and table in ONGOING):
            yield table, plan.own and table in ADDED
    if not plan.chained:
        yield "audit_log", False


def _settle(link: Link, plan: Plan, revision: tuple[int, int, str]) -> list[dict[str, Any]]:
    """What is not simply the archive's: leases of processes that are gone, the vault, marks of the journal, the counter of changes."""
    for name, value in plan.vault.items():
        link.run(_VALUE, name, value)
    if not plan.own:
        for sql in _FREED:
            link.run(sql)
        link.run("UPDATE spend SET mark = ?", plan.mark)
    if not plan.chained:
        link.run("UPDATE revision SET audit_seq = ?, audit_hash = ? WHERE id = 1", revision[1], revision[2])
    # Higher than either was, so that every process sees that all is new.
    link.run("UPDATE revision SET version = CASE WHEN version < ? THEN ? ELSE version END + 1 WHERE id = 1", revision[0], revision[0])
    return link.run("SELECT budget_id, period, start, spent, warned_at, exceeded_at FROM spend WHERE period <> ''")
