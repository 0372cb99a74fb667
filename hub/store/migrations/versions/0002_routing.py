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
#: Indexes of what few rows have.
_PARTIAL = {("session", "at"): "session <> ''", ("at", "outcome"): "outcome <> 'ok'"}
_TABLES = ("documents", "state", "spend", "holds", "processes", "usage_hours", "usage_days", "latency_hours", "replays", "responses")


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
    for columns in _PARTIAL:
        op.drop_index(f"ix_usage_{'_'.join(columns)}", "usage")
    op.create_index(op.f("ix_usage_key_id_at"), "usage", ["key_id", "at"])
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
    for table, unit in (("usage_hours", "hour"), ("usage_days", "day")):
        op.create_table(
            table,
            _whole(unit),
            *_texts(*keys, "key_name"),
            *_wholes(*_COUNTS[:5]),
            *_reals("cost"),
            *_wholes(*_COUNTS[5:]),
            _primary(unit, *keys),
        )
        op.execute(_sum_up(table, unit, ", ".join(keys)))
    op.create_table(
        "latency_hours",
        _whole("hour"),
        *_texts("provider", "model", "process"),
        *_wholes("requests", "errors", "output", "busy_ms"),
        *_texts("latency", "ttft"),
        _primary("hour", "provider", "model", "process"),
    )
    # Sums answer what this index was for, and it cost half as much again as the row.
    op.drop_index("ix_usage_key_id_at", "usage")
    for columns, words in _PARTIAL.items():
        op.create_index(
            op.f(f"ix_usage_{'_'.join(columns)}"), "usage", list(columns), sqlite_where=sa.text(words), postgresql_where=sa.text(words)
        )


def _sum_up(table: str, unit: str, keys: str) -> str:
    """The sums of the rows that are there. A row may not be so large that the sum of all does not fit."""
    place = f"at / {3_600_000 if unit == 'hour' else 86_400_000}, {keys}"
    plain = [f"SUM(CASE WHEN {name} > {2**40} THEN {2**40} WHEN {name} < 0 THEN 0 ELSE {name} END)" for name in _COUNTS[5:11]]
    sums = [
        "COUNT(*)",
        "SUM(CASE WHEN outcome = 'error' THEN 1 ELSE 0 END)",
        "SUM(CASE WHEN outcome = 'cancelled' THEN 1 ELSE 0 END)",
        "SUM(fallbacks)",
        "SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END)",
        "COALESCE(SUM(cost), 0.0)",
        *plain,
        "MAX(at)",
    ]
    names = f"{unit}, {keys}, key_name, {', '.join(_COUNTS[:5])}, cost, {', '.join(_COUNTS[5:])}"
    return f"INSERT INTO {table} ({names}) SELECT {place}, MAX(key_name), {', '.join(sums)} FROM usage GROUP BY {place}"  # noqa: S608 - constants


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
