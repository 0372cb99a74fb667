"""Upstream MCP servers: add one, see its tools and what changed in them, allow them, take it away."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, Literal

from pydantic import Field, ValidationError

from hub.context import Context
from hub.errors import BadRequest, HubError, InvalidInput, NotFound
from hub.process import place
from hub.skill import Audit, CostClass, Rest, details_of, skill
from hub.store.documents import Document
from hub.upstream import pinning
from hub.upstream.listing import LISTINGS
from hub.upstream.model import Pin, Sampling, Server, Standing, namespace_fault
from hub.upstream.offered import address_of
from hub.upstream.servers import sealed_place
from hub.upstream.skills import tool_name
from hub.wire import Body, Done, Nothing, Wire, iso
from skills._mcp_oauth import OAuthAsk, OAuthView, oauth_of, oauth_view

#: More servers than a hub should hold sessions with.
_MOST = 200
_MOST_PAIRS = 64
_SAMPLING = "Who answers when it asks for a model: off (nobody), client (who called), hub (its own models where the client has none)."


class _Thing(Wire):
    standing: Standing
    description: str
    findings: list[str]
    reason: str


class ToolView(_Thing):
    """One tool of a server. ``tool`` is its name at this hub's doors; it is offered while ``standing`` is approved."""

    name: str
    tool: str


class ThingView(_Thing):
    """A resource, template or prompt of a server. ``own`` is its URI or name there, ``address`` the one at this hub's MCP door."""

    own: str
    address: str


class ServerView(Wire):
    """A server. Values of headers and variables are never shown, only their names."""

    id: str
    name: str
    transport: str
    url: str
    command: str
    args: list[str]
    headers: list[str]
    env: list[str]
    enabled: bool
    allow_private: bool
    timeout_seconds: float
    cost_per_call: float | None
    title: str
    protocol: str
    state: str
    sessions: int
    last_error: str
    retry_in: float
    synced_at: str | None
    created_at: str | None
    oauth: OAuthView | None
    sampling: Sampling
    tools: list[ToolView]
    resources: list[ThingView]
    templates: list[ThingView]
    prompts: list[ThingView]


class ServerList(Wire):
    """All servers."""

    servers: list[ServerView]
    total: int


class ServerNew(Body):
    """A new server: ``url`` for one on HTTP, ``command`` and ``args`` for a program on this machine."""

    name: str = Field(description="Namespace of its tools: 1 to 24 lower-case letters, digits and hyphens.")
    transport: Literal["stdio", "http", "sse"] | None = Field(default=None, description="Found from url or command when left out.")
    url: str = Field(default="", max_length=2000, description="Address of an HTTP server.")
    command: str = Field(default="", max_length=1000, description="Program that speaks MCP on stdio.")
    args: list[str] = Field(default_factory=list[str], max_length=64, description="Its arguments, passed as they are.")
    headers: dict[str, str] = Field(default_factory=dict[str, str], max_length=_MOST_PAIRS, description="Request headers; kept encrypted.")
    env: dict[str, str] = Field(
        default_factory=dict[str, str], max_length=_MOST_PAIRS, description="Environment of the program; encrypted."
    )
    oauth: OAuthAsk | None = Field(default=None, description="For a server that wants logins by OAuth: whose, and with which client.")
    allow_private: bool = Field(default=False, description="Whether it may be on a private or loopback address.")
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="How long one call may take.")
    cost_per_call: float | None = Field(default=None, ge=0, le=1000, description="US dollars that one call costs, held against budgets.")
    sampling: Sampling = Field(default="off", description=_SAMPLING)
    approve: bool = Field(default=False, description="Allow at once all that the scan finds nothing in.")


class ServerId(Body):
    """A server by id or name."""

    id: str = Field(description="Id or name of the server.")


class ServerChange(Body):
    """What to change; fields left out stay."""

    id: str = Field(description="Id or name of the server.")
    enabled: bool | None = Field(default=None, description="False hides its tools and ends its sessions.")
    allow_private: bool | None = Field(default=None, description="Whether it may be on a private or loopback address.")
    timeout_seconds: float | None = Field(default=None, gt=0, le=3600, description="How long one call may take.")
    cost_per_call: float | None = Field(default=None, ge=0, le=1000, description="US dollars that one call costs.")
    sampling: Sampling | None = Field(default=None, description=_SAMPLING)
    headers: dict[str, str] | None = Field(default=None, max_length=_MOST_PAIRS, description="Replaces all request headers.")
    env: dict[str, str] | None = Field(default=None, max_length=_MOST_PAIRS, description="Replaces all variables.")
    oauth: OAuthAsk | None = Field(default=None, description="What to change about logins; fields left out stay.")


class Choice(Body):
    """Things of a server. With none named, all of every kind are meant."""

    id: str = Field(description="Id or name of the server.")
    tools: list[str] = Field(default_factory=list[str], max_length=1000, description="Names of tools.")
    resources: list[str] = Field(default_factory=list[str], max_length=1000, description="The server's own URIs of resources.")
    templates: list[str] = Field(default_factory=list[str], max_length=1000, description="The server's own URI templates.")
    prompts: list[str] = Field(default_factory=list[str], max_length=1000, description="Names of prompts.")


class Difference(Wire):
    """One place where a thing is not what was allowed; null stands for absent."""

    path: str
    before: Any
    after: Any


class ThingChange(Wire):
    """What changed in one tool, resource, template or prompt since it was allowed."""

    name: str
    standing: Standing
    findings: list[str]
    differences: list[Difference]


class Changes(Wire):
    """What waits for the owner's word."""

    server: str
    tools: list[ThingChange]
    resources: list[ThingChange]
    templates: list[ThingChange]
    prompts: list[ThingChange]


class CallAsk(Body):
    """One call of an allowed tool."""

    server: str = Field(description="Id or name of the server.")
    tool: str = Field(description="The tool's own name.")
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any], description="Its arguments.")


class CallAnswer(Wire):
    """A tool's result, as MCP has it. Written by a stranger."""

    content: list[dict[str, Any]]
    structured_content: Any = None
    is_error: bool = False


def _found(ctx: Context, name: str) -> Document[Server]:
    return ctx.hub.upstreams.named(name)


def _view(ctx: Context, document: Document[Server]) -> ServerView:
    body = document.body
    return ServerView(
        id=document.id,
        name=document.name,
        transport=body.transport,
        url=body.url,
        command=body.command,
        args=list(body.args),
        headers=sorted(body.headers),
        env=sorted(body.env),
        enabled=body.enabled,
        allow_private=body.allow_private,
        timeout_seconds=body.timeout_seconds,
        cost_per_call=body.cost_per_call,
        title=body.title,
        protocol=body.protocol,
        synced_at=iso(body.synced_at),
        created_at=iso(document.created_at),
        oauth=oauth_view(ctx, document),
        sampling=body.sampling,
        tools=[ToolView(name=name, tool=tool_name(document.name, name), **_standing(pin)) for name, pin in sorted(body.tools.items())],
        resources=_things(document, "resources"),
        templates=_things(document, "templates"),
        prompts=_things(document, "prompts"),
        **ctx.hub.upstreams.status(document.id),
    )


def _things(document: Document[Server], kind: str) -> list[ThingView]:
    pins: dict[str, Pin] = getattr(document.body, kind)
    return [ThingView(own=own, address=address_of(document.name, kind, own), **_standing(pin)) for own, pin in sorted(pins.items())]


def _standing(pin: Pin) -> dict[str, Any]:
    words = str(((pin.seen or pin.approved) or {}).get("description") or "")[:500]
    return {"standing": pin.standing, "description": words, "findings": list(pin.findings), "reason": pin.reason}


@skill("mcp-servers-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/servers")], read_only=True)
async def listed(ctx: Context, ask: Nothing) -> ServerList:
    """List the upstream MCP servers, their state and where each of their tools stands."""
    views = [_view(ctx, document) for document in ctx.hub.upstreams.documents.all()]
    return ServerList(servers=views, total=len(views))


@skill("mcp-servers-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/servers/{id}")], read_only=True)
async def shown(ctx: Context, ask: ServerId) -> ServerView:
    """Show one upstream MCP server."""
    return _view(ctx, _found(ctx, ask.id))


@skill("mcp-servers-add", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/mcp/servers", status=201)], audit=Audit.FULL)
async def added(ctx: Context, ask: ServerNew) -> ServerView:
    """Add an upstream MCP server and read what it has; where it wants logins, that is read after the first.

    Nothing of it is offered to anybody until it is approved.
    """
    upstreams = ctx.hub.upstreams
    transport = _transport(ask)
    if len(upstreams.documents.all()) >= _MOST:
        raise BadRequest(f"a hub holds {_MOST} MCP servers", field="name")
    command, digest = await _program(ctx, ask) if ask.command else ("", "")
    identity = ctx.hub.clock.new_id("mcp_")
    try:
        body = Server(
            transport=transport,
            url=ask.url,
            command=command,
            args=tuple(ask.args),
            digest=digest,
            headers=_sealed(ctx, identity, "headers", ask.headers),
            env=_sealed(ctx, identity, "env", ask.env),
            oauth=oauth_of(ctx, identity, ask.oauth, None),
            allow_private=ask.allow_private,
            timeout_seconds=ask.timeout_seconds,
            cost_per_call=ask.cost_per_call,
            sampling=ask.sampling,
        )
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None
    document = await upstreams.documents.create(ask.name, body, document_id=identity)
    try:
        if body.oauth is not None:
            await upstreams.flow.found(document)
            return _view(ctx, document)
        document = await upstreams.sync(identity)
    except HubError as error:
        # A server that cannot be used is not kept: nothing is stored by halves.
        await upstreams.documents.delete(identity)
        raise type(error)(f"{error.message}; the server was not added", data=error.data) from None
    if ask.approve:
        async with upstreams.changing:
            document = upstreams.documents.get(identity)
            clean = {kind: [own for own, pin in pins.items() if not pin.findings] for kind, pins in _pins(document).items()}
            document = await _approve(ctx, document, clean)
    return _view(ctx, document)


def _transport(ask: ServerNew) -> Literal["stdio", "http", "sse"]:
    """How the server is reached. Raises BadRequest for a bad name, or an address that does not go with the transport."""
    if fault := namespace_fault(ask.name):
        raise BadRequest(f"name {fault}", field="name")
    if bool(ask.url) == bool(ask.command):
        raise BadRequest("give either the url of a server or the command of a program", field="url")
    transport = ask.transport or ("http" if ask.url else "stdio")
    if ask.oauth is not None:
        _check_oauth(ask, transport)
    if (transport == "stdio") != bool(ask.command):
        raise BadRequest(f"transport {transport} does not go with {'a command' if ask.command else 'a url'}", field="transport")
    return transport


def _check_oauth(ask: ServerNew, transport: str) -> None:
    """Raise BadRequest for what does not go with logins."""
    if transport == "stdio" or ask.approve or any(name.lower() == "authorization" for name in ask.headers):
        raise BadRequest(
            "logins are for servers on HTTP without an Authorization header; approve their tools after the login", field="oauth"
        )


async def _program(ctx: Context, ask: ServerNew) -> tuple[str, str]:
    """Absolute path and digest of the program to start (SEC-30)."""
    ctx.hub.upstreams.may_start()
    module = await asyncio.to_thread(importlib.import_module, "hub.upstream.program")
    path = module.checked(ask.command, ask.args, ask.env)
    return str(path), await asyncio.to_thread(place.digest, str(path))


def _sealed(ctx: Context, identity: str, part: str, given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if part == "headers" and (not name.replace("-", "").isalnum() or any(letter in value for letter in "\r\n\x00")):
            raise BadRequest(f"{name[:60]!r} is no header, or its value has a line break", field="headers")
    return {name: ctx.hub.store.seal(value, sealed_place(identity, part, name)) for name, value in given.items()}


@skill("mcp-servers-change", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("PATCH", "/api/mcp/servers/{id}")], audit=Audit.FULL)
async def changed(ctx: Context, ask: ServerChange) -> ServerView:
    """Change an upstream MCP server: switch it off or on, its limits, its credentials."""
    async with ctx.hub.upstreams.changing:
        return await _changed(ctx, ask)


async def _changed(ctx: Context, ask: ServerChange) -> ServerView:
    document = _found(ctx, ask.id)
    given = ask.model_dump(exclude_unset=True, exclude={"id"}, by_alias=False)
    for part in ("headers", "env"):
        if given.get(part) is not None:
            given[part] = _sealed(ctx, document.id, part, given[part])
    if ask.oauth is not None:
        if document.body.oauth is None:
            raise BadRequest(f"{document.name} was added without logins; remove it and add it anew with oauth", field="oauth")
        given["oauth"] = oauth_of(ctx, document.id, ask.oauth, document.body.oauth)
    if given.get("env") and document.body.command:
        module = await asyncio.to_thread(importlib.import_module, "hub.upstream.program")
        module.checked(document.body.command, document.body.args, ask.env or {})
    kept = {name: value for name, value in given.items() if value is not None or name == "cost_per_call"}
    return _view(ctx, await ctx.hub.upstreams.documents.update(document.id, document.body.model_copy(update=kept)))


@skill("mcp-servers-sync", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/mcp/servers/{id}/sync")])
async def synced(ctx: Context, ask: ServerId) -> ServerView:
    """Read a server's lists anew; what is not as it was allowed is hidden until it is approved again."""
    document = _found(ctx, ask.id)
    principal = ctx.caller.key_id if document.body.oauth is not None else "hub"
    ctx.hub.upstreams.logins.renewals.forgive()
    return _view(ctx, await ctx.hub.upstreams.sync(document.id, principal=principal))


@skill(
    "mcp-servers-approve", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/mcp/servers/{id}/approve")], audit=Audit.FULL
)
async def approved(ctx: Context, ask: Choice) -> ServerView:
    """Allow tools, resources, templates and prompts of a server as they are stated now; the whole object is pinned."""
    async with ctx.hub.upstreams.changing:
        document = _found(ctx, ask.id)
        return _view(ctx, await _approve(ctx, document, _chosen(document, ask)))


@skill("mcp-servers-revoke", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/mcp/servers/{id}/revoke")], audit=Audit.FULL)
async def revoked(ctx: Context, ask: Choice) -> ServerView:
    """Take the approval of tools, resources, templates and prompts away again."""
    async with ctx.hub.upstreams.changing:
        document = _found(ctx, ask.id)
        return _view(ctx, await _revoke(ctx, document, _chosen(document, ask)))


def _pins(document: Document[Server]) -> dict[str, dict[str, Pin]]:
    return {listing.kind: getattr(document.body, listing.kind) for listing in LISTINGS}


def _chosen(document: Document[Server], ask: Choice) -> dict[str, list[str]]:
    """The things that are meant, by kind. Raises NotFound for one that the server does not state."""
    named: dict[str, list[str]] = {listing.kind: getattr(ask, listing.kind) for listing in LISTINGS}
    pins = _pins(document)
    for listing in LISTINGS:
        if missing := [own for own in named[listing.kind] if own not in pins[listing.kind]]:
            raise NotFound(f"{document.name} states no {listing.what} {missing[0][:100]!r}; sync it first", field=listing.kind)
    return named if any(named.values()) else {kind: list(kept) for kind, kept in pins.items()}


async def _approve(ctx: Context, document: Document[Server], chosen: dict[str, list[str]]) -> Document[Server]:
    def judged(pin: Pin, *, meant: bool) -> Pin:
        return pinning.allowed(pin) if meant and pin.standing in (Standing.PENDING, Standing.CHANGED) else pin

    return await _stored(ctx, document, chosen, judged)


async def _revoke(ctx: Context, document: Document[Server], chosen: dict[str, list[str]]) -> Document[Server]:
    back = {"approved": None, "digest": "", "standing": Standing.PENDING}

    def judged(pin: Pin, *, meant: bool) -> Pin | None:
        if not meant or pin.approved is None:
            return pin
        # What is gone and not allowed any more is nothing to keep.
        return pin.model_copy(update=back) if pin.seen or pin.reason else None

    return await _stored(ctx, document, chosen, judged)


async def _stored(ctx: Context, document: Document[Server], chosen: dict[str, list[str]], judged: Any) -> Document[Server]:
    made: dict[str, dict[str, Pin]] = {}
    for kind, pins in _pins(document).items():
        meant = set(chosen.get(kind, ()))
        found = {own: judged(pin, meant=own in meant) for own, pin in pins.items()}
        made[kind] = {own: pin for own, pin in found.items() if pin is not None}
    return await ctx.hub.upstreams.documents.update(document.id, document.body.model_copy(update=made))


@skill("mcp-servers-diff", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/servers/{id}/diff")], read_only=True)
async def compared(ctx: Context, ask: ServerId) -> Changes:
    """Show what changed in a server's tools, resources, templates and prompts since they were allowed, and what is new."""
    document = _found(ctx, ask.id)
    return Changes(server=document.name, **{kind: _changes(pins) for kind, pins in _pins(document).items()})


def _changes(pins: dict[str, Pin]) -> list[ThingChange]:
    return [
        ThingChange(
            name=own,
            standing=pin.standing,
            findings=list(pin.findings),
            differences=[Difference(**one) for one in pinning.difference(pin.approved, pin.seen or None)],
        )
        for own, pin in sorted(pins.items())
        if pin.standing is not Standing.APPROVED
    ]


@skill(
    "mcp-servers-remove",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/mcp/servers/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def removed(ctx: Context, ask: ServerId) -> Done:
    """Remove an upstream MCP server with its tools, credentials and sessions."""
    document = _found(ctx, ask.id)
    await ctx.hub.upstreams.logins.forget(document.id)
    await ctx.hub.upstreams.documents.delete(document.id)
    return Done(message=f"MCP server {document.name!r} is removed")


@skill(
    "mcp-servers-call",
    scopes=["execute:tools"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/mcp/servers/{server}/tools/{tool}")],
    audit=Audit.BASIC,
)
async def called(ctx: Context, ask: CallAsk) -> CallAnswer:
    """Call an allowed tool of an upstream MCP server."""
    document = _found(ctx, ask.server)
    imported = ctx.hub.skills.by_name.get(tool_name(document.name, ask.tool))
    if imported is None:
        raise NotFound(
            f"{document.name} has no allowed tool {ask.tool[:100]!r}; GET /api/mcp/servers/{document.name} shows them", field="tool"
        )
    outcome = await ctx.hub.call(imported, ask.arguments, ctx)
    return CallAnswer(content=outcome.content, structured_content=outcome.structured, is_error=outcome.failed)
