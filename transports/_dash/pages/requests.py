"""Requests: as they end, filtered, and one by one with everything that is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from transports._dash.page import Page

if TYPE_CHECKING:
    from transports._dash.view import View

_PAGE = 100
_FILTERS = ("provider", "model", "key", "combo", "outcome", "status", "source")
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
        "feed": "" if cursor else f"/api/usage/live?{urlencode(chosen)}",
    }


async def _load_one(view: View) -> dict[str, Any]:
    found = await view.ask("explain-route", requestId=view.params["id"])
    decision = found.decision
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
        "curl": _curl(view.hub.settings.base_url, decision.requested_model),
    }


def _curl(base: str, model: str) -> str:
    """The same model asked again from a shell; what was said is not kept, so the words are yours."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "…"}]}, ensure_ascii=False).replace("'", "'\\''")
    return f"curl {base}/v1/chat/completions -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' -d '{body}'"


PAGES = (
    Page("requests", "Live requests", "requests.html", _load, group="Observe", order=1, keys="l", words="calls logs live traffic errors"),
    Page("requests/{id}", "Request", "request.html", _load_one),
)
