"""Installed skills: what is installed and who may use it, reviews, marketplaces, runs, and a form to try each."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from hub.errors import HubError, InvalidInput
from hub.user_skills.model import NAME
from transports._dash import preferred
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Field, Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_HOME = "/dashboard/user-skills"
_TABS = {_HOME: "Installed", f"{_HOME}/find": "Find more", f"{_HOME}/runs": "Runs"}
_PAGE = 50
_NEW = ("name", "version", "description", "tags", "apiKeyId")
_CHANGED = ("description", "tags", "timeoutMs", "retries")
_MODES = [("on", "in every chat"), ("auto", "in chats that need it"), ("off", "in no chat")]
_LONGEST = 20_000
_SKILL = """{
  "name": "city weather",
  "description": "Says the weather of a city.",
  "schema": {"input": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
  "handler": {"type": "http", "url": "https://api.example.com/weather?city={city}"}
}"""


def _settings(*names: str) -> list[Field]:
    return [one for one in preferred.fields() if one.name in names]


async def _load(view: View) -> dict[str, Any]:
    words, page = view.query.get("q", "")[:200], view.number("page", 1, least=1)
    listed = await view.ask("user-skills-list", q=words, page=page, limit=_PAGE)
    shown = _settings("skillsEnabled", "skillsMaxRounds")
    return {
        "tabs": _TABS,
        "listed": listed,
        "words": words,
        "at": page,
        "modes": _MODES,
        "handlers": view.hub.user_skills.facts(),
        "fields": view.fields("user-skills-install", *_NEW),
        "holders": _holders(view),
        "settings": shown,
        "stored": await preferred.stored(view, shown),
        "sample": _SKILL,
        "waiting": [one for one in listed.skills if one.review.state == "needs review"],
    }


def _holders(view: View) -> list[tuple[str, str]]:
    return [("system", "every key"), *((key.id, key.name) for key in view.hub.store.keys.all() if key.active)]


async def _switch(view: View, form: Form) -> Outcome:
    on = form.text("to") == "on"
    await view.ask("settings-update", patch={"skillsEnabled": on})
    return Done("Installed skills are on: keys and chats may use those that are approved." if on else "Installed skills are off.")


async def _save(view: View, form: Form) -> Outcome:
    return Done(await preferred.save(view, form, _settings("skillsMaxRounds")))


async def _mode(view: View, form: Form) -> Outcome:
    wanted = form.text("mode")
    skill_id = form.text("id") or view.params["id"]
    # Whether it is on is another question, which its own button asks.
    kept = (await view.ask("user-skills-get", id=skill_id)).skill
    changed = await view.ask("user-skills-update", id=skill_id, mode=wanted, enabled=kept.enabled)
    return Done(f"{kept.name} is given: {dict(_MODES)[changed.mode]}.")


async def _text(view: View, form: Form) -> Outcome:
    """Install an instruction that was pasted."""
    return _installed(await view.sent("user-skills-install", form, *_NEW, skillMdContent=form.text("skillMdContent")))


async def _manifest(view: View, form: Form) -> Outcome:
    """Install what a manifest says."""
    given = _object(form, "manifest")
    try:
        made = await view.hub.call(view.hub.find("user-skills-install"), given, view.exchange.ctx)
    except HubError as error:
        raise InvalidInput([{"field": "manifest", "message": error.message}]) from error
    return _installed(made)


def _object(form: Form, field: str) -> dict[str, Any]:
    """An object that was typed as JSON. Raises InvalidInput."""
    try:
        given: object = json.loads(form.text(field) or "{}")
    except json.JSONDecodeError as error:
        raise InvalidInput([{"field": field, "message": f"is no JSON: {error}"}]) from None
    if not isinstance(given, dict):
        raise InvalidInput([{"field": field, "message": "must be an object"}])
    return cast("dict[str, Any]", given)


def _installed(made: Any) -> Done:
    waits = made.review != "approved"
    words = "It is installed. Read it and what the scan found: it waits for your word." if waits else "It is installed and may be used."
    return Done(words, to=f"{_HOME}/{made.id}")


async def _load_one(view: View) -> dict[str, Any]:
    found = await view.ask("user-skills-get", id=view.params["id"])
    skill = found.skill
    runs = await view.ask("user-skills-executions", skillId=skill.id, limit=10)
    return {
        "skill": skill,
        "text": found.text,
        "lines": {one.line for one in skill.findings},
        "stored": {"description": skill.description, "tags": skill.tags, "timeoutMs": skill.timeout_ms, "retries": skill.retries},
        "fields": view.fields("user-skills-update", *_CHANGED),
        "modes": _MODES,
        "handlers": view.hub.user_skills.facts(),
        "schemas": json.dumps(skill.schema_.model_dump(mode="json"), indent=2, ensure_ascii=False),
        "spec": json.dumps(skill.spec, indent=2, ensure_ascii=False) if skill.spec else "",
        "input": view.values.get("input") or _example(skill.schema_.input),
        "owner": dict(_holders(view)).get(skill.api_key_id, skill.api_key_id),
        "on": view.hub.user_skills.on,
        "runs": runs,
        "run": None,
    }


def _example(schema: dict[str, Any]) -> str:
    """An input to begin with: the fields that are needed, empty."""
    empty: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
    properties: dict[str, Any] = schema.get("properties") or {}
    needed: list[str] = schema.get("required") or []
    kinds: dict[str, dict[str, Any]] = {name: value for name, value in properties.items() if isinstance(value, dict)}
    return json.dumps({name: empty.get(str(kinds.get(name, {}).get("type"))) for name in needed}, indent=2)


async def _change(view: View, form: Form) -> Outcome:
    skill = (await view.ask("user-skills-get", id=view.params["id"])).skill
    stored = {"description": skill.description, "tags": skill.tags, "timeoutMs": skill.timeout_ms, "retries": skill.retries}
    await view.sent("user-skills-update", form, *_CHANGED, stored=stored, id=skill.id)
    return Done("The skill is changed.")


async def _enable(view: View, form: Form) -> Outcome:
    on = form.text("to") == "on"
    await view.ask("user-skills-update", id=view.params["id"], enabled=on)
    return Done("The skill may be used." if on else "The skill is off.")


async def _review(view: View, form: Form) -> Outcome:
    decision = form.text("decision")
    await view.ask("user-skills-review", id=view.params["id"], decision=decision, sha256=form.text("sha256"))
    return Done("Approved: the skill may be used." if decision == "approve" else "Refused: nothing uses the skill.")


async def _try(view: View, form: Form) -> Outcome:
    """Run the skill as the owner."""
    view.keep(form)
    given = _object(form, "input")
    run = (await view.ask("user-skills-execute", skillName=view.params["id"], input=given)).execution
    return Shown({"run": run, "output": json.dumps(run.output, indent=2, ensure_ascii=False)[:_LONGEST]})


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("user-skills-delete", id=view.params["id"])
    return Done("The skill is uninstalled.", to=_HOME)


async def _load_find(view: View) -> dict[str, Any]:
    words = view.query.get("q", "").strip()[:200]
    provider = view.hub.preferences.current.skills_provider
    skill = "user-skills-marketplace" if provider == "skillsmp" else "user-skills-skillssh"
    found, refused = None, ""
    try:
        found = await view.ask(skill, q=words, limit=30)
    except HubError as error:
        refused = error.message
    shown = _settings("skillsProvider")
    markets = view.hub.user_skills.markets
    return {
        "tabs": _TABS,
        "words": words,
        "provider": provider,
        "market": markets.table[provider],
        "found": found,
        "refused": refused,
        "settings": shown,
        "stored": await preferred.stored(view, shown),
        "key": markets.key.masked,
    }


async def _choose(view: View, form: Form) -> Outcome:
    """The marketplace, and its key where one was typed."""
    patch: dict[str, Any] = {"skillsProvider": form.text("skillsProvider")} if form.text("skillsProvider") else {}
    if form.text("skillsmpApiKey"):
        patch["skillsmpApiKey"] = form.text("skillsmpApiKey")
    if patch:
        await view.ask("settings-update", patch=patch)
    return Done("Saved.")


async def _fetch(view: View, form: Form) -> Outcome:
    """Install what the marketplace lists, from its repository."""
    names = ("name", "description", "source", "skillId")
    given = {name: form.text(name) for name in names}
    if not re.fullmatch(NAME, given["name"]):
        given["name"] = given["skillId"]
    return _installed(await view.ask("user-skills-skillssh-install", **given))


async def _load_runs(view: View) -> dict[str, Any]:
    status = view.choice("status", ("pending", "running", "success", "error", "timeout"), "")
    offset = view.number("offset", 0, most=100_000)
    found = await view.ask("user-skills-executions", status=status, limit=_PAGE, page=offset // _PAGE + 1)
    return {
        "tabs": _TABS,
        "found": found,
        "status": status,
        "offset": offset,
        "limit": _PAGE,
        "keys": {"owner": "you", **{key.id: key.name for key in view.hub.store.keys.all()}},
    }


PAGES = (
    Page(
        "user-skills",
        "Installed skills",
        "user_skills.html",
        _load,
        actions={"switch": _switch, "save": _save, "mode": _mode, "text": _text, "manifest": _manifest},
        group="Agents",
        order=4,
        words="custom install marketplace skillsmp skills.sh SKILL.md instructions tools review sandbox container",
    ),
    Page("user-skills/find", "Find skills", "user_skills_find.html", _load_find, actions={"choose": _choose, "fetch": _fetch}),
    Page("user-skills/runs", "Runs of skills", "user_skills_runs.html", _load_runs),
    Page(
        "user-skills/{id}",
        "Installed skill",
        "user_skill.html",
        _load_one,
        actions={"mode": _mode, "enable": _enable, "review": _review, "change": _change, "try": _try, "delete": _delete},
    ),
)
