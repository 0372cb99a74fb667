"""The IP filter: who may come to the doors at all."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field, model_validator

from hub.access.address_filter import Ban, Rules
from hub.context import Context
from hub.errors import BadRequest
from hub.outbound.address import forms, network
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso

_PATH = "/api/settings/ip-filter"
_MOST, _MOST_BANS = 10_000, 10_000
_ENTRY = "IP address, or network in CIDR notation."


class BanAsk(Body):
    """An address to shut out for a time."""

    ip: str = Field(min_length=1, max_length=60, description="IP address.")
    duration_ms: int = Field(default=3_600_000, ge=1, le=366 * 86_400_000, description="For how long, in milliseconds.")
    reason: str = Field(default="", max_length=200, description="Why, for people.")


class FilterChange(Body):
    """What to change; fields left out stay."""

    enabled: bool | None = Field(default=None, description="Whether the lists count.")
    mode: Literal["blacklist", "whitelist"] | None = Field(
        default=None, description="blacklist: those on it are refused. whitelist: all others are."
    )
    blacklist: list[str] | None = Field(default=None, max_length=_MOST, description="Replaces the blacklist.")
    whitelist: list[str] | None = Field(default=None, max_length=_MOST, description="Replaces the whitelist.")
    add_blacklist: str | None = Field(default=None, description=f"To add: {_ENTRY}")
    remove_blacklist: str | None = Field(default=None, description="Entry to take away.")
    add_whitelist: str | None = Field(default=None, description=f"To add: {_ENTRY}")
    remove_whitelist: str | None = Field(default=None, description="Entry to take away.")
    temp_ban: BanAsk | None = Field(default=None, description="Shut an address out for a time, in either mode and while the lists are off.")
    remove_ban: str | None = Field(default=None, description="Address whose ban ends now.")
    force: bool = Field(default=False, description="Store it even if it shuts out the address from which you ask.")

    @model_validator(mode="after")
    def _something(self) -> FilterChange:
        if not self.model_fields_set - {"force"}:
            raise ValueError("name at least one thing to change")
        return self


class BanView(Wire):
    """A ban that is not over."""

    ip: str
    reason: str
    expires_at: str | None
    remaining_ms: int


class FilterView(Wire):
    """The filter. ``yourAddress`` is the one from which you ask, null on this machine; loopback always comes in."""

    enabled: bool
    mode: str
    blacklist: list[str]
    whitelist: list[str]
    temp_bans: list[BanView]
    your_address: str | None


def _view(ctx: Context) -> FilterView:
    rules, now = ctx.hub.addresses.rules, ctx.hub.clock.now_ms()
    bans = [
        BanView(ip=ban.ip, reason=ban.reason, expires_at=iso(ban.until), remaining_ms=ban.until - now)
        for ban in ctx.hub.addresses.live_bans()
    ]
    return FilterView(
        enabled=rules.enabled,
        mode=rules.mode,
        blacklist=list(rules.blacklist),
        whitelist=list(rules.whitelist),
        temp_bans=bans,
        your_address=ctx.address or None,
    )


@skill("ip-filter-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", _PATH)], read_only=True)
async def shown(ctx: Context, ask: Nothing) -> FilterView:
    """Show which addresses may come to the doors, and who is banned for a time."""
    return _view(ctx)


@skill("ip-filter-update", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("PUT", _PATH)], audit=Audit.FULL)
async def changed(ctx: Context, ask: FilterChange) -> FilterView:
    """Change which addresses may come to the doors; takes effect at once, at every door.

    What would shut out the address from which you ask is refused unless you force it. Loopback, the control socket and stdio always work.
    """
    lists = {
        "blacklist": _entries(ask.blacklist, ask.add_blacklist, "blacklist", "addBlacklist"),
        "whitelist": _entries(ask.whitelist, ask.add_whitelist, "whitelist", "addWhitelist"),
    }
    gone = {
        "blacklist": _entry(ask.remove_blacklist, "removeBlacklist") if ask.remove_blacklist is not None else "",
        "whitelist": _entry(ask.remove_whitelist, "removeWhitelist") if ask.remove_whitelist is not None else "",
    }
    ban = _ban(ctx, ask.temp_ban) if ask.temp_ban is not None else None
    freed = _address(ask.remove_ban, "removeBan") if ask.remove_ban is not None else ""

    def change(kept: Rules) -> Rules:
        made = {name: _merged(getattr(kept, name), replace, add, gone[name]) for name, (replace, add) in lists.items()}
        for name, entries in made.items():
            if len(entries) > _MOST:
                raise BadRequest(f"{name} holds {_MOST} entries", field=name)
        bans = tuple(one for one in kept.bans if one.ip not in (freed, ban.ip if ban else ""))
        if ban is not None:
            bans = (*bans, ban)
        if len(bans) > _MOST_BANS:
            raise BadRequest(f"there may be {_MOST_BANS} bans", field="tempBan")
        plain = {name: value for name, value in (("enabled", ask.enabled), ("mode", ask.mode)) if value is not None}
        return kept.model_copy(update={**made, **plain, "bans": bans})

    await ctx.hub.addresses.change(change, asker=ctx.address, force=ask.force)
    return _view(ctx)


def _entries(replace: list[str] | None, add: str | None, name: str, adds: str) -> tuple[list[str] | None, str]:
    """A new list and a further entry, checked and written in one form."""
    return (
        [_entry(one, f"{name}.{place}") for place, one in enumerate(replace)] if replace is not None else None,
        _entry(add, adds) if add is not None else "",
    )


def _merged(kept: tuple[str, ...], replace: list[str] | None, add: str, gone: str) -> tuple[str, ...]:
    found = [*(kept if replace is None else replace), *([add] if add else [])]
    return tuple(one for one in dict.fromkeys(found) if one != gone)


def _entry(text: str, field: str) -> str:
    """An entry in the form in which it is kept: an address without its length, an IPv4-mapped one as IPv4. Raises BadRequest."""
    found = network(text, field)
    if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped is not None and found.prefixlen >= 96:
        found = ipaddress.ip_network((found.network_address.ipv4_mapped, found.prefixlen - 96))
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def _address(text: str, field: str) -> str:
    found = forms(text.strip())
    if not found or "%" in text:
        raise BadRequest(f"{field}: {text[:60]!r} is no IP address", field=field)
    return str(found[0])


def _ban(ctx: Context, ask: BanAsk) -> Ban:
    now = ctx.hub.clock.now_ms()
    return Ban(ip=_address(ask.ip, "tempBan.ip"), until=now + ask.duration_ms, reason=ask.reason, at=now)
