"""The routing brain: what owners write down, what the hub learns, money, sums of usage, answers kept for replay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COUNTS = (
    "requests", "errors", "cancelled", "fallbacks", "unpriced", "input", "cache_read", "cache_write", "output", "reasoning",
    "latency_ms", "last_at",
)  # fmt: skip
_ADDED = {
    "api_keys": {"limits": "{}", "registration": ""},
    "connections": {"rules": "{}", "extra_secrets": ""},
    "usage": {"combo": "", "step": "", "source": "upstream", "session": ""},
}
_TABLES = ("documents", "state", "spend", "holds", "processes", "usage_hours", "latency_hours", "replays", "responses")


def upgrade() -> None:
    """Apply."""
    for table, columns in _ADDED.items():
        for name, default in columns.items():
            # A constant default costs nothing, however many rows there are.
            op.add_column(table, sa.Column(name, sa.Text, nullable=False, server_default=sa.text(f"'{default}'")))
    _written()
    _money()
    _sums()
    _answers()


def downgrade() -> None:
    """Undo; combos, budgets, policies and everything learned are lost."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    for table, columns in _ADDED.items():
        with op.batch_alter_table(table) as batch:
            for name in columns:
                batch.drop_column(name)


def _written() -> None:
    op.create_table("documents", *_texts("id", "kind", "name", "body"), *_wholes("created_at", "updated_at"), _primary("id"))
    op.create_index(op.f("ix_documents_kind_name"), "documents", ["kind", "name"], unique=True)
    op.create_table("state", *_texts("kind", "id", "body"), _unknown("until"), *_wholes("updated_at"), _primary("kind", "id"))


def _money() -> None:
    op.create_table(
        "spend",
        *_texts("budget_id", "period"),
        _whole("start"),
        *_wholes("spent", "held"),
        _unknown("warned_at"),
        _unknown("exceeded_at"),
        *_wholes("mark"),
        _primary("budget_id", "period", "start"),
    )
    op.create_table(
        "holds", *_texts("id", "budget_id"), *_wholes("amount"), *_texts("process"), *_wholes("at"), _primary("id", "budget_id")
    )
    op.create_index(op.f("ix_holds_process"), "holds", ["process"])
    op.create_table("processes", *_texts("id"), *_wholes("seen_at"), _primary("id"))


def _sums() -> None:
    keys = ("key_id", "provider", "model", "connection_id", "combo", "source")
    op.create_table(
        "usage_hours",
        _whole("hour"),
        *_texts(*keys, "key_name"),
        *_wholes(*_COUNTS[:5]),
        *_reals("cost"),
        *_wholes(*_COUNTS[5:]),
        _primary("hour", *keys),
    )
    op.create_table(
        "latency_hours",
        _whole("hour"),
        *_texts("provider", "model", "process", "latency", "ttft"),
        _primary("hour", "provider", "model", "process"),
    )


def _answers() -> None:
    op.create_table("replays", *_texts("id", "request", "state", "reply", "process"), *_wholes("created_at", "expires_at"), _primary("id"))
    op.create_index(op.f("ix_replays_expires_at"), "replays", ["expires_at"])
    op.create_table(
        "responses",
        *_texts("id", "owner", "model", "request", "reply"),
        *_wholes("tokens", "created_at", "expires_at"),
        _primary("id"),
    )
    op.create_index(op.f("ix_responses_owner_model"), "responses", ["owner", "model"])
    op.create_index(op.f("ix_responses_expires_at"), "responses", ["expires_at"])


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, autoincrement=False, nullable=False)


def _unknown(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=True)


def _reals(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double, nullable=False) for name in names]


def _primary(*names: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*names)
