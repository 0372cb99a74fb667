"""Connections to providers: credentials sealed at rest, opened into memory at the load, health written behind."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import NotFound, Unavailable
from hub.log import logger
from hub.records import NO_RULES, Connection, ConnectionRules, TestStatus
from hub.secret import Secret
from hub.store import columns, deferred
from hub.store.inputs import known, lines, number, words
from hub.vault import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlmodel import Session

    from hub.clock import Clock
    from hub.store.changes import Changes
    from hub.store.database import Link
    from hub.store.queue import WriteBehind
    from hub.vault import Vault

log = logger("hub.store")
_MARK = "UPDATE connections SET test_status = ?, last_error = ?, last_error_at = ?, cooldown_until = ?, backoff_level = ? WHERE id = ?"
_BUMP = "UPDATE revision SET version = version + 1 WHERE id = 1"
#: A new credential starts with a clean record.
_UNTRIED: dict[str, Any] = {"test_status": "unknown", "last_error": "", "last_error_at": None, "cooldown_until": None, "backoff_level": 0}


class Connections:
    """Every connection, in memory after the load. Reads are plain look-ups, fit for the hot path."""

    def __init__(self, changes: Changes, queue: WriteBehind, clock: Clock) -> None:
        self._changes = changes
        self._queue = queue
        self._clock = clock
        self._vault: Vault | None = None
        self._all: dict[str, Connection] = {}
        self._order: dict[str, list[Connection]] = {}
        #: Connection -> where it stands in its provider's order; a mark changes neither.
        self._at: dict[str, int] = {}
        #: The orders as they were given out, dropped when one of their connections is replaced.
        self._of: dict[str, tuple[Connection, ...]] = {}
        #: Connection -> its sealed columns and what they hold, so that a reload opens only what is new.
        self._opened_as: dict[str, _Opened] = {}
        self._marked: set[str] = set()
        queue.register("connections", _save_marks)

    def settled(self) -> None:
        """Every mark so far is stored: a load that is read from now on knows them."""
        self._marked.clear()

    def load(self, rows: Iterable[dict[str, Any]], *, vault: Vault) -> None:
        """Take over the stored connections. A mark that was made while the rows were read is kept."""
        self._vault = vault
        before, opened = self._all, self._opened_as
        self._all, self._opened_as, self._order, self._at, self._of = {}, {}, {}, {}, {}
        for row in rows:
            connection = self._opened(row, opened)
            old = before.get(connection.id)
            if old is not None:
                if connection.id in self._marked:
                    connection = _with_state(connection, old)
                if connection == old:
                    connection = old  # what others keep for this very object stays good
            self._all[connection.id] = connection
            self._order.setdefault(connection.provider, []).append(connection)
        for found in self._order.values():
            self._arrange(found)

    def all(self) -> list[Connection]:
        """Every connection, by provider and priority."""
        return [connection for provider in sorted(self._order) for connection in self._order[provider]]

    def of(self, provider_id: str) -> tuple[Connection, ...]:
        """A provider's connections, active or not, by priority and then age."""
        found = self._of.get(provider_id)
        if found is None:
            order = self._order.get(provider_id)
            if order is None:
                return ()
            found = self._of[provider_id] = tuple(order)
        return found

    def get(self, connection_id: str) -> Connection:
        """One connection. Raises NotFound."""
        connection = self._all.get(connection_id)
        if connection is None:
            raise NotFound(f"there is no connection {connection_id!r}")
        return connection

    def peek(self, connection_id: str) -> Connection | None:
        """One connection, if there is one of this id."""
        return self._all.get(connection_id)

    async def create(
        self,
        *,
        provider: str,
        name: str,
        secret: str,
        base_url: str = "",
        data: Mapping[str, str] | None = None,
        priority: int = 1,
        allow_private: bool = False,
        proxy: str = "",
        default_model: str = "",
        models: Sequence[str] = (),
        auth_type: str = "apikey",
        rules: ConnectionRules = NO_RULES,
        extra_secrets: Sequence[str] = (),
        active: bool = True,
        connection_id: str = "",
    ) -> Connection:
        """Store a connection, under an id of its own or the one that is given. Raises BadRequest naming the field that is wrong."""
        now = self._clock.now_ms()
        given = {
            "name": name,
            "secret": secret,
            "base_url": base_url,
            "data": data or {},
            "priority": priority,
            "allow_private": allow_private,
            "proxy": proxy,
            "default_model": default_model,
            "models": models,
            "auth_type": auth_type,
            "rules": rules,
            "extra_secrets": extra_secrets,
            "active": active,
        }
        identity = connection_id or self._clock.new_id("con_")
        row = {
            "id": identity,
            "provider": words("provider", provider, limit=100),
            **self._checked(identity, given),
            **_UNTRIED,
            "created_at": now,
            "updated_at": now,
        }
        await self._changes.make(lambda session: deferred.management().insert(session, "connections", row), self._apply)
        return self.get(identity)

    async def update(self, connection_id: str, **changes: Any) -> Connection:
        """Change fields of :meth:`create` (but the provider); a new secret, or new ones beside it, clears the health marks.

        ``secret`` or ``proxy`` None leaves it as it is, "" removes it. Raises BadRequest, NotFound.
        """
        known(changes, _CHECKS)
        given = {name: value for name, value in changes.items() if value is not None}
        row = {**self._checked(connection_id, given), "updated_at": self._clock.now_ms()}
        renewed = "secret" in given or "extra_secrets" in given
        if renewed:
            row.update(_UNTRIED)

        def apply(stored: dict[str, Any]) -> None:
            self._apply(stored, keep_state=not renewed)

        await self._changes.make(lambda session: deferred.management().change(session, "connections", connection_id, lambda _: row), apply)
        return self.get(connection_id)

    async def delete(self, connection_id: str) -> None:
        """Remove a connection and its credential. Raises NotFound."""

        def work(session: Session) -> None:
            if not deferred.management().remove(session, "connections", connection_id):
                raise NotFound(f"there is no connection {connection_id!r}")

        await self._changes.make(work, lambda _: self._forget(connection_id))

    def removal(self, provider: str) -> tuple[Callable[[Session], list[str]], Callable[[list[str]], None]]:
        """The removal of all connections of a provider as a transaction's work, which gives their ids, and what follows it."""

        def work(session: Session) -> list[str]:
            return deferred.management().remove_of(session, "connections", "provider", provider)

        def apply(gone: list[str]) -> None:
            for connection_id in gone:
                self._forget(connection_id)

        return work, apply

    def _forget(self, connection_id: str) -> None:
        self._drop(connection_id)
        self._opened_as.pop(connection_id, None)
        self._queue.forget("connections", connection_id)

    def mark(self, connection_id: str, **state: Any) -> None:
        """Note health: any of test_status, last_error, last_error_at, cooldown_until, backoff_level.

        Seen at once, stored with the write-behind rows. A connection that is gone is passed over: a call
        may outlive it.
        """
        known(state, columns.STATE)
        connection = self._all.get(connection_id)
        if connection is None:
            return
        if "last_error" in state:
            state["last_error"] = columns.text(state["last_error"][:500])
        self._marked.add(connection_id)
        marked = msgspec.structs.replace(connection, **state)
        self._swap(marked)
        self._queue.replace("connections", connection_id, marked)

    def _checked(self, identity: str, given: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {name: _CHECKS[name](value) for name, value in given.items()}
        for name in ("secret", "proxy", "extra_secrets"):
            if name in row:
                row[name] = self._sealed(identity, name, row[name])
        return row

    def _sealed(self, identity: str, column: str, plain: str) -> str:
        if self._vault is None:
            raise Unavailable("the store is not open")
        return self._vault.seal(plain, _place(identity, column)) if plain else ""

    def _opened(self, row: dict[str, Any], known: Mapping[str, _Opened] = MappingProxyType({})) -> Connection:
        """The connection of a row; one whose secret cannot be read is there, and says so, but cannot be used."""
        sealed = (row["secret"], row["proxy"], row["extra_secrets"])
        opened = known.get(row["id"])
        if opened is None or opened.sealed != sealed:
            try:
                secret, proxy, more = (self._reveal(row, name) for name in ("secret", "proxy", "extra_secrets"))
            except Unreadable as error:
                log.error("a stored credential cannot be decrypted", connection=row["id"], provider=row["provider"])
                broken = columns.connection_of(row, secret=Secret(""), proxy=None)
                return msgspec.structs.replace(broken, test_status=TestStatus.EXPIRED, last_error=error.message)
            extra = tuple(map(Secret, msgspec.json.decode(more.reveal(), type=list[str]))) if more else ()
            opened = _Opened(sealed, secret, proxy if proxy else None, extra)
        self._opened_as[row["id"]] = opened
        return columns.connection_of(row, secret=opened.secret, proxy=opened.proxy, extra_secrets=opened.extra)

    def _reveal(self, row: dict[str, Any], column: str) -> Secret:
        sealed = row[column]
        if not sealed or self._vault is None:
            return Secret("")
        return Secret(self._vault.open(sealed, _place(row["id"], column)))

    def _apply(self, row: dict[str, Any], *, keep_state: bool = False) -> None:
        connection = self._opened(row)
        current = self._all.get(connection.id)
        if current is not None and keep_state:
            connection = _with_state(connection, current)
        self._hold(connection)
        if self._queue.depth:
            # A mark from before this change may still wait and would be stored over it.
            self._queue.replace("connections", connection.id, connection)

    def _hold(self, connection: Connection) -> None:
        """A connection is new or changed: put it where it belongs."""
        self._drop(connection.id)
        self._all[connection.id] = connection
        found = self._order.setdefault(connection.provider, [])
        found.append(connection)
        self._arrange(found)

    def _swap(self, connection: Connection) -> None:
        """A connection's marks changed, not its place."""
        self._all[connection.id] = connection
        self._order[connection.provider][self._at[connection.id]] = connection
        self._of.pop(connection.provider, None)

    def _drop(self, connection_id: str) -> None:
        gone = self._all.pop(connection_id, None)
        if gone is None:
            return
        found = self._order[gone.provider]
        del found[self._at.pop(connection_id)]
        if found:
            self._arrange(found)
        else:
            del self._order[gone.provider]
            self._of.pop(gone.provider, None)

    def _arrange(self, found: list[Connection]) -> None:
        """Put one provider's connections in order."""
        found.sort(key=lambda item: (item.priority, item.created_at, item.id))
        self._at.update((connection.id, place) for place, connection in enumerate(found))
        self._of.pop(found[0].provider, None)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The sealed columns of a row, and the secrets in them."""

    sealed: tuple[str, str, str]
    secret: Secret
    proxy: Secret | None
    extra: tuple[Secret, ...]


def _place(identity: str, column: str) -> str:
    return f"connections:{identity}:{column}"


def _with_state(connection: Connection, other: Connection) -> Connection:
    return msgspec.structs.replace(connection, **{name: getattr(other, name) for name in columns.STATE})


def _extras(value: Mapping[str, str]) -> str:
    return columns.encoded({words("data", name, limit=100): words("data", item, limit=2000, empty=True) for name, item in value.items()})


def _credential(value: str) -> str:
    """A key, one line; a service account is JSON and may have several."""
    value = value.strip()
    words("secret", " ".join(value.split()) if value.startswith("{") else value, limit=20_000, empty=True)
    return value


#: How each field that may change is checked and stored; secrets are sealed after it.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "name": lambda value: words("name", value, limit=200),
    "secret": _credential,
    "base_url": lambda value: words("base_url", value, limit=2000, empty=True),
    "data": _extras,
    "priority": lambda value: number("priority", value, most=1_000_000),
    "active": bool,
    "allow_private": bool,
    "proxy": lambda value: words("proxy", value, limit=2000, empty=True),
    "default_model": lambda value: words("default_model", value, limit=500, empty=True),
    "models": lambda value: columns.encoded(lines("models", value, limit=500)),
    "auth_type": lambda value: words("auth_type", value, limit=50),
    "rules": columns.encoded,
    "extra_secrets": lambda value: columns.encoded([_credential(item) for item in value]) if value else "",
}


def _state(row: Connection) -> tuple[object, ...]:
    """The columns of :data:`columns.STATE`."""
    return str(row.test_status), row.last_error, columns.maybe(row.last_error_at), columns.maybe(row.cooldown_until), row.backoff_level


def _save_marks(link: Link, rows: list[Connection], again: bool) -> None:
    link.many(_MARK, [(*_state(row), row.id) for row in rows])
    if link.dialect == "postgresql":
        link.run(_BUMP)  # other processes honour the cooldown too
