"""What was said in requests, where the owner wants it stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "request_contents",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index(op.f("ix_request_contents_at_request_id_size"), "request_contents", ["at", "request_id", "size"])
    op.create_index(op.f("ix_request_contents_key_id"), "request_contents", ["key_id"])


def downgrade() -> None:
    """Undo; what was stored is lost."""
    op.drop_table("request_contents")
