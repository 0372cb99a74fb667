"""The store of one process: opens the database, loads what the hot path needs into memory, keeps both in step."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hub import vault as vaults
from hub.errors import BadRequest, HubError, NotConfigured, Unavailable
from hub.log import logger
from hub.secret import Secret
from hub.store import schema
from hub.store.audit import AuditLog
from hub.store.batches import BatchRows
from hub.store.changes import Changes
from hub.store.cloud_tasks import CloudTasks
from hub.store.compression import CompressionLog
from hub.store.connections import Connections
from hub.store.database import Database, DatabaseDamaged
from hub.store.decisions import Decisions
from hub.store.documents import Documents
from hub.store.files import FileRows
from hub.store.keys import Keys
from hub.store.latency import LatencyHours
from hub.store.lock import FolderLock
from hub.store.model_responses import ModelResponses
from hub.store.pruning import Pruning, shrinks
from hub.store.pushes import PushConfigs
from hub.store.queue import WriteBehind
from hub.store.replays import Replays
from hub.store.responses import Responses
from hub.store.spending import Spending
from hub.store.sqlite import Sqlite
from hub.store.state import State, hot
from hub.store.tasks import Tasks
from hub.store.usage import UsageLog
from hub.store.values import Values
from hub.vault import Vault, WrappedKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from hub.clock import Clock
    from hub.settings import Settings
    from hub.store.database import Driver, Link

log = logger("hub.store")
Model = TypeVar("Model", bound="BaseModel")
#: How often another process's changes are looked for; they are seen within a second (D24).
_POLL_SECONDS = 0.4
_DATA_KEY = "vault.data_key"
_PEPPER = "vault.pepper"
_FIRST = 'INSERT INTO "values" (name, value, updated_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING'
_REWRAP = 'UPDATE "values" SET value = ?, updated_at = ? WHERE name = ?'
_VERSION = "SELECT version FROM revision WHERE id = 1"


class Store:
    """Open it, use its parts, close it. On SQLite it owns the data folder: a second one raises FolderLocked."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.postgres = settings.postgres
        self._clock = clock
        self._database = Database(_driver(settings))
        self.dialect = self._database.dialect
        self.queue = WriteBehind(self._database, window=settings.flush_ms / 1000, limit=settings.queue_rows)
        self._changes = Changes(self._database)
        # The order in which the queue stores rows, the same in every process.
        self.keys = Keys(self._changes, self.queue, clock)
        self.connections = Connections(self._changes, self.queue, clock)
        self.usage = UsageLog(self._database, self.queue, clock)
        self.decisions = Decisions(self._database, self.queue)
        self.audit = AuditLog(self._database, self.queue, clock)
        self.tasks = Tasks(self._database, self.queue)
        self.pushes = PushConfigs(self._database)
        self.cloud_tasks = CloudTasks(self._database)
        self.model_responses = ModelResponses(self._database, self._clock)
        self.files = FileRows(self._database, self._clock)
        self.batches = BatchRows(self._database, self._clock)
        self.values = Values(self._changes, clock)
        self.state = State(self._database, self.queue, clock)
        self._money = Database(_driver(settings), readers=1)
        self.spending = Spending(self._database, self._money, self.queue)
        self.responses = Responses(self._database, self.queue, clock)
        self.replays = Replays(self._database, clock)
        self.latency = LatencyHours(self._database, self.queue, clock.new_id("p"))
        self.compression = CompressionLog(self._database, self.queue, clock)
        self.pruning = Pruning(self._database)
        self._collections: list[Documents[Any]] = []
        self._locks: list[FolderLock] = []
        self._follower: asyncio.Task[None] | None = None
        self._vault: Vault | None = None

    def collection(self, kind: str, *, what: str, prefix: str, body: type[Model]) -> Documents[Model]:
        """The documents of one kind, which hold a ``body`` each; asked for before the store is opened. ``what`` names one to people."""
        made = Documents(self._changes, self._clock, kind=kind, what=what, prefix=prefix, body=body)
        self._collections.append(made)
        return made

    @property
    def unlocked(self) -> bool:
        """Whether stored credentials can be read."""
        return self._vault is not None

    def derive(self, purpose: str) -> bytes:
        """A secret key of 32 bytes for one purpose, the same in every process on this database. Raises NotConfigured while closed."""
        if self._vault is None:
            raise NotConfigured("the store is not open")
        return self._vault.derive(purpose)

    def seal(self, text: str, place: str) -> str:
        """A secret, encrypted for one place in a document. Raises Unavailable while the store is not open."""
        if self._vault is None:
            raise Unavailable("the store is not open")
        return self._vault.seal(text, place)

    def unseal(self, sealed: str, place: str) -> Secret:
        """What was sealed for this place. Raises Unreadable when it was sealed for another or with another key."""
        if self._vault is None:
            raise Unavailable("the store is not open")
        return Secret(self._vault.open(sealed, place))

    async def open(self) -> None:
        """Lock the folder, migrate, load. Raises HubError with what to do: locked, damaged, wrong master key, no database."""
        try:
            self._own_folder()
            await self._database.open()
            rows = await self._database.read(_hot)
            if await self._unlock(rows):
                rows = await self._database.read(_hot)
            self.state.load(await self._database.read(lambda link: hot(link, self._clock.now_ms())))
            self._take_over(rows)
        except BaseException:
            await self._shut()
            raise
        if self.postgres:
            self._follower = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Store what waits and close. May be called twice."""
        if self._follower is not None:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower
            self._follower = None
        await self.tasks.close()
        if self._vault is not None:
            await self._changes.settle()
            await self.queue.close()
            self._vault = None
        await self._shut()

    async def flush(self) -> None:
        """Store every row that was added so far. Raises the HubError of the database."""
        await self.queue.flush()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on the event loop after keys, connections or values changed, here or in another process."""
        self._changes.listen(listener)

    async def health(self) -> dict[str, Any]:
        """Whether the database answers, and how rows wait.

        Keys: ok, dialect, sqlite_version (None on PostgreSQL), queue, failures, dropped; when it answers also
        database, latency_ms and schema, else error.
        """
        driver = self._database.driver
        report: dict[str, Any] = {
            "ok": True,
            "dialect": self.dialect,
            "sqlite_version": None,
            "queue": self.queue.depth,
            "failures": self.queue.failures,
            "dropped": self.queue.dropped,
        }
        began = self._clock.monotonic()
        try:
            name, version = await self._database.read(lambda link: (driver.version(link), schema.current(link)))
        except HubError as error:
            return {**report, "ok": False, "error": error.message}
        latency = round((self._clock.monotonic() - began) * 1000, 3)
        sqlite = None if self.postgres else name.removeprefix("SQLite ")
        return {**report, "database": name, "sqlite_version": sqlite, "latency_ms": latency, "schema": version}

    async def pending_migrations(self) -> list[str]:
        """Revisions that the database lacks; works on a store that is not open, and changes nothing."""
        if not self.postgres and not _sqlite_path(self.settings).exists():
            return schema.pending(None)
        return schema.pending(await self._database.read(schema.current))

    async def shrinks(self) -> bool:
        """Whether the file gives the room of deleted rows back; works on a store that is not open, and changes nothing."""
        if not self.postgres and not _sqlite_path(self.settings).exists():
            return True
        return await self._database.read(shrinks)

    async def rotate_master_key(self, new: str = "") -> None:
        """Seal the data key with a new master key, which is made at random where the source can be written.

        With HUBROUTE_MASTER_KEY the caller gives the ``new`` one (base64 of 32 bytes) and changes the setting
        afterwards. A kill at any point leaves a store that opens with what is there.
        """
        place = vaults.source(self.settings)
        if self.settings.master_key and not new:
            raise BadRequest("HUBROUTE_MASTER_KEY cannot be written from here; give the new key, then change the setting", field="new")
        if self._vault is None:
            raise NotConfigured("the store is not open")
        key = vaults.decode(new, "the new master key") if new else secrets.token_bytes(32)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, place.write, ".new", key)
        wrapped = msgspec.json.encode(self._vault.wrap(key)).decode()
        now = self._clock.now_ms()
        await self._database.write(lambda link: link.run(_REWRAP, wrapped, now, _DATA_KEY), durable=True)
        await loop.run_in_executor(None, place.promote)

    def _own_folder(self) -> None:
        folder = self.settings.data_dir
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.postgres:
            return
        path = _sqlite_path(self.settings)
        names = [folder / "hub.lock"]
        if path.parent.resolve() != folder.resolve():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            names.append(path.with_name(f"{path.name}.lock"))
        for name in names:
            lock = FolderLock(name)
            lock.acquire()
            self._locks.append(lock)

    async def _shut(self) -> None:
        await self._money.close()
        await self._database.close()
        for lock in self._locks:
            lock.release()
        self._locks.clear()

    async def _unlock(self, rows: dict[str, list[dict[str, Any]]]) -> bool:
        """Open the vault with the owner's master key; make both for a new database, which is what True says."""
        place = vaults.source(self.settings)
        values = {row["name"]: row["value"] for row in rows["values"]}
        new = _DATA_KEY not in values
        if new:
            values = await self._first_vault(place)
        wrapped = msgspec.json.decode(values[_DATA_KEY], type=WrappedKey)
        self._vault = Vault.unlock(wrapped, vaults.masters(place))
        current = place.read("")
        if current is None or vaults.fingerprint(current) != wrapped.master_id:
            place.promote()  # a rotation was cut off between the database and the key's own place
        return new

    async def _first_vault(self, place: vaults.MasterSource) -> dict[str, str]:
        vault = Vault.create()
        wrapped = msgspec.json.encode(vault.wrap(vaults.first_master(place))).decode()
        pepper = msgspec.json.encode(vault.seal(secrets.token_hex(32), f"values:{_PEPPER}:value")).decode()
        now = self._clock.now_ms()

        def work(link: Link) -> list[dict[str, Any]]:
            # Another process may be first: the first pair stays, and both rows are from one transaction.
            link.run(_FIRST, _DATA_KEY, wrapped, now)
            link.run(_FIRST, _PEPPER, pepper, now)
            return link.run('SELECT name, value FROM "values"')

        return {row["name"]: row["value"] for row in await self._database.write(work, durable=True)}

    def _take_over(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Replace what is in memory by what was read."""
        if self._vault is None:
            return
        values = {row["name"]: row["value"] for row in rows["values"]}
        try:
            pepper = bytes.fromhex(self._vault.open(msgspec.json.decode(values[_PEPPER], type=str), f"values:{_PEPPER}:value"))
            self.values.load(rows["values"])
            self.keys.load(rows["api_keys"], pepper=pepper)
            self.connections.load(rows["connections"], vault=self._vault)
            self.pushes.unlock(self._vault)
            for documents in self._collections:
                documents.load(rows["documents"])
        except (KeyError, ValueError) as error:
            raise DatabaseDamaged(f"the database holds a row that cannot be read ({error}); restore a backup") from error
        self.audit.load(chain_key=pepper)
        self._changes.version = rows["revision"][0]["version"]

    async def _follow(self) -> None:
        """The loop that notices other processes' changes."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                found = await self._database.read(lambda link: link.run(_VERSION))
                if found[0]["version"] != self._changes.version:
                    await self._reload()
            except HubError as error:
                log.warning("changes of other processes cannot be read", reason=error.message)
            except Exception as error:
                log.error("reading changes of other processes failed", exc_info=error)

    async def _reload(self) -> None:
        with suppress(HubError):
            await self.queue.flush()
            self.connections.settled()
        rows = await self._database.read(_hot)
        state = await self._database.read(self.state.followed)
        # Nothing may be awaited from here on: a change made meanwhile is newer than these rows.
        if rows["revision"][0]["version"] >= self._changes.newest:
            self.state.load(state)
            self._take_over(rows)
            self._changes.announce()


def _hot(link: Link) -> dict[str, list[dict[str, Any]]]:
    """What lives in memory, in one snapshot."""
    return {
        "revision": link.run(_VERSION),
        "values": link.run('SELECT * FROM "values"'),
        "api_keys": link.run("SELECT * FROM api_keys"),
        "connections": link.run("SELECT * FROM connections"),
        "documents": link.run("SELECT * FROM documents"),
    }


def _sqlite_path(settings: Settings) -> Path:
    given = settings.database_url.removeprefix("sqlite:///")
    return Path(given) if given else settings.data_dir / "hubroute.db"


def _driver(settings: Settings) -> Driver:
    if settings.postgres:
        # Deferred: psycopg is needed with PostgreSQL only.
        from hub.store.postgres import Postgres  # noqa: PLC0415 - deferred, see above

        return Postgres(settings.database_url)
    return Sqlite(_sqlite_path(settings))
