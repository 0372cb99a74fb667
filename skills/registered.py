"""Registered keys: issued by a program for a provider and an account, once for an idempotency key, within limits on issuing."""

from __future__ import annotations

import secrets
from datetime import UTC
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from hub.context import Context
from hub.errors import BadRequest, Conflict, HubError, NotFound, RateLimited
from hub.records import Key, KeyLimits, Registration
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_LIMITS = "registered_keys.limits"
#: What a registered key may do: chat, and reach the agent doors (its tools still need scopes of their own).
GRANTS = ("chat", "mcp:connect")

Label = Annotated[str, StringConstraints(max_length=80, strip_whitespace=True)]
Account = Annotated[str, StringConstraints(max_length=120, strip_whitespace=True)]


class NewRegistered(Body):
    """What to issue a key for. Budgets are numbers of requests, in a day and in a clock hour of UTC."""

    name: str = Field(min_length=1, max_length=120, description="What the key is for.")
    provider: Label = Field(default="", description="Provider it is issued for; limits on issuing are kept by it.")
    account_id: Account = Field(default="", description="Account it is issued for.")
    idempotency_key: str = Field(
        default="", max_length=256, description="A second request with the same one is answered with the first key."
    )
    expires_at: AwareDatetime | None = Field(default=None, description="When it stops working, as ISO 8601 with a time zone.")
    daily_budget: int | None = Field(default=None, ge=1, le=10**9, description="Most requests in a day of UTC.")
    hourly_budget: int | None = Field(default=None, ge=1, le=10**9, description="Most requests in a clock hour of UTC.")


class Issued(Wire):
    """A new key with its secret, which is shown this once."""

    key: str
    key_id: str
    key_prefix: str
    name: str
    provider: str
    account_id: str
    expires_at: str | None
    created_at: str | None
    warning: str = "Store this key now; it is not shown again."


class RegisteredView(Wire):
    """A registered key without its secret; ``key`` is its public part."""

    id: str
    key: str
    key_prefix: str
    name: str
    provider: str
    account_id: str
    is_active: bool
    revoked_at: str | None
    expires_at: str | None
    idempotency_key: str | None
    daily_budget: int | None
    hourly_budget: int | None
    daily_used: int
    hourly_used: int
    last_reset_day: str
    last_reset_hour: str
    created_at: str | None
    updated_at: str | None


class RegisteredPage(Body):
    """Which registered keys to list."""

    provider: str | None = Field(default=None, max_length=80, description="Only those of this provider.")
    account_id: str | None = Field(default=None, max_length=120, description="Only those of this account.")


class RegisteredList(Wire):
    """Registered keys, newest first."""

    keys: list[RegisteredView]
    total: int


class RegisteredId(Body):
    """Names one registered key."""

    id: str = Field(max_length=200, description="Id of the key.")


class OneRegistered(Wire):
    """One registered key."""

    key: RegisteredView


class Revoked(Wire):
    """A key that works no more."""

    success: bool = True
    id: str
    revoked_at: str | None


class IssueLimit(Body):
    """How many keys may be issued. Null is no limit."""

    max_active_keys: int | None = Field(default=None, ge=0, le=1_000_000, description="Keys that work at a time.")
    daily_issue_limit: int | None = Field(default=None, ge=0, le=1_000_000, description="Keys issued in a day of UTC.")
    hourly_issue_limit: int | None = Field(default=None, ge=0, le=1_000_000, description="Keys issued in a clock hour of UTC.")


class IssueLimits(Body):
    """Limits on issuing, by provider and by account. The name ``*`` stands for each one without limits of its own."""

    providers: dict[Label, IssueLimit] = Field(default={}, max_length=1000, description="Limits by provider.")
    accounts: dict[Account, IssueLimit] = Field(default={}, max_length=1000, description="Limits by account id.")


def view(ctx: Context, key: Key) -> RegisteredView:
    """A registered key as callers see it."""
    registration = key.registration or Registration()
    now_ms = ctx.hub.clock.now_ms()
    hourly, daily = ctx.hub.limits.used(key.id)
    hour = iso(now_ms - now_ms % _HOUR_MS) or ""
    return RegisteredView(
        id=key.id,
        key=f"{key.prefix}…",
        key_prefix=key.prefix,
        name=key.name,
        provider=registration.provider,
        account_id=registration.account_id,
        is_active=_works(key, now_ms),
        revoked_at=iso(key.revoked_at),
        expires_at=iso(key.expires_at),
        idempotency_key=registration.idempotency_key or None,
        daily_budget=key.limits.daily or None,
        hourly_budget=key.limits.hourly or None,
        daily_used=daily,
        hourly_used=hourly,
        last_reset_day=hour[:10],
        last_reset_hour=hour[:13],
        created_at=iso(key.created_at),
        updated_at=iso(key.revoked_at or key.created_at),
    )


def _works(key: Key, now_ms: int) -> bool:
    return key.active and (key.expires_at is None or key.expires_at > now_ms)


def limits_on_issuing(ctx: Context) -> IssueLimits:
    """The limits on issuing in force."""
    return IssueLimits.model_validate(ctx.hub.store.values.get(_LIMITS) or {})


def issue_refusal(limits: IssueLimits, keys: list[Key], provider: str, account: str, now_ms: int) -> HubError | None:
    """Why no key may be issued now for a provider and an account: a RateLimited with the seed's code, or None."""
    registered = [(key, key.registration) for key in keys if key.registration is not None]
    for kind, table, name in (("provider", limits.providers, provider), ("account", limits.accounts, account)):
        limit = table.get(name) or table.get("*") if name else None
        if limit is not None:
            mine = [key for key, origin in registered if name == (origin.provider if kind == "provider" else origin.account_id)]
            error = _over(limit, mine, kind, name, now_ms)
            if error is not None:
                return error
    return None


def _over(limit: IssueLimit, keys: list[Key], kind: str, name: str, now_ms: int) -> HubError | None:
    active = sum(_works(key, now_ms) for key in keys)
    if limit.max_active_keys is not None and active >= limit.max_active_keys:
        words = f"{kind} {name!r} has {active} active keys, the most it may have; revoke one"
        return _quota(words, "MAX_ACTIVE_KEYS_EXCEEDED", None)
    for most, period, span in ((limit.hourly_issue_limit, "hour", _HOUR_MS), (limit.daily_issue_limit, "day", _DAY_MS)):
        start = now_ms - now_ms % span
        if most is not None and sum(key.created_at >= start for key in keys) >= most:
            words = f"{kind} {name!r} may be issued {most} keys a{'n' if period == 'hour' else ''} {period} (UTC), and has been"
            return _quota(words, f"{kind.upper()}_QUOTA_EXCEEDED", (start + span - now_ms) / 1000)
    return None


def _quota(words: str, code: str, retry_after: float | None) -> RateLimited:
    return RateLimited(words, code=code, retry_after=retry_after, data={"errorCode": code}, wire={"error": words, "errorCode": code})


class _Repeated(Exception):
    """The idempotency key is that of a key which was issued before."""

    def __init__(self, key: Key) -> None:
        super().__init__(key.id)
        self.key = key


def _conflict(ctx: Context, existing: Key) -> Conflict:
    words = f"a key was issued for this idempotencyKey already: {existing.prefix}…"
    code = "IDEMPOTENCY_CONFLICT"
    shown = view(ctx, existing).model_dump(mode="json", by_alias=True)
    return Conflict(
        words, code=code, data={"errorCode": code, "existing": shown}, wire={"error": words, "errorCode": code, "existing": shown}
    )


@skill(
    "registered-keys-issue",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/v1/registered-keys", status=201)],
    audit=Audit.FULL,
)
async def issue(ctx: Context, ask: NewRegistered) -> Issued:
    """Issue a key for a provider and an account; its secret is in the answer and nowhere else.

    It may chat and reach the agent doors, within its budgets of requests. The same idempotencyKey again is a conflict that shows the
    first key without its secret; limits on issuing are refused with 429.
    """
    now_ms = ctx.hub.clock.now_ms()
    expires = None if ask.expires_at is None else round(ask.expires_at.astimezone(UTC).timestamp() * 1000)
    if expires is not None and expires <= now_ms:
        raise BadRequest(f"expiresAt is in the past; it is {iso(now_ms)}", field="expiresAt")
    limits = limits_on_issuing(ctx)

    def check(keys: list[Key]) -> None:
        for key in keys:
            if ask.idempotency_key and key.registration and key.registration.idempotency_key == ask.idempotency_key:
                raise _Repeated(key)
        error = issue_refusal(limits, keys, ask.provider, ask.account_id, now_ms)
        if error is not None:
            raise error

    token = f"ork_{secrets.token_urlsafe(24)}"
    try:
        key, token = await ctx.hub.store.keys.create(
            ask.name,
            grants=GRANTS,
            expires_at=expires,
            token=token,
            prefix=token[:12],
            check=check,
            limits=KeyLimits(hourly=ask.hourly_budget or 0, daily=ask.daily_budget or 0),
            registration=Registration(provider=ask.provider, account_id=ask.account_id, idempotency_key=ask.idempotency_key),
        )
    except _Repeated as repeated:
        raise _conflict(ctx, repeated.key) from None
    return Issued(
        key=token,
        key_id=key.id,
        key_prefix=key.prefix,
        name=key.name,
        provider=ask.provider,
        account_id=ask.account_id,
        expires_at=iso(key.expires_at),
        created_at=iso(key.created_at),
    )


@skill("registered-keys-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/v1/registered-keys")], read_only=True)
async def list_registered(ctx: Context, ask: RegisteredPage) -> RegisteredList:
    """List registered keys with what they have used, without their secrets."""
    found = [
        key
        for key in ctx.hub.store.keys.all()
        if (origin := key.registration) is not None
        and ask.provider in (None, "", origin.provider)
        and ask.account_id in (None, "", origin.account_id)
    ]
    found.sort(key=lambda key: (-key.created_at, key.id))
    return RegisteredList(keys=[view(ctx, key) for key in found], total=len(found))


@skill("registered-keys-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/v1/registered-keys/{id}")], read_only=True)
async def get(ctx: Context, ask: RegisteredId) -> OneRegistered:
    """Show one registered key, without its secret."""
    return OneRegistered(key=view(ctx, _registered(ctx, ask.id)))


@skill(
    "registered-keys-revoke",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/v1/registered-keys/{id}"), Rest("POST", "/api/v1/registered-keys/{id}/revoke")],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def revoke(ctx: Context, ask: RegisteredId) -> Revoked:
    """Revoke a registered key: it stops working at once and for good, its record stays."""
    key = await ctx.hub.store.keys.revoke(_registered(ctx, ask.id).id)
    return Revoked(id=key.id, revoked_at=iso(key.revoked_at))


@skill(
    "registered-keys-limits", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/v1/registered-keys/limits")], read_only=True
)
async def show_limits(ctx: Context, ask: Nothing) -> IssueLimits:
    """Show how many keys may be issued for each provider and account."""
    return limits_on_issuing(ctx)


@skill(
    "registered-keys-limits-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/v1/registered-keys/limits")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_limits(ctx: Context, ask: IssueLimits) -> IssueLimits:
    """Set how many keys may be issued for each provider and account; replaces what was set. Keys that are there stay."""
    await ctx.hub.store.values.set(_LIMITS, ask.model_dump(mode="json", by_alias=True, exclude_none=True))
    return limits_on_issuing(ctx)


def _registered(ctx: Context, key_id: str) -> Key:
    key = ctx.hub.store.keys.get(key_id)
    if key.registration is None:
        raise NotFound(f"{key_id!r} is no registered key", field="id")
    return key
