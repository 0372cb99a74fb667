"""Backups of the hub: made by hand and by the clock while it serves, kept so many, put back while it serves (docs/backups.md)."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec

from hub.errors import Conflict, Full, HubError
from hub.log import logger, masked
from hub.preferences import check_stored
from hub.process.background import Regularly
from hub.store import deferred, schema
from hub.store.database import DatabaseDamaged
from hub.store.shelf import digest, remove
from hub.uploads import PIECE
from hub.version import VERSION
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from hub.clock import Clock
    from hub.events import Events
    from hub.money.budgets import Budgets
    from hub.preferences import BackupSchedule
    from hub.store import Store
    from hub.store.archive import Counts
    from hub.store.backing import Trial
    from hub.store.shelf import Backup, Reason

log = logger("hub.backups")

#: How often the clock is looked at.
_LOOK_SECONDS = 60.0
_HOUR_MS = 3_600_000
#: How long after one that failed.
_AGAIN_MS = 600_000
_KIND, _LAST = "backup", "last"
#: Of backups that were made before something, so many stay.
_KEPT_BEFORE = 5
_LOST = (
    "the master key of the hub that made this backup is not here: everything is back but its secrets. Enter the credentials of "
    "connections and servers anew, and make new API keys; or put that master key in place and restore again"
)
_RUNNING = "what was at work in the other hub goes on here: look at its batches"


#: The files of a full archive that are for people, and the skills that say what is in them, secrets masked.
TOLD = {"settings.json": "settings-get", "combos.json": "combos-list", "providers.json": "connections-list", "api-keys.json": "keys-list"}


class Restored(msgspec.Struct, kw_only=True, frozen=True):
    """What was restored. ``saved_as`` is the backup of what was there before; ``readable`` says that secrets came along."""

    backup_id: str
    saved_as: str
    counts: Counts
    readable: bool
    own: bool
    notes: list[str]


class Backups:
    """The backups of a data folder."""

    def __init__(
        self,
        store: Store,
        budgets: Budgets,
        clock: Clock,
        events: Events,
        schedule: Callable[[], BackupSchedule],
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._clock = clock
        self._events = events
        self._schedule = schedule
        self._shelf = store.shelf
        self._most = store.settings.max_backup_mb * 2**20
        self._restoring = asyncio.Lock()
        self._looks = Regularly("making the backup that is due", self.tick, every=_LOOK_SECONDS)

    def open(self) -> None:
        """Begin to look at the clock; on the event loop."""
        self._looks.start()

    async def close(self) -> None:
        """End the loop. May be called twice."""
        await self._looks.close()

    async def list(self) -> list[Backup]:
        """Every backup, the newest first."""
        return await anyio.to_thread.run_sync(self._shelf.all)

    async def get(self, backup_id: str) -> Backup:
        """The backup of this id. Raises NotFound."""
        return await anyio.to_thread.run_sync(self._shelf.get, backup_id)

    async def create(self, reason: Reason = "manual") -> Backup:
        """Make a backup of now, while others read and write. Raises Full, and the HubError of the database."""
        draft = await self.draft()
        return await self._kept(draft, reason, len(self._store.connections.all()))

    async def draft(self) -> Path:
        """A file with everything as of now, which is the caller's to remove. Raises Full, and the HubError of the database."""
        self._budgets.store()
        draft = await anyio.to_thread.run_sync(self._shelf.draft)
        try:
            await self._store.snapshot(draft)
        except BaseException as error:
            await anyio.to_thread.run_sync(remove, draft)
            if isinstance(error, OSError):
                raise Full(f"the backup cannot be stored: {error.strerror}") from error
            raise
        return draft

    async def packed(self, texts: Mapping[str, bytes]) -> Path:
        """A full archive of now: the database and these files. The caller removes it. Raises Full, and the HubError of the database."""
        from hub.store import tarball  # noqa: PLC0415 - deferred: tarfile and gzip are needed here only

        database = await self.draft()
        try:
            now = self._clock.now_ms()
            return await anyio.to_thread.run_sync(lambda: self._shelf.write(lambda target: tarball.write(target, database, texts, now)))
        finally:
            await anyio.to_thread.run_sync(remove, database)

    async def pieces(self, path: Path, *, once: bool) -> AsyncGenerator[bytes]:
        """A file piece by piece; with ``once`` it is removed at the end, whatever happens."""
        try:
            async with await anyio.open_file(path, "rb") as file:
                while piece := await file.read(PIECE):
                    yield piece
        finally:
            if once:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(remove, path)

    async def delete(self, backup_id: str) -> Backup:
        """Delete a backup. Raises NotFound."""
        backup = await self.get(backup_id)
        await anyio.to_thread.run_sync(self._shelf.remove, backup)
        return backup

    async def restore(self, backup_id: str) -> Restored:
        """Put a backup in the place of what is there, which is kept as another. Raises NotFound, NotABackup, Conflict, Unavailable.

        Nothing is changed when it fails. Calls go on meanwhile; changes wait.
        """
        backup = await self.get(backup_id)
        path = self._shelf.path(backup)
        if await anyio.to_thread.run_sync(digest, path) != backup.sha256:
            raise deferred.scratch().NotABackup(f"{backup.filename} is not as it was made (its SHA-256 is another)")
        return await self._put(path, backup.id, "before-restore")

    async def take(self, given: Path) -> Restored:
        """Put a file from elsewhere in the place of what is there: a database of a hub, or a full archive. Raises as :meth:`restore`."""
        return await self._put(given, "", "before-import")

    async def tick(self) -> Backup | None:
        """Make the backup that is due, once however many processes look; delete those that are too many. None when none is due."""
        wanted = self._schedule()
        if not wanted.every_hours or not await self._store.state.claim(_KIND, _LAST, self._clock.now_ms(), wanted.every_hours * _HOUR_MS):
            return None
        try:
            made = await self.create("schedule")
        except BaseException:
            self._store.state.put(_KIND, _LAST, self._clock.now_ms() - wanted.every_hours * _HOUR_MS + _AGAIN_MS)
            raise
        await self.prune()
        return made

    async def prune(self) -> None:
        """Delete the oldest of those that made themselves; what was made or brought by hand stays."""
        kept: dict[str, int] = {"schedule": self._schedule().keep}
        for one in await self.list():
            if one.reason in ("manual", "imported"):
                continue
            kept[one.reason] = kept.get(one.reason, _KEPT_BEFORE) - 1
            if kept[one.reason] < 0:
                await anyio.to_thread.run_sync(self._shelf.remove, one)
        await anyio.to_thread.run_sync(self._shelf.tidy, self._clock.now_ms() / 1000)

    async def _put(self, given: Path, backup_id: str, reason: Reason) -> Restored:
        if self._restoring.locked():
            raise Conflict("another restore is at work; wait for its end", field="backupId")
        async with self._restoring:
            drafts: list[Path] = []
            try:
                return await self._through(given, backup_id, reason, drafts)
            finally:
                with anyio.CancelScope(shield=True):
                    for one in drafts:
                        await anyio.to_thread.run_sync(remove, one)

    async def _through(self, given: Path, backup_id: str, reason: Reason, drafts: list[Path]) -> Restored:
        """Check, make anew, try, put in place: everything that can fail does before the one transaction ends."""
        scratch = await anyio.to_thread.run_sync(self._shelf.draft)
        drafts.append(scratch)
        if await anyio.to_thread.run_sync(_packed, given):
            plain = await anyio.to_thread.run_sync(self._shelf.draft)
            drafts.append(plain)
            await anyio.to_thread.run_sync(lambda: _unpack(given, plain, self._most))
            given = plain
        await anyio.to_thread.run_sync(lambda: deferred.scratch().remade(given, scratch, most=self._most))
        trial = await self._tried(scratch)
        # What has begun is seen through: a caller that goes away must not leave memory behind the database.
        task = asyncio.get_running_loop().create_task(self._swap(scratch, trial, reason))
        try:
            saved = await asyncio.shield(task)
        except asyncio.CancelledError:
            with suppress(HubError):
                await task
            raise
        await self.prune()
        notes = [note for note, told in ((_LOST, not trial.readable), (_RUNNING, not trial.own)) if told]
        self._events.emit("backup.restored", backup=backup_id, saved=saved.id, own=trial.own, secrets=trial.readable)
        return Restored(backup_id=backup_id, saved_as=saved.id, counts=trial.counts, readable=trial.readable, own=trial.own, notes=notes)

    async def _tried(self, scratch: Path) -> Trial:
        """What the scratch would be in the store's place. Raises NotABackup for rows that no hub could open."""
        try:
            trial = await self._store.tried(scratch)
            check_stored(trial.rows["values"])
        except (DatabaseDamaged, ValueError) as error:
            why = error.message if isinstance(error, HubError) else "its settings are not those of a hub"
            raise deferred.scratch().NotABackup(why) from error
        return trial

    async def _swap(self, scratch: Path, trial: Trial, reason: Reason) -> Backup:
        """The restore itself; the backup of what was there, which has its name before anything is changed."""
        had, now = len(self._store.connections.all()), self._clock.now_ms()
        saved: list[Backup] = []

        def keep(write: Callable[[Path], None]) -> None:
            while saved:  # of a try before, on a connection that was lost
                self._shelf.remove(saved.pop())
            draft = self._shelf.write(write)
            saved.append(self._shelf.keep(draft, reason, now, schema=schema.HEAD, database=self._store.dialect, connections=had))

        self._budgets.store()
        held = self._budgets.suspend()
        rows: list[dict[str, Any]] | None = None
        try:
            spent = await self._store.restore(scratch, trial, before=keep, mark=held.mark)
            rows = None if trial.own else spent
        except BaseException:
            for one in saved:
                await anyio.to_thread.run_sync(self._shelf.remove, one)
            raise
        finally:
            await self._budgets.resume(held, rows)
        return saved[0]

    async def _kept(self, draft: Path, reason: Reason, connections: int) -> Backup:
        now, database = self._clock.now_ms(), self._store.dialect
        made = await anyio.to_thread.run_sync(
            lambda: self._shelf.keep(draft, reason, now, schema=schema.HEAD, database=database, connections=connections)
        )
        self._events.emit("backup.created", backup=made.id, reason=reason, size=made.size)
        return made


def _packed(path: Path) -> bool:
    from hub.store import tarball  # noqa: PLC0415 - deferred: tarfile and gzip are needed here only

    return tarball.packed(path)


def _unpack(source: Path, target: Path, most: int) -> None:
    from hub.store import tarball  # noqa: PLC0415 - deferred: tarfile and gzip are needed here only

    tarball.unpack(source, target, most=most)


def written(told: Mapping[str, Any], now_ms: int, database: str) -> dict[str, bytes]:
    """The files for people of a full archive, of what the skills of :data:`TOLD` said as plain JSON, secrets masked."""
    facts = {"app": "hubroute", "version": VERSION, "exportedAt": iso(now_ms), "database": database}
    whole = {"metadata.json": {**facts, "secrets": "masked here, encrypted in the database"}, **told}
    return {name: masked(json.dumps(value, indent=2)).encode() for name, value in whole.items()}
