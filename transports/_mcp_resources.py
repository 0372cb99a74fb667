"""Skills as MCP resources: what is listed, what a URI names, and what reading it gives (D7, D8).

A resource that the caller's scopes do not reach answers like one that is nowhere (SEC-03, SEC-54).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import mcp_types as types
from mcp.shared.exceptions import MCPError

from hub.errors import BadRequest, Forbidden, HubError, NotFound
from hub.skill import Resource
from hub.upstream import addresses
from transports._mcp import context_of, visitor_of
from transports._mcp_errors import not_found, refused
from transports._mcp_names import BadCursor, completed, names_of, page
from transports._mcp_tools import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp.server import Server
    from mcp.server.context import ServerRequestContext

    from hub.call import Hub
    from hub.context import Context
    from hub.skill import Skill
    from hub.upstream.offered import Item
    from transports._mcp_imported import Imported

    Ctx = ServerRequestContext[Any, Any]

_LONGEST = 2100
_JSON = "application/json"
#: Resources are for people to pick and for models to read.
_ANNOTATIONS = {"audience": ["user", "assistant"]}


@dataclass(frozen=True, slots=True)
class Row:
    """A resource of a skill, and what its URIs look like."""

    resource: Resource
    skill: Skill
    pattern: re.Pattern[str]

    def seen_by(self, scopes: frozenset[str]) -> bool:
        """Whether scopes reach it."""
        return self.skill.scopes <= scopes


@dataclass(frozen=True, slots=True)
class Match:
    """What a URI names: a resource, and the values of the names in its address."""

    row: Row
    values: dict[str, str]
    #: Of a resource of another server: what it is there.
    item: Item | None = None


class Resources:
    """The resources of a hub and their handlers."""

    def __init__(self, hub: Hub, imported: Imported) -> None:
        self._hub = hub
        self._imported = imported
        rows = [Row(resource, skill, _pattern(resource.uri)) for skill in hub.skills for resource in skill.resources]
        self.rows = sorted(rows, key=lambda row: row.resource.uri)
        #: Those whose instances are in the list.
        self.listed = [row for row in self.rows if row.resource.listed]
        self._all = frozenset(scope for row in rows for scope in row.skill.scopes)

    def add(self, server: Server[Any]) -> None:
        """Serve them. Handlers return plain dictionaries in the protocol's own shape."""
        server.add_request_handler("resources/list", types.PaginatedRequestParams, self.list_all)
        server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, self.list_templates)
        server.add_request_handler("resources/read", types.ReadResourceRequestParams, self.read)

    def match(self, uri: str, scopes: frozenset[str]) -> Match | None:
        """What a URI names for a caller, None where that is nothing; whether there is a thing behind it shows when it is read."""
        if len(uri) > _LONGEST:
            return None
        for row in self.rows:
            found = row.pattern.fullmatch(uri)
            if found is not None and row.seen_by(scopes):
                return Match(row, {name: unquote(value) for name, value in found.groupdict().items()})
        item = self._imported.watched(uri, scopes)
        return None if item is None else Match(_row(uri, self._hub.find("mcp-servers-read")), {}, item)

    async def list_all(self, ctx: Ctx, params: types.PaginatedRequestParams) -> dict[str, Any]:
        """``resources/list``: what the caller can read, and the instances of those that list them."""
        scopes = visitor_of(ctx).caller.scopes
        call = context_of(self._hub, ctx)
        items: list[dict[str, Any]] = []
        for row in self.rows:
            if not row.seen_by(scopes):
                continue
            if not row.resource.names:
                items.append({"uri": row.resource.uri, **_described(row)})
            elif row.resource.listed:
                items += await self._instances(row, call)
        items += self._imported.resources(scopes)
        return self._page("resources", items, by="uri", cursor=params.cursor, scopes=scopes)

    async def list_templates(self, ctx: Ctx, params: types.PaginatedRequestParams) -> dict[str, Any]:
        """``resources/templates/list``."""
        scopes = visitor_of(ctx).caller.scopes
        rows = [row for row in self.rows if row.resource.names and row.seen_by(scopes)]
        items = [{"uriTemplate": row.resource.uri, **_described(row)} for row in rows] + self._imported.templates(scopes)
        return self._page("resourceTemplates", items, by="uriTemplate", cursor=params.cursor, scopes=scopes)

    async def read(self, ctx: Ctx, params: types.ReadResourceRequestParams) -> dict[str, Any]:
        """``resources/read``: what the skill says, as JSON; what another server says, as it says it."""
        uri = str(params.uri)
        if addresses.inner(uri) is not None:
            return await self._imported.read(uri, ctx)
        kind, text = await self._text(uri, ctx)
        return {"contents": [{"uri": uri, "mimeType": kind, "text": text}], "resultType": "complete"}

    async def complete(self, uri: str, argument: str, typed: str, ctx: Ctx) -> dict[str, Any] | None:
        """Values for a name in a template's address; None where the caller sees no such template or name."""
        scopes = visitor_of(ctx).caller.scopes
        row = next((row for row in self.rows if row.resource.uri == uri and row.seen_by(scopes)), None)
        if row is None or argument not in row.resource.names:
            return None
        kind = row.resource.kinds.get(argument, "")
        return completed(await names_of(self._hub, kind, context_of(self._hub, ctx)), typed)

    async def _text(self, uri: str, ctx: Ctx) -> tuple[str, str]:
        """What a URI shows, after its media type. Raises MCPError."""
        call = context_of(self._hub, ctx)
        # Whoever asks: the hub's own path refuses those without the scopes, and records it (SEC-80).
        found = self.match(uri, self._all)
        if found is None:
            raise not_found(ctx, uri)
        skill, resource = found.row.skill, found.row.resource
        try:
            output = await self._hub.call(skill, resource.ask(found.values) if resource.ask else found.values, call)
        except (NotFound, BadRequest) as error:
            raise not_found(ctx, uri) from error
        except Forbidden as error:
            if not found.row.seen_by(call.caller.scopes):
                raise not_found(ctx, uri) from error
            raise refused(error, call.request_id) from error
        except HubError as error:
            raise refused(error, call.request_id) from error
        shown = resource.view(output) if resource.view else output
        return resource.media_type, as_text(shown) if resource.media_type == _JSON else str(shown)

    async def _instances(self, row: Row, call: Context) -> list[dict[str, Any]]:
        """Every instance of an address with one name."""
        name = row.resource.names[0]
        values = await names_of(self._hub, row.resource.kinds.get(name, ""), call)
        shown = _described(row)
        return [{**shown, "uri": uri_of(row.resource.uri, {name: value}), "name": f"{shown['name']} {value}"} for value in values]

    def _page(self, field: str, items: Iterable[dict[str, Any]], *, by: str, cursor: str | None, scopes: frozenset[str]) -> dict[str, Any]:
        try:
            found = page(items, by=by, cursor=cursor, scopes=scopes)
        except BadCursor:
            raise MCPError(types.INVALID_PARAMS, "Invalid cursor: begin again without one") from None
        return {field: found.pop("items"), **found, "resultType": "complete"}


def uri_of(template: str, values: dict[str, str]) -> str:
    """A template's address with values in place of its names."""
    return re.sub(r"{(\w+)}", lambda found: quote(values[found[1]], safe=""), template)


def _row(uri: str, skill: Skill) -> Row:
    """A row for another server's resource: nothing of the hub's own makes it new."""
    return Row(Resource(uri, "", changes=()), skill, re.compile(re.escape(uri)))


def _described(row: Row) -> dict[str, Any]:
    """What is shown of a resource beside its address."""
    resource, skill = row.resource, row.skill
    name = re.sub(r"/{\w+}", "", resource.uri.removeprefix("hub://")).replace("/", " ")
    shown = {"name": name, "title": name.capitalize(), "description": f"{resource.words} {skill.summary}", "mimeType": resource.media_type}
    return {**shown, "annotations": _ANNOTATIONS}


def _pattern(uri: str) -> re.Pattern[str]:
    """What URIs of an address look like; a value is one part of the path, percent-encoded where it holds more."""
    parts = re.split(r"{(\w+)}", uri)  # text and names by turns
    return re.compile("".join(f"(?P<{part}>[^/?#]+)" if place % 2 else re.escape(part) for place, part in enumerate(parts)))
