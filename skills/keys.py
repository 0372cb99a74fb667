"""Hub keys: create, list, change, revoke. A key is shown once; the hub keeps only its digest."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field, StringConstraints, field_validator

from hub.access.limits import MOST_IN_WINDOW
from hub.access.schedule import clock_time, zone
from hub.context import Context
from hub.errors import BadRequest, Forbidden
from hub.records import NO_LIMITS, Key, KeyLimits, Schedule
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Done, Wire, iso

_DAY_MS = 86_400_000


class KeyId(Body):
    """Names one key."""

    id: str = Field(description="Id of the key, as keys-list shows it.")


class AccessSchedule(Body):
    """When a key works. Over midnight when ``until`` is earlier than ``from``: the day is the one on which the hours begin."""

    enabled: bool = Field(description="False keeps the hours without effect.")
    start: str = Field(alias="from", min_length=5, description="HH:MM, included.")
    until: str = Field(min_length=5, description="HH:MM, not included.")
    days: tuple[Annotated[int, Field(ge=0, le=6)], ...] = Field(min_length=1, max_length=7, description="0 Sunday to 6 Saturday.")
    tz: str = Field(min_length=1, max_length=100, description="IANA time zone, e.g. Europe/Berlin.")

    _time = field_validator("start", "until")(clock_time)

    @field_validator("tz")
    @classmethod
    def _known(cls, value: str) -> str:
        zone(value)
        return value


class Limited(Body):
    """The limits of a key as callers write them; 0, empty and null are no limit."""

    allowed_connections: tuple[str, ...] = Field(default=(), max_length=100, description="Ids of the only connections the key may use.")
    max_sessions: int = Field(default=0, ge=0, le=10_000, description="Most sessions at a time; one ends after 30 idle minutes.")
    access_schedule: AccessSchedule | None = Field(default=None, description="Hours at which the key works; null: always.")
    max_requests_per_minute: int | None = Field(default=None, ge=0, le=MOST_IN_WINDOW, description="Most requests in any 60 seconds.")
    max_requests_per_day: int | None = Field(default=None, ge=0, le=MOST_IN_WINDOW, description="Most requests in any 24 hours.")
    hourly_budget: int | None = Field(default=None, ge=0, le=10**9, description="Most requests in a clock hour of UTC.")
    daily_budget: int | None = Field(default=None, ge=0, le=10**9, description="Most requests in a day of UTC.")
    tags: tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...] = Field(
        default=(), max_length=32, description="Tags that policies and routing see on every request of the key."
    )
    mcp_profile: str = Field(
        default="", max_length=2000, description="Tools that MCP clients of the key list: core, all, or names with *; empty: the hub's."
    )
    auto_resolve: bool = Field(default=False, description="Only false: an ambiguous model name is answered with its candidates.")

    @field_validator("auto_resolve")
    @classmethod
    def _never_guesses(cls, value: bool) -> bool:
        if value:
            raise ValueError("the hub never guesses between providers; name provider/model, or make a mapping for the bare name")
        return value


class KeyView(Wire):
    """A key without its secret. ``machine_id`` is the seed's: keys of this hub belong to no machine."""

    id: str
    name: str
    key: str
    key_prefix: str
    scopes: list[str]
    allowed_models: list[str]
    is_active: bool
    no_log: bool
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    allowed_connections: list[str]
    max_sessions: int
    access_schedule: AccessSchedule | None
    max_requests_per_minute: int | None
    max_requests_per_day: int | None
    hourly_budget: int | None
    daily_budget: int | None
    tags: list[str]
    mcp_profile: str
    auto_resolve: bool = False
    machine_id: str = ""
    ip_allowlist: None = None


class NewKey(Limited):
    """What to make a key of."""

    name: str = Field(min_length=1, max_length=200, description="What the key is for, in your words.")
    scopes: list[str] = Field(
        default=["operator"],
        description="Scopes, bundles (read-only, operator, owner) or wildcards such as read:*; '*' is everything.",
    )
    no_log: bool = Field(default=False, description="Keep no request details of this key.")
    allowed_models: list[str] = Field(default=[], description="Model names or patterns the key may use; empty allows all.")
    expires_in_days: float | None = Field(default=None, gt=0, le=3650, description="Days until the key stops working; none: never.")


class KeyCreated(Wire):
    """A new key with its secret, which is shown this once."""

    key: str
    id: str
    name: str
    key_prefix: str
    scopes: list[str]
    no_log: bool
    expires_at: str | None


class KeyPage(Body):
    """Which keys to list."""

    limit: int = Field(default=100, ge=1, le=1000, description="Most keys to return.")
    offset: int = Field(default=0, ge=0, description="Keys to skip.")


class KeyList(Wire):
    """Keys, newest first. ``allow_key_reveal`` is always false: the secret is not stored."""

    keys: list[KeyView]
    total: int
    allow_key_reveal: bool = False


class KeyChange(Limited):
    """What to change about a key; fields left out stay as they are, null takes a limit away."""

    id: str = Field(description="Id of the key.")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="New name.")
    scopes: list[str] | None = Field(default=None, description="New list of scopes.")
    allowed_models: list[str] | None = Field(default=None, description="New list of models or patterns; empty allows all.")
    no_log: bool | None = Field(default=None, description="Whether to keep request details.")
    is_active: bool | None = Field(default=None, description="False switches the key off without revoking it.")


#: Limits on the wire -> the field of the record.
_LIMITS = {
    "allowed_connections": "connections",
    "max_sessions": "sessions",
    "access_schedule": "schedule",
    "max_requests_per_minute": "per_minute",
    "max_requests_per_day": "per_day",
    "hourly_budget": "hourly",
    "daily_budget": "daily",
    "tags": "tags",
    "mcp_profile": "mcp_profile",
}


def limits_of(ctx: Context, ask: Limited, kept: KeyLimits) -> KeyLimits:
    """The limits of a key after a change. Raises BadRequest naming a connection that is not there."""
    changes: dict[str, Any] = {}
    for field in _LIMITS.keys() & ask.model_fields_set:
        value = getattr(ask, field)
        if isinstance(value, AccessSchedule):
            value = Schedule(enabled=value.enabled, days=value.days, start=value.start, until=value.until, zone=value.tz)
        changes[_LIMITS[field]] = 0 if value is None and field != "access_schedule" else value
    there = {connection.id for connection in ctx.hub.store.connections.all()}
    if missing := [one for one in changes.get("connections", ()) if one not in there]:
        raise BadRequest(f"there is no connection {', '.join(map(repr, missing))}; connections-list shows them", field="allowedConnections")
    return msgspec.structs.replace(kept, **changes)


def _schedule(schedule: Schedule | None) -> AccessSchedule | None:
    if schedule is None:
        return None
    fields = {"enabled": schedule.enabled, "from": schedule.start, "until": schedule.until, "days": schedule.days, "tz": schedule.zone}
    return AccessSchedule.model_validate(fields)


def view(key: Key) -> KeyView:
    """A key as callers see it."""
    limits = key.limits
    return KeyView(
        allowed_connections=list(limits.connections),
        max_sessions=limits.sessions,
        access_schedule=_schedule(limits.schedule),
        max_requests_per_minute=limits.per_minute or None,
        max_requests_per_day=limits.per_day or None,
        hourly_budget=limits.hourly or None,
        daily_budget=limits.daily or None,
        tags=list(limits.tags),
        mcp_profile=limits.mcp_profile,
        id=key.id,
        name=key.name,
        key=f"{key.prefix}…",
        key_prefix=key.prefix,
        scopes=list(key.grants),
        allowed_models=list(key.allowed_models),
        is_active=key.active and key.revoked_at is None,
        no_log=key.no_log,
        created_at=iso(key.created_at),
        expires_at=iso(key.expires_at),
        last_used_at=iso(key.last_used_at),
        revoked_at=iso(key.revoked_at),
    )


def _changed(output: KeyView) -> dict[str, Any]:
    """The whole key, with the word that the seed's clients look for."""
    return {"message": f"key {output.name!r} is changed", **output.model_dump(mode="json", by_alias=True)}


@skill("keys-create", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/keys", status=201)], audit=Audit.FULL)
async def create(ctx: Context, ask: NewKey) -> KeyCreated:
    """Create an API key; its secret is in the answer and nowhere else."""
    expires = None if ask.expires_in_days is None else ctx.hub.clock.now_ms() + round(ask.expires_in_days * _DAY_MS)
    key, token = await ctx.hub.store.keys.create(
        ask.name,
        grants=ask.scopes,
        expires_at=expires,
        allowed_models=tuple(ask.allowed_models),
        no_log=ask.no_log,
        limits=limits_of(ctx, ask, NO_LIMITS),
    )
    return KeyCreated(
        key=token,
        id=key.id,
        name=key.name,
        key_prefix=key.prefix,
        scopes=list(key.grants),
        no_log=key.no_log,
        expires_at=iso(key.expires_at),
    )


@skill("keys-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/keys")], read_only=True)
async def list_keys(ctx: Context, ask: KeyPage) -> KeyList:
    """List API keys, without their secrets."""
    keys = sorted(ctx.hub.store.keys.all(), key=lambda key: (-key.created_at, key.id))
    return KeyList(keys=[view(key) for key in keys[ask.offset : ask.offset + ask.limit]], total=len(keys))


@skill("keys-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/keys/{id}")], read_only=True)
async def get(ctx: Context, ask: KeyId) -> KeyView:
    """Show one API key, without its secret."""
    return view(ctx.hub.store.keys.get(ask.id))


@skill(
    "keys-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PATCH", "/api/keys/{id}", view=_changed), Rest("PUT", "/api/keys/{id}", view=_changed)],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: KeyChange) -> KeyView:
    """Change a key's name, scopes, models, limits or state; takes effect at once."""
    changes: dict[str, object] = {}
    for field, column in (("name", "name"), ("scopes", "grants"), ("no_log", "no_log"), ("is_active", "active")):
        value = getattr(ask, field)
        if value is not None:
            changes[column] = value
    if ask.allowed_models is not None:
        changes["allowed_models"] = tuple(ask.allowed_models)
    if _LIMITS.keys() & ask.model_fields_set:
        changes["limits"] = limits_of(ctx, ask, ctx.hub.store.keys.get(ask.id).limits)
    return view(await ctx.hub.store.keys.update(ask.id, **changes))


@skill(
    "keys-revoke",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/keys/{id}/revoke")],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def revoke(ctx: Context, ask: KeyId) -> KeyView:
    """Revoke a key: it stops working at once and for good, its record stays."""
    return view(await ctx.hub.store.keys.revoke(ask.id))


@skill("keys-delete", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("DELETE", "/api/keys/{id}")], destructive=True, audit=Audit.FULL)
async def delete(ctx: Context, ask: KeyId) -> Done:
    """Delete a key, its record and its files."""
    key = ctx.hub.store.keys.get(ask.id)
    await ctx.hub.store.keys.delete(ask.id)
    await ctx.hub.budgets.drop(ask.id)
    await ctx.hub.files.drop(ask.id)
    return Done(message=f"key {key.name!r} is deleted")


@skill("keys-reveal", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/keys/{id}/reveal")], read_only=True)
async def reveal(ctx: Context, ask: KeyId) -> KeyView:
    """Refuse to show a key again: the hub keeps only a digest of it."""
    key = ctx.hub.store.keys.get(ask.id)
    words = f"key {key.name!r} cannot be shown again, only its digest is stored; create a new one and revoke this"
    raise Forbidden(words, wire={"error": words})
