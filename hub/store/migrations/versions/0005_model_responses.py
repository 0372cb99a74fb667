"""Answers that clients of the Responses API asked to be kept, to go on from or to ask for again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    texts = [sa.Column(name, sa.Text, nullable=False) for name in ("id", "key_id", "previous_id", "status", "body", "input")]
    wholes = [sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_at", "alive_at", "expires_at")]
    op.create_table("model_responses", *texts, *wholes, sa.PrimaryKeyConstraint("id"))
    op.create_index(op.f("ix_model_responses_expires_at"), "model_responses", ["expires_at"])
    op.create_index(op.f("ix_model_responses_key_id_created_at"), "model_responses", ["key_id", "created_at"])


def downgrade() -> None:
    """Undo; what was kept is lost."""
    op.drop_table("model_responses")
