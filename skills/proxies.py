"""The pool of outbound proxies: keep them, assign them to levels, see who uses them and how they do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest, HubError, NotFound
from hub.proxies.model import Entry, Kind, Use
from hub.proxies.record import MOST_HOURS, Tally
from hub.proxies.watch import Check
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.documents import Document
from hub.wire import Body, Wire, iso
from skills._proxies import MASK, ProxyView, ScopeName, known, level_of, proxy_view, resolved, scope_of

_PATH = "/api/v1/management/proxies"
_MOST_AT_ONCE = 1000
_NAME = "Your name for it."
_TYPE = "How it is spoken to: http, https or socks5 (wants hubroute[socks])."
_PRIVATE = "Whether it may be at a private or loopback address."
_STATUS = "inactive: calls that would go through it fail, they never go around it."
_SCOPE = "What uses it: global (all calls to providers), provider, account (a connection; key is the same) or combo."


class Paged(Body):
    """A part of a list."""

    limit: int = Field(default=50, ge=1, le=200, description="Most to return.")
    offset: int = Field(default=0, ge=0, description="How many to pass over.")


class ListAsk(Paged):
    """Which proxies."""

    id: str = Field(default="", max_length=200, description="Only this one.")
    where_used: Literal["", "0", "1"] = Field(default="", alias="where_used", description="1 with an id: who uses it.")


class ProxyNew(Body):
    """A proxy for the pool."""

    name: str = Field(min_length=1, max_length=120, description=_NAME)
    type: Kind = Field(default="http", description=_TYPE)
    host: str = Field(min_length=1, max_length=255, description="Host name or IP address.")
    port: int = Field(ge=1, le=65535, description="Port.")
    username: str = Field(default="", max_length=500, description="User name, where it wants one.")
    password: SecretStr = Field(default=SecretStr(""), max_length=1000, description="Password; kept encrypted and never shown.")
    region: str | None = Field(default=None, max_length=64, description="Where it is, for people.")
    notes: str | None = Field(default=None, max_length=1000, description="For people.")
    status: Literal["active", "inactive"] = Field(default="active", description=_STATUS)
    allow_private: bool = Field(default=False, description=_PRIVATE)


class ProxyChange(Body):
    """What to change about a proxy; fields left out stay."""

    id: str = Field(min_length=1, max_length=200, description="Id of the proxy.")
    name: str | None = Field(default=None, min_length=1, max_length=120, description=_NAME)
    type: Kind | None = Field(default=None, description=_TYPE)
    host: str | None = Field(default=None, min_length=1, max_length=255, description="Host name or IP address.")
    port: int | None = Field(default=None, ge=1, le=65535, description="Port.")
    username: str | None = Field(default=None, max_length=500, description="User name; empty for none.")
    password: SecretStr | None = Field(default=None, max_length=1000, description="New password; empty for none.")
    region: str | None = Field(default=None, max_length=64, description="Where it is, for people.")
    notes: str | None = Field(default=None, max_length=1000, description="For people.")
    status: Literal["active", "inactive"] | None = Field(default=None, description=_STATUS)
    allow_private: bool | None = Field(default=None, description=_PRIVATE)


class ProxyRemoval(Body):
    """Which proxy to delete."""

    id: str = Field(min_length=1, max_length=200, description="Id of the proxy.")
    force: Literal["", "0", "1"] = Field(
        default="", description="1: clear its assignments first; what used it goes by the next level then."
    )


class UseView(Wire):
    """One assignment. ``scopeId`` is empty for the global one."""

    id: int
    proxy_id: str
    scope: str
    scope_id: str
    created_at: str | None
    updated_at: str | None


class Page(Wire):
    """Where a part of a list stands in it."""

    limit: int
    offset: int
    total: int


class Listed(Wire):
    """Proxies, or with an id one of them, or its assignments."""

    items: list[ProxyView] = Field(default_factory=list[ProxyView])
    page: Page | None = None
    proxy: ProxyView | None = None
    count: int | None = None
    assignments: list[UseView] | None = None


class Uses(Wire):
    """Assignments, or the proxy of one connection."""

    items: list[UseView] = Field(default_factory=list[UseView])
    page: Page | None = None
    resolved: dict[str, Any] | None = None


class UsesAsk(Body):
    """Which assignments."""

    proxy_id: str = Field(default="", alias="proxy_id", max_length=200, description="Only those of this proxy.")
    scope: ScopeName | None = Field(default=None, description="Only those of this kind.")
    scope_id: str = Field(default="", alias="scope_id", max_length=200, description="Only those of this thing.")
    resolve_connection_id: str = Field(
        default="", alias="resolve_connection_id", max_length=200, description="Instead: which proxy this connection's calls go through."
    )
    limit: int = Field(default=100, ge=1, le=200, description="Most to return.")
    offset: int = Field(default=0, ge=0, description="How many to pass over.")


class Assignment(Body):
    """What uses which proxy."""

    scope: ScopeName = Field(description=_SCOPE)
    scope_id: str | None = Field(default=None, max_length=200, description="Id of the provider, connection or combo; none for global.")
    proxy_id: str | None = Field(default=None, max_length=200, description="Id of the proxy; null takes the assignment away.")


class Assignments(Body):
    """Many things that use one proxy."""

    scope: ScopeName = Field(description=_SCOPE)
    scope_ids: list[str] = Field(
        default_factory=list[str], max_length=_MOST_AT_ONCE, description="Ids of providers, connections or combos."
    )
    proxy_id: str | None = Field(default=None, max_length=200, description="Id of the proxy; null takes the assignments away.")


class Assigned(Wire):
    """What was assigned; ``assignment`` is null where one was taken away."""

    success: bool = True
    assignment: UseView | None


class Failed(Wire):
    """One thing that was not assigned, and why."""

    scope_id: str
    reason: str


class BulkAssigned(Wire):
    """How many were assigned."""

    success: bool
    scope: str
    requested: int
    updated: int
    failed: list[Failed]


class Deleted(Wire):
    """It is gone."""

    success: bool = True


class CheckView(Wire):
    """The last try of a proxy by the hub itself. ``kind`` says what went wrong in a word, ``seenAs`` is its public address."""

    at: str | None
    ok: bool
    latency_ms: int
    kind: str
    error: str
    seen_as: str
    failures: int
    next_at: str | None


class HealthView(Wire):
    """How a proxy did in calls to providers within the window, and in the last try. Unknown is null."""

    proxy_id: str
    name: str
    type: Kind
    host: str
    port: int
    total_requests: int
    success_count: int
    error_count: int
    timeout_count: int
    success_rate: float | None
    avg_latency_ms: int | None
    last_seen_at: str | None
    last_check: CheckView | None


class Health(Wire):
    """How the proxies did."""

    items: list[HealthView]
    total: int
    window_hours: int


class Window(Body):
    """How far to look back."""

    hours: int = Field(default=24, ge=1, le=MOST_HOURS, description="Hours, the running one included.")


def _use(document: Document[Use]) -> UseView:
    body = document.body
    return UseView(
        id=body.number,
        proxy_id=body.proxy_id,
        scope=body.scope,
        scope_id=body.scope_id,
        created_at=iso(document.created_at),
        updated_at=iso(document.updated_at),
    )


def _shown(found: Listed) -> Any:
    """The seed's shape: one address, three answers."""
    if found.proxy is not None:
        return found.proxy
    if found.assignments is not None:
        return {"count": found.count, "assignments": found.assignments}
    return {"items": found.items, "page": found.page}


def _uses_shown(found: Uses) -> Any:
    return found.resolved if found.resolved is not None else {"items": found.items, "page": found.page}


@skill("proxies-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", _PATH, view=_shown)], read_only=True)
async def listed(ctx: Context, ask: ListAsk) -> Listed:
    """List the proxies of the pool; with an id one of them, or who uses it. Passwords are never shown."""
    proxies = ctx.hub.proxies
    if ask.where_used == "1" and not ask.id:
        raise BadRequest("where_used needs the id of a proxy", field="id")
    if ask.id:
        one = proxies.entries.get(ask.id)
        if ask.where_used != "1":
            return Listed(proxy=proxy_view(ctx, one))
        used = proxies.used_by(one.id)
        return Listed(count=len(used), assignments=[_use(each) for each in used])
    every = proxies.entries.all()
    part = every[ask.offset : ask.offset + ask.limit]
    return Listed(items=[proxy_view(ctx, one) for one in part], page=Page(limit=ask.limit, offset=ask.offset, total=len(every)))


@skill("proxies-create", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", _PATH, status=201)], audit=Audit.FULL)
async def created(ctx: Context, ask: ProxyNew) -> ProxyView:
    """Add a proxy to the pool. Nothing uses it until it is assigned."""
    fields = {
        "title": ask.name,
        "kind": ask.type,
        "active": ask.status == "active",
        "password": ask.password.get_secret_value(),
        **ask.model_dump(include={"host", "port", "username", "region", "notes", "allow_private"}, by_alias=False),
    }
    return proxy_view(ctx, await ctx.hub.proxies.create(ctx.hub.clock.new_id("prx_"), fields))


@skill("proxies-update", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("PATCH", _PATH)], idempotent=True, audit=Audit.FULL)
async def updated(ctx: Context, ask: ProxyChange) -> ProxyView:
    """Change a proxy; the next call goes by what is new."""
    given = ask.model_dump(exclude={"id", "password"}, exclude_unset=True, by_alias=False)
    fields: dict[str, Any] = {_FIELDS.get(name, name): value for name, value in given.items() if value is not None or name in _EMPTIED}
    if "status" in fields:
        fields["active"] = fields.pop("status") == "active"
    if ask.password is not None and (password := ask.password.get_secret_value()) != MASK:
        fields["password"] = password
    ctx.hub.proxies.entries.get(ask.id)
    return proxy_view(ctx, await ctx.hub.proxies.update(ask.id, fields))


_FIELDS = {"name": "title", "type": "kind"}
#: Fields that null empties; of the others it changes nothing.
_EMPTIED = frozenset({"region", "notes"})


@skill("proxies-delete", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("DELETE", _PATH)], destructive=True, audit=Audit.FULL)
async def deleted(ctx: Context, ask: ProxyRemoval) -> Deleted:
    """Delete a proxy; one that is assigned only with force."""
    await ctx.hub.proxies.delete(ask.id, force=ask.force == "1")
    return Deleted()


@skill(
    "proxies-assignments",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", f"{_PATH}/assignments", view=_uses_shown)],
    read_only=True,
)
async def uses(ctx: Context, ask: UsesAsk) -> Uses:
    """List who uses which proxy, or say which proxy a connection's calls go through and why."""
    if ask.resolve_connection_id:
        return Uses(resolved=resolved(ctx, ask.resolve_connection_id).model_dump(mode="json", by_alias=True))
    scope = scope_of(ask.scope) if ask.scope else ""
    every = [
        one
        for one in ctx.hub.proxies.uses.all()
        if (not ask.proxy_id or one.body.proxy_id == ask.proxy_id)
        and (not scope or one.body.scope == scope)
        and (not ask.scope_id or one.body.scope_id == ask.scope_id)
    ]
    part = every[ask.offset : ask.offset + ask.limit]
    return Uses(items=[_use(one) for one in part], page=Page(limit=ask.limit, offset=ask.offset, total=len(every)))


@skill(
    "proxies-assign",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", f"{_PATH}/assignments")],
    idempotent=True,
    audit=Audit.FULL,
)
async def assigned(ctx: Context, ask: Assignment) -> Assigned:
    """Have all calls, or those of a provider, a connection or a combo, go through a proxy; without a proxy, take that away."""
    scope = scope_of(ask.scope)
    if ask.proxy_id is None:
        await ctx.hub.proxies.clear(scope, level_of(ctx, scope, ask.scope_id or ""))
        return Assigned(assignment=None)
    scope_id = known(ctx, scope, ask.scope_id or "")
    return Assigned(assignment=_use(await _assign(ctx, ask.scope, scope_id, ask.proxy_id)))


async def _assign(ctx: Context, scope: str, scope_id: str, proxy_id: str) -> Document[Use]:
    try:
        return await ctx.hub.proxies.assign(scope_of(scope), scope_id, proxy_id)
    except NotFound:
        raise NotFound(f"there is no proxy {proxy_id!r}", field="proxyId") from None


@skill(
    "proxies-bulk-assign",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", f"{_PATH}/bulk-assign")],
    idempotent=True,
    audit=Audit.FULL,
)
async def bulk(ctx: Context, ask: Assignments) -> BulkAssigned:
    """Assign a proxy to many things of one kind, or take theirs away; what cannot be assigned is named with its reason."""
    scope, proxies = scope_of(ask.scope), ctx.hub.proxies
    if ask.proxy_id is not None and proxies.entries.peek(ask.proxy_id) is None:
        raise NotFound(f"there is no proxy {ask.proxy_id!r}", field="proxyId")
    wanted = list(dict.fromkeys(ask.scope_ids)) if scope != "global" else [""]
    if not wanted:
        raise BadRequest("scopeIds: name at least one", field="scopeIds")
    failed: list[Failed] = []
    for scope_id in wanted:
        try:
            if ask.proxy_id is None:
                await proxies.clear(scope, level_of(ctx, scope, scope_id, "scopeIds"))
            else:
                await proxies.assign(scope, known(ctx, scope, scope_id, "scopeIds"), ask.proxy_id)
        except HubError as error:
            failed.append(Failed(scope_id=scope_id, reason=error.message))
    return BulkAssigned(success=not failed, scope=scope, requested=len(wanted), updated=len(wanted) - len(failed), failed=failed)


@skill("proxies-health", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", f"{_PATH}/health")], read_only=True)
async def health(ctx: Context, ask: Window) -> Health:
    """Show how each proxy did: in calls to providers by every process, and when the hub last tried it."""
    watch = ctx.hub.proxy_watch
    tallies, checks = await watch.record.since(ask.hours), await watch.last()
    items = [_health(one, tallies.get(one.id) or Tally(), checks.get(one.id)) for one in ctx.hub.proxies.entries.all()]
    return Health(items=items, total=len(items), window_hours=ask.hours)


def _health(document: Document[Entry], tally: Tally, check: Check | None) -> HealthView:
    body = document.body
    return HealthView(
        proxy_id=document.id,
        name=body.title,
        type=body.kind,
        host=body.host,
        port=body.port,
        total_requests=tally.total,
        success_count=tally.answered,
        error_count=tally.errors,
        timeout_count=tally.timeouts,
        success_rate=round(100 * tally.answered / tally.total, 2) if tally.total else None,
        avg_latency_ms=round(tally.latency_ms / tally.answered) if tally.answered else None,
        last_seen_at=iso(tally.seen_at or None),
        last_check=_check(check) if check is not None else None,
    )


def _check(check: Check) -> CheckView:
    return CheckView(
        at=iso(check.at),
        ok=check.ok,
        latency_ms=check.latency_ms,
        kind=check.kind,
        error=check.error,
        seen_as=check.seen_as,
        failures=check.failures,
        next_at=iso(check.due_at),
    )
