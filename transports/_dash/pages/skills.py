"""Skills: everything that this hub can do, with a form to try each and where to find it at every door."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hub.errors import NotFound
from hub.skill import CostClass
from transports._dash import forms
from transports._dash.page import Page, Shown

if TYPE_CHECKING:
    from hub.skill import Skill
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_LONGEST = 100_000


async def _load(view: View) -> dict[str, Any]:
    wanted = view.query.get("q", "").strip().lower()
    skills = [one for one in view.hub.skills if all(part in f"{one.name} {one.summary}".lower() for part in wanted.split())]
    return {"wanted": wanted, "skills": sorted(skills, key=lambda one: one.name), "costs": CostClass}


def _skill(view: View) -> Skill:
    found = view.hub.skills.by_name.get(view.params["name"])
    if found is None:
        raise NotFound("there is no such skill")
    return found


async def _load_one(view: View) -> dict[str, Any]:
    skill = _skill(view)
    return {
        "skill": skill,
        "fields": forms.fields(skill) if skill.typed else [],
        "answer": None,
        "output": json.dumps(skill.output_schema(), indent=2) if skill.typed else "",
    }


async def _call(view: View, form: Form) -> Outcome:
    """Call the skill as the owner; of a stream the first hundred pieces."""
    skill = _skill(view)
    shown = {one.name: one for one in forms.fields(skill)}
    typed = forms.filled(skill, form, shown)
    data = {name: value for name, value in typed.items() if shown[name].shown(value) != shown[name].shown(shown[name].default)}
    if skill.streams:
        pieces: list[Any] = []
        async for piece in view.hub.stream(skill, data, view.exchange.ctx):
            pieces.append(piece.model_dump(mode="json", by_alias=True))
            if len(pieces) == 100:
                break
        answer: Any = pieces
    else:
        answer = await view.hub.call(skill, data, view.exchange.ctx)
    if hasattr(answer, "model_dump"):
        answer = answer.model_dump(mode="json", by_alias=True)
    text = json.dumps(answer, indent=2, ensure_ascii=False, default=str)
    return Shown({"answer": text[:_LONGEST] + ("\n…" if len(text) > _LONGEST else "")})


PAGES = (
    Page("skills", "Skills", "skills.html", _load, group="Agents", order=3, words="registry tools capabilities api try"),
    Page("skills/{name}", "Skill", "skill.html", _load_one, actions={"call": _call}),
)
