"""The REST API: every address, what it does, and the skill behind it with a form to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Page

if TYPE_CHECKING:
    from transports._dash.view import View


async def _load(view: View) -> dict[str, Any]:
    wanted = view.query.get("q", "").strip().lower()
    rows = [(address, skill) for skill in view.hub.skills for address in skill.rest if not address.moved]
    found = [
        (address, skill)
        for address, skill in rows
        if all(part in f"{address.method} {address.path} {skill.name} {skill.summary}".lower() for part in wanted.split())
    ]
    return {"wanted": wanted, "rows": sorted(found, key=lambda one: (one[0].path, one[0].method)), "total": len(rows)}


PAGES = (Page("api", "REST API", "api.html", _load, group="Agents", order=5, words="openapi endpoints routes try curl"),)
