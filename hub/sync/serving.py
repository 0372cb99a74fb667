"""The side of a sync that is asked: gives its items sealed, and takes changes that were made of exactly what it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, Conflict, Forbidden, HubError
from hub.sync import sealing
from hub.sync.items import ORDER, Items
from hub.sync.merging import Item

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.store import Store
    from hub.sync.tokens import Tokens

#: What the key of a hub is derived for.
_PURPOSE = "sync x25519"


class Change(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What one hub asks another to write and delete."""

    puts: list[Item]
    gone: list[str]


class Refused(msgspec.Struct, kw_only=True):
    """Something that was not written, and why."""

    item: str
    name: str
    why: str


class Serving:
    """One hub's side. One change at a time; another process may write between, which the next sync sees."""

    def __init__(self, store: Store, items: Items, tokens: Tokens) -> None:
        self._store = store
        self._items = items
        self._tokens = tokens
        self._turn = asyncio.Lock()

    def secret_key(self) -> bytes:
        """This hub's own key."""
        return self._store.derive(_PURPOSE)

    def public_key(self) -> str:
        """What others seal to."""
        return sealing.public_key(self.secret_key())

    async def bundle(self, token: str, *, recipient: str, nonce: str, known: str) -> dict[str, Any]:
        """``version``, and unless that is the ``known`` one a sealed ``bundle``. Raises Unauthenticated, Forbidden, BadRequest."""
        found = self._tokens.find(token)
        recipient = sealing.known_key(recipient)
        await self._tokens.bind(found, recipient)
        items = self._items.all(secrets=found.body.secrets, token=token)
        version = version_of(items)
        told: dict[str, Any] = {
            "version": version, "recipient": self.public_key(), "secrets": found.body.secrets, "write": found.body.write,
        }  # fmt: skip
        if version == known:
            return told
        about = {"direction": "pull", "version": version, "nonce": nonce}
        value = {"items": [msgspec.to_builtins(one) for one in items.values()]}
        return {**told, "bundle": sealing.seal(value, to=recipient, token=token, about=about)}

    async def take(self, token: str, *, base: str, sealed: object) -> dict[str, Any]:
        """Write what another hub has changed, made of the version ``base``. ``{version, refused}``.

        Raises Unauthenticated, Forbidden for a token that may not write, Conflict when this hub has changed since.
        """
        found = self._tokens.find(token)
        if not found.body.write:
            raise Forbidden("this sync token may only read")
        change = opened(sealing.unseal(sealed, secret=self.secret_key(), token=token, about={"direction": "push", "version": base}), Change)
        async with self._turn:
            if version_of(self._items.all(secrets=found.body.secrets, token=token)) != base:
                raise Conflict("this hub was changed meanwhile; sync again", code="changed")
            refused = await write(self._items, change.puts, change.gone)
            return {
                "version": version_of(self._items.all(secrets=found.body.secrets, token=token)),
                "refused": [msgspec.to_builtins(one) for one in refused],
            }


async def write(items: Items, puts: Iterable[Item], gone: Iterable[str]) -> list[Refused]:
    """Write items, and delete others, in an order in which none lacks what it names; what could not be."""
    refused: list[Refused] = []
    for item in sorted(puts, key=lambda one: _place(one.kind)):
        try:
            await items.put(item)
        except HubError as error:
            refused.append(Refused(item=item.key, name=item.name, why=error.message))
    for key in sorted(gone, key=lambda one: -_place(one.partition(":")[0])):
        try:
            await items.remove(key)
        except HubError as error:
            refused.append(Refused(item=key, name="", why=error.message))
    return refused


def version_of(items: Mapping[str, Item]) -> str:
    """What tells one state of a hub from another."""
    return sealing.version_of([[key, items[key].print] for key in sorted(items)])


def opened(value: Any, kind: Any) -> Any:
    """An opened message as its type. Raises BadRequest."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the bundle cannot be read: {error}", field="bundle") from None


def _place(kind: str) -> int:
    return ORDER.index(kind) if kind in ORDER else len(ORDER)
