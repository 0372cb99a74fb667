"""Agents elsewhere: adding one by its card, allowing what it states, and sending it a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

#: The parts of the page.
TABS = {
    "/dashboard/agents": "Agents elsewhere",
    "/dashboard/agents/tasks": "Tasks of this hub",
    "/dashboard/agents/local": "Agents on this machine",
    "/dashboard/agents/cloud": "Cloud tasks",
}
_NEW = ("name", "url", "credential", "scheme", "headers", "trustedKeys", "allowPrivate", "timeoutSeconds", "costPerCall")
_CHANGED = ("enabled", "credential", "scheme", "headers", "timeoutSeconds", "costPerCall")
_MESSAGE = ("message", "taskId", "contextId", "waitSeconds")
_STANDINGS = {"approved": "ok", "pending": "warn", "changed": "warn", "refused": "bad"}
#: A browser waits this long for an answer; the agent may go on, and the task is found again by its id.
_WAIT_SECONDS = 60


async def _load(view: View) -> dict[str, Any]:
    return {
        "tabs": TABS,
        "standings": _STANDINGS,
        "agents": (await view.ask("agents-list")).agents,
        "fields": view.fields("agents-add", *_NEW),
    }


async def _add(view: View, form: Form) -> Outcome:
    made = await view.sent("agents-add", form, *_NEW)
    return Done(f"{made.name} is added. Its skills are offered once you allow its card.", to=f"/dashboard/agents/{made.id}")


async def _load_one(view: View) -> dict[str, Any]:
    agent = await view.ask("agents-get", id=view.params["id"])
    return {
        "agent": agent,
        "standings": _STANDINGS,
        "changes": await view.ask("agents-diff", id=agent.id),
        "fields": view.fields("agents-change", *_CHANGED),
        "stored": _stored(agent),
        "message": {one.name: one for one in view.fields("agents-call", *_MESSAGE)},
        "wait": _WAIT_SECONDS,
        "reply": None,
    }


def _stored(agent: Any) -> dict[str, Any]:
    """An agent as its form shows it; what its headers say is never shown."""
    return {**agent.model_dump(mode="json", by_alias=True), "headers": None}


async def _approve(view: View, form: Form) -> Outcome:
    agent = await view.ask("agents-approve", id=view.params["id"])
    return Done(f"{agent.name} is allowed as its card is now. If the card changes, its skills are hidden until you allow it again.")


async def _refresh(view: View, form: Form) -> Outcome:
    agent = await view.ask("agents-refresh", id=view.params["id"])
    return Done(f"The card was read anew: {agent.standing.value}.")


async def _send(view: View, form: Form) -> Outcome:
    reply = await view.sent("agents-call", form, *_MESSAGE, id=view.params["id"], skill=form.text("skill"))
    return Shown({"reply": reply})


async def _cancel(view: View, form: Form) -> Outcome:
    await view.ask("agents-cancel", id=view.params["id"], taskId=form.text("taskId"))
    return Done("The task is cancelled at the agent.")


async def _change(view: View, form: Form) -> Outcome:
    agent = await view.ask("agents-get", id=view.params["id"])
    changed = await view.sent("agents-change", form, *_CHANGED, stored=_stored(agent), id=agent.id)
    return Done(f"{changed.name} is changed.")


async def _forget(view: View, form: Form) -> Outcome:
    await view.ask("agents-change", id=view.params["id"], credential="")
    return Done("The credential is gone; the agent is called without one.")


async def _remove(view: View, form: Form) -> Outcome:
    await view.ask("agents-remove", id=view.params["id"])
    return Done("The agent is gone, and its skills with it.", to="/dashboard/agents")


PAGES = (
    Page(
        "agents",
        "Agents & tasks",
        "agents.html",
        _load,
        actions={"add": _add},
        group="Agents",
        order=2,
        keys="a",
        words="a2a remote agents cards acp cloud tasks approve",
    ),
    Page(
        "agents/{id}",
        "Agent",
        "agent.html",
        _load_one,
        actions={
            "approve": _approve,
            "refresh": _refresh,
            "send": _send,
            "cancel": _cancel,
            "change": _change,
            "forget": _forget,
            "remove": _remove,
        },
    ),
)
