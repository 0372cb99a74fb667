"""Providers and accounts: what is connected, how it does, and adding another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

#: What a new account is asked for; everything else has a default and can be changed on its own page.
NEW = ("provider", "name", "apiKey", "baseUrl", "allowPrivate")
#: What an account needs that has a field of its own; the rest are facts such as a region.
NOT_ASKED = ("apiKey", "baseUrl")
_FACT = "fact."
#: What can be changed of one.
CHANGED = ("name", "apiKey", "baseUrl", "defaultModel", "models", "priority", "maxConcurrent", "group", "proxy", "allowPrivate", "isActive")
_STATES = {"active": "ok", "unknown": "plain", "unavailable": "warn"}
#: What the states of a sign-in mean, and how they look.
_LOGINS = {
    "connected": ("ok", ""),
    "expired": ("ok", "The next request renews the token."),
    "failing": ("warn", "The token could not be renewed; it is tried again."),
    "ended": ("bad", "The provider does not know it any more. Sign in again."),
}


async def _load(view: View) -> dict[str, Any]:
    connections = (await view.ask("connections-list")).connections
    known = (await view.ask("providers-list")).providers
    return {
        "connections": connections,
        "states": _STATES,
        "names": {one.id: one.name for one in known},
        "health": {one.provider: one.state for one in (await view.ask("health")).circuit_breakers},
        "total": len(known),
    }


async def _switch(view: View, form: Form) -> Outcome:
    on = form.text("to") == "on"
    changed = await view.ask("connections-update", id=form.text("id"), isActive=on)
    return Done(f"{changed.name} is {'used again' if on else 'out of routing'}.")


async def _test(view: View, form: Form) -> Outcome:
    report = await view.ask("connections-test", id=form.text("id"))
    return Shown({"report": report})


async def _load_new(view: View) -> dict[str, Any]:
    known = sorted((await view.ask("providers-list")).providers, key=lambda one: one.id)
    chosen = view.values.get("provider") or view.query.get("provider", "")
    row = next((one for one in known if chosen in (one.id, one.alias)), None)
    return {
        "known": known,
        "chosen": row,
        "facts": [name for name in dict.fromkeys(row.needs) if name not in NOT_ASKED] if row is not None else [],
        "fields": {one.name: one for one in view.fields("connections-create", *NEW)},
    }


def facts(form: Form) -> dict[str, str]:
    """The facts of an account that were typed."""
    return {name: value for name in form.chosen(_FACT) if (value := form.text(_FACT + name))}


async def _add(view: View, form: Form) -> Outcome:
    made = await view.sent("connections-create", form, *NEW, providerSpecificData=facts(form))
    report = await view.ask("connections-test", id=made.id)
    if report.valid:
        return Done(f"{made.name} is connected and answers.", to=f"/dashboard/providers/{made.id}")
    return Done(f"{made.name} is stored, but its test failed: {report.error}", to=f"/dashboard/providers/{made.id}")


async def _load_one(view: View) -> dict[str, Any]:
    one = await view.ask("connections-get", id=view.params["id"])
    quota = (await view.ask("quota-check", connectionId=one.id)).providers
    known = (await view.ask("providers-list")).providers
    return {
        "one": one,
        "states": _STATES,
        "logins": _LOGINS,
        "login": [way for row in known if row.id == one.provider for way in row.login],
        "fields": view.fields("connections-update", *CHANGED),
        "stored": _stored(one),
        "quota": quota[0] if quota else None,
        "metrics": await view.ask("provider-metrics", provider=one.provider),
        "report": None,
    }


def _stored(one: Any) -> dict[str, Any]:
    """An account as its form shows it; the base URL stands among the provider's facts."""
    return {**one.model_dump(mode="json", by_alias=True), "baseUrl": one.provider_specific_data.get("baseUrl", "")}


async def _change(view: View, form: Form) -> Outcome:
    kept = await view.ask("connections-get", id=view.params["id"])
    changed = await view.sent("connections-update", form, *CHANGED, stored=_stored(kept), id=kept.id)
    return Done(f"{changed.name} is changed.")


async def _test_one(view: View, form: Form) -> Outcome:
    return Shown({"report": await view.ask("connections-test", id=view.params["id"])})


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("connections-delete", id=view.params["id"])
    return Done("The account is removed.", to="/dashboard/providers")


PAGES = (
    Page(
        "providers",
        "Providers & accounts",
        "providers.html",
        _load,
        actions={"switch": _switch, "test": _test},
        group="Route",
        order=0,
        keys="p",
        words="connections api keys quota",
    ),
    Page("providers/new", "Add an account", "provider_new.html", _load_new, actions={"add": _add}, words="connect provider"),
    Page("providers/{id}", "Account", "provider.html", _load_one, actions={"change": _change, "test": _test_one, "delete": _delete}),
)
