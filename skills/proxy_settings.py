"""Proxies written straight onto a level (all, a provider, a combo, a connection), and the try of one.

A short form of the pool: what is written here is a proxy of the pool that goes with its level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest, NotFound
from hub.outbound.base import Proxy
from hub.proxies.pool import address
from hub.proxies.probe import probe
from hub.proxies.routes import GLOBAL
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Wire
from skills._proxies import MASK, Address, known, level_of, resolved, scope_of, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.proxies.model import Scope

#: A level, its thing, the proxy, and the field that named them.
_Named: TypeAlias = "tuple[Scope, str, Address | None, str]"
_PATH = "/api/settings/proxy"
Level = Literal["global", "provider", "combo", "key"]
_LEVEL = "global, provider, combo, or key: a connection."
_ID = "Id of the provider, combo or connection; none for global."


class LevelsAsk(Body):
    """Everything, one level, or what a connection's calls go through."""

    level: Level | None = Field(default=None, description=_LEVEL)
    id: str = Field(default="", max_length=200, description=_ID)
    resolve: str = Field(default="", max_length=200, description="Id of a connection: which proxy its calls go through, and why.")
    combo: str = Field(default="", max_length=200, description="With resolve: as led to by this combo.")


class LevelAsk(Body):
    """One level."""

    level: Level = Field(description=_LEVEL)
    id: str = Field(default="", max_length=200, description=_ID)


class LevelsChange(Body):
    """One level with its proxy, or several levels; null takes a proxy away, what is left out stays."""

    level: Level | None = Field(default=None, description=_LEVEL)
    id: str = Field(default="", max_length=200, description=_ID)
    proxy: Address | None = Field(default=None, description="The proxy of that level; null for none.")
    all_calls: Address | None = Field(default=None, alias="global", description="The proxy of all calls to providers.")
    providers: dict[str, Address | None] | None = Field(default=None, max_length=500, description="By provider.")
    combos: dict[str, Address | None] | None = Field(default=None, max_length=500, description="By combo.")
    keys: dict[str, Address | None] | None = Field(default=None, max_length=500, description="By connection.")


class Levels(Wire):
    """What the levels use, or the answer about one of them."""

    all_calls: dict[str, Any] | None = Field(default=None, serialization_alias="global")
    providers: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    combos: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    keys: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    one: dict[str, Any] | None = None


class Tried(Body):
    """A proxy to try; the port may be a text."""

    host: str = Field(default="", max_length=255, description="Host name or IP address.")
    port: int = Field(default=0, ge=0, le=65535, description="Port.")
    type: str = Field(default="http", max_length=20, description="http, https or socks5.")
    username: str = Field(default="", max_length=500, description="User name.")
    password: SecretStr = Field(default=SecretStr(""), max_length=1000, description="Password.")
    allow_private: bool = Field(default=False, description="Whether it may be at a private address.")


class TryAsk(Body):
    """A proxy as it is written here, or one of the pool."""

    proxy: Tried | None = Field(default=None, description="The proxy. With proxyId only what differs from that one's.")
    proxy_id: str = Field(default="", max_length=200, description="Id of a proxy of the pool, whose stored password is used.")
    target: str = Field(default="", max_length=2000, description="What to ask for through it, instead of HUBROUTE_PROXY_PROBE_URL.")


class TryResult(Wire):
    """How it went: a connection that fails is an answer, too.

    ``kind`` is empty, or name_unknown, refused, auth, timeout, tls, address_refused, protocol, target or inactive. ``publicIp`` is how the
    target sees the hub, where it says so.
    """

    success: bool
    error: str
    latency_ms: int
    proxy_url: str
    kind: str
    status: int | None
    public_ip: str | None
    target: str


def _view(found: Levels) -> Any:
    return found.one if found.one is not None else found.model_dump(mode="json", by_alias=True, exclude={"one"})


def _levels(ctx: Context) -> Levels:
    made = Levels()
    maps = {"provider": made.providers, "combo": made.combos, "account": made.keys}
    for use in ctx.hub.proxies.uses.all():
        entry = ctx.hub.proxies.entries.peek(use.body.proxy_id)
        if entry is None:
            continue
        if use.body.scope == GLOBAL:
            made.all_calls = short(entry)
        else:
            maps[use.body.scope][use.body.scope_id] = short(entry)
    return made


@skill("proxy-levels", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", _PATH, view=_view)], read_only=True)
async def shown(ctx: Context, ask: LevelsAsk) -> Levels:
    """Show the proxy of every level, of one level, or of a connection's calls. Passwords are never shown."""
    if ask.resolve:
        return Levels(one=resolved(ctx, ask.resolve, ask.combo).model_dump(mode="json", by_alias=True))
    if ask.level is None:
        return _levels(ctx)
    scope = scope_of(ask.level)
    use = ctx.hub.proxies.at(scope, level_of(ctx, scope, ask.id, "id"))
    entry = ctx.hub.proxies.entries.peek(use.body.proxy_id) if use is not None else None
    return Levels(one={"level": ask.level, "id": ask.id or None, "proxy": short(entry) if entry is not None else None})


@skill(
    "proxy-levels-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", _PATH, view=_view)],
    idempotent=True,
    audit=Audit.FULL,
)
async def changed(ctx: Context, ask: LevelsChange) -> Levels:
    """Set the proxy of a level, or of several; everything is checked before anything is stored."""
    for scope, scope_id, proxy in _wanted(ctx, ask):
        if proxy is None:
            await ctx.hub.proxies.clear(scope, scope_id)
        else:
            await ctx.hub.proxies.write(scope, scope_id, ctx.hub.clock.new_id("prx_"), proxy.fields())
    return _levels(ctx)


def _alone(ask: LevelsChange) -> Iterator[_Named]:
    """The one level that is named. Raises BadRequest for half of one."""
    if ask.level is None:
        if "proxy" in ask.model_fields_set or ask.id:
            raise BadRequest("level: say which level the proxy is for", field="level")
        return
    if "proxy" not in ask.model_fields_set:
        raise BadRequest("proxy: give the proxy of the level, null for none", field="proxy")
    yield scope_of(ask.level), ask.id, ask.proxy, "id"


def _several(ask: LevelsChange) -> Iterator[_Named]:
    """The levels that stand in the maps."""
    if "all_calls" in ask.model_fields_set:
        yield "global", "", ask.all_calls, "global"
    maps: tuple[tuple[Scope, str, dict[str, Address | None] | None], ...] = (
        ("provider", "providers", ask.providers),
        ("combo", "combos", ask.combos),
        ("account", "keys", ask.keys),
    )
    for scope, field, written in maps:
        for one, proxy in (written or {}).items():
            yield scope, one, proxy, field


def _wanted(ctx: Context, ask: LevelsChange) -> list[tuple[Scope, str, Address | None]]:
    """The levels that a change names and their proxies. Raises BadRequest, NotFound, NotConfigured."""
    named = [*_alone(ask), *_several(ask)]
    if not named:
        raise BadRequest("level: name a level and its proxy, or send global, providers, combos or keys", field="level")
    wanted: list[tuple[Scope, str, Address | None]] = []
    for scope, one, proxy, field in named:
        wanted.append((scope, (level_of if proxy is None else known)(ctx, scope, one, field), proxy))
        if proxy is not None:
            ctx.hub.proxies.check(proxy.fields())
    return wanted


@skill(
    "proxy-levels-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", _PATH, view=_view)],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def removed(ctx: Context, ask: LevelAsk) -> Levels:
    """Take the proxy of a level away; its calls go by the next level then."""
    scope = scope_of(ask.level)
    await ctx.hub.proxies.clear(scope, level_of(ctx, scope, ask.id, "id"))
    return _levels(ctx)


@skill("proxy-test", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", f"{_PATH}/test")])
async def tried(ctx: Context, ask: TryAsk) -> TryResult:
    """Try a proxy with a real request: how long it takes, what goes wrong, and which public address others see."""
    settings = ctx.hub.settings
    target = ask.target or settings.proxy_probe_url
    if not target:
        raise BadRequest("target: name an address to ask for, or set HUBROUTE_PROXY_PROBE_URL", field="target")
    proxy, plain = _tried(ctx, ask)
    # The one in the settings was listed by the operator; what a request names is judged like any address.
    found = await probe(ctx.hub.outbound, ctx.hub.clock, proxy, target, private=target == settings.proxy_probe_url)
    return TryResult(
        success=not found.kind,
        error=found.error,
        latency_ms=found.latency_ms,
        proxy_url=plain,
        kind=found.kind,
        status=found.status,
        public_ip=found.seen_as or None,
        target=target,
    )


def _tried(ctx: Context, ask: TryAsk) -> tuple[Proxy, str]:
    """The proxy to try, and its address without credentials. Raises BadRequest, NotFound, NotConfigured."""
    fields = _stored(ctx, ask.proxy_id) if ask.proxy_id else {}
    given = ask.proxy or Tried()
    told = given.model_dump(include=given.model_fields_set - {"password"}, by_alias=False)
    fields |= {"kind" if name == "type" else name: value for name, value in told.items()}
    password = given.password.get_secret_value()
    if "password" in given.model_fields_set and password != MASK:
        fields["password"] = password
    if not fields.get("host") or not fields.get("port"):
        raise BadRequest("proxy: give the host and port of a proxy, or proxyId for one of the pool", field="proxy")
    made = ctx.hub.proxies.check({"kind": "http", **fields})
    url = address(made.kind, made.host, made.port, made.username, made.password)
    return Proxy(url, private=made.allow_private), address(made.kind, made.host, made.port)


def _stored(ctx: Context, identity: str) -> dict[str, Any]:
    """The fields of a proxy of the pool, its password as it is. Raises NotFound."""
    entry = ctx.hub.proxies.entries.peek(identity)
    if entry is None:
        raise NotFound(f"there is no proxy {identity!r}", field="proxyId")
    fields = entry.body.model_dump(include={"kind", "host", "port", "username", "allow_private"}, by_alias=False)
    return {**fields, "password": ctx.hub.proxies.password(entry)}
