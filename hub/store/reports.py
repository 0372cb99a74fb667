"""Reports over audit and tasks with SQLModel; imported when the first one is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Table, and_, case, false, func, or_, select

from hub.errors import BadRequest
from hub.store import columns
from hub.store.tables import Base

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlmodel import Session

    from hub.access.actions import Match
    from hub.records import AuditRow, TaskRow
    from hub.store.audit import Trail

    Where = Mapping[str, str | None]

_MOST = 1000
_audit, _tasks = (Base.metadata.tables[name] for name in ("audit_log", "tasks"))
#: What a page may be filtered by; a name from outside this set never reaches SQL (SEC-21).
_AUDIT_FILTERS: dict[str, Column[Any]] = {
    "skill": _audit.c.skill,
    "outcome": _audit.c.outcome,
    "key_id": _audit.c.key_id,
    "door": _audit.c.door,
}
_TASK_FILTERS: dict[str, Column[Any]] = {
    "owner": _tasks.c.owner,
    "context_id": _tasks.c.context_id,
    "skill": _tasks.c.skill,
}


def audit_page(session: Session, *, where: Where, success: bool | None, limit: int, offset: int) -> tuple[list[AuditRow], int]:
    """See :meth:`hub.store.audit.AuditLog.page`."""
    conditions = _equal(_AUDIT_FILTERS, where)
    if success is not None:
        conditions.append((_audit.c.outcome == "ok") if success else (_audit.c.outcome != "ok"))
    return _page(session, _audit, conditions, columns.audit_of, order=(_audit.c.seq.desc(),), limit=limit, offset=offset)


def audit_trail(session: Session, where: Trail, *, limit: int, offset: int) -> tuple[list[AuditRow], int]:
    """See :meth:`hub.store.audit.AuditLog.trail`."""
    return _page(session, _audit, _on_trail(where), columns.audit_of, order=(_audit.c.seq.desc(),), limit=limit, offset=offset)


def audit_after(session: Session, where: Trail, seq: int) -> list[dict[str, Any]]:
    """See :meth:`hub.store.audit.AuditLog.batches`."""
    query = select(_audit).where(_audit.c.seq > seq, *_on_trail(where)).order_by(_audit.c.seq).limit(_MOST)
    return [dict(row) for row in session.connection().execute(query).mappings()]


def _on_trail(where: Trail) -> list[ColumnElement[bool]]:
    """What the fields of a trail say, each that is set."""
    row = _audit.c
    conditions = [or_(false(), *map(_matching, ways)) for ways in (where.actions, where.resources) if ways is not None]
    conditions += _equal({"target": row.target, "outcome": row.outcome}, {"target": where.target, "outcome": where.outcome})
    if where.actor is not None:
        conditions.append(or_(row.caller == columns.text(where.actor), row.key_id == columns.text(where.actor)))
    if where.request_id is not None:
        conditions.append(row.request_id.contains(columns.text(where.request_id), autoescape=True))
    if where.since is not None:
        conditions.append(row.at >= columns.whole(where.since))
    if where.until is not None:
        conditions.append(row.at <= columns.whole(where.until))
    if where.but:
        conditions.append(row.skill.not_in(list(map(columns.text, where.but))))
    return conditions


def _matching(one: Match) -> ColumnElement[bool]:
    row = _audit.c
    pattern = one.like.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    said: list[ColumnElement[bool]] = [
        row.skill.like(columns.text(pattern), escape="\\") if one.like else row.skill.in_(list(map(columns.text, one.skills)))
    ]
    if one.ok is not None:
        said.append((row.outcome == "ok") if one.ok else (row.outcome != "ok"))
    if one.code:
        said.append(row.error_code == one.code)
    if one.other:
        said.append(row.error_code != one.other)
    return and_(*said)


def audit_stats(session: Session, since: int, door: str | None = None) -> dict[str, Any]:
    """See :meth:`hub.store.audit.AuditLog.stats`."""
    outcome = _audit.c.outcome
    those = and_(_audit.c.at >= since, *_equal(_AUDIT_FILTERS, {"door": door}))
    query = select(
        func.count().label("calls"),
        _count(outcome == "error").label("errors"),
        _count(outcome == "denied").label("denied"),
        func.avg(_audit.c.duration_us).label("duration"),
    ).where(those)
    row = session.connection().execute(query).mappings().one()
    skill, calls = _audit.c.skill, func.count().label("calls")
    top = select(skill, calls).where(those).group_by(skill).order_by(calls.desc(), skill).limit(10)
    return {
        "calls": row["calls"],
        "errors": _whole(row["errors"]),
        "denied": _whole(row["denied"]),
        "avg_duration_us": None if row["duration"] is None else float(row["duration"]),
        "top": [{"skill": found["skill"], "calls": found["calls"]} for found in session.connection().execute(top).mappings()],
    }


def task_page(
    session: Session,
    *,
    where: Where,
    states: Sequence[str] | None,
    updated_after: int | None,
    limit: int,
    offset: int,
    before: tuple[int, str] | None = None,
) -> tuple[list[TaskRow], int]:
    """See :meth:`hub.store.tasks.Tasks.list`."""
    conditions = _equal(_TASK_FILTERS, where)
    if states is not None:
        conditions.append(_tasks.c.state.in_([columns.text(state) for state in states]))
    if updated_after is not None:
        conditions.append(_tasks.c.updated_at > updated_after)
    at, key = _tasks.c.updated_at, _tasks.c.id
    beyond = [] if before is None else [or_(at < before[0], and_(at == before[0], key < columns.text(before[1])))]
    return _page(session, _tasks, conditions, columns.task_of, order=(at.desc(), key.desc()), limit=limit, offset=offset, beyond=beyond)


def task_counts(session: Session, owner: str | None) -> dict[str, int]:
    """See :meth:`hub.store.tasks.Tasks.counts`."""
    state = _tasks.c.state
    query = select(state, func.count().label("tasks")).where(*_equal(_TASK_FILTERS, {"owner": owner})).group_by(state)
    return {row["state"]: row["tasks"] for row in session.connection().execute(query).mappings()}


def _page(
    session: Session,
    table: Table,
    conditions: list[ColumnElement[bool]],
    make: Callable[[dict[str, Any]], Any],
    *,
    order: Sequence[ColumnElement[Any]],
    limit: int,
    offset: int,
    beyond: Sequence[ColumnElement[bool]] = (),
) -> tuple[list[Any], int]:
    total = session.connection().execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()
    query = select(table).where(*conditions, *beyond).order_by(*order)
    rows = session.connection().execute(query.limit(_limit(limit)).offset(max(0, offset))).mappings()
    return [make(dict(row)) for row in rows], total


def _limit(limit: int) -> int:
    return min(max(0, limit), _MOST)


def _equal(allowed: Mapping[str, Column[Any]], where: Where) -> list[ColumnElement[bool]]:
    unknown = sorted(where.keys() - allowed.keys())
    if unknown:
        raise BadRequest(f"cannot filter by {', '.join(unknown)}; these can: {', '.join(sorted(allowed))}", field=unknown[0])
    return [allowed[name] == columns.text(value) for name, value in where.items() if value is not None]


def _count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def _whole(total: Any) -> int:
    """A sum as an integer: PostgreSQL gives a Decimal, an empty sum is NULL."""
    return int(total or 0)
