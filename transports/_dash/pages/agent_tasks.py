"""Tasks of agents: those that others gave to this hub over A2A, and those that it gave to cloud agents; and agents on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash import forms
from transports._dash.page import Done, Page
from transports._dash.pages.agents import TABS

if TYPE_CHECKING:
    from transports._dash.forms import Field, Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_PAGE = 50
_MOST_CLOUD = 500
#: How the states of tasks look.
_STATES = {"completed": "ok", "failed": "bad", "cancelled": "warn", "awaiting_approval": "warn"}
_ENDED = ("completed", "failed", "cancelled")
_LOCAL = ("id", "name", "binary", "versionCommand", "providerAlias", "spawnArgs", "protocol")
_CREDENTIAL = ("apiKey", "name", "baseUrl", "allowPrivate", "isActive")
_TASK = ("prompt", "credentialId")
_PARTS = ("source.", "options.")


async def _load_tasks(view: View) -> dict[str, Any]:
    status = await view.ask("a2a-status")
    state = view.choice("state", status.tasks.counts, "")
    skill = view.query.get("skill", "")[:100]
    offset = view.number("offset", 0)
    chosen = {name: value for name, value in (("state", state), ("skill", skill)) if value}
    return {
        "tabs": TABS,
        "states": _STATES,
        "status": status,
        "chosen": chosen,
        "page_of": await view.ask("a2a-tasks-list", limit=_PAGE, offset=offset, **chosen),
    }


async def _load_task(view: View) -> dict[str, Any]:
    task = (await view.ask("a2a-task-get", id=view.params["id"])).task
    return {"task": task, "states": _STATES, "ended": task.state in _ENDED}


async def _cancel_task(view: View, form: Form) -> Outcome:
    await view.ask("a2a-task-cancel", id=view.params["id"])
    return Done("The task is cancelled, and its work has stopped.")


async def _load_local(view: View) -> dict[str, Any]:
    found = await view.ask("acp-agents-list")
    running = view.hub.settings
    return {
        "tabs": TABS,
        "agents": sorted(found.agents, key=lambda one: (not one.installed, one.name.lower())),
        "summary": found.summary,
        "enabled": running.acp_enabled,
        "own": running.acp_custom_agents,
        "fields": view.fields("acp-agents-add", *_LOCAL),
    }


async def _add_local(view: View, form: Form) -> Outcome:
    made = (await view.sent("acp-agents-add", form, *_LOCAL)).added
    return Done(f"{made.name} is allowed, as its program is now.")


async def _look_local(view: View, form: Form) -> Outcome:
    await view.ask("acp-agents-add", action="refresh")
    return Done("The machine was looked through anew.")


async def _remove_local(view: View, form: Form) -> Outcome:
    await view.ask("acp-agents-remove", id=form.text("id"))
    return Done("The agent is not run any more.")


def _details(view: View) -> list[Field]:
    """What a new task is about and how to go about it, by dotted names."""
    schema = view.hub.find("agent-tasks-create").input_schema()
    return [one for one in forms.of_model(schema) if one.name.startswith(_PARTS)]


async def _load_cloud(view: View) -> dict[str, Any]:
    known = await view.ask("agent-credentials-list")
    chosen = view.choice("status", ("queued", "running", "awaiting_approval", *_ENDED), "")
    return {
        "tabs": TABS,
        "states": _STATES,
        "chosen": chosen,
        "tasks": (await view.ask("agent-tasks-list", limit=_MOST_CLOUD, **({"status": chosen} if chosen else {}))).data,
        "choices": ("queued", "running", "awaiting_approval", *_ENDED),
        "known": known,
        "fields": {one.name: one for one in view.fields("agent-tasks-create", *_TASK)},
        "details": _details(view),
        "secrets": view.fields("agent-credentials-set", *_CREDENTIAL),
    }


async def _begin(view: View, form: Form) -> Outcome:
    typed = forms.taken(_details(view), form)
    about = forms.nested({name: value for name, value in typed.items() if value})
    task = (await view.sent("agent-tasks-create", form, *_TASK, providerId=form.text("providerId"), **about)).data
    return Done("The task has begun; the hub follows it.", to=f"/dashboard/agents/cloud/{task.id}")


async def _store(view: View, form: Form) -> Outcome:
    made = (await view.sent("agent-credentials-set", form, *_CREDENTIAL, providerId=form.text("providerId"))).data
    return Done(f"The credential {made.name} for {made.provider_id} is stored.")


async def _forget(view: View, form: Form) -> Outcome:
    await view.ask("agent-credentials-delete", id=form.text("id"))
    return Done("The credential is gone.")


async def _load_cloud_task(view: View) -> dict[str, Any]:
    task = (await view.ask("agent-tasks-get", id=view.params["id"])).data
    kinds = (await view.ask("agent-credentials-list")).providers
    return {
        "task": task,
        "states": _STATES,
        "ended": task.status.value in _ENDED,
        "kind": next((one for one in kinds if one.id == task.provider_id), None),
        "message": view.fields("agent-tasks-act", "message")[0],
    }


async def _act(view: View, form: Form) -> Outcome:
    """``do`` is the action's own name."""
    done = await view.ask("agent-tasks-act", id=view.params["id"], action=form.do, message=form.text("message"))
    if done.cancel_unsupported:
        return Done("It is no longer followed. Its agent cannot be told to stop: its own run goes on.")
    return Done({"approve": "Approved.", "message": "The agent was told.", "cancel": "The task is cancelled."}[form.do])


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("agent-tasks-delete", id=view.params["id"])
    return Done("The task is gone from this hub.", to="/dashboard/agents/cloud")


PAGES = (
    Page("agents/tasks", "Tasks of this hub", "agent_tasks.html", _load_tasks, words="a2a tasks history artifacts cancel"),
    Page("agents/tasks/{id}", "Task", "agent_task.html", _load_task, actions={"cancel": _cancel_task}),
    Page(
        "agents/local",
        "Agents on this machine",
        "agents_local.html",
        _load_local,
        actions={"add": _add_local, "look": _look_local, "remove": _remove_local},
        words="acp coding agents installed programs",
    ),
    Page(
        "agents/cloud",
        "Cloud tasks",
        "cloud_tasks.html",
        _load_cloud,
        actions={"begin": _begin, "store": _store, "forget": _forget},
        words="cloud agents tasks credentials pull requests",
    ),
    Page(
        "agents/cloud/{id}",
        "Cloud task",
        "cloud_task.html",
        _load_cloud_task,
        actions={"approve": _act, "message": _act, "cancel": _act, "delete": _delete},
    ),
)
