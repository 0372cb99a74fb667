"""Resilience settings: how long what failed is left alone, in single values or as a preset, and the reset of the breakers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from hub.context import Context
from hub.errors import BadRequest, InvalidInput
from hub.preferences import Breakers, Cooldowns, RequestQueue, ResilienceSettings, WaitForCooldown
from hub.skill import Audit, CostClass, Mcp, Rest, details_of, skill
from hub.wire import Body, Nothing, Wire

#: Presets as the seed has them: calls a minute, milliseconds between two, calls at once; base wait, hints, doublings; failures, reset.
_PRESETS = {
    "aggressive": ((180, 100, 16), ((30_000, False, 4), (2000, True, 3)), ((2, 30_000), (3, 15_000))),
    "balanced": ((100, 200, 10), ((60_000, False, 8), (3000, True, 5)), ((3, 60_000), (5, 30_000))),
    "conservative": ((60, 350, 6), ((120_000, False, 10), (30_000, False, 8)), ((8, 120_000), (8, 60_000))),
}
_PROFILES = ("oauth", "apikey")


class LegacyProfile(Wire):
    """A profile in the seed's older names. ``rate_limit_cooldown`` 0 says that the provider's own word on the wait is used."""

    transient_cooldown: int
    rate_limit_cooldown: int
    max_backoff_level: int
    circuit_breaker_threshold: int
    circuit_breaker_reset: int


class LegacyProfiles(Wire):
    """Both profiles."""

    oauth: LegacyProfile
    apikey: LegacyProfile


class LegacyDefaults(Wire):
    """The queue in the older names."""

    requests_per_minute: int
    min_time_between_requests: int
    concurrent_requests: int


class Legacy(Wire):
    """The settings as older clients read them."""

    profiles: LegacyProfiles
    defaults: LegacyDefaults


class ResilienceView(Wire):
    """The settings in force."""

    request_queue: RequestQueue
    connection_cooldown: Cooldowns
    provider_breaker: Breakers
    wait_for_cooldown: WaitForCooldown
    legacy: Legacy


class ResilienceChanged(ResilienceView):
    """The settings in force after the change."""

    ok: bool = True


class QueuePatch(Body):
    """What to change about the queue."""

    auto_enable_api_key_providers: bool | None = None
    requests_per_minute: int | None = None
    min_time_between_requests_ms: int | None = None
    concurrent_requests: int | None = None
    max_wait_ms: int | None = None


class CooldownPatch(Body):
    """What to change about the cooldown of a profile."""

    base_cooldown_ms: int | None = None
    use_upstream_retry_hints: bool | None = None
    max_backoff_steps: int | None = None


class CooldownsPatch(Body):
    """What to change about the cooldowns."""

    oauth: CooldownPatch | None = None
    apikey: CooldownPatch | None = None


class BreakerPatch(Body):
    """What to change about the breaker of a profile."""

    failure_threshold: int | None = None
    reset_timeout_ms: int | None = None


class BreakersPatch(Body):
    """What to change about the breakers."""

    oauth: BreakerPatch | None = None
    apikey: BreakerPatch | None = None


class WaitPatch(Body):
    """What to change about waiting for a cooldown."""

    enabled: bool | None = None
    max_retries: int | None = None
    max_retry_wait_sec: int | None = None
    max_waiting: int | None = None


class LegacyProfilePatch(Body):
    """What to change about a profile, in the older names."""

    transient_cooldown: int | None = None
    rate_limit_cooldown: int | None = None
    max_backoff_level: int | None = None
    circuit_breaker_threshold: int | None = None
    circuit_breaker_reset: int | None = None


class LegacyProfilesPatch(Body):
    """What to change about the profiles, in the older names."""

    oauth: LegacyProfilePatch | None = None
    apikey: LegacyProfilePatch | None = None


class LegacyDefaultsPatch(Body):
    """What to change about the queue, in the older names."""

    requests_per_minute: int | None = None
    min_time_between_requests: int | None = None
    concurrent_requests: int | None = None


class ResiliencePatch(Body):
    """What to change; what is left out stays, null goes back to the default. The newer names win over ``profiles`` and ``defaults``."""

    request_queue: QueuePatch | None = Field(default=None, description="Waiting in line before a provider's limit.")
    connection_cooldown: CooldownsPatch | None = Field(default=None, description="How long a connection is left alone, by profile.")
    provider_breaker: BreakersPatch | None = Field(default=None, description="When a provider is left alone, by profile.")
    wait_for_cooldown: WaitPatch | None = Field(default=None, description="Waiting for the first connection to come back.")
    profiles: LegacyProfilesPatch | None = Field(default=None, description="Cooldown and breaker in the older names.")
    defaults: LegacyDefaultsPatch | None = Field(default=None, description="The queue in the older names.")


class ProfileName(Body):
    """Which preset to apply."""

    profile: Literal["aggressive", "balanced", "conservative"] = Field(
        description="aggressive tries again soon, conservative waits long, balanced lies between."
    )


class ProfileApplied(Wire):
    """The preset that is in force now, and its settings."""

    applied: bool
    profile: str
    settings: dict[str, Any]


class ResetAsk(Wire):
    """Nothing to say; what a client sends is ignored."""


class ResetDone(Wire):
    """How many breakers were closed, those that only counted failures included."""

    ok: bool = True
    reset_count: int
    message: str


def _view(settings: ResilienceSettings) -> dict[str, Any]:
    queue, cooldown, breaker = settings.request_queue, settings.connection_cooldown, settings.provider_breaker
    profiles = {
        name: LegacyProfile(
            transient_cooldown=one.base_cooldown_ms,
            rate_limit_cooldown=0 if one.use_upstream_retry_hints else one.base_cooldown_ms,
            max_backoff_level=one.max_backoff_steps,
            circuit_breaker_threshold=trip.failure_threshold,
            circuit_breaker_reset=trip.reset_timeout_ms,
        )
        for name, one, trip in (("oauth", cooldown.oauth, breaker.oauth), ("apikey", cooldown.apikey, breaker.apikey))
    }
    defaults = LegacyDefaults(
        requests_per_minute=queue.requests_per_minute,
        min_time_between_requests=queue.min_time_between_requests_ms,
        concurrent_requests=queue.concurrent_requests,
    )
    return {
        "request_queue": queue,
        "connection_cooldown": cooldown,
        "provider_breaker": breaker,
        "wait_for_cooldown": settings.wait_for_cooldown,
        "legacy": Legacy(profiles=LegacyProfiles(**profiles), defaults=defaults),
    }


#: An older name, and where its value is now; ``{}`` stands for the profile.
_LEGACY_QUEUE = {
    "requestsPerMinute": "requestsPerMinute",
    "minTimeBetweenRequests": "minTimeBetweenRequestsMs",
    "concurrentRequests": "concurrentRequests",
}
_LEGACY_COOLDOWN = {"transientCooldown": "baseCooldownMs", "maxBackoffLevel": "maxBackoffSteps"}
_LEGACY_BREAKER = {"circuitBreakerThreshold": "failureThreshold", "circuitBreakerReset": "resetTimeoutMs"}


def _modern(ask: ResiliencePatch) -> dict[str, Any]:
    """A patch in the newer names alone, without the objects that name nothing."""
    sent: dict[str, Any] = ask.model_dump(mode="json", by_alias=True, exclude_unset=True)
    profiles: dict[str, Any] = sent.pop("profiles", None) or {}
    defaults: dict[str, Any] = sent.pop("defaults", None) or {}
    old: dict[str, Any] = {"requestQueue": _renamed(defaults, _LEGACY_QUEUE), "connectionCooldown": {}, "providerBreaker": {}}
    for profile, fields in profiles.items():
        old["connectionCooldown"][profile] = _legacy_cooldown(fields or {})
        old["providerBreaker"][profile] = _renamed(fields or {}, _LEGACY_BREAKER)
    return _over(_over({}, old), sent)


def _renamed(fields: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names[name]: value for name, value in fields.items() if name in names}


def _legacy_cooldown(fields: dict[str, Any]) -> dict[str, Any]:
    made = _renamed(fields, _LEGACY_COOLDOWN)
    limit = fields.get("rateLimitCooldown")
    if limit is not None:
        made["useUpstreamRetryHints"] = limit == 0
        if limit:
            made.setdefault("baseCooldownMs", limit)
    return made


def _over(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """One patch over another; an object that says nothing is left out."""
    merged = dict(old)
    for name, value in new.items():
        merged[name] = _over(merged.get(name) or {}, value) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType] - JSON edge
    return {name: value for name, value in merged.items() if value != {}}


def _filled(patch: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """A patch whose nulls are the default values."""
    made: dict[str, Any] = {}
    for name, value in patch.items():
        known = default[name]
        made[name] = known if value is None else _filled(value, known) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType] - JSON edge
    return made


async def _change(ctx: Context, patch: dict[str, Any]) -> ResilienceSettings:
    """Put a patch over what is set, check it as a whole and store it. Raises InvalidInput naming fields as the patch does."""
    set_now = ctx.hub.preferences.current.resilience_settings.model_dump(mode="json", by_alias=True)
    wanted = _over(set_now, _filled(patch, ResilienceSettings().model_dump(mode="json", by_alias=True)))
    try:
        ResilienceSettings.model_validate(wanted)
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None
    return (await ctx.hub.preferences.change({"resilienceSettings": wanted})).resilience_settings


@skill("resilience-show", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/resilience")], read_only=True)
async def show(ctx: Context, ask: Nothing) -> ResilienceView:
    """Show the settings of queue, cooldown, breaker and waiting."""
    return ResilienceView(**_view(ctx.hub.preferences.current.resilience_settings))


@skill(
    "resilience-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PATCH", "/api/resilience")],
    idempotent=True,
    audit=Audit.FULL,
)
async def change(ctx: Context, ask: ResiliencePatch) -> ResilienceChanged:
    """Change settings of queue, cooldown, breaker or waiting; they count from the next failure or call on."""
    patch = _modern(ask)
    if not patch:
        names = ", ".join(field.alias or name for name, field in ResiliencePatch.model_fields.items())
        raise BadRequest(f"nothing to change: name at least one setting in {names}")
    return ResilienceChanged(**_view(await _change(ctx, patch)))


@skill(
    "resilience-profile",
    scopes=["write:resilience"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_set_resilience_profile"),
    idempotent=True,
    audit=Audit.FULL,
)
async def set_profile(ctx: Context, ask: ProfileName) -> ProfileApplied:
    """Apply a named preset of queue, cooldown and breaker settings."""
    preset = _preset(ask.profile)
    kept = (await _change(ctx, preset)).model_dump(mode="json", by_alias=True)
    return ProfileApplied(applied=True, profile=ask.profile, settings=_same_keys(kept, preset))


def _preset(name: str) -> dict[str, Any]:
    """A row of the table as a patch."""
    queue, cooldowns, breakers = _PRESETS[name]
    return {
        "requestQueue": dict(zip(("requestsPerMinute", "minTimeBetweenRequestsMs", "concurrentRequests"), queue, strict=True)),
        "connectionCooldown": {
            profile: dict(zip(("baseCooldownMs", "useUpstreamRetryHints", "maxBackoffSteps"), values, strict=True))
            for profile, values in zip(_PROFILES, cooldowns, strict=True)
        },
        "providerBreaker": {
            profile: dict(zip(("failureThreshold", "resetTimeoutMs"), values, strict=True))
            for profile, values in zip(_PROFILES, breakers, strict=True)
        },
    }


def _same_keys(kept: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What is in force, of the fields that were asked for."""
    return {
        name: _same_keys(kept[name], value) if isinstance(value, dict) else kept[name]  # pyright: ignore[reportUnknownArgumentType] - JSON edge
        for name, value in wanted.items()
    }


@skill(
    "resilience-reset",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/resilience/reset")],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def reset(ctx: Context, ask: ResetAsk) -> ResetDone:
    """Close every provider breaker and forget the failures counted so far; cooldowns and locked models stay."""
    count = ctx.hub.resilience.clear_breakers()
    return ResetDone(reset_count=count, message=f"{count} circuit breakers reset" if count != 1 else "1 circuit breaker reset")
