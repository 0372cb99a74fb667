"""Settings that change while the hub runs: routing, resilience, caches, retention. A change is checked as a whole before it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field

from hub.context import Context
from hub.errors import InvalidInput
from hub.preferences import Preferences
from hub.routing.strategy import named
from hub.skill import Audit, CostClass, Rest, skill
from hub.user_skills.market import check_key
from hub.wire import Nothing, Wire
from skills._compression import faults as compression_faults
from skills._seed_settings import password_of, sorted_out

_OURS = frozenset(field.alias or name for name, field in Preferences.model_fields.items())

_MARKET_KEY = "skillsmpApiKey"


class Ports(Wire):
    """Where this process listens: one port for everything."""

    port: int
    api_port: int
    dashboard_port: int
    api_port_explicit: bool = False
    dashboard_port_explicit: bool = False


class SettingsView(Wire):
    """Everything that is set, what the process was started with, and how login, sync and tunnels stand.

    The names are the seed's: ``request_retry`` and ``max_retry_interval_sec`` are old ones of ``resilienceSettings.waitForCooldown``,
    ``machine_id`` is empty as hubs belong to no machine. ``ignored`` are names of a change that mean nothing here.
    """

    preferences: Preferences
    skillsmp_api_key: str
    runtime_ports: Ports
    max_body_size_mb: int
    request_retry: int
    max_retry_interval_sec: int
    has_password: bool
    setup_complete: bool
    cloud_enabled: bool
    cloud_configured: bool
    cloud_url: str | None
    tailscale_enabled: bool
    tailscale_url: str
    ws_auth: bool = True
    machine_id: str = ""
    ignored: tuple[str, ...] = ()


class SettingsChange(Wire):
    """What to change."""

    patch: dict[str, Any] = Field(
        min_length=1, description="Settings by name; objects are merged, null takes a setting back to its default. settings-get shows all."
    )


def _flat(view: SettingsView) -> dict[str, Any]:
    """The seed's shape: the settings stand beside the others."""
    whole: dict[str, Any] = view.model_dump(mode="json", by_alias=True)
    preferences: dict[str, Any] = whole.pop("preferences")
    if not whole["ignored"]:
        del whole["ignored"]
    ports = whole["runtimePorts"]
    return {**preferences, **whole, "apiPort": ports["apiPort"], "dashboardPort": ports["dashboardPort"]}


async def _view(ctx: Context, ignored: Iterable[str] = ()) -> SettingsView:
    settings, preferences, peer = ctx.hub.settings, ctx.hub.preferences.current, ctx.hub.syncing.peer
    known = bool((await ctx.hub.login.record.get()).password)
    open_tunnel = ctx.hub.tunnels.opened.get("tailscale")
    tailscale = open_tunnel.url if open_tunnel is not None else ""
    waits = preferences.resilience_settings.wait_for_cooldown
    return SettingsView(
        preferences=preferences,
        skillsmp_api_key=ctx.hub.user_skills.markets.key.masked,
        runtime_ports=Ports(port=settings.port, api_port=settings.port, dashboard_port=settings.port),
        max_body_size_mb=settings.max_body_mb,
        request_retry=waits.max_retries,
        max_retry_interval_sec=waits.max_retry_wait_sec,
        has_password=known,
        setup_complete=known,
        cloud_enabled=peer is not None,
        cloud_configured=bool(peer or settings.sync_url),
        cloud_url=peer.url if peer is not None else settings.sync_url or None,
        tailscale_enabled=bool(tailscale),
        tailscale_url=tailscale,
        ignored=tuple(ignored),
    )


def _check(ctx: Context, wanted: Preferences) -> None:
    """Raise InvalidInput for names that only the hub knows to be wrong."""
    faults = [*_account_strategies(ctx, wanted), *_providers(ctx, wanted), *compression_faults(ctx, wanted.compression)]
    if wanted.budget_zone not in available_timezones():
        words = f"{wanted.budget_zone!r} is no time zone, such as {ZoneInfo('Europe/Berlin').key}"
        faults.append({"field": "budgetZone", "message": words})
    if wanted.combo_defaults.strategy:
        named(ctx.hub.strategies, wanted.combo_defaults.strategy)
    if faults:
        raise InvalidInput(faults)
    if not wanted.require_login and ctx.hub.preferences.current.require_login:
        ctx.hub.login.check_optional()


def _account_strategies(ctx: Context, wanted: Preferences) -> Iterator[dict[str, str]]:
    """Faults of the strategies that order the connections of a provider."""
    accounts = {name: strategy for name, strategy in ctx.hub.strategies.items() if strategy.accounts}
    known = {*accounts, *(alias for strategy in accounts.values() for alias in strategy.aliases)}
    chosen = {f"providerStrategies.{name}": strategy for name, strategy in wanted.provider_strategies.items()}
    for field, name in {"fallbackStrategy": wanted.fallback_strategy, **chosen}.items():
        if name not in known:
            yield {"field": field, "message": f"{name!r} does not order connections; these do: {', '.join(sorted(accounts))}"}


def _providers(ctx: Context, wanted: Preferences) -> Iterator[dict[str, str]]:
    """Faults of the names of providers."""
    providers = {f"blockedProviders.{place}": name for place, name in enumerate(wanted.blocked_providers)}
    providers |= {f"providerOverrides.{name}": name for name in wanted.provider_overrides}
    providers |= {f"providerStrategies.{name}": name for name in wanted.provider_strategies}
    for field, name in providers.items():
        if ctx.hub.catalog.find(name) is None:
            yield {"field": field, "message": f"there is no provider {name!r}"}


@skill("settings-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/settings", view=_flat)], read_only=True)
async def get(ctx: Context, ask: Nothing) -> SettingsView:
    """Show every setting that can be changed while the hub runs."""
    return await _view(ctx)


@skill(
    "settings-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest(method, "/api/settings", view=_flat, ask=lambda data: {"patch": data}) for method in ("PATCH", "PUT")],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: SettingsChange) -> SettingsView:
    """Change settings; takes effect at once. Unknown names are refused, and then nothing is changed.

    ``newPassword`` with ``currentPassword`` sets the owner's password, and comes alone. Names of the seed's that mean nothing here are
    checked and named in ``ignored``.
    """
    wanted = password_of(ask.patch)
    if wanted is not None:
        await ctx.hub.login.set_password(wanted.new_password, current=wanted.current_password, caller=ctx.caller)
        return await _view(ctx)
    patch, ignored = sorted_out(ask.patch, _OURS | {_MARKET_KEY})
    # A secret is no preference: it is kept sealed, shown masked, and forgotten when it is empty.
    given = _MARKET_KEY in patch
    key: object = patch.pop(_MARKET_KEY, None)
    if key is None:
        key = ""
    if key not in ("", ctx.hub.user_skills.markets.key.masked):
        check_key(key)
    if patch:
        await ctx.hub.preferences.change(patch, check=lambda wanted: _check(ctx, wanted))
    if given:
        await ctx.hub.user_skills.markets.keep_key(str(key))
    return await _view(ctx, ignored)
