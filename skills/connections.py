"""Provider connections: accounts and keys at providers, and local model servers."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import BaseModel, Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest
from hub.grants.model import state_of
from hub.planning.targets import LOGIN
from hub.records import NO_RULES, Connection, ConnectionRules
from hub.secret import Secret
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Done, Nothing, Wire, iso
from skills import _node_facts as node_facts
from skills._connection_health import Health

_GLOBAL = "Order over the connections of all providers, before priority; lower first."
_CONCURRENT = "Most calls at once; 0 or null: any number."
_PROTECTED = "Let calls wait in line rather than run into the provider's rate limit."
_DATA = (
    "Facts such as baseUrl, region, account; and tags, excludedModels, limitPolicy {enabled, thresholdPercent, windows}, "
    "quotaPreflightEnabled, passthroughModels, weight, tier (ultra, pro, standard, free), lenient, vendorBatch, extraApiKeys."
)


class ConnectionId(Wire):
    """Names one connection."""

    id: str = Field(description="Id of the connection, as connections-list shows it.")


class ConnectionView(Wire):
    """A connection without its secrets; of its further keys, how many there are and their masks."""

    id: str
    provider: str
    name: str
    auth_type: str
    api_key: str
    extra_api_keys: list[str]
    extra_api_key_count: int
    priority: int
    global_priority: int | None
    is_active: bool
    allow_private: bool
    proxied: bool
    group: str | None
    max_concurrent: int | None
    rate_limit_protection: bool
    default_model: str
    models: list[str]
    provider_specific_data: dict[str, Any]
    test_status: str
    last_error: str
    last_error_at: str | None
    rate_limited_until: str | None
    login_state: str | None
    expires_at: str | None
    backoff_level: int
    consecutive_use_count: int
    created_at: str | None
    updated_at: str | None


class ConnectionList(Wire):
    """All connections."""

    connections: list[ConnectionView]


class NewConnection(Body):
    """What to make a connection of."""

    provider: str = Field(min_length=1, max_length=100, description="Provider id or alias; providers-list shows them.")
    name: str = Field(min_length=1, max_length=200, description="Your name for this account.")
    api_key: SecretStr = Field(default=SecretStr(""), max_length=10_000, description="The provider's API key; local servers may need none.")
    base_url: str = Field(default="", max_length=2000, description="Base URL, where the provider has none of its own or another is wanted.")
    allow_private: bool = Field(default=False, description="Let it reach private and loopback addresses (local model servers).")
    proxy: SecretStr = Field(default=SecretStr(""), max_length=2000, description="Proxy URL for this connection: http, https or socks5.")
    priority: int = Field(default=1, ge=1, le=999, description="Lower is tried first.")
    global_priority: int | None = Field(default=None, ge=1, le=999, description=_GLOBAL)
    is_active: bool = Field(default=True, description="False keeps the connection out of routing.")
    max_concurrent: int | None = Field(default=None, ge=0, le=10_000, description=_CONCURRENT)
    rate_limit_protection: bool = Field(default=False, description=_PROTECTED)
    group: str | None = Field(default=None, max_length=100, description="A word to sort connections by, for people.")
    test_status: str | None = Field(default=None, max_length=50, description="active, when the credential was checked; else unknown.")
    default_model: str | None = Field(default=None, max_length=200, description="Model that 'auto' uses on this connection.")
    models: list[str] = Field(default=[], description="Model ids this connection serves, where the catalogue does not list them.")
    provider_specific_data: dict[str, Any] = Field(default={}, description=_DATA)


class ConnectionChange(Body):
    """What to change about a connection; fields left out stay as they are."""

    id: str = Field(description="Id of the connection.")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="New name.")
    api_key: SecretStr | None = Field(default=None, max_length=10_000, description="New key; its test state starts anew.")
    base_url: str | None = Field(default=None, max_length=2000, description="New base URL.")
    allow_private: bool | None = Field(default=None, description="Whether private addresses are allowed.")
    proxy: SecretStr | None = Field(default=None, max_length=2000, description="New proxy URL; empty for none.")
    priority: int | None = Field(default=None, ge=1, le=999, description="Lower is tried first.")
    global_priority: int | None = Field(default=None, ge=1, le=999, description=f"{_GLOBAL} Null ends it.")
    is_active: bool | None = Field(default=None, description="False takes the connection out of routing.")
    max_concurrent: int | None = Field(default=None, ge=0, le=10_000, description=_CONCURRENT)
    rate_limit_protection: bool | None = Field(default=None, description=_PROTECTED)
    group: str | None = Field(default=None, max_length=100, description="A word to sort connections by; null for none.")
    default_model: str | None = Field(default=None, max_length=200, description="Model that 'auto' uses; null for none.")
    models: list[str] | None = Field(default=None, description="Model ids this connection serves.")
    provider_specific_data: dict[str, Any] | None = Field(
        default=None, description=f"{_DATA} It is replaced as a whole, but extraApiKeys stay when they are left out."
    )
    test_status: str | None = Field(default=None, max_length=50, description="active or unknown: clears cooldown and errors.")
    rate_limited_until: str | None = Field(default=None, description="Null ends a cooldown; a time in ISO 8601 rests the connection.")
    last_error: str | None = Field(default=None, description="Null clears the last error.")
    last_error_at: str | None = Field(default=None, description="Null only: the hub finds it out.")
    last_error_type: str | None = Field(default=None, description="Null only: the hub finds it out.")
    last_error_source: str | None = Field(default=None, description="Null only: the hub finds it out.")
    error_code: str | None = Field(default=None, description="Null only: the hub finds it out.")
    last_tested: str | None = Field(default=None, description="Null only: the hub finds it out.")
    health_check_interval: int | None = Field(default=None, ge=0, description="0 only: connections are tested on request.")


def view(ctx: Context, connection: Connection) -> ConnectionView:
    """A connection as callers see it."""
    rules, now = connection.rules, ctx.hub.clock.now_ms()
    login = ctx.hub.logins.accounts.of(connection.id)
    return ConnectionView(
        id=connection.id,
        provider=connection.provider,
        name=connection.name,
        auth_type=connection.auth_type,
        api_key=connection.secret.masked,
        extra_api_keys=[key.masked for key in connection.extra_secrets],
        extra_api_key_count=len(connection.extra_secrets),
        priority=connection.priority,
        global_priority=rules.global_priority or None,
        group=rules.group or None,
        max_concurrent=rules.max_concurrent or None,
        rate_limit_protection=rules.rate_limit,
        is_active=connection.active,
        allow_private=connection.allow_private,
        proxied=ctx.hub.proxies.resolved(connection) is not None,
        default_model=connection.default_model,
        models=list(connection.models),
        provider_specific_data=node_facts.shown(ctx, connection),
        test_status=connection.test_status.value,
        last_error=connection.last_error,
        last_error_at=iso(connection.last_error_at),
        rate_limited_until=iso(connection.cooldown_until),
        login_state=state_of(login.body, now).value if login else None,
        expires_at=iso(login.body.expires_at) if login else None,
        backoff_level=connection.backoff_level,
        consecutive_use_count=ctx.hub.ledger.streak(connection.provider, connection.id),
        created_at=iso(connection.created_at),
        updated_at=iso(connection.updated_at),
    )


#: Fields of their own on the wire -> fields of the rules, with what null means.
_RULES: dict[str, tuple[str, Any]] = {
    "global_priority": ("global_priority", 0),
    "max_concurrent": ("max_concurrent", 0),
    "rate_limit_protection": ("rate_limit", False),
    "group": ("group", ""),
}


def _rules(ask: NewConnection | ConnectionChange, rules: ConnectionRules) -> ConnectionRules:
    """``rules`` with what was sent."""
    sent = {field: getattr(ask, name) or nothing for name, (field, nothing) in _RULES.items() if name in ask.model_fields_set}
    return msgspec.structs.replace(rules, **sent)


def _sent(ask: BaseModel) -> dict[str, Any]:
    """The plain fields that were sent, by their names on the wire."""
    return ask.model_dump(by_alias=True, include=ask.model_fields_set - {"api_key", "proxy", "provider_specific_data"})


def _wrapped(output: ConnectionView) -> dict[str, Any]:
    return {"connection": output.model_dump(mode="json", by_alias=True)}


@skill(
    "connections-create",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/providers", status=201, view=_wrapped)],
    audit=Audit.FULL,
)
async def create(ctx: Context, ask: NewConnection) -> ConnectionView:
    """Add a provider connection; it takes part in routing at once."""
    row = ctx.hub.catalog.get(ask.provider)
    health = Health(_sent(ask))
    given = node_facts.read(ctx, row.id, ask.provider_specific_data, _rules(ask, NO_RULES))
    draft = Connection(
        id="draft",
        provider=row.id,
        name=ask.name,
        secret=Secret(ask.api_key.get_secret_value().strip()),
        base_url=node_facts.own_url(ctx, row.id, ask.base_url or given.base_url),
        data=given.facts,
        allow_private=ask.allow_private,
        extra_secrets=tuple(map(Secret, given.extra_secrets or ())),
    )
    ctx.hub.targets.check(draft)
    made = await ctx.hub.store.connections.create(
        provider=row.id,
        name=ask.name,
        secret=draft.secret.reveal(),
        base_url=draft.base_url,
        data=given.facts,
        priority=ask.priority,
        allow_private=ask.allow_private,
        proxy=ask.proxy.get_secret_value(),
        default_model=ask.default_model or "",
        models=tuple(ask.models),
        rules=given.rules,
        extra_secrets=given.extra_secrets or (),
        active=ask.is_active,
    )
    health.apply(ctx.hub, made)
    return view(ctx, ctx.hub.store.connections.get(made.id))


@skill("connections-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/providers")], read_only=True)
async def list_connections(ctx: Context, ask: Nothing) -> ConnectionList:
    """List provider connections, without their secrets."""
    connections = sorted(ctx.hub.store.connections.all(), key=lambda one: (one.provider, one.priority, one.created_at))
    return ConnectionList(connections=[view(ctx, connection) for connection in connections])


@skill("connections-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/providers/{id}", view=_wrapped)], read_only=True)
async def get(ctx: Context, ask: ConnectionId) -> ConnectionView:
    """Show one provider connection."""
    return view(ctx, ctx.hub.store.connections.get(ask.id))


@skill(
    "connections-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/providers/{id}", view=_wrapped), Rest("PATCH", "/api/providers/{id}", view=_wrapped)],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: ConnectionChange) -> ConnectionView:
    """Change a connection; takes effect at once."""
    connections = ctx.hub.store.connections
    kept = connections.get(ask.id)
    if ask.model_fields_set <= {"id"}:
        raise BadRequest("nothing to change: send at least one field beside the id")
    health = Health(_sent(ask))
    changes = _changes(ctx, ask, kept)
    extra = changes.get("extra_secrets")
    ctx.hub.targets.check(
        Connection(
            id="draft",
            provider=kept.provider,
            name=changes.get("name", kept.name),
            secret=Secret(changes["secret"]) if "secret" in changes else kept.secret,
            base_url=changes.get("base_url", kept.base_url),
            data=changes.get("data", kept.data),
            auth_type=changes.get("auth_type", kept.auth_type),
            extra_secrets=kept.extra_secrets if extra is None else tuple(map(Secret, extra)),
        )
    )
    if changes:
        kept = await connections.update(ask.id, **changes)
    if "auth_type" in changes:
        await ctx.hub.logins.accounts.forget(ask.id)
    if "secret" in changes or extra is not None:
        # What was learned of the old credential says nothing of the new one.
        ctx.hub.resilience.clear_connection(ask.id)
    health.apply(ctx.hub, kept)
    return view(ctx, connections.get(ask.id))


def _keyed(key: SecretStr, kept: Connection) -> dict[str, Any]:
    """A new key, which takes the place of a login where there is one."""
    secret = key.get_secret_value().strip()
    return {"secret": secret, "auth_type": "apikey"} if kept.auth_type == LOGIN else {"secret": secret}


def _changes(ctx: Context, ask: ConnectionChange, kept: Connection) -> dict[str, Any]:
    """What was sent, in the names of the store."""
    named = {
        "name": ask.name,
        "base_url": ask.base_url,
        "allow_private": ask.allow_private,
        "priority": ask.priority,
        "active": ask.is_active,
        "models": ask.models,
    }
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if "default_model" in ask.model_fields_set:
        changes["default_model"] = ask.default_model or ""
    if ask.api_key is not None:
        # The store starts a new credential with a clean record.
        changes.update(_keyed(ask.api_key, kept))
    if ask.proxy is not None:
        changes["proxy"] = ask.proxy.get_secret_value()
    rules = _told(ctx, ask, kept, changes)
    if "base_url" in changes:
        changes["base_url"] = node_facts.own_url(ctx, kept.provider, changes["base_url"])
    if rules != kept.rules:
        changes["rules"] = rules
    return changes


def _told(ctx: Context, ask: ConnectionChange, kept: Connection, changes: dict[str, Any]) -> ConnectionRules:
    """The rules as they are to be; what else ``providerSpecificData`` says is put into ``changes``."""
    rules = _rules(ask, kept.rules)
    if ask.provider_specific_data is None:
        return rules
    given = node_facts.read(ctx, kept.provider, ask.provider_specific_data, rules)
    changes["data"] = given.facts
    if given.base_url:
        changes.setdefault("base_url", given.base_url)
    if given.extra_secrets is not None:
        changes["extra_secrets"] = given.extra_secrets
    return given.rules


@skill(
    "connections-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/providers/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: ConnectionId) -> Done:
    """Delete a connection with its stored credential."""
    connection = ctx.hub.store.connections.get(ask.id)
    await ctx.hub.store.connections.delete(ask.id)
    await ctx.hub.logins.accounts.forget(ask.id)
    await ctx.hub.proxies.clear("account", ask.id)
    return Done(message=f"connection {connection.name!r} of {connection.provider} is deleted")
