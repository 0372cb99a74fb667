"""Deliveries of webhooks and how webhooks do; from where an audited call came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "webhook_deliveries",
        *_texts("id", "webhook_id", "event", "message_id", "body", "state", "owner"),
        sa.Column("due_at", sa.BigInteger, nullable=True),
        *_wholes("tries", "status"),
        *_texts("attempts"),
        *_wholes("created_at"),
        sa.Column("ended_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    waits = sa.text("due_at IS NOT NULL")
    op.create_index(
        op.f("ix_webhook_deliveries_webhook_id_due_at"),
        "webhook_deliveries",
        ["webhook_id", "due_at"],
        sqlite_where=waits,
        postgresql_where=waits,
    )
    op.create_index(op.f("ix_webhook_deliveries_webhook_id_created_at"), "webhook_deliveries", ["webhook_id", "created_at"])
    op.create_index(op.f("ix_webhook_deliveries_created_at"), "webhook_deliveries", ["created_at"])
    op.create_table(
        "webhook_standings",
        *_texts("webhook_id"),
        *_wholes("last_at", "last_status", "failures"),
        sa.PrimaryKeyConstraint("webhook_id"),
    )
    op.add_column("audit_log", sa.Column("ip", sa.Text, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Undo; what waits is not delivered."""
    op.drop_column("audit_log", "ip")
    for table in ("webhook_standings", "webhook_deliveries"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
