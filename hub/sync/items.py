"""What two hubs keep the same: settings, aliases, connections, combos, mappings. Gathered as items, and written where an item says so."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ValidationError

from hub.canonical import canonical
from hub.errors import BadRequest, Conflict, InvalidInput
from hub.planning.directory import ALIASES
from hub.preferences import PREFERENCES
from hub.records import Connection, ConnectionRules
from hub.secret import Secret
from hub.skill import details_of
from hub.sync.merging import Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.preferences import PreferenceStore
    from hub.store import Store
    from hub.store.documents import Documents

#: Settings that are each hub's own.
LOCAL = frozenset({"backupSchedule", "oauthBlocked"})
SETTINGS, NAMES, CONNECTION = "settings", "aliases", "connection"
#: The order in which things are written: what others name comes first. They are removed in the other.
ORDER = (SETTINGS, CONNECTION, "combo", "mapping", NAMES)
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class ConnectionBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A connection on its way. Whether it may reach private addresses each owner says for their own hub. Secrets only where the token has
    them, and with them whether it is in use: ``secret`` None says that neither is on the way."""

    provider: str
    auth_type: str = "apikey"
    base_url: str = ""
    data: dict[str, str] = {}
    priority: int = 1
    active: bool | None = None
    default_model: str = ""
    models: tuple[str, ...] = ()
    rules: ConnectionRules = ConnectionRules()
    secret: str | None = None
    proxy: str = ""
    extra_secrets: tuple[str, ...] = ()


class Items:
    """The items of one hub. ``check`` raises for a connection that no call could use."""

    def __init__(
        self,
        store: Store,
        preferences: PreferenceStore,
        documents: dict[str, Documents[Any]],
        bodies: dict[str, type[BaseModel]],
        check: Callable[[Connection], None],
    ) -> None:
        self._store = store
        self._preferences = preferences
        self._documents = documents
        self._bodies = bodies
        self._check = check

    def all(self, *, secrets: bool, token: str) -> dict[str, Item]:
        """Every item by its key. The ``token`` keys the prints, so that they tell nothing of a secret to others."""
        values = self._store.values
        settings = self._preferences.current.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_unset=False)
        shared = {name: value for name, value in settings.items() if name not in LOCAL}
        # What is as it was delivered is not there, so that a new hub has nothing to set against another's.
        single = ((SETTINGS, "settings", PREFERENCES, shared), (NAMES, "model aliases", ALIASES, values.get(ALIASES, {})))
        found = [_item(kind, kind, name, values.changed_at(value), body, token) for kind, name, value, body in single if body]
        found += [
            _item(CONNECTION, one.id, one.name, one.updated_at, _outgoing(one, secrets=secrets), token)
            for one in self._store.connections.all()
        ]
        for kind, documents in self._documents.items():
            for document in documents.all():
                body = document.body.model_dump(mode="json", by_alias=True, exclude_defaults=True)
                found.append(_item(kind, document.id, document.name, document.updated_at, body, token))
        return {one.key: one for one in found}

    async def put(self, item: Item) -> None:
        """Write an item. Raises BadRequest for one that cannot be, Conflict where this hub has something in its place."""
        if not _ID.fullmatch(item.id):
            raise BadRequest(f"the id of a {item.kind[:40]} cannot be one", field="id")
        if item.kind == SETTINGS:
            await self._preferences.replace(_fields(item), keep=LOCAL)
        elif item.kind == NAMES:
            await self._store.values.set(ALIASES, _names(item))
        elif item.kind == CONNECTION:
            await self._connect(item)
        elif item.kind in self._documents:
            await self._document(item)
        else:
            raise BadRequest(f"this hub does not know the kind {item.kind[:40]!r}; is the other one newer?", field="kind")

    async def remove(self, key: str) -> None:
        """Delete what a key names; nothing happens when it is gone."""
        kind, _, identity = key.partition(":")
        if kind == SETTINGS:
            await self._preferences.replace({}, keep=LOCAL)
        elif kind == NAMES:
            await self._store.values.delete(ALIASES)
        elif kind == CONNECTION and self._store.connections.peek(identity) is not None:
            await self._store.connections.delete(identity)
        elif kind in self._documents and self._documents[kind].peek(identity) is not None:
            await self._documents[kind].delete(identity)

    async def _document(self, item: Item) -> None:
        documents = self._documents[item.kind]
        try:
            body = self._bodies[item.kind].model_validate(item.body)
        except ValidationError as error:
            raise InvalidInput(details_of(error)) from None
        if documents.peek(item.id) is None:
            await documents.create(item.name, body, document_id=item.id)
        else:
            await documents.update(item.id, body, name=item.name)

    async def _connect(self, item: Item) -> None:
        try:
            body = msgspec.convert(item.body, ConnectionBody)
        except msgspec.ValidationError as error:
            raise BadRequest(f"the connection {item.name[:80]!r} cannot be read: {error}", field="body") from None
        kept = self._store.connections.peek(item.id)
        draft = Connection(
            id=item.id,
            provider=body.provider,
            name=item.name,
            # Without one on the way its owner enters one here: all else must be sound.
            secret=Secret(body.secret if body.secret is not None else "to be entered"),
            base_url=body.base_url,
            data=body.data,
            allow_private=kept.allow_private if kept else False,
        )
        self._check(draft)
        plain: dict[str, Any] = {
            "name": item.name, "base_url": body.base_url, "data": body.data, "priority": body.priority,
            "default_model": body.default_model, "models": body.models, "rules": body.rules,
        }  # fmt: skip
        sealed: dict[str, Any] = {}
        if body.secret is not None:
            sealed = {"secret": body.secret, "proxy": body.proxy, "extra_secrets": body.extra_secrets, "active": bool(body.active)}
        if kept is not None:
            self._same_place(kept, body)
            await self._store.connections.update(item.id, **plain, **sealed)
            return
        if not sealed:
            plain |= {"secret": "", "active": False}  # its owner here enters the key and turns it on
        await self._store.connections.create(provider=body.provider, auth_type=body.auth_type, connection_id=item.id, **(plain | sealed))

    def _same_place(self, kept: Connection, body: ConnectionBody) -> None:
        """Raise Conflict for a change that would send a secret of this hub elsewhere."""
        moved = (kept.provider, kept.base_url, kept.data) != (body.provider, body.base_url, body.data)
        if kept.provider != body.provider or (moved and body.secret is None and kept.secret.reveal()):
            raise Conflict(f"the connection {kept.name!r} has a credential here and another address there; change the address by hand")


def _outgoing(one: Connection, *, secrets: bool) -> dict[str, Any]:
    body = ConnectionBody(
        provider=one.provider,
        auth_type=one.auth_type,
        base_url=one.base_url,
        data=one.data,
        priority=one.priority,
        default_model=one.default_model,
        models=one.models,
        rules=one.rules,
    )
    if secrets:
        body.secret, body.active = one.secret.reveal(), one.active
        body.proxy = one.proxy.reveal() if one.proxy else ""
        body.extra_secrets = tuple(secret.reveal() for secret in one.extra_secrets)
    return msgspec.to_builtins(body)


def _item(kind: str, identity: str, name: str, at: int, body: Any, token: str) -> Item:
    data = canonical([kind, name, body])
    return Item(kind=kind, id=identity, name=name, at=at, print=hmac.new(token.encode(), data, hashlib.sha256).hexdigest(), body=body)


def _fields(item: Item) -> dict[str, Any]:
    if not isinstance(item.body, dict):
        raise BadRequest(f"the {item.kind} cannot be read", field="body")
    return item.body  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON edge


def _names(item: Item) -> dict[str, str]:
    try:
        return msgspec.convert(item.body, dict[str, str])
    except msgspec.ValidationError:
        raise BadRequest("the aliases are not names of models by name", field="body") from None
