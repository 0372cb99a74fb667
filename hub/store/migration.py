"""Brings a database to the newest schema with alembic, without an ini file, from a checkout or a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from hub.store import migrations
from hub.store.session import engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hub.store.database import Link

#: Any constant number: PostgreSQL's lock that lets one process migrate at a time.
_LOCK = 7_482_115_903


def config(connection: Connection | None = None) -> Config:
    """alembic's configuration for our migrations; ``connection`` is handed to ``env.py``."""
    made = Config(attributes={"connection": connection})
    folder = str(Path(migrations.__path__[0]).resolve())
    made.set_main_option("script_location", folder.replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


def upgrade(link: Link, revision: str = "head") -> None:
    """Run the missing migrations up to a revision in one transaction: all of them, or none."""
    with engine(link).begin() as connection:
        if link.dialect == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK:d})")
        command.upgrade(config(connection), revision)
