"""Combos as they are written and checked: input forms, names, nesting, tiers, and the targets a combo comes down to (routing.md 2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hub.errors import BadRequest, HubError, InvalidInput
from hub.routing.combo import Combo, CompositeTiers, Kind, Step
from hub.routing.pattern import compiled
from hub.routing.strategy import named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from hub.routing.combo import Mapping as ModelMapping
    from hub.routing.strategy import Strategy

#: 'auto' and 'auto/...' stand for combos that are made at the time of the request.
AUTO = "auto"
MOST_STEPS = 100
#: Targets that a combo may come down to, its nested combos included.
MOST_TARGETS = 500
_NAME = re.compile(r"[a-zA-Z0-9_/.\-\[\] ]{1,100}\Z")
_ODD = re.compile(r"[^a-z0-9]+")
_STEP_FIELDS = {"id", "kind", "model", "provider", "providerId", "comboName", "connectionId", "weight", "label", "tags"}
_REFERENCE_FIELDS = {"id", "kind", "comboName", "weight", "label"}


@dataclass(frozen=True, slots=True)
class Known:
    """What steps may name. ``provider`` gives the provider id behind an id, alias or prefix of a compatible node, empty when there is none;
    ``connection`` the provider of a connection id, empty when there is none; ``model`` the provider that a name without one leads to
    (empty when that is open until the request) and raises HubError for a name that leads nowhere; ``combos`` are the names of all combos.
    """

    provider: Callable[[str], str]
    connection: Callable[[str], str]
    model: Callable[[str], str]
    combos: Collection[str]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One target that a combo comes down to. ``key`` is its execution key: the ids of the steps that lead to it, joined by ``>``."""

    key: str
    step: Step
    path: tuple[str, ...]


@dataclass(slots=True)
class _Faults:
    """The fields at fault so far, told all at once."""

    found: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def add(self, where: str, words: str) -> None:
        self.found.append({"field": where, "message": words})

    def tell(self) -> None:
        if self.found:
            raise InvalidInput(self.found)


def is_auto(model: str) -> bool:
    """Whether a name stands for a choice among all connections."""
    return model == AUTO or model.startswith(f"{AUTO}/")


def combo_name(name: str) -> str:
    """A name that a combo may have. Raises BadRequest saying why it may not."""
    name = name.strip()
    words = ""
    if not _NAME.match(name):
        words = "must be 1 to 100 letters, digits, blanks, '_', '-', '.', '/', '[' or ']'"
    elif name.startswith("/") or name.endswith("/") or "../" in name:
        words = "must not begin or end with '/' or hold '../': no model can be asked for under such a name"
    elif is_auto(name):
        words = f"must not be {AUTO!r} or begin with '{AUTO}/': these names choose among all connections"
    elif name.startswith("combo/"):
        words = "must not begin with 'combo/', which is put before a combo's name to say that it is one"
    elif name.lower().endswith("[1m]"):
        words = "must not end with '[1m]', by which clients ask for a long context"
    if words:
        raise BadRequest(f"a combo's name {words}", field="name")
    return name


def strategy_name(name: str, known: Mapping[str, Strategy], *, field: str = "strategy") -> str:
    """A strategy under its own name. Raises BadRequest naming those there are."""
    try:
        return named(known, name).name
    except BadRequest as error:
        raise BadRequest(error.message, field=field) from None


def normalise(name: str, steps: Sequence[object], known: Known) -> tuple[Step, ...]:
    """The steps of combo ``name`` in their stored form, from any of the three forms of input (routing.md 2.1).

    A string is ``provider/model``, or a combo's name, which makes it a reference. Raises InvalidInput with every fault and
    its path (``models[2].connectionId``): unknown fields, providers, connections and combos, ids that are given twice.
    """
    faults = _Faults()
    if len(steps) > MOST_STEPS:
        faults.add("models", f"a combo has at most {MOST_STEPS} steps, these are {len(steps)}")
        faults.tell()
    drafts = [_draft(name, at, one, known, faults) for at, one in enumerate(steps)]
    faults.tell()
    taken: dict[str, int] = {}
    for at, draft in enumerate(drafts):
        given = draft["id"]
        if given and given in taken:
            faults.add(f"models[{at}].id", f"{given!r} is the id of models[{taken[given]}] already")
        taken.setdefault(given, at)
    faults.tell()
    made = [_step(name, at, draft, taken, faults) for at, draft in enumerate(drafts)]
    faults.tell()
    return tuple(step for step in made if step is not None)


def _draft(name: str, at: int, given: object, known: Known, faults: _Faults) -> dict[str, Any]:
    """The fields of one step, checked against what is known."""
    where = f"models[{at}]"
    if isinstance(given, str):
        # Its own name means the model of that name: a combo may stand in front of the model it is called after.
        reference = given in known.combos and given != name
        given = {"kind": "combo-ref", "comboName": given} if reference else {"model": given}
    if isinstance(given, Step):
        given = given.model_dump(by_alias=True, exclude_defaults=True)
    draft: dict[str, Any] = {"id": "", "kind": "model"}
    if not isinstance(given, dict):
        faults.add(where, "must be 'provider/model', the name of a combo, or an object")
        return draft
    fields: dict[str, Any] = {str(one): value for one, value in given.items() if value is not None}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON edge
    draft.update(fields)
    _check_fields(where, draft, faults)
    if draft["kind"] == "combo-ref":
        _check_reference(where, name, draft, known, faults)
    elif draft["kind"] == "model":
        _check_model(where, draft, known, faults)
    return draft


def _check_fields(where: str, draft: dict[str, Any], faults: _Faults) -> None:
    kind = draft["kind"]
    if kind not in ("model", "combo-ref"):
        faults.add(f"{where}.kind", "must be 'model' or 'combo-ref'")
        return
    allowed = _REFERENCE_FIELDS if kind == "combo-ref" else _STEP_FIELDS - {"comboName"}
    for name in sorted(set(draft) - allowed):
        faults.add(f"{where}.{name}", f"is not a field of a step of kind {kind!r}; these are: {', '.join(sorted(allowed))}")
    for name in ("id", "model", "provider", "providerId", "comboName", "connectionId", "label"):
        if name in draft and not isinstance(draft[name], str):
            faults.add(f"{where}.{name}", "must be text")
            draft[name] = ""


def _check_reference(where: str, name: str, draft: dict[str, Any], known: Known, faults: _Faults) -> None:
    wanted = draft.get("comboName", "")
    # A reference to itself is told as the circle it is, by check_nesting.
    if wanted != name and wanted not in known.combos:
        faults.add(f"{where}.comboName", f"there is no combo {wanted!r}")


def _check_model(where: str, draft: dict[str, Any], known: Known, faults: _Faults) -> None:
    """Put the provider before the model, and find out which provider that is."""
    model: str = draft.get("model", "").strip()
    given: str = (draft.pop("provider", "") or draft.get("providerId", "")).strip()
    if not model:
        faults.add(f"{where}.model", "must name a model, such as provider/model")
        return
    if given:
        provider = named = known.provider(given)
        if not provider:
            faults.add(f"{where}.provider", f"there is no provider {given!r}; `hubroute providers catalog` lists them")
        elif known.provider(model.partition("/")[0]) != provider or "/" not in model:
            model = f"{given}/{model}"
    else:
        provider, named = _provider_of(where, model, known, faults)
    draft["model"], draft["providerId"] = model, named
    _check_connection(where, draft, provider, known, faults)


def _provider_of(where: str, model: str, known: Known, faults: _Faults) -> tuple[str, str]:
    """The provider that a model string leads to now, and the one that it names; both empty where the request decides."""
    if is_auto(model):
        return "", ""
    prefix, slash, rest = model.partition("/")
    provider = known.provider(prefix) if slash else ""
    if provider:
        if not rest:
            faults.add(f"{where}.model", f"names the provider {prefix!r} and no model of it")
        return provider, provider
    try:
        return known.model(model), ""
    except HubError as error:
        faults.add(f"{where}.model", error.message)
        return "", ""


def _check_connection(where: str, draft: dict[str, Any], provider: str, known: Known, faults: _Faults) -> None:
    connection = draft.get("connectionId", "")
    if not connection:
        draft.pop("connectionId", None)
        return
    place = known.connection(connection)
    if not place:
        faults.add(f"{where}.connectionId", f"there is no connection {connection!r}")
    elif provider and place != provider:
        faults.add(f"{where}.connectionId", f"connection {connection!r} is of {place}, and this step is for {provider}")


def _step(name: str, at: int, draft: dict[str, Any], taken: dict[str, int], faults: _Faults) -> Step | None:
    if not draft["id"]:
        draft["id"] = step_id(name, draft["kind"], at + 1, draft.get("comboName") or draft.get("model", ""), taken)
        taken[draft["id"]] = at
    try:
        return Step.model_validate(draft)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            faults.add(".".join([f"models[{at}]", *map(str, item["loc"])]), item["msg"])
        return None


def step_id(name: str, kind: Kind, number: int, target: str, taken: Collection[str]) -> str:
    """``<combo-slug>-<model|ref>-<n>-<target-slug>``, at most 200 characters, none of those that are ``taken``."""
    word = "ref" if kind == "combo-ref" else "model"
    made = f"{_slug(name)[:80]}-{word}-{number}-{_slug(target)}"[:190]
    found, more = made, 1
    while found in taken:
        more += 1
        found = f"{made}-{more}"
    return found


def _slug(text: str) -> str:
    return _ODD.sub("-", text.lower()).strip("-") or "x"


def check(combo: Combo, strategies: Mapping[str, Strategy], provider: Callable[[str], str]) -> Combo:
    """A combo whose strategy, filter, tiers and providers hold together, all under their own names. Raises InvalidInput."""
    faults = _Faults()
    changes: dict[str, Any] = {}
    try:
        changes["strategy"] = strategy_name(combo.strategy, strategies)
        if combo.config.strategy is not None:
            found = strategy_name(combo.config.strategy, strategies, field="config.strategy")
            changes["config"] = combo.config.model_copy(update={"strategy": found})
        if combo.tool_filter_regex:
            compiled(combo.tool_filter_regex, field="tool_filter_regex")
    except BadRequest as error:
        faults.add(error.field or "", error.message)
    places = [provider(name) for name in combo.allowed_providers]
    for at, (name, place) in enumerate(zip(combo.allowed_providers, places, strict=True)):
        if not place:
            faults.add(f"allowedProviders[{at}]", f"there is no provider {name!r}")
    changes["allowed_providers"] = tuple(dict.fromkeys(places))
    if combo.config.composite_tiers is not None:
        _check_tiers(combo.config.composite_tiers, {step.id for step in combo.models}, faults)
    faults.tell()
    return combo.model_copy(update=changes)


def _check_tiers(composite: CompositeTiers, steps: set[str], faults: _Faults) -> None:
    where = "config.compositeTiers"
    if composite.default_tier not in composite.tiers:
        faults.add(f"{where}.defaultTier", f"there is no tier {composite.default_tier!r}")
    for name, tier in composite.tiers.items():
        if tier.step_id not in steps:
            faults.add(f"{where}.tiers.{name}.stepId", f"this combo has no step {tier.step_id!r}")
        if tier.fallback_tier is not None and tier.fallback_tier not in composite.tiers:
            faults.add(f"{where}.tiers.{name}.fallbackTier", f"there is no tier {tier.fallback_tier!r}")
    for name in composite.tiers:
        if circle := _circle(composite, name):
            faults.add(f"{where}.tiers.{name}.fallbackTier", f"the fallbacks walk in a circle: {' -> '.join(circle)}")
            return


def _circle(composite: CompositeTiers, start: str) -> list[str]:
    """The walk from a tier back to a tier it has seen; empty when it ends."""
    seen: list[str] = []
    name: str | None = start
    while name is not None and name in composite.tiers:
        if name in seen:
            return [*seen[seen.index(name) :], name]
        seen.append(name)
        name = composite.tiers[name].fallback_tier
    return []


def ordered_by_tiers(combo: Combo) -> tuple[Step, ...]:
    """The steps in the order of the composite tiers, from the default along the fallbacks; the other steps follow as they are stored."""
    composite = combo.config.composite_tiers
    if composite is None:
        return combo.models
    steps = {step.id: step for step in combo.models}
    first: dict[str, Step] = {}
    seen: set[str] = set()
    name: str | None = composite.default_tier
    while name is not None and name in composite.tiers and name not in seen:
        seen.add(name)
        tier = composite.tiers[name]
        if tier.step_id in steps:
            first[tier.step_id] = steps[tier.step_id]
        name = tier.fallback_tier
    return (*first.values(), *(step for step in combo.models if step.id not in first))


def references(combo: Combo) -> list[str]:
    """The names of the combos that a combo refers to."""
    return [step.combo_name for step in combo.models if step.kind == "combo-ref"]


def check_nesting(name: str, combo: Combo, lookup: Callable[[str], Combo | None], *, depth: int = 3) -> None:
    """Raise BadRequest for a combo that refers to itself, is nested deeper than ``depth``, or comes down to too many targets.

    ``lookup`` gives the combos by name as they will be; one that is not there counts for nothing.
    """
    heights: dict[str, tuple[int, int]] = {}

    def height(current: str, body: Combo, path: tuple[str, ...]) -> tuple[int, int]:
        """Levels below a combo, and the targets it comes down to."""
        if current in heights:
            return heights[current]
        levels, targets = 0, sum(step.kind == "model" for step in body.models)
        for wanted in references(body):
            if wanted in path:
                circle = " -> ".join([*path[path.index(wanted) :], wanted])
                raise BadRequest(f"Circular combo reference detected: {circle}", field="models")
            inner = body if wanted == current else lookup(wanted)
            if inner is not None:
                below, more = height(wanted, inner, (*path, wanted))
                levels, targets = max(levels, below + 1), targets + more
        heights[current] = levels, targets
        return levels, targets

    levels, targets = height(name, combo, (name,))
    if levels > depth:
        raise BadRequest(f"Max combo nesting depth ({depth}) exceeded: {name!r} is nested {levels} deep", field="models")
    if targets > MOST_TARGETS:
        raise BadRequest(f"{name!r} comes down to {targets} targets with its nested combos; at most {MOST_TARGETS} can be", field="models")


def expand(name: str, combo: Combo, lookup: Callable[[str], Combo | None], *, depth: int = 3) -> list[Leaf]:
    """The targets that a combo comes down to, nested ones in place, in stored order. What is not there or leads in a circle is left out."""
    return list(_leaves(combo, lookup, (), (name,), depth))[:MOST_TARGETS]


def _leaves(combo: Combo, lookup: Callable[[str], Combo | None], ids: tuple[str, ...], path: tuple[str, ...], depth: int) -> Iterator[Leaf]:
    for step in ordered_by_tiers(combo):
        if step.kind == "model":
            yield Leaf(">".join((*ids, step.id)), step, path)
        elif depth and step.combo_name not in path and (inner := lookup(step.combo_name)) is not None:
            yield from _leaves(inner, lookup, (*ids, step.id), (*path, step.combo_name), depth - 1)


def reaching(name: str, combos: Mapping[str, Combo]) -> list[str]:
    """The names of the combos that lead to a combo, at any depth."""
    above: dict[str, list[str]] = {}
    for other, body in combos.items():
        for wanted in references(body):
            above.setdefault(wanted, []).append(other)
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        for other in above.get(waiting.pop(), ()):
            if other not in found and other != name:
                found[other] = None
                waiting.append(other)
    return list(found)


def used_by(name: str, combo_id: str, combos: Mapping[str, Combo], mappings: Iterable[ModelMapping]) -> list[str]:
    """What would dangle without a combo, in words: the combos that refer to it, the mappings that lead to it."""
    found = [f"combo {other!r}" for other, body in combos.items() if other != name and name in references(body)]
    return found + [f"mapping {one.pattern!r}" for one in mappings if one.combo_id == combo_id]


def renamed(combo: Combo, old: str, new: str) -> Combo:
    """A combo with its references to ``old`` leading to ``new``; their step ids stay, so that what is known of them does too."""
    return combo.model_copy(
        update={"models": tuple(step.model_copy(update={"combo_name": new}) if step.combo_name == old else step for step in combo.models)}
    )
