"""Webhooks: addresses that hear of what happens, which events they want, how they do, and what they were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.webhooks import names
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_NEW = ("url", "description", "secret", "enabled")
_CHANGED = ("url", "description", "enabled")
_PAGE = 50


async def _choices(view: View) -> dict[str, Any]:
    """Every event by its first word, and the field for what no tick says."""
    families: dict[str, list[Any]] = {}
    for one in (await view.ask("webhooks-events")).events:
        if one.name != names.TEST:
            families.setdefault(one.name.partition(".")[0], []).append(one)
    return {"families": families, "patterns": view.fields("webhooks-create", "events")[0]}


def _ticks(families: dict[str, list[Any]]) -> set[str]:
    """What there is a tick for: everything, all of a family, single events."""
    return {"*"} | {f"{name}.*" for name in families} | {one.name for members in families.values() for one in members}


def _chosen(view: View, do: str, stored: list[str]) -> list[str]:
    """What is ticked: as it was sent, where that was refused."""
    sent = view.did == do and view.values
    return [one.removeprefix("event:") for one in view.values if one.startswith("event:")] if sent else stored


def _wanted(form: Form) -> list[str]:
    """What was ticked, and the patterns that were typed."""
    return list(dict.fromkeys([*form.chosen("event:"), *form.text("events").split()]))


async def _load(view: View) -> dict[str, Any]:
    return {
        "hooks": (await view.ask("webhooks-list")).webhooks,
        "fields": view.fields("webhooks-create", *_NEW),
        **await _choices(view),
        "chosen": _chosen(view, "create", ["*"]),
        "typed": [],
        "made": None,
    }


async def _create(view: View, form: Form) -> Outcome:
    made = await view.sent("webhooks-create", form, *_NEW, events=_wanted(form))
    return Shown({"made": made.webhook, "chosen": ["*"]})


async def _load_one(view: View) -> dict[str, Any]:
    hook = (await view.ask("webhooks-get", id=view.params["id"])).webhook
    filters = {one.name: one for one in view.fields("webhooks-deliveries", "state", "event")}
    state = view.choice("state", filters["state"].choices, "")
    event = view.query.get("event", "")[: filters["event"].longest]
    offset = view.number("offset", 0, most=10_000)
    choices = await _choices(view)
    ticks = _ticks(choices["families"])
    return {
        "hook": hook,
        "stored": hook.model_dump(mode="json", by_alias=True),
        "fields": view.fields("webhooks-update", *_CHANGED),
        "own": view.fields("webhooks-update", "secret")[0],
        **choices,
        "chosen": _chosen(view, "change", [one for one in hook.events if one in ticks]),
        "typed": [one for one in hook.events if one not in ticks],
        "log": await view.ask("webhooks-deliveries", id=hook.id, state=state, event=event, limit=_PAGE, offset=offset),
        "filters": filters,
        "state": state,
        "event": event,
        "offset": offset,
        "limit": _PAGE,
        "secret": "",
    }


async def _change(view: View, form: Form) -> Outcome:
    hook = (await view.ask("webhooks-get", id=view.params["id"])).webhook
    stored = hook.model_dump(mode="json", by_alias=True)
    await view.sent("webhooks-update", form, *_CHANGED, stored=stored, id=hook.id, events=_wanted(form))
    return Done("The webhook is changed.")


async def _switch(view: View, form: Form) -> Outcome:
    on = form.text("to") == "on"
    await view.ask("webhooks-update", id=form.text("id") or view.params["id"], enabled=on)
    return Done("The webhook is on: it is told of what happens from now on." if on else "The webhook is off: it is sent nothing.")


async def _rotate(view: View, form: Form) -> Outcome:
    own = form.text("secret")
    if own:
        await view.ask("webhooks-update", id=view.params["id"], secret=own)
        return Done("Your secret signs from now on, and the one before beside it for a day.")
    made = await view.ask("webhooks-rotate", id=view.params["id"])
    return Shown({"hook": made.webhook, "secret": made.webhook.secret})


async def _test(view: View, form: Form) -> Outcome:
    seen = await view.ask("webhooks-test", id=form.text("id") or view.params["id"])
    return Done(
        f"The receiver took the test: it answered {seen.status}." if seen.delivered else f"The test did not arrive: {seen.error}.",
        failed=not seen.delivered,
    )


async def _replay(view: View, form: Form) -> Outcome:
    sent = (await view.ask("webhooks-replay", id=view.params["id"], delivery=form.text("delivery"))).delivery
    return Done(f"{sent.event} is sent once more, under the message id it had.")


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("webhooks-delete", id=view.params["id"])
    return Done("The webhook is gone, and its log with it.", to="/dashboard/webhooks")


PAGES = (
    Page(
        "webhooks",
        "Webhooks",
        "webhooks.html",
        _load,
        actions={"create": _create, "switch": _switch, "test": _test},
        group="System",
        order=3,
        keys="w",
        words="events notifications receivers deliveries secret signing",
    ),
    Page(
        "webhooks/{id}",
        "Webhook",
        "webhook.html",
        _load_one,
        actions={"change": _change, "switch": _switch, "rotate": _rotate, "test": _test, "replay": _replay, "delete": _delete},
    ),
)
