"""Runs of installed skills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_RUNNING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "skill_executions",
        *_texts("id", "skill_id", "skill", "key_id", "session_id", "request_id", "door", "input", "output", "status", "error"),
        *_wholes("tries", "duration_ms", "created_at"),
        sa.Column("ended_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_skill_executions_key_id_created_at"), "skill_executions", ["key_id", "created_at"])
    op.create_index(op.f("ix_skill_executions_created_at"), "skill_executions", ["created_at"])
    op.create_index(op.f("ix_skill_executions_status"), "skill_executions", ["status"], sqlite_where=_RUNNING, postgresql_where=_RUNNING)


def downgrade() -> None:
    """Undo; what was recorded is lost."""
    op.drop_table("skill_executions")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
