"""Threads around one database: one writer that owns the only writing connection, and a few readers.

Work is a function that runs in one of these threads with a connection, or with an SQLModel session, and
whose transaction is made here. The event loop never waits for a disk (performance.md 4, rule 11).
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hub.errors import Conflict, NotConfigured, Unavailable
from hub.store import deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Engine
    from sqlmodel import Session

    from hub.errors import HubError

T = TypeVar("T")


class DatabaseDamaged(NotConfigured):
    """The database cannot be read as it is; the message says what was found and how to recover. Nothing was written."""


class RowRefused(Conflict):
    """The database refuses what a row holds (a duplicate, a value out of range); the connection is sound."""


class ConnectionLost(Unavailable):
    """The database went away before anything can have been saved."""


class Cursor(Protocol):
    """The part of DB-API that we use."""

    @property
    def description(self) -> Sequence[Sequence[Any]] | None: ...
    def execute(self, sql: str, args: Sequence[object] = ...) -> object: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> object: ...
    def fetchall(self) -> list[Any]: ...
    def close(self) -> None: ...


class Raw(Protocol):
    """A DB-API connection, sqlite3's or psycopg's."""

    def cursor(self) -> Cursor: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


class Link:
    """One connection and what goes with it. Used by one thread at a time; SQL is written with ``?`` on both databases."""

    __slots__ = ("_durable", "committing", "dialect", "engine", "raw", "writer")

    def __init__(self, raw: Raw, dialect: str, *, writer: bool) -> None:
        self.raw = raw
        self.dialect = dialect
        self.writer = writer
        self.engine: Engine | None = None
        self.committing = False
        self._durable: bool | None = None

    def begin(self, *, durable: bool = True) -> None:
        """Start a transaction. ``durable`` makes its commit wait for the disk (SQLite's synchronous=FULL)."""
        self.committing = False
        if self.dialect != "sqlite":
            return  # psycopg begins with the first statement
        if self.writer and durable != self._durable:
            self.run("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
            self._durable = durable
        self.run("BEGIN IMMEDIATE" if self.writer else "BEGIN")

    def commit(self) -> None:
        """End the transaction; from here on a lost connection leaves the outcome unknown."""
        self.committing = True
        self.raw.commit()

    def run(self, sql: str, *args: object) -> list[dict[str, Any]]:
        """Run one statement; its rows as dicts, none for a statement without rows."""
        cursor = self.raw.cursor()
        try:
            cursor.execute(_placed(sql, self.dialect), args)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for many rows."""
        cursor = self.raw.cursor()
        try:
            if self.dialect != "sqlite" or not _VALUES.search(sql):
                cursor.executemany(_placed(sql, self.dialect), rows)
                return
            # sqlite3 gives the GIL up and takes it back for each row of executemany, which costs the event
            # loop more than the rows cost; an INSERT of many rows does so once.
            for size, batch in _batches(rows):
                cursor.execute(_widened(sql, size), [value for row in batch for value in row])
        finally:
            cursor.close()


def _batches(rows: Sequence[Sequence[object]]) -> Iterator[tuple[int, Sequence[Sequence[object]]]]:
    """The rows in groups of a few sizes, so that the statements stay few and prepared."""
    at = 0
    for size in _SIZES:
        while len(rows) - at >= size:
            yield size, rows[at : at + size]
            at += size


@cache
def _widened(sql: str, size: int) -> str:
    """An INSERT of one row as an INSERT of ``size`` rows."""
    head, values, tail = _VALUES.split(sql, maxsplit=1)
    return f"{head}{', '.join([values] * size)}{tail}"


#: Statements for so many rows at once; SQLite takes 32,766 parameters.
_SIZES = (64, 16, 8, 4, 2, 1)
_VALUES = re.compile(r"(?<=VALUES )(\([?, ]+\))")


@cache
def _placed(sql: str, dialect: str) -> str:
    return sql if dialect == "sqlite" else sql.replace("?", "%s")


class Driver(Protocol):
    """What differs between the two databases."""

    dialect: str
    errors: tuple[type[Exception], ...]

    def prepare(self) -> None:
        """Make sure that the database is there, sound and at the current schema. Raises HubError."""
        ...

    def connect(self, *, writer: bool) -> Link: ...

    def lost(self, link: Link) -> bool:
        """Whether the connection is gone, so that a new one may help."""
        ...

    def explain(self, error: Exception) -> HubError:
        """Our error for the driver's: RowRefused, DatabaseDamaged, Unavailable, ..."""
        ...

    def version(self, link: Link) -> str:
        """Name and version of the database, for ``doctor``."""
        ...


class Database:
    """Runs work in the store's threads. A lost connection is replaced, and work that cannot have been saved runs again."""

    def __init__(self, driver: Driver, *, readers: int = 3) -> None:
        self.driver = driver
        self.dialect = driver.dialect
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._writer: Link | None = None
        self._idle: SimpleQueue[Link] = SimpleQueue()
        self._closed = False

    async def open(self) -> None:
        """Prepare the database and connect the writer. Raises HubError."""
        await self._in(self._writing, self._open)

    async def close(self) -> None:
        """Wait for work under way and close every connection, the writer last, so that it alone checkpoints. May be called twice."""
        if self._closed:
            return
        self._closed = True
        # A cancelled caller leaves its work running in a reader's thread, which then puts its connection back:
        # only after the last of them are the idle connections all there are.
        await asyncio.to_thread(self._reading.shutdown)
        self._close_readers()
        await asyncio.get_running_loop().run_in_executor(self._writing, self._close_writer)
        self._writing.shutdown(wait=False)

    async def read(self, work: Callable[[Link], T]) -> T:
        """Run plain SQL on a reader, in one snapshot."""
        return await self._in(self._reading, lambda: self._run(lambda link: _plain(link, work, durable=False), writer=False))

    async def query(self, work: Callable[[Session], T]) -> T:
        """Run work with an SQLModel session on a reader."""
        return await self._in(self._reading, lambda: self._run(lambda link: deferred.session().transact(link, work), writer=False))

    async def write(self, work: Callable[[Link], T], *, durable: bool = False) -> T:
        """Run plain SQL on the writer as one transaction, committed when this returns. ``durable``: on the disk, too."""
        return await self._in(self._writing, lambda: self._run(lambda link: _plain(link, work, durable=durable), writer=True))

    async def change(self, work: Callable[[Session], T]) -> T:
        """Run work with an SQLModel session on the writer as one transaction, on the disk when this returns."""
        return await self._in(self._writing, lambda: self._run(lambda link: deferred.session().transact(link, work), writer=True))

    async def alone(self, work: Callable[[Link], T], *, link: Link | None = None) -> T:
        """Run work that makes its own transaction on the writer; run again when the connection is lost before its commit.

        On a ``link`` of the caller's it runs once, while the writer waits.
        """
        if link is not None:
            return await self._in(self._writing, lambda: self._explained(link, work))
        return await self._in(self._writing, lambda: self._run(work, writer=True))

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def _open(self) -> None:
        try:
            self.driver.prepare()
            self._writer = self.driver.connect(writer=True)
        except self.driver.errors as error:
            raise self.driver.explain(error) from error

    def _close_readers(self) -> None:
        with suppress(Empty):
            while True:
                self._idle.get_nowait().raw.close()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.raw.close()
            self._writer = None

    def _run(self, run: Callable[[Link], T], *, writer: bool) -> T:
        """Run on a connection at hand; on a new one when there is none, or it was lost before anything can have been saved."""
        link = self._take(writer=writer)
        if link is not None:
            with suppress(ConnectionLost):
                return self._once(link, run)
        try:
            link = self.driver.connect(writer=writer)
        except self.driver.errors as error:
            raise self.driver.explain(error) from error
        return self._once(link, run)

    def _once(self, link: Link, run: Callable[[Link], T]) -> T:
        try:
            return self._explained(link, run)
        finally:
            self._keep(link)

    def _explained(self, link: Link, run: Callable[[Link], T]) -> T:
        try:
            return run(link)
        except self.driver.errors as error:
            if not self.driver.lost(link):
                raise self.driver.explain(error) from error
            if link.writer and link.committing:
                raise Unavailable("the database went away while it saved; look whether the change is there before you repeat it") from error
            raise ConnectionLost("the connection to the database was lost; try again") from error

    def _take(self, *, writer: bool) -> Link | None:
        if writer:
            link, self._writer = self._writer, None
            return link
        with suppress(Empty):
            return self._idle.get_nowait()
        return None

    def _keep(self, link: Link) -> None:
        """Put a connection back for the next work, without an open transaction; close it when it is lost."""
        with suppress(*self.driver.errors):
            link.raw.rollback()
        if self.driver.lost(link):
            link.raw.close()
        elif link.writer:
            self._writer = link
        else:
            self._idle.put(link)


def _plain(link: Link, work: Callable[[Link], T], *, durable: bool) -> T:
    link.begin(durable=durable)
    result = work(link)
    if link.writer:
        link.commit()
    return result
