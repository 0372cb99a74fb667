"""Records to columns and back, for the rows that go by plain SQL: write-behind rows and the hot tables at start.

What a hostile provider or client put into a row must not stop the other rows, so text that a database
cannot hold is mended here, numbers are bounded, and NaN is unknown.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.access.scopes import expand
from hub.chat import Usage
from hub.records import (
    NO_LIMITS,
    NO_RULES,
    AuditRow,
    Connection,
    ConnectionRules,
    Decision,
    Key,
    KeyLimits,
    Registration,
    TaskRow,
    TestStatus,
    UsageRow,
)
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 2**63 - 1
_NAMES: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])
_LIMITS = msgspec.json.Decoder(KeyLimits)
_NOTHING = "{}"
_RULES = msgspec.json.Decoder(ConnectionRules)
_FACTS: msgspec.json.Decoder[dict[str, str]] = msgspec.json.Decoder(dict[str, str])
#: The most that one request adds to a sum: a sum of eight million of them still fits 64 bits.
_AMOUNT = 2**40

USAGE = (
    "id", "request_id", "at", "door", "skill", "key_id", "key_name", "provider", "model", "requested_model", "connection_id",
    "input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "estimated",
    "cost", "price_source", "status", "outcome", "latency_ms", "ttft_ms", "stream", "fallbacks", "error_code",
    "combo", "step", "source", "session", "compressed",
)  # fmt: skip
DECISIONS = ("request_id", "at", "key_id", "provider", "model", "outcome", "record")
AUDIT = (
    "seq", "id", "at", "request_id", "door", "caller", "key_id", "skill", "outcome", "error_code", "duration_us", "digest", "detail",
    "target", "prev_hash", "hash", "ip",
)  # fmt: skip
TASKS = ("id", "owner", "context_id", "skill", "state", "created_at", "updated_at", "task")
#: What marks a connection's health; written behind, without the rest of the row.
STATE = ("test_status", "last_error", "last_error_at", "cooldown_until", "backoff_level")


def insert(table: str, columns: Sequence[str]) -> str:
    """An INSERT for the constant names above; nothing that a caller sends ever comes here (SEC-21)."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - constant identifiers


def text(value: str) -> str:
    """Text that both databases hold: no NUL, no half of a surrogate pair."""
    if "\x00" in value:
        value = value.replace("\x00", "\ufffd")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def whole(value: int) -> int:
    """An integer within 64 bits."""
    return min(max(value, -_LARGEST), _LARGEST)


def amount(value: int) -> int:
    """A count of tokens or milliseconds, within what can be summed up."""
    return min(max(value, 0), _AMOUNT)


def day(number: int) -> str:
    """A day, counted from 1970-01-01 UTC, as ``2026-11-23``."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


def moment(at_ms: int) -> str:
    """Epoch milliseconds as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def maybe(value: int | None) -> int | None:
    """The same for a number that may be unknown."""
    return None if value is None else whole(value)


def real(value: float | None) -> float | None:
    """A finite number, else unknown."""
    return value if value is not None and math.isfinite(value) else None


def encoded(value: object) -> str:
    """JSON text."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_mended(msgspec.to_builtins(value))).decode()


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(name): _mended(item) for name, item in cast("dict[str, Any]", value).items()}
    return [_mended(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def usage_values(identity: str, row: UsageRow) -> tuple[object, ...]:
    """A usage row in the order of :data:`USAGE`."""
    used = row.usage
    request_id, door, skill, key_id, key_name, provider, model, requested, connection_id, priced, outcome, code, *rest = _texts(
        row.request_id, row.door, row.skill, row.key_id, row.key_name, row.provider, row.model, row.requested_model,
        row.connection_id, row.price_source, row.outcome, row.error_code, row.combo, row.step, row.source, row.session,
    )  # fmt: skip
    return (
        identity, request_id, whole(row.at), door, skill, key_id, key_name, provider, model, requested, connection_id,
        *map(amount, (used.input, used.cache_read, used.cache_write, used.cache_write_1h, used.output, used.reasoning)),
        used.estimated, real(row.cost), priced, whole(row.status), outcome, amount(row.latency_ms), maybe(row.ttft_ms), row.stream,
        amount(row.fallbacks), code, *rest, amount(row.compressed),
    )  # fmt: skip


def _texts(*values: str) -> tuple[str, ...]:
    """The values as :func:`text` gives them; one look at all of them where none needs mending, which is nearly always."""
    joined = "".join(values)
    return values if joined.isascii() and "\x00" not in joined else tuple(map(text, values))


def usage_of(row: dict[str, Any]) -> UsageRow:
    """A stored usage row."""
    used = Usage(**{name: row[name] for name in ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")})
    used = msgspec.structs.replace(used, estimated=bool(row["estimated"]))
    fields: dict[str, Any] = {field: row[field] for field in UsageRow.__struct_fields__ if field != "usage"}
    fields["stream"] = bool(row["stream"])
    return UsageRow(**fields, usage=used)


def decision_values(row: Decision) -> tuple[object, ...]:
    """A decision in the order of :data:`DECISIONS`."""
    request_id, key_id, provider, model, outcome = _texts(row.request_id, row.key_id, row.provider, row.model, row.outcome)
    return (request_id, whole(row.at), key_id, provider, model, outcome, encoded(row))


def audit_values(identity: str, row: AuditRow) -> tuple[str | int, ...]:
    """The part of an audit row that the chain's hash covers, in the order of :data:`AUDIT` after ``seq``."""
    return (
        identity, whole(row.at), text(row.request_id), text(row.door), text(row.caller), text(row.key_id), text(row.skill),
        text(row.outcome), text(row.error_code), whole(row.duration_us), text(row.digest), text(row.detail), text(row.target),
    )  # fmt: skip


def audit_covered(seq: int, last: str, values: Sequence[str | int], ip: str) -> list[str | int]:
    """What the hash of an audit row covers. A row without an address is hashed as all were before there was a column for it."""
    return [seq, last, *values, ip] if ip else [seq, last, *values]


def audit_of(row: dict[str, Any]) -> AuditRow:
    """A stored audit row."""
    return AuditRow(**{field: row[field] for field in AuditRow.__struct_fields__})


def task_values(row: TaskRow) -> tuple[object, ...]:
    """A task in the order of :data:`TASKS`."""
    return (
        text(row.id), text(row.owner), text(row.context_id), text(row.skill), text(row.state), whole(row.created_at),
        whole(row.updated_at), encoded(row.task),
    )  # fmt: skip


def task_of(row: dict[str, Any]) -> TaskRow:
    """A stored task."""
    return TaskRow(**{**{name: row[name] for name in TASKS}, "task": msgspec.json.decode(row["task"])})


def _names(text_: str) -> tuple[str, ...]:
    return () if text_ == "[]" else tuple(_NAMES.decode(text_))


@lru_cache(maxsize=256)
def _granted(grants: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Stored grants and the scopes they stand for; most keys share a few sets."""
    names = tuple(_NAMES.decode(grants))
    return names, expand(names)


def key_of(row: dict[str, Any]) -> Key:
    """A stored key."""
    grants, scopes = _granted(row["grants"])
    limits = row["limits"]
    return Key(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        grants=grants,
        scopes=scopes,
        active=bool(row["active"]),
        allowed_models=_names(row["allowed_models"]),
        no_log=bool(row["no_log"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        limits=NO_LIMITS if limits == _NOTHING else _LIMITS.decode(limits),
        registration=msgspec.json.decode(row["registration"], type=Registration) if row["registration"] else None,
    )


def connection_of(row: dict[str, Any], *, secret: Secret, proxy: Secret | None, extra_secrets: tuple[Secret, ...] = ()) -> Connection:
    """A stored connection with its secrets, which the caller has opened."""
    fields = {name: row[name] for name in ("id", "provider", "name", "auth_type", "base_url", "priority", "default_model", *STATE[1:])}
    return Connection(
        **fields,
        secret=secret,
        proxy=proxy,
        data=_FACTS.decode(row["data"]),
        models=_names(row["models"]),
        rules=NO_RULES if row["rules"] == _NOTHING else _RULES.decode(row["rules"]),
        extra_secrets=extra_secrets,
        active=bool(row["active"]),
        allow_private=bool(row["allow_private"]),
        test_status=TestStatus(row["test_status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
