"""Databases of a test's own: a fresh SQLite folder, or a fresh PostgreSQL database that is dropped afterwards."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hub.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER = os.environ.get("HUBROUTE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")


def make_settings(tmp_path: Path, database_url: str = "", **options: Any) -> Settings:
    """Settings of a hub whose data folder is in ``tmp_path``."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url, **options)


@contextmanager
def postgres_database() -> Iterator[str]:
    """The address of an empty PostgreSQL database.

    Skips the test when no server is there; with HUBROUTE_TEST_REQUIRE_POSTGRES=1 it fails instead.
    """
    try:
        server = psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        if os.environ.get("HUBROUTE_TEST_REQUIRE_POSTGRES") == "1":
            raise
        pytest.skip(f"no PostgreSQL at {SERVER}: {error}")
    name = f"hubroute_test_{os.getpid()}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{SERVER}/{name}"
        finally:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
