"""Databases of a test's own: an SQLite folder, or a PostgreSQL database that nobody else uses meanwhile.

Both come as the migrations leave them. SQLite's is a copy of one that was migrated, PostgreSQL's is one that an earlier test
left and that was emptied: to migrate for each test took a third of the time of many. What migrates asks for an empty one.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hub.settings import Settings
from hub.store.postgres import Postgres
from hub.store.sqlite import blank
from hub.store.store import sqlite_path

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = os.environ.get("HUBROUTE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")

#: Everything that a test may have changed in a schema, as one number.
_SHAPE = """SELECT hashtext(string_agg(line, '|' ORDER BY line)) FROM (
    SELECT concat_ws(' ', c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS line
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'schema ' || version_num FROM alembic_version
) AS lines"""
_OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def make_settings(tmp_path: Path, database_url: str = "", **options: Any) -> Settings:
    """Settings of a hub whose data folder is in ``tmp_path``."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url, **options)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        blank(Path(folder) / "hubroute.db")
        return (Path(folder) / "hubroute.db").read_bytes()


def furnish(settings: Settings) -> Settings:
    """Put the database of a first start where settings have theirs, unless one is there, so that no migration has to run; the settings."""
    if not settings.postgres and not (place := sqlite_path(settings)).exists():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_migrated())
    return settings


_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
_SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'"


class _Pool:
    """The databases of this process that nobody uses now, and what they were when they were new: their shape, and rows of migrations."""

    def __init__(self) -> None:
        self._free: list[str] = []
        self._made = 0
        self._shape: Any = None
        self._fill: list[tuple[bytes, Any]] = []

    def take(self, server: psycopg.Connection[Any]) -> str:
        """One as the migrations make it."""
        if self._free:
            return self._free.pop()
        name = self.new(server)
        Postgres(f"{SERVER}/{name}").prepare()
        if self._shape is None:
            with psycopg.connect(f"{SERVER}/{name}") as link:
                self._shape = link.execute(_SHAPE).fetchone()
                for (table,) in link.execute(_TABLES).fetchall():
                    rows = link.execute(f'SELECT * FROM "{table}"'.encode()).fetchall()
                    self._fill += [(f'INSERT INTO "{table}" VALUES ({", ".join(["%s"] * len(row))})'.encode(), row) for row in rows]
        return name

    def give_back(self, server: psycopg.Connection[Any], name: str) -> None:
        """Make one what it was, or drop it when its schema is no longer the same."""
        try:
            with psycopg.connect(f"{SERVER}/{name}", autocommit=True) as link:
                link.execute(_OTHERS)
                same = link.execute(_SHAPE).fetchone() == self._shape
                if same:
                    self._empty(link)
        except psycopg.Error:
            same = False
        if same:
            self._free.append(name)
        else:
            _drop(server, name)

    def _empty(self, link: psycopg.Connection[Any]) -> None:
        gone = [f'DELETE FROM "{table}"' for (table,) in link.execute(_TABLES).fetchall()]  # to TRUNCATE so many takes a second
        again = [f'ALTER SEQUENCE "{one}" RESTART' for (one,) in link.execute(_SEQUENCES).fetchall()]
        with link.transaction():
            link.execute("; ".join([*gone, *again]).encode())
            for statement, row in self._fill:
                link.execute(statement, row)

    def new(self, server: psycopg.Connection[Any]) -> str:
        """An empty database."""
        self._made += 1
        name = f"hubroute_test_{os.getpid()}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{self._made}"
        _drop(server, name)
        server.execute(f'CREATE DATABASE "{name}"'.encode())
        return name

    def close(self) -> None:
        """Drop what is left."""
        if self._free:
            with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
                while self._free:
                    _drop(server, self._free.pop())


_pool = _Pool()


def drop_databases() -> None:
    """In the end of a run: leave no database behind."""
    _pool.close()


def _drop(server: psycopg.Connection[Any], name: str) -> None:
    server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@contextmanager
def postgres_database(*, empty: bool = False) -> Iterator[str]:
    """The address of a PostgreSQL database as the migrations leave it; ``empty`` is without tables.

    Skips the test when no server is there; with HUBROUTE_TEST_REQUIRE_POSTGRES=1 it fails instead.
    """
    try:
        server = psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        if os.environ.get("HUBROUTE_TEST_REQUIRE_POSTGRES") == "1":
            raise
        pytest.skip(f"no PostgreSQL at {SERVER}: {error}")
    with server:
        name = _pool.new(server) if empty else _pool.take(server)
        try:
            yield f"{SERVER}/{name}"
        finally:
            _drop(server, name) if empty else _pool.give_back(server, name)
