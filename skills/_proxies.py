"""What the skills of proxies share: how a proxy is written and shown, and which things a level may be of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, SecretStr, field_validator

from hub.errors import BadRequest, NotFound
from hub.outbound.base import OutboundError
from hub.proxies.model import Entry, Kind, Scope
from hub.proxies.routes import GLOBAL
from hub.store.documents import Document
from hub.wire import Body, Wire, iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.context import Context
    from hub.proxies.routes import Found


class Named(Protocol):
    """What has an id."""

    @property
    def id(self) -> str: ...


#: What stands for a password in answers; a client that sends it back changes nothing.
MASK = "***"
ScopeName = Literal["global", "provider", "account", "combo", "key"]
ACCOUNT = "account"


class Address(Body):
    """A proxy as it is written onto a level, or tried."""

    type: Kind = Field(default="http", description="How it is spoken to: http, https or socks5.")
    host: str = Field(min_length=1, max_length=255, description="Host name or IP address.")
    port: int = Field(ge=1, le=65535, description="Port.")
    username: str = Field(default="", max_length=500, description="User name, where it wants one.")
    password: SecretStr = Field(default=SecretStr(""), max_length=1000, description="Password; kept encrypted and never shown.")
    allow_private: bool = Field(default=False, description="Whether it may be at a private address.")

    @field_validator("type", mode="before")
    @classmethod
    def _small(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    def fields(self) -> dict[str, Any]:
        """The same as fields of an entry; the password only where one was given."""
        made: dict[str, Any] = {
            "kind": self.type,
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "allow_private": self.allow_private,
        }
        password = self.password.get_secret_value()
        return made if password == MASK else {**made, "password": password}


class ProxyView(Wire):
    """A proxy without its password. ``warning`` says why calls through it would fail."""

    id: str
    name: str
    type: Kind
    host: str
    port: int
    username: str
    password: str
    region: str | None
    notes: str | None
    status: str
    allow_private: bool
    warning: str | None
    created_at: str | None
    updated_at: str | None


def proxy_view(ctx: Context, document: Document[Entry]) -> ProxyView:
    """A proxy as it is shown."""
    body = document.body
    return ProxyView(
        id=document.id,
        name=body.title,
        type=body.kind,
        host=body.host,
        port=body.port,
        username=body.username,
        password=MASK if body.password else "",
        region=body.region,
        notes=body.notes,
        status="active" if body.active else "inactive",
        allow_private=body.allow_private,
        warning=_warning(ctx, document),
        created_at=iso(document.created_at),
        updated_at=iso(document.updated_at),
    )


def _warning(ctx: Context, document: Document[Entry]) -> str | None:
    body = document.body
    try:
        ctx.hub.outbound.guard.check_literal(body.host.strip("[]"), private=body.allow_private)
    except OutboundError as error:
        return f"calls through it are refused: {error.message} (allowPrivate)"
    return ctx.hub.proxies.proxy(document).fault or None


def short(document: Document[Entry]) -> dict[str, Any]:
    """A proxy in the few fields that the settings of a level show."""
    body = document.body
    user = {"username": body.username} if body.username else {}
    word = {"password": MASK} if body.password else {}
    return {"type": body.kind, "host": body.host, "port": body.port, **user, **word, "proxyId": document.id}


def scope_of(name: str) -> Scope:
    """The scope that a name stands for; a key of the seed's is an account here."""
    names: dict[str, Scope] = {"global": "global", "provider": "provider", "account": "account", "key": "account", "combo": "combo"}
    return names[name]


def known(ctx: Context, scope: Scope, scope_id: str, field: str = "scopeId") -> str:
    """The id of a level's thing as it is stored. Raises BadRequest where none or too much is named, NotFound for one that is not there."""
    hub = ctx.hub
    if scope == GLOBAL:
        if scope_id:
            raise BadRequest(f"{field}: the global level has none; leave it out", field=field)
        return ""
    if not scope_id:
        raise BadRequest(f"{field}: name the {scope} by its id", field=field)
    find: dict[str, Callable[[str], Named | None]] = {
        "provider": hub.catalog.find,
        "combo": lambda name: hub.combos.peek(name) or hub.combos.find(name),
        ACCOUNT: hub.store.connections.peek,
    }
    found = find[scope](scope_id)
    if found is None:
        raise NotFound(f"there is no {'connection' if scope == ACCOUNT else scope} {scope_id!r}", field=field)
    return found.id


def level_of(ctx: Context, scope: Scope, scope_id: str, field: str = "scopeId") -> str:
    """The same, where what has gone may be named too: its assignment must be possible to take away."""
    try:
        return known(ctx, scope, scope_id, field)
    except NotFound:
        return scope_id


class Resolved(Wire):
    """The proxy of a connection's calls. ``level`` is ``direct`` where there is none."""

    proxy: dict[str, Any] | None
    level: str
    level_id: str | None


def resolved(ctx: Context, connection_id: str, combo: str = "") -> Resolved:
    """Which proxy a connection's calls go through now, and which level says so. Raises NotFound."""
    connection = ctx.hub.store.connections.get(connection_id)
    found: Found | None = ctx.hub.proxies.resolved(connection, combo)
    if found is None:
        return Resolved(proxy=None, level="direct", level_id=None)
    entry = ctx.hub.proxies.entries.peek(found.proxy.id) if found.proxy.id else None
    return Resolved(proxy=short(entry) if entry is not None else own(found.proxy.url), level=found.level, level_id=found.level_id or None)


def own(url: str) -> dict[str, Any]:
    """A connection's own proxy URL as it is shown; nothing of one that has gone."""
    # httpcore comes with it, which few hubs need.
    from hub.outbound.breadth import parse_proxy  # noqa: PLC0415 - see above

    if not url:
        return {}
    scheme, origin, auth = parse_proxy(url)
    return {"type": scheme, "host": origin.host, "port": origin.port, **({"password": MASK} if auth else {})}
