"""An archive: one SQLite file of ours that holds every table, made of either database (docs/backups.md).

It is consistent (one snapshot), whole when its name appears, and readable by its owner only. What belongs to running
processes alone is not in it. Secrets are in it as they are stored: sealed by the vault, whose master key is elsewhere.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hub.store.sqlite import Sqlite, blank
from hub.store.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import psycopg

    from hub.store.database import Driver, Link

#: Tables about running processes, who is logged in or tries to be, and what was said in requests, which has to be gone when it is
#: forgotten: never restored, empty in an archive.
LIVE = frozenset({"holds", "processes", "login_sessions", "login_tries", "request_contents"})
_BATCH = 500


class Column(NamedTuple):
    """A column as SQLite declares it. ``kind`` is text, integer, boolean or real."""

    name: str
    kind: str
    optional: bool


class Counts(NamedTuple):
    """What an archive holds, in the words of the API."""

    connections: int
    nodes: int
    combos: int
    keys: int


def tables() -> list[str]:
    """Every table of ours at the newest schema, in a fixed order."""
    return sorted(Base.metadata.tables)


def make(driver: Driver, link: Link, target: Path, revision: str) -> None:
    """Write what a connection sees now to a new file, whole and on the disk when this returns. Raises the driver's own errors, OSError.

    ``link`` has no transaction open. A target that is there is left from an attempt before.
    """
    target.unlink(missing_ok=True)
    if isinstance(driver, Sqlite):
        _of_sqlite(cast("sqlite3.Connection", link.raw), target)
    else:
        _of_postgres(link, target, revision)
    file = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def columns(raw: sqlite3.Connection, table: str) -> list[Column]:
    """The columns of one of our tables in a file with our schema."""
    found = raw.execute('SELECT name, upper(type), "notnull" FROM pragma_table_info(?)', (table,)).fetchall()
    return [Column(name, _kind(kind), not required) for name, kind, required in found]


def names(listed: Iterable[Column]) -> str:
    """Column names as SQL has them."""
    return ", ".join(f'"{column.name}"' for column in listed)


def held(raw: sqlite3.Connection) -> set[str]:
    """The tables of a file, alembic's own left out."""
    rows = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'")
    return {row[0] for row in rows}


def counts(raw: sqlite3.Connection) -> Counts:
    """How many things of each kind a file holds, without reading more than it must."""

    def one(sql: str) -> int:
        return raw.execute(sql).fetchone()[0]

    return Counts(
        one("SELECT count(*) FROM connections"),
        one("SELECT count(*) FROM connections WHERE json_extract(data, '$.prefix') <> ''"),
        one("SELECT count(*) FROM documents WHERE kind = 'combo'"),
        one("SELECT count(*) FROM api_keys"),
    )


def _kind(declared: str) -> str:
    if "BOOL" in declared:
        return "boolean"
    if "INT" in declared:
        return "integer"
    return "text" if declared == "TEXT" or "CHAR" in declared else "real"


def _of_sqlite(source: sqlite3.Connection, target: Path) -> None:
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    raw = sqlite3.connect(target, isolation_level=None)
    try:
        # All pages in one step are one snapshot; writers go on meanwhile, and so do other threads.
        source.backup(raw, pages=-1)
        raw.execute("PRAGMA journal_mode=DELETE")
        gone = {table: raw.execute(f'DELETE FROM "{table}"').rowcount for table in sorted(LIVE & held(raw))}  # noqa: S608 - constants
        if gone.get("request_contents"):
            raw.execute("VACUUM")  # its pages would be most of the file
    finally:
        raw.close()


def _of_postgres(link: Link, target: Path, revision: str) -> None:
    blank(target, revision)
    raw = sqlite3.connect(target, isolation_level=None)
    try:
        link.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        raw.execute("BEGIN")
        for table in sorted(held(raw) - LIVE):
            listed = columns(raw, table)
            marks = ", ".join("?" * len(listed))
            raw.execute(f'DELETE FROM "{table}"')  # noqa: S608 - names from our own schema; migrations put rows there
            for rows in _read(link, f'SELECT {names(listed)} FROM "{table}"'):  # noqa: S608 - names from our own schema
                raw.executemany(f'INSERT INTO "{table}" ({names(listed)}) VALUES ({marks})', rows)  # noqa: S608 - as above
        # What is held belongs to calls under way.
        raw.execute("UPDATE spend SET held = 0")
        raw.execute("COMMIT")
    finally:
        raw.close()
        link.raw.rollback()


def _read(link: Link, sql: str) -> Iterator[Sequence[Any]]:
    """Rows of PostgreSQL in batches, so that a large table need not fit in memory."""
    with cast("psycopg.Connection[tuple[Any, ...]]", link.raw).cursor(name="archive") as cursor:
        cursor.execute(sql.encode())
        while rows := cursor.fetchmany(_BATCH):
            yield rows
