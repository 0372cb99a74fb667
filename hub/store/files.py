"""What is known of the files that callers keep: the rows; the contents are :mod:`hub.files`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, TooLarge
from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.store.database import Database, Link

_COLUMNS = ("id", "key_id", "filename", "content_type", "purpose", "bytes", "created_at", "expires_at")
_PUT = columns.insert("files", _COLUMNS)
_HELD = "SELECT COALESCE(SUM(bytes), 0) AS held FROM files WHERE key_id = ? AND (expires_at IS NULL OR expires_at > ?)"
#: PostgreSQL only: uploads of one key are counted one after the other.
_IN_TURN = "SELECT pg_advisory_xact_lock(hashtext(?))"
_FIND = "SELECT * FROM files WHERE id = ? AND key_id = ? AND (expires_at IS NULL OR expires_at > ?)"
_LIST = (
    "SELECT * FROM files WHERE key_id = ? AND (expires_at IS NULL OR expires_at > ?) AND (? = '' OR purpose = ?) "
    "AND (? = 0 OR (created_at, id) {than} (?, ?)) ORDER BY created_at {order}, id {order} LIMIT ?"
)
_DELETE = "DELETE FROM files WHERE id = ? AND key_id = ? RETURNING id"
#: What a batch still reads stays until it is over.
_EXPIRED = (
    "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE expires_at <= ? AND id NOT IN (SELECT input_file_id FROM batches "
    "WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')) ORDER BY expires_at LIMIT 100) RETURNING id"
)
_DROP = "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE key_id = ? LIMIT 100) RETURNING id"
_KNOWN = "SELECT id FROM files WHERE id = ?"


class FileRow(msgspec.Struct, kw_only=True):
    """A kept file. Times in epoch ms, ``expires_at`` None for never; ``filename`` is the client's and only for show."""

    id: str
    key_id: str
    filename: str
    content_type: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None


class FileRows:
    """The table of files. Whoever asks names its key and finds no other's (SEC-04)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, row: FileRow, most: int, setting: str) -> None:
        """Keep a new row, on the disk when this returns. Raises TooLarge when the key's files would hold more than ``most`` bytes."""
        now = self._clock.now_ms()

        def work(link: Link) -> None:
            if link.dialect != "sqlite":
                link.run(_IN_TURN, f"files {row.key_id}")
            refuse_beyond(held_by(link, row.key_id, now) + row.bytes, most, setting)
            insert(link, [row])

        await self._database.write(work, durable=True)

    async def held(self, key_id: str) -> int:
        """How many bytes the files of a key hold."""
        now = self._clock.now_ms()
        return await self._database.read(lambda link: held_by(link, key_id, now))

    async def find(self, file_id: str, key_id: str) -> FileRow | None:
        """A key's file, unless it is past its time."""
        now = self._clock.now_ms()
        rows = await self._database.read(lambda link: link.run(_FIND, columns.text(file_id), columns.text(key_id), now))
        return _row(rows[0]) if rows else None

    async def list(self, key_id: str, *, purpose: str = "", after: str = "", newest_first: bool = True, limit: int = 20) -> list[FileRow]:
        """A key's files in the order in which they came. Raises BadRequest for an ``after`` that is none of them."""
        last = await self.find(after, key_id) if after else None
        if after and last is None:
            raise BadRequest(f"after: no file {after[:80]!r} is kept for this key", field="after")
        order, than = ("DESC", "<") if newest_first else ("ASC", ">")
        place = (1, last.created_at, last.id) if last is not None else (0, 0, "")
        given = (columns.text(key_id), self._clock.now_ms(), columns.text(purpose), columns.text(purpose), *place, limit)
        rows = await self._database.read(lambda link: link.run(_LIST.format(order=order, than=than), *given))
        return list(map(_row, rows))

    async def delete(self, file_id: str, key_id: str) -> bool:
        """Forget a key's file; whether it was there."""
        gone = await self._database.write(lambda link: link.run(_DELETE, columns.text(file_id), columns.text(key_id)), durable=True)
        return bool(gone)

    async def drop(self, key_id: str) -> list[str]:
        """Forget a hundred of a key's files; their ids."""
        return [row["id"] for row in await self._database.write(lambda link: link.run(_DROP, columns.text(key_id)))]

    async def expire(self) -> list[str]:
        """Forget a hundred of the files that are past their time; their ids."""
        now = self._clock.now_ms()
        return [row["id"] for row in await self._database.write(lambda link: link.run(_EXPIRED, now))]

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that have a row, whoever's."""
        return await self._database.read(lambda link: {one for one in ids if link.run(_KNOWN, one)})


def held_by(link: Link, key_id: str, now: int) -> int:
    """How many bytes a key's files hold."""
    return int(link.run(_HELD, columns.text(key_id), now)[0]["held"])


def refuse_beyond(held: int, most: int, setting: str) -> None:
    """Raise TooLarge when files would hold more than they may."""
    if held > most:
        words = f"the files of this key would hold {held / 2**20:.1f} MiB of {most // 2**20} MiB; delete some"
        raise TooLarge(f"{words}, or raise {setting}", field="file", code="file_quota_exceeded")


def insert(link: Link, rows: Sequence[FileRow]) -> None:
    """Add rows inside a transaction."""
    for row in rows:
        values = [getattr(row, name) for name in _COLUMNS]
        link.run(_PUT, *(columns.text(value) if isinstance(value, str) else value for value in values))


def _row(row: dict[str, Any]) -> FileRow:
    return FileRow(**{name: row[name] for name in _COLUMNS})
