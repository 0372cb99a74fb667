"""The first schema: keys, connections, usage, decisions, audit, tasks, values, and the revision counter."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _hot_tables()
    _usage()
    _decisions_and_audit()
    _tasks()
    counter = op.create_table("revision", _whole("id", sa.Integer), *_wholes("version", "audit_seq"), *_texts("audit_hash"), _primary("id"))
    op.bulk_insert(counter, [{"id": 1, "version": 0, "audit_seq": 0, "audit_hash": ""}])


def downgrade() -> None:
    """Undo; everything that was stored is lost."""
    for table in ("revision", "values", "usage", "tasks", "decisions", "connections", "audit_log", "api_keys"):
        op.drop_table(table)


def _hot_tables() -> None:
    op.create_table(
        "api_keys",
        *_texts("id", "name", "prefix", "digest", "grants", "allowed_models"),
        *_flags("active", "no_log"),
        *_wholes("created_at"),
        *_unknowns("expires_at", "revoked_at", "last_used_at"),
        _primary("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "connections",
        *_texts("id", "provider", "name", "secret", "auth_type", "base_url", "data"),
        _whole("priority", sa.Integer),
        *_flags("active", "allow_private"),
        *_texts("proxy", "default_model", "models", "test_status", "last_error"),
        *_unknowns("last_error_at", "cooldown_until"),
        _whole("backoff_level", sa.Integer),
        *_wholes("created_at", "updated_at"),
        _primary("id"),
    )
    _index("connections", "provider")
    op.create_table("values", *_texts("name", "value"), *_wholes("updated_at"), _primary("name"))


def _usage() -> None:
    op.create_table(
        "usage",
        *_texts("id", "request_id"),
        *_wholes("at"),
        *_texts("door", "skill", "key_id", "key_name", "provider", "model", "requested_model", "connection_id"),
        *_wholes("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning"),
        *_flags("estimated"),
        sa.Column("cost", sa.Double, nullable=True),
        *_texts("price_source"),
        *_wholes("status"),
        *_texts("outcome"),
        *_wholes("latency_ms"),
        *_unknowns("ttft_ms"),
        *_flags("stream"),
        *_wholes("fallbacks"),
        *_texts("error_code"),
        _primary("id"),
    )
    for columns in (["at"], ["key_id", "at"]):
        _index("usage", *columns)


def _decisions_and_audit() -> None:
    op.create_table(
        "decisions",
        *_texts("request_id"),
        *_wholes("at"),
        *_texts("key_id", "provider", "model", "outcome", "record"),
        _primary("request_id"),
    )
    _index("decisions", "at")
    op.create_table(
        "audit_log",
        _whole("seq", sa.BigInteger),
        *_texts("id"),
        *_wholes("at"),
        *_texts("request_id", "door", "caller", "key_id", "skill", "outcome", "error_code"),
        *_wholes("duration_us"),
        *_texts("digest", "detail", "target", "prev_hash", "hash"),
        _primary("seq"),
        sa.UniqueConstraint("id"),
    )
    for columns in (["at"], ["key_id", "seq"], ["skill", "seq"]):
        _index("audit_log", *columns)


def _tasks() -> None:
    op.create_table(
        "tasks",
        *_texts("id", "owner", "context_id", "skill", "state"),
        *_wholes("created_at", "updated_at"),
        *_texts("task"),
        _primary("id"),
    )
    for columns in (["context_id"], ["owner", "updated_at"], ["state", "updated_at"]):
        _index("tasks", *columns)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _unknowns(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=True) for name in names]


def _flags(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean, nullable=False) for name in names]


def _whole(name: str, kind: type[sa.Integer]) -> sa.Column[int]:
    return sa.Column(name, kind, autoincrement=False, nullable=False)


def _primary(name: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(name)


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))
