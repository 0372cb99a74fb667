"""Providers of the owner's own ("nodes") and what the owner says of models: stored as documents, read as rows of the catalogue.

A node is a base URL that speaks a known wire format. It is made of one of the catalogue's rows that are marked for it, so that it is
routed, priced, listed and called like any shipped provider. What is stored lies over the shipped catalogue in every process that shares
the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from pydantic import Field

from hub.custom_models import laid_over
from hub.errors import BadRequest, Conflict
from hub.outbound.address import parse_url
from hub.providers.catalog import CHAT
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.custom_models import CustomModels
    from hub.planning.directory import Directory
    from hub.providers.catalog import ApiType, Catalog, ProviderRow
    from hub.routing.combo import Combo
    from hub.store import Store
    from hub.store.documents import Document, Documents

MOST_NODES = 500
#: First words of model strings that mean something already.
_RESERVED = frozenset({"combo", "auto"})


class Node(Body):
    """A node as it is stored; its prefix is the document's name. ``type`` is the id of the row that it is made of."""

    type: str
    name: str
    api_type: str = ""
    base_url: str = ""
    chat_path: str = ""
    models_path: str = ""


class Nodes:
    """The nodes, and the catalogue with them and the owner's models in it. ``refresh`` follows what is stored."""

    def __init__(self, store: Store, catalog: Catalog, directory: Directory, models: CustomModels) -> None:
        self._catalog = catalog
        self._directory = directory
        self._models = models
        self._store = store
        self.documents: Documents[Node] = store.collection("node", what="provider node", prefix="node_", body=Node)
        self._seen = (-1, -1)
        self._rows: list[ProviderRow] = []

    def refresh(self) -> bool:
        """Lay what is stored over the shipped catalogue; whether anything changed."""
        seen = (self.documents.version, self._models.documents.version)
        if seen == self._seen:
            return False
        self._seen = seen
        rows: dict[str, ProviderRow] = {}
        for one in self.documents.all():
            template = self._catalog.shipped.get(one.body.type)
            if template is not None:  # one that a later version took out: its nodes rest until it is back
                rows[one.id] = row_of(one.id, one.name, one.body, template)
        for one in self._models.documents.all():
            below = rows.get(one.name) or self._catalog.shipped.get(one.name)
            if below is not None:
                rows[one.name] = laid_over(below, one.body)
        made = list(rows.values())
        if made == self._rows:  # another process changed something else
            return False
        self._rows = made
        self._catalog.overlay(made)
        return True

    def kinds(self) -> list[str]:
        """What a node can be made of: ids of rows."""
        return [row.id for row in self._catalog.shipped.values() if row.node is not None]

    def template(self, kind: str) -> ProviderRow:
        """The row that nodes of a type are made of. Raises BadRequest for another type."""
        row = self._catalog.shipped.get(kind)
        if row is None or row.node is None:
            raise BadRequest(f"type must be one of: {', '.join(self.kinds())}", field="type")
        return row

    def row(self, node: Node) -> ProviderRow:
        """The row of a node that is not stored. Raises BadRequest naming the field that is wrong."""
        template = self.template(node.type)
        _check(node, template)
        return row_of("draft", "draft", node, template)

    def require_prefix(self, prefix: str, *, but: str = "") -> None:
        """Refuse a prefix that leads somewhere already: to a provider, another node, a connection, or as a model's name.

        ``but`` is the node that may keep its own. Raises Conflict.
        """
        rows = [row for row in self._catalog.providers.values() if row.id != but]
        taken = {
            **{name.lower(): "a connection's prefix" for name in self._directory.prefixes()},
            **{name.lower(): "an alias of a model" for name in self._directory.aliases()},
            **{name.lower(): f"{row.name} ({row.id})" for row in rows for name in (row.id, row.alias)},
            **dict.fromkeys(_RESERVED, "the hub itself"),
        }.get(prefix.lower())
        if taken:
            raise Conflict(f"the prefix {prefix!r} is taken by {taken}; choose another", field="prefix")

    def used_by(self, node: Document[Node], combos: Mapping[str, Combo]) -> list[str]:
        """Combos and aliases that name a node, in words."""
        starts = (f"{node.name}/", f"{node.id}/")

        def names(combo: Combo) -> bool:
            steps = any(step.provider_id == node.id or step.model.startswith(starts) for step in combo.models)
            return steps or node.id in combo.allowed_providers

        found = [f"combo {name!r}" for name, combo in combos.items() if names(combo)]
        return found + [f"alias {name!r}" for name, target in self._directory.aliases().items() if target.startswith(starts)]

    async def delete(self, node_id: str) -> list[str]:
        """Delete a node, its connections and what was said of its models, all or nothing; the ids of the connections. Raises NotFound."""
        self.documents.get(node_id)
        connections: list[str] = await self._store.together(
            self._store.connections.removal(node_id),
            self.documents.removal(node_id),
            *([self._models.documents.removal(one.id)] if (one := self._models.documents.find(node_id)) is not None else []),
        )
        return connections


def row_of(identity: str, prefix: str, node: Node, template: ProviderRow) -> ProviderRow:
    """The row of the catalogue that a node is."""
    row = replace(
        template,
        id=identity,
        alias=prefix,
        name=node.name,
        base_url=node.base_url,
        models_path=node.models_path or template.models_path,
        note="",
        node=None,
        template=template.id,
    )
    kind = _api_type(node, template)
    if kind is None:
        return _chatting(row, node, template.chat_path)
    if not kind.all:
        return replace(
            row, services=(kind.service,), chat_path="", endpoints={**template.endpoints, kind.service: node.chat_path or kind.path}
        )
    if not kind.format:
        return _chatting(row, node, kind.path)
    # The other services keep the format that they have without it.
    others = {f"{service}_format": template.speaks(service, "") for service in template.services if service != CHAT}
    return _chatting(replace(row, format=kind.format, endpoints={**template.endpoints, **others}), node, kind.path)


def _chatting(row: ProviderRow, node: Node, path: str) -> ProviderRow:
    return replace(row, chat_path=node.chat_path or path, stream_path="" if node.chat_path else row.stream_path)


def facts_of(node: Document[Node]) -> dict[str, str]:
    """What a connection says of its node (``providerSpecificData`` of the seed)."""
    said = {"prefix": node.name, "apiType": node.body.api_type, "nodeName": node.body.name}
    return {name: value for name, value in said.items() if value}


def tidy(base_url: str) -> str:
    """A base URL as it is stored: without blanks around it and slashes behind."""
    return base_url.strip().rstrip("/")


def _api_type(node: Node, template: ProviderRow) -> ApiType | None:
    return template.node.api_types.get(node.api_type) if template.node is not None else None


def _check(node: Node, template: ProviderRow) -> None:
    """Raise BadRequest for a node that could never be used, naming the field."""
    types = template.node.api_types if template.node is not None else {}
    if types and node.api_type not in types:
        raise BadRequest(f"apiType must be one of: {', '.join(types)}", field="apiType")
    if node.api_type and not types:
        raise BadRequest(f"apiType is for other types of nodes; leave it out for {template.id}", field="apiType")
    if node.base_url:
        _check_url("baseUrl", node.base_url)
        if "?" in node.base_url:
            raise BadRequest("baseUrl must have no query; put it into chatPath", field="baseUrl")
    _check_path("chatPath", node.chat_path)
    _check_path("modelsPath", node.models_path)


def _check_path(field: str, path: str) -> None:
    if not path:
        return
    if not path.startswith("/") or path.startswith("//") or ".." in path.partition("?")[0].split("/"):
        raise BadRequest(f"{field} must be empty or start with one '/', without '..'", field=field)
    _check_url(field, f"http://host{path.replace('{model}', 'm')}")


def _check_url(field: str, url: str) -> None:
    try:
        parse_url(url)
    except BadRequest as error:
        raise BadRequest(f"{field}: {error.message}", field=field) from None


#: What an owner may call a node before the slash.
Prefix = Field(
    min_length=1,
    max_length=64,
    pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    description="What stands before the slash in model names: letters, digits, '.', '_' and '-'.",
)
