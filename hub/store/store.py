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
from hub.store import backing, deferred, schema
from hub.store.audit import AuditLog
from hub.store.backing import DATA_KEY, PEPPER
from hub.store.batches import BatchRows
from hub.store.changes import Changes
from hub.store.cloud_tasks import CloudTasks
from hub.store.compression import CompressionLog
from hub.store.connections import Connections
from hub.store.contents import ContentRows
from hub.store.database import Database, DatabaseDamaged
from hub.store.decisions import Decisions
from hub.store.documents import Documents
from hub.store.files import FileRows
from hub.store.fulltext import full_text
from hub.store.keys import Keys
from hub.store.latency import LatencyHours
from hub.store.lock import FolderLock, own
from hub.store.logins import LoginRows
from hub.store.memories import MemoryRows
from hub.store.model_responses import ModelResponses
from hub.store.notices import Notices
from hub.store.pruning import Pruning, shrinks
from hub.store.pushes import PushConfigs
from hub.store.queue import WriteBehind
from hub.store.replays import Replays
from hub.store.responses import Responses
from hub.store.runs import RunRows
from hub.store.shelf import Shelf
from hub.store.skill_runs import SkillRuns
from hub.store.spending import Spending
from hub.store.sqlite import Sqlite
from hub.store.state import State, hot
from hub.store.tasks import Tasks
from hub.store.usage import UsageLog
from hub.store.values import Values
from hub.store.webhooks import WebhookRows
from hub.vault import Vault, WrappedKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from sqlmodel import Session

    from hub.clock import Clock
    from hub.settings import Settings
    from hub.store.backing import Trial
    from hub.store.database import Driver, Link

log = logger("hub.store")
Model = TypeVar("Model", bound="BaseModel")
#: How often another process's changes are looked for; they are seen within a second (D24).
_POLL_SECONDS = 0.4
_FIRST = 'INSERT INTO "values" (name, value, updated_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING'
_REWRAP = 'UPDATE "values" SET value = ?, updated_at = ? WHERE name = ?'
_VERSION = "SELECT version FROM revision WHERE id = 1"


class Store:
    """Open it, use its parts, close it. On SQLite it owns the data folder: a second one raises FolderLocked."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.postgres = settings.postgres
        self._clock = clock
        self.shelf = Shelf(settings.data_dir / "backups")
        self._database = Database(_driver(settings, self))
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
        self.logins = LoginRows(self._database)
        self.batches = BatchRows(self._database, self._clock, settings.batch_lease_seconds)
        self.runs = RunRows(self._database, self._clock)
        self.skill_runs = SkillRuns(self._database, self._clock)
        self.values = Values(self._changes, clock)
        self.state = State(self._database, self.queue, clock)
        self._money = Database(_driver(settings, self), readers=1)
        self.spending = Spending(self._database, self._money, self.queue)
        self.responses = Responses(self._database, self.queue, clock)
        self.replays = Replays(self._database, clock)
        self.webhooks = WebhookRows(self._database, self.queue, clock)
        self.latency = LatencyHours(self._database, self.queue, clock.new_id("p"))
        self.compression = CompressionLog(self._database, self.queue, clock)
        self.contents = ContentRows(self._database, self.queue, self._opened_vault)
        self.memories = MemoryRows(self._database, clock, self)
        self.memory_text = full_text(self._database, settings.data_dir)
        self.pruning = Pruning(self._database)
        self.notices = Notices(self._database, settings.database_url if settings.postgres else "")
        self._collections: list[Documents[Any]] = []
        self._locks: list[FolderLock] = []
        self._follower: asyncio.Task[None] | None = None
        self._vault: Vault | None = None
        #: Keys the digests of API keys and the chain of the audit log.
        self.pepper = b""

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
        return self._opened_vault().seal(text, place)

    def unseal(self, sealed: str, place: str) -> Secret:
        """What was sealed for this place. Raises Unreadable when it was sealed for another or with another key."""
        return Secret(self._opened_vault().open(sealed, place))

    def _opened_vault(self) -> Vault:
        if self._vault is None:
            raise Unavailable("the store is not open")
        return self._vault

    async def open(self) -> None:
        """Lock the folder, migrate, load. Raises HubError with what to do: locked, damaged, wrong master key, no database."""
        try:
            self._locks = own(self.settings.data_dir, None if self.postgres else sqlite_path(self.settings))
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

    async def together(self, *parts: tuple[Callable[[Session], Any], Callable[[Any], None]]) -> Any:
        """Make several changes in one transaction: all of them or none. What the first one's work gave."""

        def work(session: Session) -> list[Any]:
            return [part[0](session) for part in parts]

        def apply(made: list[Any]) -> None:
            for part, result in zip(parts, made, strict=True):
                part[1](result)

        return (await self._changes.make(work, apply))[0]

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
        if not self.postgres and not sqlite_path(self.settings).exists():
            return schema.pending(None)
        return schema.pending(await self._database.read(schema.current))

    async def shrinks(self) -> bool:
        """Whether the file gives the room of deleted rows back; works on a store that is not open, and changes nothing."""
        if not self.postgres and not sqlite_path(self.settings).exists():
            return True
        return await self._database.read(shrinks)

    async def snapshot(self, target: Path) -> None:
        """Write everything that is stored to a new file, as of one moment, while others read and write. Raises HubError, OSError."""
        await self.queue.settle()
        await asyncio.to_thread(backing.snapshot, self._database.driver, target)

    async def tried(self, archive: Path) -> Trial:
        """What would be there with an archive (see :mod:`hub.store.scratch`) in this store's place. Raises HubError for a bad row in it."""
        return await backing.tried(self, archive, _hot)

    async def restore(
        self, archive: Path, trial: Trial, *, before: Callable[[Callable[[Path], None]], None], mark: int
    ) -> list[dict[str, Any]]:
        """Put an archive that was tried in the place of everything, in one transaction, and load it; the rows of budgets.

        ``before`` is called in a thread once nobody can change anything, with what writes everything to a new file, to the last change
        that was acknowledged. Raises HubError, and what ``before`` raises; nothing is changed then.
        """
        restoring, driver = deferred.restoring(), self._database.driver
        plan = restoring.Plan(
            archive, lambda: before(lambda target: backing.snapshot(driver, target)), trial.vault, trial.own, trial.chained, mark
        )

        def work(link: Link) -> list[dict[str, Any]]:
            spent = restoring.restore(link, plan)
            # In the writer's own thread: the next row of the audit log fits the chain that is there now.
            self.audit.load(chain_key=trial.pepper)
            return spent

        aside = await asyncio.to_thread(restoring.aside, driver, plan)
        try:
            await self.queue.flush()
            spent = await self._database.alone(work, link=aside)
        finally:
            if aside is not None:
                await asyncio.to_thread(aside.raw.close)
        # A change that was made meanwhile is newer than the rows that are read next: then they are read again.
        loaded = await self._reload()
        while not loaded:
            loaded = await self._reload()
        return spent

    async def vault_rows(self) -> list[dict[str, Any]]:
        """The stored rows of the vault: its wrapped key, and what that seals."""
        return await self._database.read(lambda link: link.run('SELECT name, value FROM "values" WHERE name IN (?, ?)', DATA_KEY, PEPPER))

    def pepper_of(self, rows: dict[str, list[dict[str, Any]]]) -> bytes:
        """Load rows into a store that is thrown away; the vault's pepper in them. Raises DatabaseDamaged for a bad row."""
        other = Store(self.settings, self._clock)
        other._collections += [kind.twin() for kind in self._collections]
        other._take_over(rows)
        return other.pepper

    def now_ms(self) -> int:
        """The clock's time."""
        return self._clock.now_ms()

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
        await self._database.write(lambda link: link.run(_REWRAP, wrapped, now, DATA_KEY), durable=True)
        await loop.run_in_executor(None, place.promote)

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
        new = DATA_KEY not in values
        if new:
            values = await self._first_vault(place)
        wrapped = msgspec.json.decode(values[DATA_KEY], type=WrappedKey)
        self._vault = Vault.unlock(wrapped, vaults.masters(place))
        current = place.read("")
        if current is None or vaults.fingerprint(current) != wrapped.master_id:
            place.promote()  # a rotation was cut off between the database and the key's own place
        return new

    async def _first_vault(self, place: vaults.MasterSource) -> dict[str, str]:
        vault = Vault.create()
        wrapped = msgspec.json.encode(vault.wrap(vaults.first_master(place))).decode()
        pepper = msgspec.json.encode(vault.seal(secrets.token_hex(32), f"values:{PEPPER}:value")).decode()
        now = self._clock.now_ms()

        def work(link: Link) -> list[dict[str, Any]]:
            # Another process may be first: the first pair stays, and both rows are from one transaction.
            link.run(_FIRST, DATA_KEY, wrapped, now)
            link.run(_FIRST, PEPPER, pepper, now)
            return link.run('SELECT name, value FROM "values"')

        return {row["name"]: row["value"] for row in await self._database.write(work, durable=True)}

    def _take_over(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Replace what is in memory by what was read, the vault too where a restored backup brought another."""
        values = {row["name"]: row["value"] for row in rows["values"]}
        try:
            wrapped = msgspec.json.decode(values[DATA_KEY], type=WrappedKey)
            if self._vault is None or self._vault.key_id != wrapped.key_id:
                self._vault = Vault.unlock(wrapped, vaults.masters(vaults.source(self.settings)))
            pepper = bytes.fromhex(self._vault.open(msgspec.json.decode(values[PEPPER], type=str), f"values:{PEPPER}:value"))
            self.values.load(rows["values"])
            self.keys.load(rows["api_keys"], pepper=pepper)
            self.connections.load(rows["connections"], vault=self._vault)
            self.pushes.unlock(self._vault)
            for documents in self._collections:
                documents.load(rows["documents"])
        except (KeyError, ValueError) as error:
            raise DatabaseDamaged(f"the database holds a row that cannot be read ({error}); restore a backup") from error
        self.pepper = pepper
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

    async def _reload(self) -> bool:
        """Take over what is stored; False when a change of this process was newer than that."""
        with suppress(HubError):
            await self.queue.flush()
            self.connections.settled()
        rows = await self._database.read(_hot)
        state = await self._database.read(self.state.followed)
        # Nothing may be awaited from here on: a change made meanwhile is newer than these rows.
        if rows["revision"][0]["version"] < self._changes.newest:
            return False
        self.state.load(state)
        self._take_over(rows)
        self._changes.announce()
        return True


def _hot(link: Link) -> dict[str, list[dict[str, Any]]]:
    """What lives in memory, in one snapshot."""
    return {
        "revision": link.run(_VERSION),
        "values": link.run('SELECT * FROM "values"'),
        "api_keys": link.run("SELECT * FROM api_keys"),
        "connections": link.run("SELECT * FROM connections"),
        "documents": link.run("SELECT * FROM documents"),
    }


def sqlite_path(settings: Settings) -> Path:
    """Where the SQLite file of a hub is."""
    given = settings.database_url.removeprefix("sqlite:///")
    return Path(given) if given else settings.data_dir / "hubroute.db"


def _driver(settings: Settings, store: Store) -> Driver:
    before = backing.before_migration(lambda: _driver(settings, store), store)
    if settings.postgres:
        # Deferred: psycopg is needed with PostgreSQL only.
        from hub.store.postgres import Postgres  # noqa: PLC0415 - deferred, see above

        return Postgres(settings.database_url, before)
    return Sqlite(sqlite_path(settings), before)
