"""Runs of evals and assessments with their results, and what is known of each model from the last assessment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_OPEN = "ended_at IS NULL"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "eval_runs",
        *_texts("id", "kind", "subject", "group_id", "key_id", "status", "facts", "work", "summary"),
        *_wholes("total", "done", "created_at"),
        sa.Column("ended_at", sa.BigInteger, nullable=True),
        *_texts("owner"),
        *_wholes("due_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_eval_runs_kind_created_at"), "eval_runs", ["kind", "created_at"])
    words = sa.text(_OPEN)
    op.create_index(op.f("ix_eval_runs_status"), "eval_runs", ["status"], sqlite_where=words, postgresql_where=words)
    op.create_table(
        "eval_results",
        *_texts("run_id"),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        *_texts("result"),
        sa.PrimaryKeyConstraint("run_id", "seq"),
    )
    op.create_table(
        "assessments",
        *_texts("model_id", "provider_id", "status"),
        *_wholes("tested_at"),
        *_texts("body"),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_index(op.f("ix_assessments_tested_at"), "assessments", ["tested_at"])


def downgrade() -> None:
    """Undo; what was kept is lost."""
    for table in ("assessments", "eval_results", "eval_runs"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
