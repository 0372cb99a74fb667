"""Combos: a name that stands for several models, in which order they are tried, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from transports._dash import offered
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_CHANGED = ("name", "allowedProviders", "system_message", "tool_filter_regex", "context_length", "isActive", "isHidden", "config")
_LINE = re.compile(r"(\S+)(?:\s+(\d+(?:\.\d+)?))?\Z")


async def _load(view: View) -> dict[str, Any]:
    return {
        "combos": (await view.ask("combos-list")).combos,
        "metrics": (await view.ask("combos-metrics")).metrics or {},
        "strategies": view.hub.strategies,
        "names": await _names(view),
    }


async def _create(view: View, form: Form) -> Outcome:
    made = await view.ask("combos-create", name=form.text("name"), strategy=form.text("strategy"), models=_steps(form.text("models"), []))
    return Done(f"{made.name} can be asked for as a model.", to=f"/dashboard/combos/{made.id}")


async def _move(view: View, form: Form) -> Outcome:
    order = [one.id for one in (await view.ask("combos-list")).combos]
    at = order.index(form.text("id")) if form.text("id") in order else 0
    other = min(max(at + (-1 if form.text("to") == "up" else 1), 0), len(order) - 1)
    order[at], order[other] = order[other], order[at]
    await view.ask("combos-reorder", comboIds=order)
    return Done("")


async def _switch(view: View, form: Form) -> Outcome:
    changed = await view.ask("combos-update", id=form.text("id"), isActive=form.text("to") == "on")
    return Done(f"{changed.name} is {'on' if changed.is_active else 'off'}.")


def _steps(typed: str, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps from lines of ``model weight``; ``combo:name`` is another combo. What else a kept step has stays with it. Raises BadRequest."""
    by_name = {_name(step): step for step in kept}
    steps: list[dict[str, Any]] = []
    for line in filter(None, map(str.strip, typed.splitlines())):
        match = _LINE.match(line)
        if match is None:
            raise BadRequest(f"{line!r} is no line of a model and its weight", field="models")
        name, weight = match[1], float(match[2] or 0)
        step: dict[str, Any] = dict(by_name.get(name) or {})
        step |= {"kind": "combo-ref", "comboName": name[6:]} if name.startswith("combo:") else {"kind": "model", "model": name}
        if match[2] is not None:
            step["weight"] = weight
        steps.append(step)
    return steps


def _name(step: dict[str, Any]) -> str:
    return f"combo:{step['comboName']}" if step["kind"] == "combo-ref" else step["model"]


async def _names(view: View, but: str = "") -> list[str]:
    """What a step may be: a model, or another combo."""
    return [*await offered.models(view), *(f"combo:{name}" for name in await offered.combos(view) if name != but)]


async def _load_one(view: View) -> dict[str, Any]:
    combo = await view.ask("combos-get", id=view.params["id"])
    return {
        "combo": combo,
        "steps": [(_name(step), step.get("weight") or None) for step in combo.models],
        "names": await _names(view, but=combo.name),
        "strategies": view.hub.strategies,
        "lines": "\n".join(f"{_name(step)} {step['weight']:g}" if step.get("weight") else _name(step) for step in combo.models),
        "fields": view.fields("combos-update", *_CHANGED),
        "stored": combo.model_dump(mode="json", by_alias=True),
        "simulation": None,
        "report": None,
    }


async def _change(view: View, form: Form) -> Outcome:
    combo = await view.ask("combos-get", id=view.params["id"])
    changed = await view.sent(
        "combos-update",
        form,
        *_CHANGED,
        stored=combo.model_dump(mode="json", by_alias=True),
        id=combo.id,
        strategy=form.text("strategy"),
        models=_steps(form.text("models"), combo.models),
    )
    return Done(f"{changed.name} is changed, for requests from now on.")


async def _step(view: View, form: Form) -> Outcome:
    """One step goes up, down or out. ``name`` must stand where it stood when the page was made."""
    combo = await view.ask("combos-get", id=view.params["id"])
    steps, typed, name = list(combo.models), form.text("at"), form.text("name")
    at = int(typed) if typed.isdigit() else len(steps)
    if at >= len(steps) or _name(steps[at]) != name:
        raise BadRequest("the models were changed meanwhile; here is what they are now", field="name")
    step = steps.pop(at)
    if form.text("to") in ("up", "down"):
        steps.insert(max(at - 1, 0) if form.text("to") == "up" else at + 1, step)
    await view.ask("combos-update", id=combo.id, models=steps)
    return Done("" if form.text("to") in ("up", "down") else f"{name} is no longer asked by {combo.name}.")


async def _add(view: View, form: Form) -> Outcome:
    combo = await view.ask("combos-get", id=view.params["id"])
    added = _steps(f"{form.text('model')} {form.text('weight')}", [])
    await view.ask("combos-update", id=combo.id, models=[*combo.models, *added])
    return Done(f"{form.text('model')} is asked by {combo.name} as well.")


async def _simulate(view: View, form: Form) -> Outcome:
    combo = await view.ask("combos-get", id=view.params["id"])
    sizes = {name: int(form.text(name)) for name in ("promptTokenEstimate", "completionTokenEstimate") if form.text(name).isdigit()}
    return Shown({"simulation": await view.ask("simulate-route", combo=combo.name, **sizes)})


async def _test(view: View, form: Form) -> Outcome:
    return Shown({"report": await view.ask("combos-test", comboId=view.params["id"])})


async def _delete(view: View, form: Form) -> Outcome:
    await view.ask("combos-delete", id=view.params["id"])
    return Done("The combo is gone.", to="/dashboard/combos")


PAGES = (
    Page(
        "combos",
        "Combos",
        "combos.html",
        _load,
        actions={"create": _create, "move": _move, "switch": _switch},
        group="Route",
        order=2,
        keys="c",
        words="routing fallback strategies targets",
    ),
    Page(
        "combos/{id}",
        "Combo",
        "combo.html",
        _load_one,
        actions={"change": _change, "step": _step, "add": _add, "simulate": _simulate, "test": _test, "delete": _delete},
    ),
)
