"""Compression: what it saved, how it is set, and a trial of a text of your own."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from hub.compression.settings import CompressionSettings
from transports._dash import forms
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Field, Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

#: The parts of the page.
TABS = {
    "/dashboard/compression": "What it saved",
    "/dashboard/compression/try": "Try it",
    "/dashboard/compression/combos": "Pipelines",
    "/dashboard/compression/settings": "Settings",
    "/dashboard/compression/rules": "Rules and filters",
}
_SINCE = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "all": "all time"}
_HOUR_MS = 3_600_000
#: Hours or days that a chart shows; of all time from the first.
_STEPS = {"24h": 24, "7d": 7, "30d": 30}
_GENERAL = "general"
_TRIAL = ("text", "command")
#: What a tried text stands for in a conversation: the role of its message.
_PARTS = {"user": "a message of a user", "assistant": "an earlier answer", "system": "instructions", "tool": "what a tool gave"}
#: How analytics group requests.
_GROUPS = {
    "by_engine": "Engine",
    "by_mode": "Mode",
    "by_compression_combo": "Pipeline",
    "by_model": "Model",
    "by_provider": "Provider",
    "by_combo": "Combo",
    "by_key": "Key",
}


async def _load(view: View) -> dict[str, Any]:
    since = view.choice("since", _SINCE, "24h")
    report = await view.ask("compression-analytics", since=since)
    times, saved = _line(view, report, since)
    return {
        "tabs": TABS,
        "since": since,
        "spans": _SINCE,
        "report": report,
        "groups": {words: getattr(report, name) for name, words in _GROUPS.items()},
        "times": times,
        "saved": [{"name": "Tokens saved", "values": saved}],
        "settings": await view.ask("compression-settings-get"),
    }


def _line(view: View, report: Any, since: str) -> tuple[list[int], list[int]]:
    """Tokens saved in each hour or day up to now; those in which nothing was saved are 0."""
    step = _HOUR_MS if since == "24h" else 24 * _HOUR_MS
    named = [(one.hour, one) for one in report.last24h] if since == "24h" else [(f"{one.day}T00:00:00+00:00", one) for one in report.by_day]
    saved = {round(datetime.fromisoformat(at).timestamp() * 1000): one.tokens_saved for at, one in named}
    now = view.hub.clock.now_ms() // step * step
    first = now - (_STEPS[since] - 1) * step if since in _STEPS else min(saved, default=now)
    times = list(range(min(first, now - step), now + 1, step))
    return times, [saved.get(at, 0) for at in times]


def _fields() -> list[Field]:
    return forms.of_model(CompressionSettings.model_json_schema(by_alias=True))


async def _load_settings(view: View) -> dict[str, Any]:
    every = _fields()
    current = (await view.ask("compression-settings-get")).model_dump(mode="json", by_alias=True)
    return {
        "tabs": TABS,
        "groups": forms.grouped(every, _GENERAL),
        "label": forms.label,
        "stored": forms.flat(current, [one.name for one in every]),
        "pipelines": (await view.ask("compression-combos-list")).combos,
    }


async def _save(view: View, form: Form) -> Outcome:
    """Change what differs of the fields that this form had."""
    group = form.text("group")
    every = forms.grouped(_fields(), _GENERAL).get(group, [])
    current = (await view.ask("compression-settings-get")).model_dump(mode="json", by_alias=True)
    changed = forms.taken(every, form, stored=forms.flat(current, [one.name for one in every]))
    if not changed:
        return Done("Nothing was changed.")
    # What was emptied is taken back to its default.
    await view.ask(
        "compression-settings-set", patch=forms.nested({name: None if value == "" else value for name, value in changed.items()})
    )
    return Done(f"Saved: {', '.join(forms.label(name) for name in changed)}.")


async def _load_try(view: View) -> dict[str, Any]:
    return {
        "tabs": TABS,
        "mode": view.fields("compression-preview", "mode")[0],
        "parts": list(_PARTS.items()),
        "trial": {one.name: one for one in view.fields("compression-rtk-test", *_TRIAL)},
        "preview": None,
        "report": None,
    }


async def _preview(view: View, form: Form) -> Outcome:
    view.keep(form)
    message = {"role": form.text("role") or "user", "content": form.text("content")}
    config = {} if message["role"] != "system" else {"preserveSystemPrompt": False}
    return Shown({"preview": await view.ask("compression-preview", messages=[message], mode=form.text("mode"), config=config)})


async def _filter(view: View, form: Form) -> Outcome:
    view.keep(form)
    return Shown({"report": await view.sent("compression-rtk-test", form, *_TRIAL)})


async def _load_rules(view: View) -> dict[str, Any]:
    rules = (await view.ask("compression-rules")).rules
    packs = (await view.ask("compression-language-packs")).packs
    chosen = view.choice("language", [one.language for one in packs], packs[0].language if packs else "")
    return {
        "tabs": TABS,
        "filters": await view.ask("compression-rtk-filters"),
        "packs": packs,
        "chosen": chosen,
        "rules": [one for one in rules if one.language == chosen],
    }


PAGES = (
    Page(
        "compression",
        "Compression",
        "compression.html",
        _load,
        group="Route",
        order=4,
        keys="z",
        words="tokens savings caveman rtk lite ultra aggressive stacked analytics",
    ),
    Page(
        "compression/settings",
        "Compression settings",
        "compression_settings.html",
        _load_settings,
        actions={"save": _save},
        words="mode intensity engines threshold",
    ),
    Page(
        "compression/try",
        "Try compression",
        "compression_try.html",
        _load_try,
        actions={"preview": _preview, "filter": _filter},
        words="preview savings diff command output",
    ),
    Page("compression/rules", "Rules and filters", "compression_rules.html", _load_rules, words="language packs filters rules"),
)
