"""SQLModel sessions over the store's own connections; imported at the first management write or report."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from hub.store.database import Link

T = TypeVar("T")
_URLS = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://"}


def engine(link: Link) -> Engine:
    """The engine of a connection. It never opens another: SQLite's writer must be the only one (libraries.md, trap 3)."""
    if link.engine is None:
        made = create_engine(_URLS[link.dialect], creator=lambda: link.raw, poolclass=StaticPool, hide_parameters=True)

        def begin(_connection: Connection) -> None:
            link.begin()

        event.listen(made, "begin", begin)
        link.engine = made
    return link.engine


def transact(link: Link, work: Callable[[Session], T]) -> T:
    """Run work in one transaction and, on a writer, commit it to the disk. Raises the driver's own errors."""
    try:
        with Session(engine(link), expire_on_commit=False) as session:
            result = work(session)
            if link.writer:
                session.flush()
                link.committing = True
                session.commit()
            return result
    except DBAPIError as error:
        raise (error.orig or error) from error
