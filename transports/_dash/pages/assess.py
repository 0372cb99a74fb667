"""Assessments: which models work, how fast they are, what they are fit for, and how combos stand by that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import NotFound
from transports._dash.page import Done, Page
from transports._dash.pages.evals import KINDS, TABS

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_LIMITS = ("depth", "maxModels", "maxCost", "callsPerMinute", "concurrency")
_FILTERS = ("status", "provider", "category")
_PAGE = 100
_STATES = {"working": "ok", "rate_limited": "warn", "timeout": "warn", "auth_error": "bad", "broken": "bad"}
_HEALTH = {"healthy": "ok", "degraded": "warn", "broken": "bad"}
#: What the hub found out a model can do, in words.
_CAN = {
    "supports_streaming": "streams",
    "supports_tool_call": "tools",
    "supports_structured_output": "schemas",
    "supports_vision": "pictures",
}


async def _load(view: View) -> dict[str, Any]:
    chosen = {name: view.query[name] for name in _FILTERS if view.query.get(name)}
    every = (await view.ask("assessments")).models
    found = (await view.ask("assessments", **chosen)).models if chosen else every
    offset = view.number("offset", 0)
    return {
        "tabs": TABS,
        "kinds": KINDS,
        "states": _STATES,
        "healths": _HEALTH,
        "can": _CAN,
        "chosen": chosen,
        "choices": {
            "status": sorted({one.status for one in every}),
            "provider": sorted({one.provider_id for one in every}),
            "category": sorted({name for one in every for name in one.categories}),
        },
        "total": len(found),
        "offset": offset,
        "limit": _PAGE,
        "models": found[offset : offset + _PAGE],
        "assessed": len(every),
        "health": await view.ask("assessments", action="combo-health"),
        "suggested": (await view.ask("assess-suggestions")).suggestions,
        "combos": {one.name for one in (await view.ask("combos-list")).combos},
        "runs": (await view.ask("assess-runs", limit=10)).runs,
        "fields": view.fields("assess", *_LIMITS),
        "providers": sorted({one.provider for one in (await view.ask("connections-list")).connections}),
    }


def _scope(form: Form) -> dict[str, str]:
    """Which models are meant: all of them, or what the field beside it names."""
    kind, name = form.text("kind"), form.text("of")
    return {"type": kind} | ({"providerId": name} if kind == "provider" else {"modelId": name} if kind == "model" else {})


async def _begin(view: View, form: Form) -> Outcome:
    run = await view.sent("assess", form, *_LIMITS, scope=_scope(form), waitSeconds=0)
    return Done(f"{run.models_total} models are being asked.", to=f"/dashboard/evals/assess/{run.run_id}")


async def _make(view: View, form: Form) -> Outcome:
    wanted = form.text("template")
    found = next((one for one in (await view.ask("assess-suggestions")).suggestions if one.template == wanted and one.body), None)
    if found is None:
        raise NotFound("no model is fit for this combo any more", field="template")
    made = await view.ask("combos-create", **found.body)
    return Done(f"{made.name} can be asked for as a model.", to=f"/dashboard/combos/{made.id}")


async def _load_run(view: View) -> dict[str, Any]:
    report = await view.ask("assess-run-get", id=view.params["id"])
    return {
        "run": report.run,
        "models": report.models,
        "states": _STATES,
        "running": report.run.status in ("queued", "running", "cancelling"),
    }


async def _cancel(view: View, form: Form) -> Outcome:
    await view.ask("assess-run-cancel", id=view.params["id"])
    return Done("The assessment is ended; what it found is kept.")


PAGES = (
    Page(
        "evals/assess",
        "Which models work",
        "assess.html",
        _load,
        actions={"begin": _begin, "make": _make},
        words="assessments probes fitness combo health suggestions",
    ),
    Page("evals/assess/{id}", "Assessment", "assess_run.html", _load_run, actions={"cancel": _cancel}),
)
