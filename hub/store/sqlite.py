"""SQLite: one file in WAL mode, with exactly one connection that writes and checkpoints.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL that two connections reset (libraries.md, trap 3). So readers are
``query_only`` and never checkpoint, and the writer is closed last.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from hub.errors import NotConfigured, Unavailable
from hub.store import deferred, schema
from hub.store.database import DatabaseDamaged, Link, RowRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.errors import HubError
    from hub.store.database import Raw

#: "HubR" in the file's header says that the database is ours (https://www.sqlite.org/fileformat.html, 1.3.7).
APPLICATION_ID = 0x48756252
_MAGIC = b"SQLite format 3\x00"
_HEADER = 100
#: Up to this size the whole file is checked at every start; a larger one would make starting slow (REL-24).
_CHECKED_BYTES = 16 * 1024 * 1024
_ROW = ("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")
_WORDS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file is read-only",
    "SQLITE_IOERR": "the disk reports an error",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_BUSY": "another program holds the file",
    "SQLITE_PERM": "the file may not be read or written",
}


class Sqlite:
    """The driver for one SQLite file."""

    dialect = "sqlite"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, OverflowError, UnicodeError)

    def __init__(self, path: Path, before_migration: Callable[[Link, str], None] | None = None) -> None:
        self.path = path
        self._before_migration = before_migration

    def prepare(self) -> None:
        """Create the file, or check the one that is there, and bring it to the current schema."""
        if self.path.exists():
            self._inspect()
        else:
            self._create()
        link = self.connect(writer=True)
        try:
            if self.path.stat().st_size <= _CHECKED_BYTES:
                self._check(link)
            schema.ensure(link, self._before_migration)
        finally:
            link.raw.close()

    def connect(self, *, writer: bool) -> Link:
        """The writer, or a reader that cannot write and does not checkpoint."""
        raw = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        link = Link(cast("Raw", raw), self.dialect, writer=writer)
        link.run("PRAGMA trusted_schema=OFF")
        if writer:
            link.run("PRAGMA journal_mode=WAL")
            link.run("PRAGMA journal_size_limit=67108864")
        else:
            link.run("PRAGMA wal_autocheckpoint=0")
            link.run("PRAGMA query_only=ON")
        return link

    def lost(self, link: Link) -> bool:
        """A file does not go away."""
        return False

    def explain(self, error: Exception) -> HubError:
        """See :class:`hub.store.database.Driver`."""
        if not isinstance(error, sqlite3.Error):
            return RowRefused(f"the database refuses a value: {error}")
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self._damaged(str(error))
        if name.startswith(_ROW) or isinstance(error, (sqlite3.InterfaceError, sqlite3.ProgrammingError)):
            return RowRefused(f"the database refuses a row: {error}")
        words = next((words for start, words in _WORDS.items() if name.startswith(start)), str(error))
        return Unavailable(f"the database {self.path} cannot be used: {words}; mend that and try again")

    def version(self, link: Link) -> str:
        """The SQLite that this Python links."""
        return f"SQLite {sqlite3.sqlite_version}"

    def _create(self) -> None:
        """Build the new database beside its place and rename it, so that a crash leaves none rather than half of one."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        if wal.exists():
            raise DatabaseDamaged(
                f"{self.path} is missing, but its log {wal.name} is there; put the database file back beside it, "
                f"or move {wal.name} away to start with an empty database"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        blank(new)
        new.replace(self.path)
        sync_folder(self.path.parent)

    def _inspect(self) -> None:
        """Read the header before SQLite does, which would create or repair silently."""
        found = look(self.path)
        if found.fault:
            raise self._damaged(found.fault)
        if not found.ours:
            raise NotConfigured(f"{self.path} is a database of another program; name another file or move it away")
        wal = self.path.with_name(f"{self.path.name}-wal")
        if found.missing > 0 and not (wal.exists() and wal.stat().st_size):
            raise self._damaged(f"{found.missing} bytes are missing at its end")

    def _check(self, link: Link) -> None:
        found = link.run("PRAGMA quick_check(1)")[0]["quick_check"]
        if found != "ok":
            raise self._damaged(found)

    def _damaged(self, what: str) -> DatabaseDamaged:
        return DatabaseDamaged(
            f"the database {self.path} is damaged: {' '.join(what.split())}. Nothing was changed. Put a backup in its place "
            "(`hubroute backup restore --offline latest`; `hubroute backup list --offline` shows all), "
            f"or move it away and save what can be read: sqlite3 {self.path} .recover | sqlite3 saved.db"
        )


class Head(NamedTuple):
    """What the first bytes of a file say: what is wrong with them, whether the database is ours, how many bytes its end lacks."""

    fault: str
    ours: bool = False
    missing: int = 0


def look(path: Path) -> Head:
    """Read a file's header without SQLite."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if not head:
        return Head("the file is empty")
    if not head.startswith(_MAGIC):
        return Head("it is not an SQLite database")
    if len(head) < _HEADER:
        return Head("its header is cut off")
    page = int.from_bytes(head[16:18], "big")
    expected = int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page)
    return Head("", int.from_bytes(head[68:72], "big") == APPLICATION_ID, expected - path.stat().st_size)


def blank(path: Path, revision: str = schema.HEAD) -> None:
    """Make a new database at ``path``, which must not exist: without rows, with the schema of a revision."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # Before anything is written, or it has no effect: lets the file shrink without being written anew (REL-24).
        raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
        raw.execute(f"PRAGMA application_id={APPLICATION_ID:d}")
        deferred.migration().upgrade(Link(cast("Raw", raw), Sqlite.dialect, writer=True), revision)
    finally:
        raw.close()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
