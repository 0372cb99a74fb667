"""What is remembered for keys, and the vectors of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "memories",
        *_texts("id", "key_id", "name", "session_id", "project", "kind", "body"),
        sa.Column("sealed", sa.Boolean, nullable=False),
        *_wholes("version", "created_at", "updated_at"),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_id", "name", name=op.f("uq_memories_key_id_name")),
    )
    op.create_index(op.f("ix_memories_key_id_updated_at"), "memories", ["key_id", "updated_at"])
    op.create_index(op.f("ix_memories_updated_at"), "memories", ["updated_at"])
    op.create_index(op.f("ix_memories_expires_at"), "memories", ["expires_at"])
    op.create_table(
        "memory_vectors",
        *_texts("memory_id", "key_id", "model"),
        *_wholes("version"),
        *_texts("vector"),
        sa.Column("sealed", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("memory_id"),
    )
    op.create_index(op.f("ix_memory_vectors_key_id"), "memory_vectors", ["key_id"])


def downgrade() -> None:
    """Undo; what is remembered is lost."""
    for table in ("memory_vectors", "memories"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
