"""Proxies & network: the pool of outbound proxies and who goes through which, who may come in, and tunnels to the outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash import forms
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Field, Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_URL = "/dashboard/network"
_PROXY = ("name", "type", "host", "port", "username", "password", "region", "notes", "status", "allowPrivate")
_FILTER = ("enabled", "mode", "blacklist", "whitelist")
_BAN = "tempBan"
_PAGE = 100
#: The most assignments that are listed; whoever has more asks for a proxy's own.
_USES = 200
_HOUR = 3_600_000
#: How long a ban may be chosen to last.
_BANS = {_HOUR: "an hour", 24 * _HOUR: "a day", 7 * 24 * _HOUR: "a week", 30 * 24 * _HOUR: "30 days"}
#: How the phases of a tunnel look.
_PHASES = {"running": "ok", "starting": "warn", "needs_auth": "warn", "error": "bad"}
#: Levels that use a proxy, the nearest last: it wins.
_LEVELS = {"global": "All calls to providers", "provider": "Provider", "combo": "Combo", "account": "Account"}


async def _load(view: View) -> dict[str, Any]:
    return {"tried": None, **await _proxies(view), **await _inward(view)}


async def _proxies(view: View) -> dict[str, Any]:
    """The pool, how it does, and the levels."""
    offset = view.number("offset", 0)
    found = await view.ask("proxies-list", limit=_PAGE, offset=offset)
    things = await _things(view)
    uses = await view.ask("proxies-assignments", limit=_USES)
    account = view.query.get("account", "")
    resolved = (await view.ask("proxies-assignments", resolve_connection_id=account)).resolved if account in things["account"] else None
    return {
        "proxies": found.items,
        "total": found.page.total,
        "offset": offset,
        "limit": _PAGE,
        "health": {one.proxy_id: one for one in (await view.ask("proxies-health")).items},
        "fields": view.fields("proxies-create", *_PROXY),
        "uses": uses.items,
        "uses_total": uses.page.total,
        "levels": _LEVELS,
        "things": things,
        "account": account,
        "resolved": resolved,
    }


async def _things(view: View) -> dict[str, dict[str, str]]:
    """What can use a proxy of its own, by level: names by id."""
    return {
        "provider": {one.id: one.name for one in (await view.ask("providers-list")).providers},
        "combo": {one.id: one.name for one in (await view.ask("combos-list")).combos},
        "account": {one.id: f"{one.name} ({one.provider})" for one in (await view.ask("connections-list")).connections},
    }


async def _inward(view: View) -> dict[str, Any]:
    """The IP filter and the tunnels."""
    rules = await view.ask("ip-filter-get")
    return {
        "rules": rules,
        "stored": rules.model_dump(mode="json", by_alias=True),
        "filter_fields": view.fields("ip-filter-update", *_FILTER),
        "force": view.fields("ip-filter-update", "force")[0],
        "ban": {one.name.partition(".")[2]: one for one in _ban_fields(view)},
        "durations": _BANS,
        "tunnels": (await view.ask("tunnels-list")).tunnels,
        "tunnel_fields": view.fields("tunnels-set", "authToken", "hostname"),
        "phases": _PHASES,
    }


def _ban_fields(view: View) -> list[Field]:
    every = forms.of_model(view.hub.find("ip-filter-update").input_schema())
    return [one for one in every if one.name.startswith(f"{_BAN}.")]


async def _add(view: View, form: Form) -> Outcome:
    made = await view.sent("proxies-create", form, *_PROXY)
    return Done(f"{made.name} is in the pool. Say below what goes through it.", to=f"{_URL}#levels")


async def _try(view: View, form: Form) -> Outcome:
    """Try a proxy of the pool, by its page or by its row."""
    identity = view.params.get("id") or form.text("id")
    target = form.text("target")
    return Shown({"tried": await view.ask("proxy-test", proxyId=identity, **({"target": target} if target else {}))})


async def _assign(view: View, form: Form) -> Outcome:
    scope, _, identity = form.text("what").partition(":")
    await view.ask("proxies-assign", scope=scope, proxyId=form.text("proxyId"), **({"scopeId": identity} if identity else {}))
    return Done("The next call goes that way.", to=f"{_URL}#levels")


async def _unassign(view: View, form: Form) -> Outcome:
    identity = form.text("scopeId")
    await view.ask("proxies-assign", scope=form.text("scope"), proxyId=None, **({"scopeId": identity} if identity else {}))
    return Done("The assignment is taken away; these calls go by the next level now.", to=view.path if view.params else f"{_URL}#levels")


async def _filter(view: View, form: Form) -> Outcome:
    stored = (await view.ask("ip-filter-get")).model_dump(mode="json", by_alias=True)
    changes = forms.filled(view.hub.find("ip-filter-update"), form, _FILTER, stored=stored)
    if not changes:
        return Done("Nothing was changed.", to=f"{_URL}#filter")
    await view.ask("ip-filter-update", **changes, force=form.text("force") == "on")
    return Done("The filter is changed, at every door at once.", to=f"{_URL}#filter")


async def _ban(view: View, form: Form) -> Outcome:
    asked = forms.nested(forms.taken(_ban_fields(view), form))
    await view.ask("ip-filter-update", **asked, force=form.text("force") == "on")
    return Done(f"{asked[_BAN]['ip']} is shut out.", to=f"{_URL}#bans")


async def _unban(view: View, form: Form) -> Outcome:
    await view.ask("ip-filter-update", removeBan=form.text("ip"))
    return Done(f"{form.text('ip')} may come in again, if the lists let it.", to=f"{_URL}#bans")


async def _open(view: View, form: Form) -> Outcome:
    made = await view.sent("tunnels-set", form, "authToken", "hostname", kind=form.text("kind"), action="enable")
    return Done(f"This hub can be reached at {made.status.public_url} now.", to=f"{_URL}#tunnels")


async def _close(view: View, form: Form) -> Outcome:
    await view.ask("tunnels-set", kind=form.text("kind"), action="disable")
    return Done("The tunnel is closed.", to=f"{_URL}#tunnels")


async def _load_one(view: View) -> dict[str, Any]:
    proxy = (await view.ask("proxies-list", id=view.params["id"])).proxy
    health = (await view.ask("proxies-health")).items
    return {
        "proxy": proxy,
        "stored": proxy.model_dump(mode="json", by_alias=True),
        "fields": view.fields("proxies-update", *_PROXY),
        "health": next((one for one in health if one.proxy_id == proxy.id), None),
        "uses": (await view.ask("proxies-list", id=proxy.id, where_used="1")).assignments,
        "things": await _things(view),
        "levels": _LEVELS,
        "target": view.fields("proxy-test", "target")[0],
        "tried": None,
    }


async def _change(view: View, form: Form) -> Outcome:
    kept = (await view.ask("proxies-list", id=view.params["id"])).proxy
    names, more = _PROXY, {"id": kept.id}
    if form.text("open") == "on":
        names, more = tuple(name for name in _PROXY if name != "password"), {**more, "password": ""}
    await view.sent("proxies-update", form, *names, stored=kept.model_dump(mode="json", by_alias=True), **more)
    return Done("The proxy is changed; the next call goes by what is new.")


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("proxies-delete", id=view.params["id"], force="1" if form.text("force") else "")
    return Done("The proxy is gone.", to=_URL)


PAGES = (
    Page(
        "network",
        "Proxies & network",
        "network.html",
        _load,
        actions={
            "add": _add,
            "try": _try,
            "assign": _assign,
            "unassign": _unassign,
            "filter": _filter,
            "ban": _ban,
            "unban": _unban,
            "open": _open,
            "close": _close,
        },
        group="System",
        order=3,
        words="proxy socks outbound ip filter allowlist blocklist whitelist blacklist ban tunnel cloudflared ngrok tailscale funnel",
    ),
    Page(
        "network/proxies/{id}",
        "Proxy",
        "proxy.html",
        _load_one,
        actions={"try": _try, "unassign": _unassign, "change": _change, "delete": _delete},
    ),
)
