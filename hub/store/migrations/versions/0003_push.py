"""Push notifications of agent tasks: where events are sent, and whether the end of the task was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OWED = sa.text("told_at IS NULL")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "push_configs",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("task_id", "id", "owner", "dialect", "url", "sealed")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_at", "due_at")),
        sa.Column("told_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("task_id", "id"),
    )
    op.create_index(op.f("ix_push_configs_due_at"), "push_configs", ["due_at"], sqlite_where=_OWED, postgresql_where=_OWED)


def downgrade() -> None:
    """Undo; no task is told to anybody any more."""
    op.drop_table("push_configs")
