"""What compression did, outputs that it kept, and the tokens that it saved of a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("usage", sa.Column("compressed", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "compression_runs",
        *_texts("id"),
        *_wholes("at"),
        *_texts("request_id", "key_id", "key_name", "provider", "model", "combo", "mode", "source", "compression_combo"),
        *_wholes("original", "compressed", "duration_us"),
        sa.Column("usd_saved", sa.Double, nullable=True),
        *_flags("fallback", "terse"),
        *_wholes("prompt", "output", "cache_read", "cache_write"),
        *_flags("receipt"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_compression_runs_at"), "compression_runs", ["at"])
    op.create_table(
        "compression_engines",
        *_texts("run_id", "engine"),
        *_wholes("at", "saved"),
        sa.PrimaryKeyConstraint("run_id", "engine"),
    )
    op.create_index(op.f("ix_compression_engines_at"), "compression_engines", ["at"])
    op.create_table(
        "compression_outputs",
        *_texts("id", "key_id"),
        *_wholes("at", "expires_at"),
        *_texts("sealed"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_compression_outputs_expires_at"), "compression_outputs", ["expires_at"])
    op.create_index(op.f("ix_compression_outputs_key_id_at"), "compression_outputs", ["key_id", "at"])


def downgrade() -> None:
    """Undo; what was recorded is lost."""
    for table in ("compression_outputs", "compression_engines", "compression_runs"):
        op.drop_table(table)
    op.drop_column("usage", "compressed")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _flags(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean, nullable=False) for name in names]
