"""Files that callers keep: contents on the disk under random names, what is known of them in the database (SEC-41, SEC-42).

A content is whole and on the disk before its row is; a row is on the disk before its upload is acknowledged. What a kill leaves is a
content without a row, which the sweep removes.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from hub.errors import Full, NotFound, Unauthenticated
from hub.log import logger
from hub.store.files import FileRow, refuse_beyond
from hub.uploads import PIECE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from hub.clock import Clock
    from hub.records import Caller
    from hub.store import Store
    from hub.uploads import Spool, Upload

log = logger("hub.files")

_QUOTA = "HUBROUTE_FILE_QUOTA_MB"
_ID = re.compile(r"file-[0-9a-f]{32}")
_KIND = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(; ?charset=[\w-]{1,40})?", re.ASCII)
#: A content without a row is somebody's upload under way until it is older than this, in seconds.
_LEFT_AFTER = 3600
_SWEPT_AT_ONCE = 500


class Files:
    """The kept files of one data folder. Processes that share a database share the folder, too."""

    def __init__(self, store: Store, spool: Spool, clock: Clock) -> None:
        self._store = store
        self._rows = store.files
        self._spool = spool
        self._clock = clock
        self._folder = store.settings.data_dir / "files"
        #: Bytes that the files of one key may hold together.
        self.quota = store.settings.file_quota_mb * 2**20

    async def put(self, upload: Upload, purpose: str, *, caller: Caller, seconds: int | None = None) -> FileRow:
        """Keep an upload, for ``seconds`` or until it is deleted; on the disk when this returns.

        Raises Unauthenticated without a key, TooLarge beyond the key's quota, Full when the disk takes no more.
        """
        owner = owner_of(caller)
        refuse_beyond(await self._rows.held(owner) + upload.size, self.quota, _QUOTA)
        row = self.row(owner, Path(upload.name).name, upload.content_type, purpose, seconds=seconds)
        row.bytes = upload.size
        try:
            await anyio.to_thread.run_sync(self._take, row.id, upload)
            await self._rows.put(row, self.quota, _QUOTA)
        except BaseException:
            with suppress(OSError):
                self.path(row.id).unlink(missing_ok=True)
            raise
        return row

    def row(self, owner: str, name: str, kind: str, purpose: str, *, seconds: int | None) -> FileRow:
        """What will be known of a new file, under a new random id; its size is still to be filled in."""
        now = self._clock.now_ms()
        return FileRow(
            id=f"file-{secrets.token_hex(16)}",
            key_id=owner,
            filename=name[-255:] or "file",
            content_type=kind if _KIND.fullmatch(kind) else "application/octet-stream",
            purpose=purpose,
            bytes=0,
            created_at=now,
            expires_at=None if seconds is None else now + seconds * 1000,
        )

    def place(self, row: FileRow, path: str) -> None:
        """Move a content that was written to the spool to its place, on the disk when this returns. Call it in a thread. Raises Full."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(path)
            row.bytes = os.stat(path).st_size
            os.rename(path, self.path(row.id))
            _sync(str(self._folder))
        except OSError as error:
            raise Full(f"the hub cannot store the file: {error.strerror}") from error

    async def get(self, file_id: str, caller: Caller) -> FileRow:
        """A caller's file. Raises NotFound, in the same words whether it is another's or none."""
        row = await self._rows.find(file_id, caller.key_id) if caller.key_id and _ID.fullmatch(file_id) else None
        if row is None:
            raise NotFound(f"no file {file_id[:80]!r} is kept for this key", field="id")
        return row

    async def list(self, caller: Caller, *, purpose: str, after: str, newest_first: bool, limit: int) -> list[FileRow]:
        """A caller's files. Raises BadRequest for an ``after`` that is none of them."""
        return await self._rows.list(owner_of(caller), purpose=purpose, after=after, newest_first=newest_first, limit=limit)

    async def delete(self, row: FileRow) -> None:
        """Forget a file and remove its content."""
        await self._rows.delete(row.id, row.key_id)
        await anyio.to_thread.run_sync(self._unlink, [row.id])

    async def pieces(self, row: FileRow) -> AsyncGenerator[bytes]:
        """The content, piece by piece. Raises NotFound where this machine does not have it."""
        try:
            file = await anyio.open_file(self.path(row.id), "rb")
        except FileNotFoundError:
            raise await self.lost(row) from None
        async with file:
            while piece := await file.read(PIECE):
                yield piece

    async def drop(self, key_id: str) -> None:
        """Remove the files of a key that is deleted."""
        while ids := await self._rows.drop(key_id):
            await anyio.to_thread.run_sync(self._unlink, ids)

    async def lost(self, row: FileRow) -> NotFound:
        """A row without a content: somebody removed it, or another machine has it, whose folder is not shared."""
        log.error("a kept file has no content in the data folder", file=row.id)
        if not self._store.postgres:
            await self._rows.delete(row.id, row.key_id)
        return NotFound(f"the content of {row.id} is not in the data folder of this hub any more; upload it again", field="id")

    def path(self, file_id: str) -> Path:
        """Where the content of a file is; ids are ours, never a caller's words."""
        return self._folder / file_id

    async def sweep(self) -> int:
        """Remove what is past its time, and contents that nobody has a row of; how many files went."""
        gone = 0
        while ids := await self._rows.expire():
            await anyio.to_thread.run_sync(self._unlink, ids)
            gone += len(ids)
        now = self._clock.now_ms() / 1000
        await anyio.to_thread.run_sync(self._spool.sweep, now)
        old = await anyio.to_thread.run_sync(self._old, now)
        for start in range(0, len(old), _SWEPT_AT_ONCE):
            group = old[start : start + _SWEPT_AT_ONCE]
            known = await self._rows.known(group)
            left = [one for one in group if one not in known]
            await anyio.to_thread.run_sync(self._unlink, left)
            gone += len(left)
        return gone

    def _take(self, file_id: str, upload: Upload) -> None:
        """Bring an upload to its place: by a rename where it is on the disk already."""
        path = upload.path
        if not path:
            spooled = self._spool.open()
            path = spooled.path
            try:
                spooled.write(upload.data)
            except Full:
                os.unlink(path)
                raise
            finally:
                spooled.close()
        row = FileRow(id=file_id, key_id="", filename="", content_type="", purpose="", bytes=0, created_at=0)
        self.place(row, path)

    def _unlink(self, ids: Sequence[str]) -> None:
        for one in ids:
            with suppress(FileNotFoundError):
                self.path(one).unlink()

    def _old(self, now: float) -> list[str]:
        found: list[str] = []
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if _ID.fullmatch(entry.name) and now - entry.stat().st_mtime > _LEFT_AFTER:
                        found.append(entry.name)
        return found


def owner_of(caller: Caller) -> str:
    """The key or principal whose files a caller's are. Raises Unauthenticated for a caller without one."""
    if not caller.key_id:
        raise Unauthenticated("files and batches belong to an API key: send one as `Authorization: Bearer …`")
    return caller.key_id


def _sync(path: str) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have nothing to sync in a folder
            raise
    finally:
        os.close(handle)
