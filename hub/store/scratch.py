"""A file that somebody says is a backup, made anew as a database of our own making (SEC-40).

Nothing of the file but the values of rows gets in: the schema is ours, made by our migrations at the file's revision, and the values
are checked one by one against it. Triggers, views, virtual tables and tables of others are refused before anything is read from one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from hub.errors import BadRequest, HubError
from hub.store import schema, shelf
from hub.store.archive import LIVE, Column, columns, held, names
from hub.store.database import Link
from hub.store.migration import upgrade
from hub.store.sqlite import Sqlite, blank, look

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hub.store.database import Raw

#: The least that a database of ours can be, and the longest value of a row, in bytes.
LEAST = 4096
_LONGEST = 256 * 2**20
_ROWS = 500
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "boolean": (int,), "real": (float, int)}
_SCHEMA = "SELECT type, name, coalesce(sql, '') FROM sqlite_master"


class NotABackup(BadRequest):
    """A file that is not a backup of a hub, or not a sound one. Nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the file is no backup that can be restored: {why}. Nothing was changed", field="file", code="not_a_backup")


def remade(source: Path, target: Path, *, most: int) -> str:
    """Make a new database of ours, at the newest schema, of what ``source`` says; the revision it was written at.

    ``most`` is how many bytes the file may have. ``target`` must not exist, and does not when this fails. Call it in a thread.
    Raises NotABackup, OSError.
    """
    _sized(source, most)
    try:
        # Immutable: SQLite reads the file as it is, and writes nothing beside it.
        given = sqlite3.connect(f"file:{quote(str(source))}?mode=ro&immutable=1", uri=True, isolation_level=None)
        with closing(given):
            revision = _checked(given)
            blank(target, revision)
            _fill(given, target)
        _lift(target)
    except BaseException as error:
        shelf.remove(target)
        if isinstance(error, (sqlite3.Error, OverflowError, UnicodeError)):
            raise NotABackup(_why(error)) from error
        raise
    return revision


def _sized(source: Path, most: int) -> None:
    size = source.stat().st_size
    if size < LEAST:
        raise NotABackup(f"it has {size} bytes, less than any database of a hub")
    if size > most:
        raise NotABackup(f"it has {size} bytes; HUBROUTE_MAX_BACKUP_MB allows {most}")
    head = look(source)
    if head.fault:
        raise NotABackup(head.fault)
    if not head.ours:
        raise NotABackup("it is a database of another program")
    if head.missing > 0:
        raise NotABackup(f"{head.missing} bytes are missing at its end")


def _checked(given: sqlite3.Connection) -> str:
    """The revision of a file whose schema holds nothing but tables and indexes of ours, and whose pages are sound."""
    given.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    given.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0"):
        given.execute(f"PRAGMA {pragma}")
    for kind, name, sql in given.execute(_SCHEMA).fetchall():
        if kind not in ("table", "index") or sql.upper().lstrip().startswith("CREATE VIRTUAL"):
            raise NotABackup(f"it has a {kind if kind in ('trigger', 'view') else 'virtual table'} {str(name)[:80]!r}")
    found = given.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise NotABackup(" ".join(str(found).split())[:300])
    rows = given.execute("SELECT version_num FROM alembic_version").fetchall()
    if len(rows) != 1:
        raise NotABackup("it does not say which schema it has")
    try:
        schema.pending(rows[0][0])
    except HubError as error:
        raise NotABackup(error.message) from error
    return rows[0][0]


def _fill(given: sqlite3.Connection, target: Path) -> None:
    made = sqlite3.connect(target, isolation_level=None)
    with closing(made):
        ours = held(made)
        _same("table", held(given), ours)
        made.execute("PRAGMA synchronous=OFF")  # it is synced as a whole, or thrown away
        made.execute("BEGIN")
        for table in sorted(ours):
            _copy(given, made, table)
        made.execute("COMMIT")


def _copy(given: sqlite3.Connection, made: sqlite3.Connection, table: str) -> None:
    listed = columns(made, table)
    theirs = given.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
    _same(f"column of {table}", {name for name, hidden in theirs if not hidden}, {column.name for column in listed})
    if any(hidden for _, hidden in theirs):
        raise NotABackup(f"{table} has columns that are computed")
    made.execute(f'DELETE FROM "{table}"')  # noqa: S608 - names from our own schema; migrations put rows there
    if table in LIVE:
        return
    marks = ", ".join("?" * len(listed))
    rows = given.execute(f'SELECT {names(listed)} FROM "{table}" NOT INDEXED')  # noqa: S608 - names from our own schema
    made.executemany(f'INSERT INTO "{table}" ({names(listed)}) VALUES ({marks})', _sound(rows, table, listed))  # noqa: S608 - as above


def _sound(rows: Iterable[tuple[Any, ...]], table: str, listed: list[Column]) -> Iterator[tuple[Any, ...]]:
    """The rows, each value checked against its column."""
    wanted = [(column, (*_TYPES[column.kind], type(None)) if column.optional else _TYPES[column.kind]) for column in listed]
    for row in rows:
        for value, (column, types) in zip(row, wanted, strict=True):
            if not isinstance(value, types) or (column.kind == "boolean" and value not in (0, 1, None)):
                raise NotABackup(f"a value in {table}.{column.name} is not {column.kind}")
        yield row


def _lift(target: Path) -> None:
    """Bring the new database to the newest schema, and onto the disk."""
    raw = sqlite3.connect(target, isolation_level=None, check_same_thread=False)
    with closing(raw):
        upgrade(Link(cast("Raw", raw), Sqlite.dialect, writer=True))
    file = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    with suppress(OSError):
        os.fsync(file)
    os.close(file)


def _same(what: str, theirs: set[str], ours: set[str]) -> None:
    if more := sorted(theirs - ours):
        raise NotABackup(f"it has a {what} {more[0][:80]!r} that no hub has")
    if lacking := sorted(ours - theirs):
        raise NotABackup(f"it lacks the {what} {lacking[0]!r}")


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
