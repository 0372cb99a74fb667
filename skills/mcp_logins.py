"""Logins at upstream MCP servers: log in, see how each login stands, log out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, Forbidden, NotFound
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.documents import Document
from hub.upstream.login.model import SHARED, login_id
from hub.upstream.model import Server
from hub.wire import Body, Wire, iso
from skills._mcp_oauth import LoginView, login_view, owner_of


class LoginAsk(Body):
    """A server by id or name."""

    id: str = Field(description="Id or name of the server.")


class LogoutAsk(Body):
    """Whose login to end; empty for the caller's own, or the one that all share."""

    id: str = Field(description="Id or name of the server.")
    principal: str = Field(default="", max_length=1000, description="Another principal, for whoever may manage the hub.")


class LoginStart(Wire):
    """Where to log in. The address is for the caller's own browser: whoever opens it lends their account to this principal."""

    server: str
    principal: str
    ticket: str
    url: str
    expires_at: str | None
    issuer: str
    scopes: list[str]


class OutcomeAsk(Body):
    """A login that was begun."""

    id: str = Field(description="Id or name of the server.")
    ticket: str = Field(max_length=100, description="What the login's start answered as its ticket.")


class LoginOutcome(Wire):
    """What became of it, and why it failed."""

    state: Literal["waiting", "connected", "failed"]
    reason: str


class LoginList(Wire):
    """Logins at a server."""

    server: str
    share: str
    logins: list[LoginView]


class LoggedOut(Wire):
    """What was done. ``revoked`` says whether the server took the tokens back, too."""

    message: str
    revoked: bool


@skill(
    "mcp-servers-login",
    scopes=["execute:tools"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/mcp/servers/{id}/login")],
    audit=Audit.FULL,
)
async def login(ctx: Context, ask: LoginAsk) -> LoginStart:
    """Begin a login at an upstream MCP server; answers the address to open in a browser. A login that all share needs ``manage``."""
    document = _wanting(ctx, ask.id)
    principal = owner_of(ctx, document)
    manages = "manage" in ctx.caller.scopes
    _may(ctx, principal)
    flow = ctx.hub.upstreams.flow
    url, ticket = flow.offer(document, ctx.caller.key_id, ctx.caller.name, manages=manages)
    found = await flow.found(document)
    return LoginStart(
        server=document.name,
        principal=principal,
        ticket=ticket.id,
        url=url,
        expires_at=iso(ticket.until),
        issuer=found.issuer,
        scopes=list(found.scopes),
    )


@skill(
    "mcp-servers-login-outcome",
    scopes=["execute:tools"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/mcp/servers/{id}/login/{ticket}")],
    read_only=True,
    audit=Audit.NONE,
)
async def outcome(ctx: Context, ask: OutcomeAsk) -> LoginOutcome:
    """Show what became of a login that the caller began; it waits until the browser has come back."""
    document = _wanting(ctx, ask.id)
    reason = await ctx.hub.upstreams.flow.outcome(document, ctx.caller.key_id, ask.ticket)
    return LoginOutcome(state="waiting" if reason is None else "failed" if reason else "connected", reason=reason or "")


@skill(
    "mcp-servers-logins", scopes=["execute:tools"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/servers/{id}/logins")], read_only=True
)
async def logins(ctx: Context, ask: LoginAsk) -> LoginList:
    """Show the logins at an upstream MCP server: all of them to whoever may manage the hub, else those that the caller's calls use."""
    document = _wanting(ctx, ask.id)
    now = ctx.hub.clock.now_ms()
    everybody = "manage" in ctx.caller.scopes
    mine = owner_of(ctx, document)
    views = [
        login_view(one.body, now) for one in ctx.hub.upstreams.logins.of_server(document.id) if everybody or one.body.principal == mine
    ]
    oauth = document.body.oauth
    return LoginList(server=document.name, share=oauth.share if oauth else "", logins=views)


@skill(
    "mcp-servers-logout",
    scopes=["execute:tools"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/mcp/servers/{id}/logout")],
    audit=Audit.FULL,
)
async def logout(ctx: Context, ask: LogoutAsk) -> LoggedOut:
    """End a login at an upstream MCP server: forget its tokens, and take them back where the server offers that."""
    document = _wanting(ctx, ask.id)
    mine = owner_of(ctx, document)
    principal = ask.principal or mine
    _may(ctx, principal, own=mine)
    service = ctx.hub.upstreams.logins
    found = service.documents.peek(login_id(document.id, principal))
    if found is None:
        raise NotFound(f"{principal[:100]} has no login at {document.name}", field="principal")
    revoked = await service.end(found)
    tail = "and its tokens were taken back" if revoked else "but the server did not take the tokens back; they end by themselves"
    return LoggedOut(message=f"the login of {principal} at {document.name} is over, {tail}", revoked=revoked)


def _wanting(ctx: Context, name: str) -> Document[Server]:
    """A server that wants logins. Raises NotFound, BadRequest."""
    document = ctx.hub.upstreams.named(name)
    if document.body.oauth is None:
        raise BadRequest(f"{document.name} takes no logins; it was added with fixed headers or none", field="id")
    if not ctx.caller.key_id:
        raise Forbidden("a login belongs to a key; call with one")
    return document


def _may(ctx: Context, principal: str, *, own: str = "") -> None:
    """Raise Forbidden where a login is not the caller's to begin or end."""
    if "manage" in ctx.caller.scopes:
        return
    if principal == SHARED or (own and principal != own):
        raise Forbidden("this login is not yours; it takes the scope manage", data={"missing": ["manage"]})
