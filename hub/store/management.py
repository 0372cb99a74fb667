"""Management writes with SQLModel: one row of a hot table at a time. Imported at the first such write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import update
from sqlmodel import col, select

from hub.errors import NotFound
from hub.store.columns import text
from hub.store.tables import TABLES, Revision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlmodel import Session

    Row = dict[str, Any]


def insert(session: Session, table: str, row: Mapping[str, Any]) -> Row:
    """Add a row. Every column is given."""
    session.add(TABLES[table](**row))
    session.flush()
    return dict(row)


def change(session: Session, table: str, identity: str, edit: Callable[[Row], Mapping[str, Any]]) -> Row:
    """Change a row to what ``edit`` makes of it, locked meanwhile; the whole new row. Raises NotFound."""
    found = session.get(TABLES[table], text(identity), with_for_update=True)
    if found is None:
        raise NotFound(f"there is no {identity!r} (any more)")
    for name, value in edit(found.model_dump()).items():
        setattr(found, name, value)
    session.flush()
    return found.model_dump()


def put(session: Session, table: str, row: Mapping[str, Any]) -> None:
    """Add a row, or replace the one with its primary key."""
    session.merge(TABLES[table](**row))
    session.flush()


def remove(session: Session, table: str, identity: str) -> bool:
    """Delete a row; whether it was there."""
    found = session.get(TABLES[table], text(identity))
    if found is not None:
        session.delete(found)
        session.flush()
    return found is not None


def remove_of(session: Session, table: str, column: str, value: str) -> list[str]:
    """Delete every row with a value in a column; their ids."""
    kind = TABLES[table]
    found = session.exec(select(kind).where(getattr(kind, column) == text(value))).all()
    for row in found:
        session.delete(row)
    session.flush()
    return [str(row.model_dump()["id"]) for row in found]


def every(session: Session, table: str) -> list[Row]:
    """All rows of a table."""
    return [row.model_dump() for row in session.exec(select(TABLES[table]))]


def alone(session: Session) -> None:
    """Wait until no other process is in such a transaction; SQLite's writer is alone anyway. The first step of a transaction, if any."""
    session.exec(select(Revision).with_for_update()).one()


def bump(session: Session) -> int:
    """Count this change, as the last step before the commit, so that no two transactions wait for each other in a ring."""
    counted = update(Revision).where(col(Revision.id) == 1).values(version=col(Revision.version) + 1).returning(col(Revision.version))
    return session.connection().execute(counted).scalar_one()
