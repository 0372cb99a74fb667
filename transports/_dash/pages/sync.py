"""Sync with another hub: which one, how it goes, what a sync would do; and the tokens of hubs that sync with this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_PEER = ("url", "token", "intervalMinutes")
_TOKEN = ("name", "secrets", "write", "recipient", "expiresInDays")


async def _load(view: View) -> dict[str, Any]:
    return {
        "state": await view.ask("sync-state"),
        "tokens": await view.ask("sync-tokens-list"),
        "peer": view.fields("sync-cloud", *_PEER),
        "fields": view.fields("sync-tokens-create", *_TOKEN),
        "made": None,
        "report": None,
    }


async def _enable(view: View, form: Form) -> Outcome:
    return Shown({"report": await view.sent("sync-cloud", form, *_PEER, action="enable"), "state": await view.ask("sync-state")})


async def _sync(view: View, form: Form) -> Outcome:
    return Shown({"report": await view.ask("sync-cloud", action="sync"), "state": await view.ask("sync-state")})


async def _plan(view: View, form: Form) -> Outcome:
    return Shown({"report": await view.ask("sync-cloud", action="sync", dryRun=True)})


async def _verify(view: View, form: Form) -> Outcome:
    seen = await view.ask("sync-cloud", action="verify")
    goes = "credentials go along" if seen.secrets else "without credentials"
    return Done(f"{seen.message}; {goes}, and it {'takes' if seen.write else 'does not take'} changes from here.")


async def _disable(view: View, form: Form) -> Outcome:
    await view.ask("sync-cloud", action="disable")
    return Done("The other hub is forgotten. What both have stays at both.")


async def _create(view: View, form: Form) -> Outcome:
    made = await view.sent("sync-tokens-create", form, *_TOKEN)
    return Shown({"made": made, "tokens": await view.ask("sync-tokens-list")})


async def _revoke(view: View, form: Form) -> Outcome:
    gone = await view.ask("sync-tokens-revoke", id=form.text("id"))
    return Done(f"The token of {gone.sync_token.name} works no more.")


PAGES = (
    Page(
        "sync",
        "Sync",
        "sync.html",
        _load,
        actions={
            "enable": _enable,
            "sync": _sync,
            "plan": _plan,
            "verify": _verify,
            "disable": _disable,
            "create": _create,
            "revoke": _revoke,
        },
        group="System",
        order=6,
        words="another hub cloud tokens peer",
    ),
)
