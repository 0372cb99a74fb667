"""What this hub offers of other servers beside tools: their allowed resources, templates and prompts, under their server's namespace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.upstream import addresses, pinning
from hub.upstream.listing import LISTINGS
from hub.upstream.model import Standing
from hub.upstream.skills import tool_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hub.store.documents import Document
    from hub.upstream.model import Pin, Server

#: Where a list says that a stranger wrote the entry.
ORIGIN = "hubroute/origin"


@dataclass(frozen=True, slots=True)
class Item:
    """A resource, template or prompt. ``own`` is its URI or name at its server, ``shown`` its entry in our lists."""

    server: str
    namespace: str
    own: str
    shown: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offered:
    """All of them, by their URIs, templates and names at our doors."""

    resources: Mapping[str, Item] = field(default_factory=dict[str, Item])
    templates: Mapping[str, Item] = field(default_factory=dict[str, Item])
    prompts: Mapping[str, Item] = field(default_factory=dict[str, Item])

    def reading(self, uri: str) -> Item | None:
        """The allowed resource, or the allowed template made for one, that a URI at our doors names; its ``own`` is the server's URI."""
        found = self.resources.get(uri)
        parts = addresses.inner(uri)
        if found is not None or parts is None:
            return found
        namespace, own = parts
        for one in self.templates.values():
            if one.namespace == namespace and addresses.matches(one.own, own):
                return Item(one.server, namespace, own, one.shown)
        return None


def offered(servers: Iterable[Document[Server]]) -> Offered:
    """What is allowed of all enabled servers."""
    tables: dict[str, dict[str, Item]] = {"resources": {}, "templates": {}, "prompts": {}}
    for document in servers:
        for kind, table in tables.items():
            for own, pin in _allowed(document, kind):
                item = _item(document, kind, own, pin.approved or {})
                # Names are shortened where they are long, so that two may meet: the first keeps its place.
                table.setdefault(item.shown[_KEYS[kind]], item)
    return Offered(**tables)


def fingerprints(servers: Iterable[Document[Server]]) -> dict[str, object]:
    """Something to compare for each kind: it is equal as long as the same things are offered."""
    kept = list(servers)
    return {
        listing.kind: tuple((one.name, own, pin.digest) for one in kept for own, pin in _allowed(one, listing.kind)) for listing in LISTINGS
    }


_KEYS = {listing.kind: listing.key for listing in LISTINGS}


def _allowed(document: Document[Server], kind: str) -> Iterator[tuple[str, Pin]]:
    pins: Mapping[str, Pin] = getattr(document.body, kind) if document.body.enabled else {}
    return ((own, pin) for own, pin in pins.items() if pin.standing is Standing.APPROVED and pin.approved is not None)


def address_of(namespace: str, kind: str, own: str) -> str:
    """The name of a prompt, or the URI of a resource or template, at our doors."""
    return tool_name(namespace, own) if kind == "prompts" else addresses.outer(namespace, own)


def _item(document: Document[Server], kind: str, own: str, stated: Mapping[str, Any]) -> Item:
    origin = {ORIGIN: {"server": document.name, "trusted": False}}
    shown: dict[str, Any] = {**stated, "_meta": {**pinning.fields(stated.get("_meta")), **origin}}
    shown[_KEYS[kind]] = address_of(document.name, kind, own)
    return Item(document.id, document.name, own, shown)
