"""Settings: everything that can be changed while the hub runs, searchable, and what the process was started with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash import forms, preferred
from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_GENERAL = "general"


async def _load(view: View) -> dict[str, Any]:
    wanted = view.query.get("q", "").strip().lower()
    every = preferred.fields()
    shown = [one for one in every if all(part in f"{one.name} {one.label} {one.help}".lower() for part in wanted.split())]
    return {
        "wanted": wanted,
        "groups": forms.grouped(shown, _GENERAL),
        "label": forms.label,
        "stored": await preferred.stored(view, every),
        "started": _started(view),
    }


def _started(view: View) -> list[tuple[str, str, str]]:
    """Name, value and description of what the process was started with; what may hold a secret is only said to be set."""
    running = view.hub.settings
    found: list[tuple[str, str, str]] = []
    for name, info in type(running).model_fields.items():
        value = getattr(running, name)
        found.append((f"HUBROUTE_{name.upper()}", str(value) if info.repr else "set" if value else "not set", info.description or ""))
    return found


async def _save(view: View, form: Form) -> Outcome:
    """Change what differs of the fields that this form had."""
    return Done(await preferred.save(view, form, [one for one in preferred.fields() if f"has.{one.name}" in form]))


PAGES = (
    Page(
        "settings",
        "Settings",
        "settings.html",
        _load,
        actions={"save": _save},
        group="System",
        order=9,
        keys="s",
        words="preferences retention resilience thinking prompt",
    ),
)
