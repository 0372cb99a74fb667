"""Policies: the owner's rules over every call, and what they would make of one."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hub.access.policy import Policy
from hub.errors import BadRequest, InvalidInput
from transports._dash import forms
from transports._dash.forms import Field
from transports._dash.page import Done, Page, Shown

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_TEST = ("key", "skill", "model", "door", "stream", "tags", "providers", "cost")
_OUTCOMES = {"applied": "ok", "no match": "plain", "not reached": "plain", "no effect": "warn", "disabled": "plain"}
_STREAM = {"yes": True, "no": False}
_ACTIONS = {"allow": "ok", "deny": "bad"}


def _variants() -> dict[str, list[Field]]:
    """What each action needs besides its name."""
    schema = Policy.model_json_schema(by_alias=True)
    found: dict[str, list[Field]] = {}
    for action, place in schema["properties"]["then"]["discriminator"]["mapping"].items():
        shape: dict[str, Any] = schema["$defs"][place.rsplit("/", 1)[-1]]
        every = forms.of_model({**shape, "$defs": schema["$defs"]})
        found[action] = [dataclasses.replace(one, name=f"then.{one.name}") for one in every if one.name != "action"]
    return found


def _fields() -> list[Field]:
    """Every field of a rule by its dotted name."""
    plain = [one for one in forms.of_model(Policy.model_json_schema(by_alias=True)) if one.name != "then"]
    # Whether a stream is asked for has three answers: yes, no, and that it does not matter.
    plain = [dataclasses.replace(one, kind="choice", choices=tuple(_STREAM)) if one.name == "when.stream" else one for one in plain]
    variants = _variants()
    action = Field("then.action", "Action", "choice", "", required=True, choices=tuple(variants))
    return [*plain, action, *(one for needed in variants.values() for one in needed)]


def _rule(form: Form) -> dict[str, Any]:
    """The rule that was typed; of what happens only what its action needs. Raises InvalidInput."""
    typed = {name: value for name, value in forms.taken(_fields(), form).items() if value not in (None, [])}
    needed = {one.name for one in _variants().get(typed.get("then.action", ""), [])} | {"then.action"}
    rule = {name: value for name, value in typed.items() if not name.startswith("then.") or name in needed}
    if "when.stream" in rule:
        rule["when.stream"] = _STREAM.get(rule["when.stream"])
    # A time zone alone is no condition.
    if not {"when.time.weekdays", "when.time.from", "when.time.until"} & rule.keys():
        rule.pop("when.time.zone", None)
    return forms.nested(rule)


def _named(error: InvalidInput) -> InvalidInput:
    """The same faults by the names of the form's fields: ``policy.then.deny.message`` is its ``then.message``."""
    known = {one.name for one in _fields()}
    faults: list[dict[str, str]] = []
    for one in error.details:
        parts = one["field"].removeprefix("policy.").split(".")
        if parts[0] == "then" and len(parts) > 2:
            del parts[1]
        while parts and ".".join(parts) not in known:
            parts.pop()
        faults.append({**one, "field": ".".join(parts) or one["field"]})
    return InvalidInput(faults)


def _common(view: View) -> dict[str, Any]:
    return {
        "groups": forms.grouped(_fields(), "rule"),
        "needs": {one.name: action for action, needed in _variants().items() for one in needed},
        "tests": view.fields("policies-test", *_TEST),
        "outcomes": _OUTCOMES,
        "verdict": None,
    }


async def _load(view: View) -> dict[str, Any]:
    policies = (await view.ask("policies-list")).policies
    return {
        **_common(view),
        "actions": _ACTIONS,
        "policies": [(one, _conditions(one)) for one in policies],
        "stored": {},
    }


def _conditions(policy: Any) -> list[str]:
    """What a rule asks of a call, in words."""
    given = policy.when.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return [f"{forms.label(name).lower()} {_words(value)}" for name, value in given.items()]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_words(one)}" for name, one in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    if isinstance(value, list):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType] - JSON
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _said(saved: Any) -> str:
    warned = " ".join(f"Note: {one}." for one in saved.warnings)
    return f"{saved.policy.name} is in force{'' if saved.policy.enabled else ' once you enable it'}. {warned}".strip()


async def _create(view: View, form: Form) -> Outcome:
    try:
        answer = await view.ask("policies-create", policy=_rule(form))
    except InvalidInput as error:
        raise _named(error) from None
    return Done(_said(answer.saved), to=f"/dashboard/policies/{answer.saved.policy.id}")


async def _try(view: View, form: Form) -> Outcome:
    """What the rules would make of a call, with the one that is being written."""
    try:
        return Shown({"verdict": await _verdict(view, form, rule=_rule(form))})
    except InvalidInput as error:
        raise _named(error) from None


async def _test(view: View, form: Form) -> Outcome:
    return Shown({"verdict": await _verdict(view, form)})


async def _verdict(view: View, form: Form, **rule: Any) -> Any:
    view.keep(form)
    at = form.text("moment")
    try:
        moment = {"at": round(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)} if at else {}
    except ValueError:
        raise BadRequest("write the moment as 2026-01-31T18:30", field="moment") from None
    return await view.sent("policies-test", form, *_TEST, **moment, **rule)


async def _switch(view: View, form: Form) -> Outcome:
    saved = await view.ask("policies-update", id=form.text("id"), changes={"enabled": form.text("to") == "on"})
    return Done(f"{saved.policy.name} is {'in force' if saved.policy.enabled else 'without effect'}.")


async def _load_one(view: View) -> dict[str, Any]:
    policy = await view.ask("policies-get", id=view.params["id"])
    stored = forms.flat(policy.model_dump(mode="json", by_alias=True), [one.name for one in _fields()])
    stored["when.stream"] = {True: "yes", False: "no"}.get(stored["when.stream"])
    return {**_common(view), "policy": policy, "stored": stored}


async def _change(view: View, form: Form) -> Outcome:
    try:
        saved = await view.ask("policies-replace", **_rule(form), id=view.params["id"])
    except InvalidInput as error:
        raise _named(error) from None
    return Done(_said(saved))


async def _delete(view: View, form: Form) -> Outcome:
    gone = await view.ask("policies-delete", id=view.params["id"])
    return Done(f"{gone.name} is gone and has no effect any more.", to="/dashboard/policies")


PAGES = (
    Page(
        "policies",
        "Policies",
        "policies.html",
        _load,
        actions={"create": _create, "try": _try, "test": _test, "switch": _switch},
        group="Access",
        order=2,
        keys="r",
        words="rules allow deny rewrite cap tags hours cost",
    ),
    Page("policies/{id}", "Policy", "policy.html", _load_one, actions={"change": _change, "test": _test, "delete": _delete}),
)
