"""Hub keys: create, list, change, revoke. A key is shown once; the hub keeps only its digest."""

from __future__ import annotations

from pydantic import Field

from hub.context import Context
from hub.errors import Forbidden
from hub.records import Key
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Done, Wire, iso

_DAY_MS = 86_400_000


class KeyId(Wire):
    """Names one key."""

    id: str = Field(description="Id of the key, as keys-list shows it.")


class KeyView(Wire):
    """A key without its secret."""

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


class NewKey(Wire):
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


class KeyPage(Wire):
    """Which keys to list."""

    limit: int = Field(default=100, ge=1, le=1000, description="Most keys to return.")
    offset: int = Field(default=0, ge=0, description="Keys to skip.")


class KeyList(Wire):
    """Keys, newest first. ``allow_key_reveal`` is always false: the secret is not stored."""

    keys: list[KeyView]
    total: int
    allow_key_reveal: bool = False


class KeyChange(Wire):
    """What to change about a key; fields left out stay as they are."""

    id: str = Field(description="Id of the key.")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="New name.")
    scopes: list[str] | None = Field(default=None, description="New list of scopes.")
    allowed_models: list[str] | None = Field(default=None, description="New list of models or patterns; empty allows all.")
    no_log: bool | None = Field(default=None, description="Whether to keep request details.")
    is_active: bool | None = Field(default=None, description="False switches the key off without revoking it.")


def view(key: Key) -> KeyView:
    """A key as callers see it."""
    return KeyView(
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


@skill("keys-create", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/keys", status=201)], audit=Audit.FULL)
async def create(ctx: Context, ask: NewKey) -> KeyCreated:
    """Create an API key; its secret is in the answer and nowhere else."""
    expires = None if ask.expires_in_days is None else ctx.hub.clock.now_ms() + round(ask.expires_in_days * _DAY_MS)
    key, token = await ctx.hub.store.keys.create(
        ask.name, grants=ask.scopes, expires_at=expires, allowed_models=tuple(ask.allowed_models), no_log=ask.no_log
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
    rest=[Rest("PATCH", "/api/keys/{id}"), Rest("PUT", "/api/keys/{id}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: KeyChange) -> KeyView:
    """Change a key's name, scopes, models or state; takes effect at once."""
    changes: dict[str, object] = {}
    for field, column in (("name", "name"), ("scopes", "grants"), ("no_log", "no_log"), ("is_active", "active")):
        value = getattr(ask, field)
        if value is not None:
            changes[column] = value
    if ask.allowed_models is not None:
        changes["allowed_models"] = tuple(ask.allowed_models)
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
    """Delete a key and its record."""
    key = ctx.hub.store.keys.get(ask.id)
    await ctx.hub.store.keys.delete(ask.id)
    await ctx.hub.budgets.drop(ask.id)
    return Done(message=f"key {key.name!r} is deleted")


@skill("keys-reveal", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/keys/{id}/reveal")], read_only=True)
async def reveal(ctx: Context, ask: KeyId) -> KeyView:
    """Refuse to show a key again: the hub keeps only a digest of it."""
    key = ctx.hub.store.keys.get(ask.id)
    raise Forbidden(f"key {key.name!r} cannot be shown again, only its digest is stored; create a new one and revoke this")
