"""Which schema a database has and which this version needs, told without alembic so that a start stays cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import NotConfigured
from hub.store import deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.store.database import Link

#: Every revision of ``migrations/versions``, oldest first; a test holds this equal to alembic's own reading.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013")
HEAD = REVISIONS[-1]

_HAS_VERSION = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT 1 AS name WHERE to_regclass('alembic_version') IS NOT NULL",
}


def current(link: Link) -> str | None:
    """The revision of a database, None for an empty one."""
    if not link.run(_HAS_VERSION[link.dialect]):
        return None
    rows = link.run("SELECT version_num FROM alembic_version")
    return rows[0]["version_num"] if rows else None


def pending(version: str | None) -> list[str]:
    """The revisions that a database still lacks. Raises NotConfigured for one written by a newer version."""
    if version is None:
        return list(REVISIONS)
    if version not in REVISIONS:
        raise NotConfigured(
            f"the database has schema {version!r}, newer than this version of hubroute knows ({HEAD}); "
            "install the version that wrote it, or restore a backup made before"
        )
    return list(REVISIONS[REVISIONS.index(version) + 1 :])


def ensure(link: Link, before: Callable[[Link, str], None] | None = None) -> None:
    """Bring a database to the current schema; two processes that start at once do it once.

    ``before`` is given a database that holds something, and its revision, before anything is changed.
    """
    version = current(link)
    todo = pending(version)
    link.raw.rollback()
    if todo:
        if before is not None and version is not None:
            before(link, version)
            link.raw.rollback()
        deferred.migration().upgrade(link)
