"""Requests: as they end, filtered, and one by one with everything that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from transports._dash import said
from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_PAGE = 100
_FILTERS = ("provider", "model", "key", "combo", "outcome", "status", "source")
_LIMITS = ("days", "requestKb", "totalMb", "keys")
_HOUR_MS = 3_600_000


async def _load(view: View) -> dict[str, Any]:
    chosen = {name: view.query[name] for name in _FILTERS if view.query.get(name)}
    cursor = view.query.get("cursor")
    page = await view.ask("usage-logs", format="json", limit=_PAGE, **chosen, **({"cursor": cursor} if cursor else {}))
    return {
        "page_of": page,
        "chosen": chosen,
        "older": urlencode({**chosen, "cursor": page.next}) if page.next else "",
        "fields": {one.name: one for one in view.fields("usage-live", *_FILTERS)},
        "active": (await view.ask("usage-history", **{"from": view.hub.clock.now_ms()})).active_requests,
        "storing": await view.ask("request-content-settings"),
        "limits": view.fields("request-content-set", *_LIMITS),
        "feed": "" if cursor else f"/api/usage/live?{urlencode(chosen)}",
    }


async def _load_one(view: View) -> dict[str, Any]:
    found = await view.ask("explain-route", requestId=view.params["id"])
    decision = found.decision
    base = view.base
    around = {"from": found.at - _HOUR_MS, "to": found.at + 24 * _HOUR_MS}
    rows = (await view.ask("usage-logs", format="json", request=found.request_id, limit=20, **around)).rows
    whole = max([decision.latency_actual, *(one.started_at - found.at + one.latency_ms for one in decision.attempts), 1])
    return {
        "found": found,
        "decision": decision,
        "rows": rows,
        # Places on a line of 1000 units, which is how wide the drawing is.
        "bars": [
            {
                "x": round(1000 * max(0, one.started_at - found.at) / whole),
                "width": max(3, round(1000 * one.latency_ms / whole)),
                "attempt": one,
            }
            for one in decision.attempts
        ],
        **(content := await _content(view)),
        "curl": said.curl(base, content["content"]) if content["content"] else "",
        "skeleton": said.skeleton(base, decision.requested_model),
        "key": said.KEY,
        "storing": (await view.ask("request-content-settings")).enabled,
    }


async def _content(view: View) -> dict[str, Any]:
    """What is stored of what was said in a request, where anything is: a look that the audit log has."""
    stored = (await view.ask("request-content-list", requestId=view.params["id"])).requests
    if not stored:
        return {"content": None, "bodies": []}
    content = await view.ask("request-content-get", requestId=view.params["id"])
    bodies = [said.shown("came", "As it came", content.request)]
    for number, call in enumerate(content.calls, 1):
        which = f", call {number}" if len(content.calls) > 1 else ""
        where = f"{call.provider}, {call.model}"
        bodies.append(said.shown(f"sent-{number}", f"As it was sent to {where}{which}", call.sent))
        status = f" with {call.status}" if call.status else ""
        bodies.append(said.shown(f"answer-{number}", f"What {where} answered{status}{which}", call.answer))
    return {"content": content, "bodies": bodies}


async def _switch(view: View, form: Form) -> Outcome:
    on = form.text("to") == "on"
    await view.ask("request-content-set", enabled=on)
    if on:
        return Done("What is said in chats is stored from now on.")
    return Done("What is said in chats is no longer stored. What was stays until you forget it or its time is over.")


async def _limits(view: View, form: Form) -> Outcome:
    stored = (await view.ask("request-content-settings")).model_dump(mode="json", by_alias=True)
    await view.sent("request-content-set", form, *_LIMITS, stored=stored)
    return Done("Saved.")


async def _forget(view: View, form: Form) -> Outcome:
    request, key = view.params.get("id", ""), form.text("apiKey")
    what: dict[str, Any] = {"requestId": request} if request else {"apiKey": key} if key else {"everything": True}
    gone = (await view.ask("request-content-forget", **what)).requests
    return Done(f"Forgotten: what was said in {gone} request{'' if gone == 1 else 's'}.")


PAGES = (
    Page(
        "requests",
        "Live requests",
        "requests.html",
        _load,
        actions={"switch": _switch, "limits": _limits, "forget": _forget},
        group="Observe",
        order=1,
        keys="l",
        words="calls logs live traffic errors content prompts stored",
    ),
    Page("requests/{id}", "Request", "request.html", _load_one, actions={"forget": _forget}),
)
