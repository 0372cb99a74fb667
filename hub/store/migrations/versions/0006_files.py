"""Files that keys keep, and batches of requests that are worked off from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    texts = [sa.Column(name, sa.Text, nullable=False) for name in ("id", "key_id", "filename", "content_type", "purpose")]
    wholes = [sa.Column(name, sa.BigInteger, nullable=False) for name in ("bytes", "created_at")]
    op.create_table("files", *texts, *wholes, sa.Column("expires_at", sa.BigInteger, nullable=True), sa.PrimaryKeyConstraint("id"))
    op.create_index(op.f("ix_files_expires_at"), "files", ["expires_at"])
    op.create_index(op.f("ix_files_key_id_created_at"), "files", ["key_id", "created_at"])


def downgrade() -> None:
    """Undo; what was kept is lost."""
    op.drop_table("files")
