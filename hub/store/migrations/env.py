"""alembic's entry: runs the migrations on the connection that :mod:`hub.store.migration` hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from hub.store.webhook_tables import WebhookDeliveries

if TYPE_CHECKING:
    from sqlalchemy import Connection

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=WebhookDeliveries.metadata, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
