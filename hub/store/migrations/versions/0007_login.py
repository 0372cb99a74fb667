"""The owner's password and second factor, browsers that are logged in, and failed tries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "login_sessions",
        *_texts("id", "digest"),
        *_wholes("created_at", "last_seen", "expires_at"),
        *_texts("address", "agent"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index(op.f("ix_login_sessions_expires_at"), "login_sessions", ["expires_at"])
    op.create_table(
        "login_tries",
        *_texts("name"),
        *_wholes("failures", "until", "forget_at"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index(op.f("ix_login_tries_forget_at"), "login_tries", ["forget_at"])
    op.create_table("login_owner", *_texts("id", "body"), sa.PrimaryKeyConstraint("id"))


def downgrade() -> None:
    """Undo; the password is lost, and every browser is logged out."""
    for table in ("login_owner", "login_tries", "login_sessions"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
