"""Full text of memories: an index beside them that is made of them, and can be made anew at any time.

On SQLite it is a file of its own in the data folder (FTS5), so that no archive holds it and a seal of the contents is kept by removing
it; on PostgreSQL a table (tsvector with a GIN index). Both are given words that :mod:`hub.memory.words` has found, so that both find the
same. An entry carries the version of its memory: one whose content did not change is never written again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import msgspec

from hub.store.database import Database
from hub.store.sqlite import Sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hub.store.database import Link

#: The layout of the file; another one is thrown away and made anew.
_LAYOUT = 1
#: Any constant number: PostgreSQL's lock under which the table is made once.
_LOCK = 7_482_115_911


class Entry(msgspec.Struct, frozen=True):
    """A memory as it is found: the words of its content in a version."""

    id: str
    key_id: str
    version: int
    words: Sequence[str]


class FullText(Protocol):
    """An index. Every method raises HubError where the database does."""

    async def open(self) -> None:
        """Make it ready; once, before anything else."""
        ...

    async def close(self) -> None: ...

    async def put(self, entries: Sequence[Entry]) -> None:
        """Take memories in, in place of what was there of them; those with the version that is there already are passed over."""
        ...

    async def drop(self, ids: Sequence[str]) -> None: ...

    async def held(self) -> dict[str, int]:
        """The versions of all memories in it."""
        ...

    async def find(self, words: Sequence[str], key_id: str, limit: int) -> list[str]:
        """The ids of memories with any of these words, of a key where one is named; those with the most and rarest first."""
        ...

    async def clear(self) -> None:
        """Close it and forget everything, on the disk too."""
        ...


class _File(Sqlite):
    """The driver for the file. One that is damaged or of another layout is made anew."""

    def prepare(self) -> None:
        """See :class:`hub.store.sqlite.Sqlite`."""
        try:
            self._make()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not self.path.exists():
                raise
            self.remove()
            self._make()

    def remove(self) -> None:
        """Take the file away."""
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        link = self.connect(writer=True)
        try:
            if link.run("PRAGMA user_version")[0]["user_version"] != _LAYOUT:
                link.run("DROP TABLE IF EXISTS texts")
                link.run("DROP TABLE IF EXISTS held")
                link.run("CREATE TABLE held (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL)")
                link.run('CREATE VIRTUAL TABLE texts USING fts5(owner, words, tokenize="unicode61 remove_diacritics 0")')
                link.run(f"PRAGMA user_version={_LAYOUT:d}")
            link.run("INSERT INTO texts (texts) VALUES ('integrity-check')")
        finally:
            link.raw.close()


class SqliteText:
    """The index in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: Database | None = None

    async def open(self) -> None:
        """See :class:`FullText`."""
        self._database = Database(_File(self._path), readers=1)
        try:
            await self._database.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See :class:`FullText`."""
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    async def put(self, entries: Sequence[Entry]) -> None:
        """See :class:`FullText`."""
        await self._at.write(lambda link: _put(link, entries))

    async def drop(self, ids: Sequence[str]) -> None:
        """See :class:`FullText`."""
        await self._at.write(lambda link: _drop(link, ids))

    async def held(self) -> dict[str, int]:
        """See :class:`FullText`."""
        rows = await self._at.read(lambda link: link.run("SELECT id, version FROM held"))
        return {row["id"]: row["version"] for row in rows}

    async def find(self, words: Sequence[str], key_id: str, limit: int) -> list[str]:
        """See :class:`FullText`. What is asked goes in as quoted words, so no word can be taken for an operator."""
        wanted = f"words : ({' OR '.join(map(_quoted, words))})"
        if key_id:
            wanted = f"owner : {_quoted(_owner(key_id))} AND {wanted}"
        sql = (
            "SELECT held.id AS id FROM texts JOIN held ON held.number = texts.rowid WHERE texts MATCH ? "
            "ORDER BY bm25(texts, 0.0, 1.0) LIMIT ?"
        )
        return [row["id"] for row in await self._at.read(lambda link: link.run(sql, wanted, limit))]

    async def clear(self) -> None:
        """See :class:`FullText`."""
        await self.close()
        await asyncio.to_thread(_File(self._path).remove)

    @property
    def _at(self) -> Database:
        assert self._database is not None  # noqa: S101 - who uses it has opened it
        return self._database


class PostgresText:
    """The index in a table of the hub's own database, made at its first use; any process may be the first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> None:
        """See :class:`FullText`."""

        def work(link: Link) -> None:
            link.run("SELECT pg_advisory_xact_lock(?)", _LOCK)
            link.run(
                "CREATE TABLE IF NOT EXISTS memory_words "
                "(id TEXT PRIMARY KEY, key_id TEXT NOT NULL, version BIGINT NOT NULL, words TSVECTOR NOT NULL)"
            )
            link.run("CREATE INDEX IF NOT EXISTS ix_memory_words_words ON memory_words USING gin (words)")

        await self._database.write(work)

    async def close(self) -> None:
        """See :class:`FullText`."""

    async def put(self, entries: Sequence[Entry]) -> None:
        """See :class:`FullText`."""
        sql = (
            "INSERT INTO memory_words (id, key_id, version, words) VALUES (?, ?, ?, array_to_tsvector(string_to_array(?, ' '))) "
            "ON CONFLICT (id) DO UPDATE SET version = excluded.version, words = excluded.words "
            "WHERE memory_words.version <> excluded.version"
        )
        rows = [(one.id, one.key_id, one.version, " ".join(one.words)) for one in sorted(entries, key=lambda one: one.id)]
        await self._database.write(lambda link: link.many(sql, rows))

    async def drop(self, ids: Sequence[str]) -> None:
        """See :class:`FullText`."""
        rows = [(one,) for one in sorted(ids)]
        await self._database.write(lambda link: link.many("DELETE FROM memory_words WHERE id = ?", rows))

    async def held(self) -> dict[str, int]:
        """See :class:`FullText`."""
        rows = await self._database.read(lambda link: link.run("SELECT id, version FROM memory_words"))
        return {row["id"]: row["version"] for row in rows}

    async def find(self, words: Sequence[str], key_id: str, limit: int) -> list[str]:
        """See :class:`FullText`. The question goes in as lexemes in quotes, which PostgreSQL does not parse further."""
        wanted = " | ".join("'{}'".format(word.replace("\\", "\\\\").replace("'", "''")) for word in words)
        sql = (
            "SELECT id FROM memory_words WHERE words @@ CAST(? AS tsquery) AND (? = '' OR key_id = ?) "
            "ORDER BY ts_rank(words, CAST(? AS tsquery)) DESC, id DESC LIMIT ?"
        )
        given = (wanted, key_id, key_id, wanted, limit)
        return [row["id"] for row in await self._database.read(lambda link: link.run(sql, *given))]

    async def clear(self) -> None:
        """See :class:`FullText`."""
        await self.open()
        await self._database.write(lambda link: link.run("DELETE FROM memory_words"))


def _put(link: Link, entries: Sequence[Entry]) -> None:
    for one in entries:
        found = link.run("SELECT number, version FROM held WHERE id = ?", one.id)
        words = " ".join(one.words)
        if not found:
            number = link.run("INSERT INTO held (id, version) VALUES (?, ?) RETURNING number", one.id, one.version)[0]["number"]
            link.run("INSERT INTO texts (rowid, owner, words) VALUES (?, ?, ?)", number, _owner(one.key_id), words)
        elif found[0]["version"] != one.version:
            link.run("UPDATE held SET version = ? WHERE number = ?", one.version, found[0]["number"])
            link.run("UPDATE texts SET words = ? WHERE rowid = ?", words, found[0]["number"])


def _drop(link: Link, ids: Sequence[str]) -> None:
    for one in ids:
        for row in link.run("DELETE FROM held WHERE id = ? RETURNING number", one):
            link.run("DELETE FROM texts WHERE rowid = ?", row["number"])


def _quoted(word: str) -> str:
    return '"{}"'.format(word.replace('"', '""'))


def _owner(key_id: str) -> str:
    """A key as one word."""
    return f"k{blake2b(key_id.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def full_text(database: Database, folder: Path) -> FullText:
    """The index that goes with a database."""
    return SqliteText(folder / "memory-words.db") if database.dialect == "sqlite" else PostgresText(database)
