"""alembic's entry: runs the migrations on the connection that :mod:`hub.store.migration` hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from hub.store import tables, tables_compression, tables_contents, tables_memory, tables_runs, tables_skills, tables_webhooks
from hub.store.tables_base import Base

if TYPE_CHECKING:
    from sqlalchemy import Connection

connection: Connection = context.config.attributes["connection"]
#: Every module with tables; they all hang on one Base.
TABLES = (tables, tables_compression, tables_contents, tables_memory, tables_runs, tables_skills, tables_webhooks)
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
