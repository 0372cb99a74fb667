"""Files that keys keep, and batches of requests that are worked off from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: Indexes of what is not done, and of what is worked on.
_PARTIAL = {("batch_id", "category", "due_at"): "due_at IS NOT NULL", ("owner",): "owner <> ''"}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "files",
        *_texts("id", "key_id", "filename", "content_type", "purpose"),
        *_wholes("bytes", "created_at"),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_files_expires_at"), "files", ["expires_at"])
    op.create_index(op.f("ix_files_key_id_created_at"), "files", ["key_id", "created_at"])
    op.create_table(
        "batches",
        *_texts("id", "key_id", "status", "input_file_id", "facts"),
        *_wholes("total", "completed", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),
        *_wholes("created_at", "expires_at"),
        *_texts("owner"),
        *_wholes("due_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_batches_key_id_created_at"), "batches", ["key_id", "created_at"])
    op.create_index(op.f("ix_batches_status"), "batches", ["status"])
    op.create_table(
        "batch_items",
        *_texts("batch_id"),
        sa.Column("line", sa.BigInteger, autoincrement=False, nullable=False),
        *_texts("custom_id", "category"),
        *_wholes("start", "size"),
        *_texts("owner"),
        sa.Column("due_at", sa.BigInteger, nullable=True),
        *_wholes("tries"),
        sa.Column("ok", sa.Boolean, nullable=False),
        *_texts("result"),
        sa.PrimaryKeyConstraint("batch_id", "line"),
    )
    for columns, where in _PARTIAL.items():
        words = sa.text(where)
        name = op.f(f"ix_batch_items_{'_'.join(columns)}")
        op.create_index(name, "batch_items", list(columns), sqlite_where=words, postgresql_where=words)


def downgrade() -> None:
    """Undo; what was kept is lost."""
    for table in ("batch_items", "batches", "files"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
