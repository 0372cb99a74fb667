"""Tasks for cloud agents, and what they did: activities are only ever added."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "cloud_agent_tasks",
        *_texts("id", "provider_id", "external_id", "credential_id", "status", "prompt", "source", "options"),
        sa.Column("result", sa.Text, nullable=True),
        *_texts("error"),
        sa.Column("idempotency", sa.Text, nullable=True),
        sa.Column("next_poll_at", sa.BigInteger, nullable=True),
        *_wholes("wait_ms", "failures", "created_at", "updated_at"),
        sa.Column("completed_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_cloud_agent_tasks_idempotency"), "cloud_agent_tasks", ["idempotency"], unique=True)
    op.create_index(op.f("ix_cloud_agent_tasks_next_poll_at"), "cloud_agent_tasks", ["next_poll_at"])
    op.create_index(op.f("ix_cloud_agent_tasks_created_at"), "cloud_agent_tasks", ["created_at"])
    op.create_table(
        "cloud_agent_activities",
        *_texts("task_id"),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        *_texts("id", "type", "content", "facts"),
        *_wholes("at"),
        sa.PrimaryKeyConstraint("task_id", "seq"),
    )
    op.create_index(op.f("ix_cloud_agent_activities_task_id_id"), "cloud_agent_activities", ["task_id", "id"], unique=True)


def downgrade() -> None:
    """Undo; the tasks are lost here, not where they run."""
    op.drop_table("cloud_agent_activities")
    op.drop_table("cloud_agent_tasks")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
