"""The overview: what needs the owner, what today cost, and how the last hours went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Page

if TYPE_CHECKING:
    from transports._dash.view import View

_HOUR_MS = 3_600_000
#: Name of a window -> its length.
WINDOWS = {"24h": 24 * _HOUR_MS, "3d": 72 * _HOUR_MS, "7d": 7 * 24 * _HOUR_MS, "30d": 30 * 24 * _HOUR_MS, "90d": 90 * 24 * _HOUR_MS}
#: Where a thing that needs the owner is mended.
_PLACES = {
    "connection": "/dashboard/providers/{id}",
    "provider": "/dashboard/providers",
    "budget": "/dashboard/keys",
    "mcp-server": "/dashboard/mcp",
    "setup": "/dashboard/start",
}


async def _load(view: View) -> dict[str, Any]:
    window = view.choice("window", WINDOWS, "24h")
    now = view.hub.clock.now_ms()
    since = now - WINDOWS[window]
    whole = await view.ask("usage-series", **{"from": since})
    models = await view.ask("usage-series", **{"from": since}, by="model", linesOnly=True)
    needs = await view.ask("attention")
    total = whole.lines[0]
    requests = sum(total.requests)
    return {
        "window": window,
        "windows": WINDOWS,
        "whole": whole,
        "models": models,
        "total": total,
        "needs": [(need, _PLACES[need.kind].format(id=need.id)) for need in needs.items],
        "requests": requests,
        "spent": sum(total.cost),
        "errors": sum(total.errors),
        "tokens": sum(total.input) + sum(total.cache_read) + sum(total.cache_write) + sum(total.output),
        "health": await view.ask("health"),
        "sources": await view.ask("usage-series", **{"from": since}, by="source", linesOnly=True),
        "quota": (await view.ask("quota-check")).providers,
    }


PAGES = (Page("", "Overview", "overview.html", _load, group="Observe", order=0, keys="o", words="home charts spend errors latency"),)
