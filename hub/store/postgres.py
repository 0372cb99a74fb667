"""PostgreSQL through psycopg: any number of processes share one database (D24)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import psycopg
from psycopg import IsolationLevel

from hub.errors import NotConfigured, Unavailable
from hub.store import schema
from hub.store.database import DatabaseDamaged, Link, RowRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.errors import HubError
    from hub.store.database import Raw

Connection = psycopg.Connection[tuple[object, ...]]


class Postgres:
    """The driver for one PostgreSQL database, given as a ``postgresql://`` address."""

    dialect = "postgresql"
    errors: tuple[type[Exception], ...] = (psycopg.Error, UnicodeError)

    def __init__(self, url: str, before_migration: Callable[[Link, str], None] | None = None) -> None:
        self._url = url
        self._before_migration = before_migration

    def prepare(self) -> None:
        """Bring the database to the current schema; the database itself must be there."""
        link = self.connect(writer=True)
        try:
            schema.ensure(link, self._before_migration)
        finally:
            link.raw.close()

    def connect(self, *, writer: bool) -> Link:
        """The writer, or a reader whose transactions are snapshots."""
        try:
            raw: Connection = psycopg.connect(self._url, connect_timeout=10, application_name="hubroute")
        except psycopg.ProgrammingError:
            # Its words would repeat the address.
            raise NotConfigured("HUBROUTE_DATABASE_URL is not valid; write postgresql://user:password@host/name") from None
        if not writer:
            raw.read_only = True
            raw.isolation_level = IsolationLevel.REPEATABLE_READ
        return Link(cast("Raw", raw), self.dialect, writer=writer)

    def lost(self, link: Link) -> bool:
        """psycopg knows once a statement has failed on a dead socket."""
        return cast("Connection", link.raw).closed

    def explain(self, error: Exception) -> HubError:
        """See :class:`hub.store.database.Driver`. The address is never repeated: it may hold a password."""
        words = (str(error).splitlines() or [""])[0][:300]
        match error:
            case psycopg.errors.DataCorrupted() | psycopg.errors.IndexCorrupted():
                return DatabaseDamaged(f"PostgreSQL reports damaged data: {words}. Restore a backup or see its log")
            case psycopg.IntegrityError() | psycopg.DataError() | UnicodeError():
                return RowRefused(f"the database refuses a row: {words}")
            case psycopg.errors.InsufficientPrivilege():
                return NotConfigured(f"the database user lacks a right: {words}")
            case psycopg.OperationalError():
                return Unavailable(f"PostgreSQL cannot be used: {words}; see that it runs and that HUBROUTE_DATABASE_URL is right")
            case psycopg.ProgrammingError() | psycopg.InterfaceError() if not error.sqlstate:
                return RowRefused(f"the database refuses a value: {words}")
            case _:
                return Unavailable(f"PostgreSQL failed: {words}")

    def version(self, link: Link) -> str:
        """The server's version."""
        number = cast("Connection", link.raw).info.server_version
        return f"PostgreSQL {number // 10000}.{number % 10000}"
