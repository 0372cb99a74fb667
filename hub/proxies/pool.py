"""The pool of proxies and its assignments. Every change goes through here, so that none is stored by halves."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from hub.errors import BadRequest, Conflict, HubError, NotConfigured
from hub.outbound.address import parse_url
from hub.outbound.base import Proxy
from hub.proxies.model import Entry, Kind, Use
from hub.proxies.routes import GLOBAL, Found, Routes

if TYPE_CHECKING:
    from hub.proxies.model import Scope
    from hub.records import Connection
    from hub.store import Store
    from hub.store.documents import Document, Documents

#: More proxies than a hub has use for.
_MOST = 1000


class Proxies:
    """Every proxy, who uses it, and what follows for calls (:class:`hub.proxies.routes.Routes`)."""

    def __init__(self, store: Store) -> None:
        self.entries: Documents[Entry] = store.collection("proxy", what="proxy", prefix="prx_", body=Entry)
        self.uses: Documents[Use] = store.collection("proxy-use", what="assignment", prefix="pxu_", body=Use)
        self.routes = Routes()
        self._store = store
        self._seen: tuple[object, ...] = ()
        self._ways: dict[str, tuple[Document[Entry], Proxy]] = {}
        #: Held from the look at what is there until a change is stored.
        self.changing = asyncio.Lock()

    def refresh(self, combos: Documents[Any]) -> bool:
        """Take over what changed, here or in another process; whether calls may go another way now."""
        places = {(one.body.scope, _named(one.body, combos)): one.body.proxy_id for one in self.uses.all()}
        seen = (self.entries.version, self.uses.version, tuple(places.items()))
        if seen == self._seen:
            return False
        self._seen = seen
        self.routes.replace({place: self._way(identity) for place, identity in places.items() if place[0] != "combo" or place[1]})
        return True

    def _way(self, identity: str) -> tuple[Proxy, str]:
        entry = self.entries.peek(identity)
        if entry is None:
            return Proxy("", id=identity, fault="the proxy that is assigned here was deleted; assign another, or none"), identity
        return self.proxy(entry), entry.body.title

    def proxy(self, entry: Document[Entry]) -> Proxy:
        """A proxy as calls use it; one that cannot be used says why in ``fault``, and calls fail then."""
        kept = self._ways.get(entry.id)
        if kept is not None and kept[0] is entry:
            return kept[1]
        body = entry.body
        if body.active:
            try:
                made = Proxy(self.url(entry, secret=True), private=body.allow_private, id=entry.id)
            except HubError as error:
                made = Proxy("", id=entry.id, fault=f"the password of proxy {body.title!r} cannot be read: {error.message}")
        else:
            made = Proxy("", id=entry.id, fault=f"proxy {body.title!r} is switched off; switch it on, or assign another or none")
        self._ways[entry.id] = entry, made
        return made

    def url(self, entry: Document[Entry], *, secret: bool = False) -> str:
        """The address of a proxy, with its credentials or without."""
        body = entry.body
        return address(body.kind, body.host, body.port, body.username if secret else "", self.password(entry) if secret else "")

    def password(self, entry: Document[Entry]) -> str:
        """The password itself. Raises Unreadable when it was sealed with another key."""
        sealed = entry.body.password
        return self._store.unseal(sealed, _place(entry.id)).reveal() if sealed else ""

    def resolved(self, connection: Connection, combo: str = "") -> Found | None:
        """The proxy of a connection's calls now, None for none."""
        return self.routes.found(connection, combo)

    def used_by(self, identity: str) -> list[Document[Use]]:
        """The assignments of a proxy."""
        return [one for one in self.uses.all() if one.body.proxy_id == identity]

    def at(self, scope: Scope, scope_id: str) -> Document[Use] | None:
        """The assignment of a level."""
        return self.uses.find(f"{scope}:{scope_id}")

    async def create(self, identity: str, fields: dict[str, Any]) -> Document[Entry]:
        """Store a proxy under a new id; fields of :class:`Entry`, the password as it is. Raises BadRequest, NotConfigured, Conflict."""
        if len(self.entries.all()) >= _MOST:
            raise Conflict(f"a hub holds {_MOST} proxies")
        return await self.entries.create(identity, self._checked(identity, Entry.model_validate(fields)), document_id=identity)

    async def update(self, identity: str, fields: dict[str, Any]) -> Document[Entry]:
        """Change fields of a proxy. Raises BadRequest, NotConfigured, NotFound."""

        def change(kept: Entry) -> Entry:
            given = {name: value for name, value in fields.items() if name != "password"}
            made = Entry.model_validate({**kept.model_dump(by_alias=False), **given, "password": fields.get("password", "")})
            made = self._checked(identity, made)
            return made if "password" in fields else made.model_copy(update={"password": kept.password})

        return await self.entries.edit(identity, change)

    async def delete(self, identity: str, *, force: bool) -> None:
        """Remove a proxy; with ``force`` its assignments go first. Raises NotFound, Conflict while it is used."""
        async with self.changing:
            self.entries.get(identity)
            used = self.used_by(identity)
            if used and not force:
                places = ", ".join(f"{one.body.scope} {one.body.scope_id}".strip() for one in used[:5])
                more = f" and {len(used) - 5} more" if len(used) > 5 else ""
                raise Conflict(
                    f"the proxy is assigned to {places}{more}; clear that first, or delete it with force=1", data={"count": len(used)}
                )
            for one in used:
                await self.uses.delete(one.id)
            await self.entries.delete(identity)

    async def assign(self, scope: Scope, scope_id: str, proxy_id: str) -> Document[Use]:
        """Have a level use a proxy instead of the one that it used. Raises NotFound for a proxy that is not there."""
        async with self.changing:
            self.entries.get(proxy_id)
            kept = self.at(scope, scope_id)
            if kept is not None:
                if kept.body.proxy_id == proxy_id:
                    return kept
                return await self._moved(kept, proxy_id)
            number = max((one.body.number for one in self.uses.all()), default=0) + 1
            body = Use(number=number, scope=scope, scope_id=scope_id, proxy_id=proxy_id)
            return await self.uses.create(f"{scope}:{scope_id}", body)

    async def clear(self, scope: Scope, scope_id: str) -> bool:
        """Have a level use none of its own; whether it had one."""
        async with self.changing:
            kept = self.at(scope, scope_id)
            if kept is None:
                return False
            await self.uses.delete(kept.id)
            await self._orphaned(kept.body.proxy_id)
            return True

    async def _moved(self, kept: Document[Use], proxy_id: str) -> Document[Use]:
        changed = await self.uses.edit(kept.id, lambda use: use.model_copy(update={"proxy_id": proxy_id}))
        await self._orphaned(kept.body.proxy_id)
        return changed

    async def _orphaned(self, proxy_id: str) -> None:
        """A proxy that was written onto a level goes with its last use."""
        entry = self.entries.peek(proxy_id)
        if entry is not None and entry.body.level and not self.used_by(proxy_id):
            await self.entries.delete(proxy_id)

    async def write(self, scope: Scope, scope_id: str, identity: str, fields: dict[str, Any]) -> Document[Use]:
        """Write a proxy straight onto a level: the one that was written there before is changed, else ``identity`` is made for it."""
        kept = self.at(scope, scope_id)
        entry = self.entries.peek(kept.body.proxy_id) if kept is not None else None
        if kept is not None and entry is not None and entry.body.level and len(self.used_by(entry.id)) == 1:
            await self.update(entry.id, fields)
            return kept
        title = scope if scope == GLOBAL else f"{scope} {scope_id}"
        await self.create(identity, {"title": title, "level": True, **fields})
        return await self.assign(scope, scope_id, identity)

    def check(self, fields: dict[str, Any]) -> Entry:
        """An entry of these fields that could be stored, its password as it is.

        Raises BadRequest naming what is wrong, NotConfigured for what is missing.
        """
        if fields.get("kind") not in get_args(Kind):
            raise BadRequest(f"type is one of {', '.join(get_args(Kind))}", field="type")
        entry = Entry.model_validate({"title": "", **fields})
        _check(entry)
        return entry

    def _checked(self, identity: str, entry: Entry) -> Entry:
        """An entry that can be used, its password sealed. Raises what :meth:`check` raises."""
        _check(entry)
        sealed = self._store.seal(entry.password, _place(identity)) if entry.password else ""
        return entry.model_copy(update={"password": sealed})


def _check(entry: Entry) -> None:
    """Raise BadRequest for what could not be used, NotConfigured for what is missing."""
    _, path = parse_url(address("http", entry.host, entry.port), field="host")
    if path != "/":
        raise BadRequest("host is not usable: write a name or an address alone", field="host")
    for name in ("username", "password"):
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in getattr(entry, name)):
            raise BadRequest(f"{name} holds a control character", field=name)
    if ":" in entry.username and entry.kind != "socks5":
        raise BadRequest("a user name of an HTTP proxy has no colon (RFC 7617)", field="username")
    if entry.kind == "socks5" and find_spec("socksio") is None:
        raise NotConfigured("SOCKS proxies need the package socksio: install hubroute[socks]", field="type")


def _named(use: Use, combos: Documents[Any]) -> str:
    """What calls know a level's thing by: a combo by its name, which may change."""
    combo = combos.peek(use.scope_id) if use.scope == "combo" else None
    return (combo.name if combo is not None else "") if use.scope == "combo" else use.scope_id


def address(kind: str, host: str, port: int, username: str = "", password: str = "") -> str:
    """A proxy's URL."""
    user = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""
    name = f"[{host.strip('[]')}]" if ":" in host else host
    return f"{kind}://{user}{name}:{port}"


def _place(identity: str) -> str:
    return f"proxy:{identity}:password"
