"""Policies: rules of the owner on who may call what, with which model, when and at what price. Pure; no I/O.

Rules are walked in the order of their priority (lowest number first), then of their age. ``allow`` and ``deny`` end the walk,
``require_tag`` denies when no tag fits, ``rewrite_model`` (the first that matches) and ``cap_tokens`` (the lowest) add up.
Conditions on the model look at the string that the client sent, whatever was rewritten, so that rules cannot chase each
other; those on cost and provider look at the call as it would be made after the rules before them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from hub.access.schedule import Hours, clock_time, zone
from hub.routing.wildcard import matches
from hub.wire import Body, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hub.store.documents import Document

#: Model strings and tags come from callers: what is remembered of them is bounded.
_KEPT, _KEPT_MOMENTS = 1024, 64
_WILD = re.compile("[*?]")

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=100)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=32)]


class TagTest(Body):
    """Tags that a request or its key must carry: one of ``any``, and every one of ``all``."""

    any: Tags = Field(default=(), description="One of these tags.")
    all: Tags = Field(default=(), description="Every one of these tags.")


class TimeTest(Body):
    """Hours of the week. Over midnight when ``until`` is earlier than ``from``; the weekday is the one on which they begin."""

    weekdays: tuple[Annotated[int, Field(ge=0, le=6)], ...] = Field(
        default=(), max_length=7, description="0 Sunday to 6 Saturday; none: all."
    )
    start: str = Field(default="", alias="from", description="HH:MM; none: midnight.")
    until: str = Field(default="", description="HH:MM, not included; none: midnight.")
    zone: str = Field(default="UTC", max_length=64, description="IANA time zone, e.g. Europe/Berlin.")

    _start = field_validator("start", "until")(clock_time)

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        zone(value)
        return value


class When(Body):
    """Conditions; all that are given must match. ``*`` stands for any run of characters, ``?`` for one; case does not count."""

    keys: Patterns = Field(default=(), description="Ids or names of keys.")
    models: Patterns = Field(default=(), description="The model string as the client sends it.")
    providers: Patterns = Field(default=(), description="Providers that may serve the call.")
    skills: Patterns = Field(default=(), description="Names of skills; every chat counts as chat, besides the skill it comes through.")
    doors: Patterns = Field(default=(), description="Doors: openai, rest, mcp, a2a, control and the like.")
    tags: TagTest | None = Field(default=None, description="Tags of the request or of its key.")
    time: TimeTest | None = Field(default=None, description="Hours of the week.")
    cost_above: float | None = Field(default=None, ge=0, le=1_000_000, description="The call may cost more than so many US dollars.")
    cost_below: float | None = Field(
        default=None, gt=0, le=1_000_000, description="The call costs less than so many US dollars in any case."
    )
    stream: bool | None = Field(default=None, description="Whether a stream is asked for.")


class Allow(Body):
    """The call may go on; rules after this one are not looked at."""

    action: Literal["allow"]


class Deny(Body):
    """The call is refused with 403 policy_denied."""

    action: Literal["deny"]
    message: str = Field(default="", max_length=500, description="What the caller is told, besides the rule's name.")


class RewriteModel(Body):
    """The call uses this model string instead; of several rules the first that matches."""

    action: Literal["rewrite_model"]
    model: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s*?]+$")] = Field(description="Model string.")


class CapTokens(Body):
    """The answer may have at most so many tokens; of several rules the lowest counts."""

    action: Literal["cap_tokens"]
    max_tokens: int = Field(ge=1, le=10_000_000, description="Most tokens of the answer.")


class RequireTag(Body):
    """The call is refused unless the request or its key carries one of these tags."""

    action: Literal["require_tag"]
    tags: Tags = Field(min_length=1, description="One of these must be there.")


Then = Annotated[Allow | Deny | RewriteModel | CapTokens | RequireTag, Field(discriminator="action")]


class Policy(Body):
    """One rule. ``name`` is unique; rules with a lower ``priority`` are looked at first, of equals the older."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(description="What the rule is called in refusals.")
    description: str = Field(default="", max_length=2000, description="Why it is there.")
    enabled: bool = Field(default=True, description="False keeps the rule without effect.")
    priority: int = Field(default=100, ge=0, le=100_000, description="Lower is looked at first.")
    when: When = Field(default=When(), description="Conditions, all of which must match; none matches every call.")
    then: Then = Field(description="What happens: allow, deny, rewrite_model, cap_tokens or require_tag.")

    @model_validator(mode="after")
    def _bounds(self) -> Policy:
        above, below = self.when.cost_above, self.when.cost_below
        if above is not None and below is not None and above >= below:
            raise ValueError("when.costAbove must be less than when.costBelow, or the rule never matches")
        return self


@dataclass(frozen=True, slots=True)
class Cost:
    """The most a call can cost in US dollars, over the targets with a known price; ``complete`` when all of them have one.

    ``most`` None: no price is known. An unknown price never matches ``costBelow``, and ``costAbove`` only where a known one does.
    """

    most: float | None = None
    complete: bool = False


@dataclass(slots=True)
class Facts:
    """What is known of a call. ``skills`` are its names: a chat through another skill has two.

    ``partial`` says that model, stream, cost and the request's tags are not known yet. ``providers`` gives those that may serve a model
    string; ``costs`` what was worked out so far, by model string and cap.
    """

    key_id: str
    key_name: str
    skills: tuple[str, ...]
    door: str
    now_ms: int
    model: str = ""
    stream: bool | None = None
    tags: frozenset[str] = frozenset()
    partial: bool = False
    providers: Callable[[str], frozenset[str]] | None = None
    costs: dict[tuple[str, int | None], Cost] = field(default_factory=dict[tuple[str, "int | None"], Cost])


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule that had a say, and what it did in words."""

    id: str
    name: str
    effect: str


@dataclass(slots=True)
class Verdict:
    """What the rules make of a call. ``model`` replaces the requested one unless empty; ``max_tokens`` is the cap, None without one.

    ``wants`` is the model string and cap whose cost must be known before the walk can end; the verdict counts for nothing until it is None.
    """

    allowed: bool = True
    denied_by: Applied | None = None
    message: str = ""
    applied: list[Applied] = field(default_factory=list[Applied])
    model: str = ""
    max_tokens: int | None = None
    wants: tuple[str, int | None] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a rule against the facts: True, False, or None while it is not known. ``why`` is for people."""

    condition: str
    matches: bool | None
    why: str


class Rule:
    """A compiled policy: its conditions by when they are looked at. Steady ones depend on who calls what and how, the next on
    the moment and the tags, the late ones on where the call would go and what it would cost."""

    __slots__ = ("action", "hours", "id", "late", "moving", "name", "policy", "steady", "tokens")

    def __init__(self, document: Document[Policy]) -> None:
        self.id = document.id
        self.name = document.name
        self.policy = document.body
        self.action = document.body.then.action
        self.tokens = document.body.then.max_tokens if isinstance(document.body.then, CapTokens) else 0
        when = document.body.when
        test = when.time
        self.hours = None if test is None else Hours(days=test.weekdays, start=test.start, until=test.until, zone_name=test.zone)
        given = [name for name in (*_STEADY, *_MOVING, *_LATE) if getattr(when, name) not in ((), None)]
        self.steady = tuple(name for name in given if name in _STEADY)
        self.moving = tuple(name for name in given if name in _MOVING)
        self.late = tuple(_LATE[name] for name in given if name in _LATE)


class _Fitting:
    """The rules whose steady conditions match, or may yet match, for one kind of call; by tags and minute those that are left then."""

    __slots__ = ("moments", "rules")

    def __init__(self, rules: list[tuple[Rule, bool]]) -> None:
        self.rules = rules
        self.moments: dict[tuple[frozenset[str], int], list[tuple[Rule, bool]]] = {}


class PolicySet:
    """The enabled rules in their order, compiled once for each change of the documents."""

    def __init__(self, documents: Iterable[Document[Policy]]) -> None:
        self.ordered = sorted(documents, key=lambda one: (one.body.priority, one.created_at, one.id))
        self.rules = [Rule(document) for document in self.ordered if document.body.enabled]
        self._fitting: dict[tuple[Any, ...], _Fitting] = {}

    def judge(self, facts: Facts) -> Verdict:
        """Walk the rules. With partial facts only what is certain already is denied."""
        verdict = Verdict()
        for rule, sure in self._candidates(facts):
            state = _all(test(rule, facts, verdict) for test in rule.late) if rule.late else True
            if state is False:
                continue
            if not (sure and state):
                if verdict.wants or rule.action == "allow":
                    break  # an allow that may yet match keeps the rules after it from being final
                continue
            if _ENDS[rule.action](rule, facts, verdict):
                break
        return verdict

    def _candidates(self, facts: Facts) -> list[tuple[Rule, bool]]:
        """The rules all of whose conditions but the late ones match, or may yet match (then False)."""
        known = (facts.key_id, facts.key_name, facts.skills, facts.door, facts.model, facts.stream, facts.partial)
        fitting = self._fitting.get(known)
        if fitting is None:
            if len(self._fitting) >= _KEPT:
                self._fitting.clear()
            every = [(rule, True) for rule in self.rules]
            fitting = self._fitting[known] = _Fitting(
                _narrowed(every, lambda rule: _all(_STEADY[name](rule, facts) for name in rule.steady))
            )
        moment = (facts.tags, facts.now_ms // 60_000)  # hours begin and end with a minute
        found = fitting.moments.get(moment)
        if found is None:
            if len(fitting.moments) >= _KEPT_MOMENTS:
                fitting.moments.clear()
            found = _narrowed(fitting.rules, lambda rule: _all(_MOVING[name](rule, facts) for name in rule.moving))
            fitting.moments[moment] = found
        return found


def _narrowed(rules: list[tuple[Rule, bool]], fits: Callable[[Rule], bool | None]) -> list[tuple[Rule, bool]]:
    """The rules that a further look does not exclude; True stays only where it is sure."""
    looked = ((rule, sure, fits(rule)) for rule, sure in rules)
    return [(rule, sure and bool(fit)) for rule, sure, fit in looked if fit is not False]


def explain(rule: Rule, facts: Facts, verdict: Verdict) -> list[Check]:
    """Every condition of a rule with what the call has and whether it matches. ``verdict`` says what other rules made of the call."""
    when = rule.policy.when
    probe = Verdict(model=verdict.model, max_tokens=verdict.max_tokens)
    states = [(name, _STEADY[name](rule, facts)) for name in rule.steady] + [(name, _MOVING[name](rule, facts)) for name in rule.moving]
    states += [(name, test(rule, facts, probe)) for name, test in _LATE.items() if getattr(when, name) not in ((), None)]
    return [Check(_camel(name), state, _SEEN[name](facts) if name in _SEEN else _money(facts, probe)) for name, state in states]


def _all(states: Iterable[bool | None]) -> bool | None:
    result: bool | None = True
    for state in states:
        if state is False:
            return False
        result = result and state
    return result


def fits_any(patterns: Sequence[str], *names: str) -> bool:
    """Whether one of the names fits one of the patterns."""
    for name in names:
        lowered = name.lower()
        for pattern in patterns:
            start = _literal(pattern)
            if lowered.startswith(start) and (len(start) == len(pattern) == len(lowered) or matches(pattern, name)):
                return True
    return False


@lru_cache(maxsize=4096)
def _literal(pattern: str) -> str:
    """What a pattern begins with before its first wildcard, in small letters."""
    return _WILD.split(pattern.lower(), maxsplit=1)[0]


def _keys(rule: Rule, facts: Facts) -> bool:
    return fits_any(rule.policy.when.keys, facts.key_id, facts.key_name)


def _models(rule: Rule, facts: Facts) -> bool | None:
    if facts.partial:
        return None
    return bool(facts.model) and fits_any(rule.policy.when.models, facts.model)


def _skills(rule: Rule, facts: Facts) -> bool:
    return fits_any(rule.policy.when.skills, *facts.skills)


def _doors(rule: Rule, facts: Facts) -> bool:
    return fits_any(rule.policy.when.doors, facts.door)


def _stream(rule: Rule, facts: Facts) -> bool | None:
    return None if facts.partial else facts.stream is rule.policy.when.stream


def _time(rule: Rule, facts: Facts) -> bool:
    return rule.hours is None or rule.hours.open(facts.now_ms)


def _tags(rule: Rule, facts: Facts) -> bool | None:
    test = rule.policy.when.tags
    if test is None:
        return True
    found = (not test.any or not facts.tags.isdisjoint(test.any)) and facts.tags.issuperset(test.all)
    return found or (None if facts.partial else False)


def _providers(rule: Rule, facts: Facts, verdict: Verdict) -> bool | None:
    if facts.partial:
        return None
    found = facts.providers(verdict.model or facts.model) if facts.providers and facts.model else frozenset[str]()
    return fits_any(rule.policy.when.providers, *found)


def _cost(rule: Rule, facts: Facts, verdict: Verdict) -> bool | None:
    """Both bounds; asks for the cost when nothing but it is still open."""
    if facts.partial:
        return None
    if not facts.model:
        return False
    place = (verdict.model or facts.model, verdict.max_tokens)
    cost = facts.costs.get(place)
    if cost is None:
        verdict.wants = place
        return None
    above, below = rule.policy.when.cost_above, rule.policy.when.cost_below
    if cost.most is None or (above is not None and cost.most <= above):
        return False
    return below is None or (cost.complete and cost.most < below)


_STEADY: dict[str, Callable[[Rule, Facts], bool | None]] = {
    "keys": _keys,
    "models": _models,
    "skills": _skills,
    "doors": _doors,
    "stream": _stream,
}
_MOVING: dict[str, Callable[[Rule, Facts], bool | None]] = {"tags": _tags, "time": _time}
#: Both bounds of the cost are one test.
_LATE: dict[str, Callable[[Rule, Facts, Verdict], bool | None]] = {"providers": _providers, "cost_above": _cost, "cost_below": _cost}


def _allow(rule: Rule, facts: Facts, verdict: Verdict) -> bool:
    verdict.applied.append(Applied(rule.id, rule.name, "allow"))
    return True


def _deny(rule: Rule, facts: Facts, verdict: Verdict) -> bool:
    words = rule.policy.then.message if isinstance(rule.policy.then, Deny) else ""
    return _refuse(rule, verdict, words or "ask the owner of this hub if you need it")


def _refuse(rule: Rule, verdict: Verdict, words: str) -> bool:
    verdict.allowed = False
    verdict.denied_by = Applied(rule.id, rule.name, rule.action)
    verdict.message = f"policy {rule.name!r} refuses this call: {words}"
    verdict.applied.append(verdict.denied_by)
    return True


def _rewrite(rule: Rule, facts: Facts, verdict: Verdict) -> bool:
    if not verdict.model and isinstance(rule.policy.then, RewriteModel):
        verdict.model = rule.policy.then.model
        verdict.applied.append(Applied(rule.id, rule.name, f"rewrite_model {verdict.model}"))
    return False


def _cap(rule: Rule, facts: Facts, verdict: Verdict) -> bool:
    if verdict.max_tokens is None or rule.tokens < verdict.max_tokens:
        verdict.max_tokens = rule.tokens
        verdict.applied.append(Applied(rule.id, rule.name, f"cap_tokens {verdict.max_tokens}"))
    return False


def _require(rule: Rule, facts: Facts, verdict: Verdict) -> bool:
    wanted = rule.policy.then.tags if isinstance(rule.policy.then, RequireTag) else ()
    if facts.partial or not facts.tags.isdisjoint(wanted):
        return False
    return _refuse(rule, verdict, f"it must carry one of the tags {', '.join(wanted)}, in the request or on its key")


#: What each action does to the verdict; True ends the walk.
_ENDS: dict[str, Callable[[Rule, Facts, Verdict], bool]] = {
    "allow": _allow,
    "deny": _deny,
    "rewrite_model": _rewrite,
    "cap_tokens": _cap,
    "require_tag": _require,
}


def _money(facts: Facts, verdict: Verdict) -> str:
    cost = facts.costs.get((verdict.model or facts.model, verdict.max_tokens))
    if cost is None:
        return "the cost of this call is not known"
    if cost.most is None:
        return "no target of this call has a known price"
    return f"this call may cost ${cost.most:.6f}" + ("" if cost.complete else " or more: not every target has a known price")


#: The fact that a condition looks at, for people.
_SEEN: dict[str, Callable[[Facts], str]] = {
    "keys": lambda facts: f"the key is {facts.key_name!r} ({facts.key_id or 'none'})",
    "models": lambda facts: f"the model is {facts.model!r}",
    "skills": lambda facts: f"the skill is {' in '.join(facts.skills)}",
    "doors": lambda facts: f"the door is {facts.door!r}",
    "stream": lambda facts: f"stream is {facts.stream}",
    "tags": lambda facts: f"the tags are {', '.join(sorted(facts.tags)) or 'none'}",
    "time": lambda facts: f"the time is {iso(facts.now_ms)}",
    "providers": lambda facts: "by the providers that may serve the call",
}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
