"""The rules' engine: order, what ends the walk, what adds up, what is not known yet, and its price per call."""

from __future__ import annotations

import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.access.policy import Cost, Facts, Policy, PolicySet, Rule, Verdict, explain
from hub.access.policy_overlap import meets, overlap, warnings
from hub.routing.wildcard import matches
from hub.store.documents import Document

MONDAY_NOON = 1_795_435_200_000  # 2026-11-23T12:00Z


def NORTH(_: str) -> frozenset[str]:
    return frozenset({"north", "west"})


def SOUTH(_: str) -> frozenset[str]:
    return frozenset({"south"})


def rule(name: str, then: dict[str, Any] | str, *, age: int = 0, **fields: Any) -> Document[Policy]:
    action = {"action": then} if isinstance(then, str) else then
    when = fields.pop("when", {})
    body = Policy.model_validate({"name": name, "then": action, "when": when, **fields})
    return Document(id=f"pol_{name}", name=name, body=body, created_at=age, updated_at=age)


def facts(**fields: Any) -> Facts:
    known: dict[str, Any] = {
        "key_id": "key_1",
        "key_name": "laptop",
        "skills": ("chat",),
        "door": "openai",
        "now_ms": MONDAY_NOON,
        "model": "north/big",
        "stream": False,
        **fields,
    }
    return Facts(**known)


def judge(*rules: Document[Policy], **fields: Any) -> Verdict:
    return PolicySet(rules).judge(facts(**fields))


def test_nothing_matches_nothing_happens() -> None:
    verdict = judge(rule("a", "deny", when={"models": ["south/*"]}))
    assert (verdict.allowed, verdict.applied, verdict.model, verdict.max_tokens) == (True, [], "", None)


@pytest.mark.parametrize(
    ("when", "other"),
    [
        ({"keys": ["key_1"]}, {"key_id": "key_2"}),
        ({"keys": ["LAP*"]}, {"key_name": "phone"}),
        ({"models": ["north/b?g"]}, {"model": "north/small"}),
        ({"models": ["*big"]}, {"model": ""}),
        ({"skills": ["chat"]}, {"skills": ("keys-list",)}),
        ({"skills": ["route-*"]}, None),
        ({"doors": ["openai", "mcp"]}, {"door": "a2a"}),
        ({"stream": False}, {"stream": True}),
        ({"tags": {"any": ["red", "blue"]}}, {"tags": frozenset({"green"})}),
        ({"tags": {"all": ["red", "blue"]}}, {"tags": frozenset({"red"})}),
        ({"time": {"weekdays": [1], "from": "09:00", "until": "17:00", "zone": "UTC"}}, {"now_ms": MONDAY_NOON + 6 * 3_600_000}),
        ({"providers": ["north"]}, {"providers": SOUTH}),
    ],
)
def test_each_condition(when: dict[str, Any], other: dict[str, Any] | None) -> None:
    full: dict[str, Any] = {
        "tags": frozenset({"red", "blue"}),
        "skills": ("chat", "route-request"),
        "providers": NORTH,
    }
    denied = judge(rule("a", {"action": "deny", "message": "not here"}, when=when), **full)
    assert denied.denied_by is not None
    assert (denied.allowed, denied.denied_by.name, denied.message) == (False, "a", "policy 'a' refuses this call: not here")
    if other is not None:
        assert judge(rule("a", "deny", when=when), **{**full, **other}).allowed


def test_priority_then_age_and_what_ends_the_walk() -> None:
    allow, deny = rule("allow", "allow", priority=5, age=2), rule("deny", "deny", priority=5, age=1)
    assert not judge(allow, deny).allowed
    assert judge(rule("allow", "allow", priority=4, age=9), deny).allowed
    cap = rule("cap", {"action": "cap_tokens", "maxTokens": 9}, priority=9)
    assert judge(rule("allow", "allow"), cap).max_tokens == 9
    assert judge(rule("allow", "allow", priority=1), cap).max_tokens is None
    assert judge(rule("deny", "deny", enabled=False), cap).allowed


def test_one_rewrite_and_the_lowest_cap() -> None:
    verdict = judge(
        rule("first", {"action": "rewrite_model", "model": "north/small"}, priority=1),
        rule("second", {"action": "rewrite_model", "model": "north/tiny"}, priority=2, when={"models": ["north/big"]}),
        rule("third", {"action": "rewrite_model", "model": "north/big"}, priority=3, when={"models": ["north/small"]}),
        rule("cap 5", {"action": "cap_tokens", "maxTokens": 5}),
        rule("cap 9", {"action": "cap_tokens", "maxTokens": 9}),
    )
    assert (verdict.model, verdict.max_tokens) == ("north/small", 5)
    assert [one.name for one in verdict.applied] == ["first", "cap 5"]


def test_a_tag_is_required() -> None:
    asks = rule("tagged", {"action": "require_tag", "tags": ["cost-1", "cost-2"]})
    verdict = judge(asks)
    assert not verdict.allowed
    assert "one of the tags cost-1, cost-2" in verdict.message
    assert judge(asks, tags=frozenset({"cost-2"})).allowed


def test_the_cost_is_asked_for_only_when_nothing_else_decides() -> None:
    dear = rule("dear", "deny", when={"costAbove": 0.5, "models": ["north/*"]})
    assert judge(dear, model="south/x").wants is None
    assert judge(rule("early", "deny", priority=1), dear).wants is None
    asked = judge(rule("small", {"action": "rewrite_model", "model": "north/s"}, priority=1), dear)
    assert asked.wants == ("north/s", None)
    place = ("north/s", None)
    rewrite = rule("small", {"action": "rewrite_model", "model": "north/s"}, priority=1)
    assert judge(rewrite, dear, costs={place: Cost(0.5, complete=True)}).allowed
    assert not judge(rewrite, dear, costs={place: Cost(0.51, complete=False)}).allowed


def test_an_unknown_price_matches_neither_bound() -> None:
    above, below = rule("a", "deny", when={"costAbove": 0}), rule("b", "deny", when={"costBelow": 1_000})
    for cost, over, under in (
        (Cost(), True, True),
        (Cost(0.5, complete=False), False, True),  # some target is known to cost that much; none to cost less
        (Cost(0.5, complete=True), False, False),
    ):
        costs = {("north/big", None): cost}
        assert judge(above, costs=dict(costs)).allowed is over
        assert judge(below, costs=dict(costs)).allowed is under


def test_what_is_not_known_yet_is_left_to_the_chat() -> None:
    closed = rule("closed", "deny", priority=5)
    perhaps = rule("perhaps", "allow", priority=1, when={"models": ["north/*"]})
    early = {"model": "", "stream": None, "partial": True}
    assert not judge(closed, **early).allowed
    assert judge(closed, perhaps, **early).allowed  # the model may be one that is allowed
    assert not judge(closed, perhaps, model="", stream=None).allowed  # a call without a model never is
    assert not judge(closed, rule("no", "deny", when={"models": ["x"]}), **early).allowed
    for when in ({"stream": True}, {"costAbove": 1}, {"tags": {"any": ["x"]}}, {"providers": ["x"]}):
        assert judge(rule("later", "deny", when=when), **early).allowed
    assert judge(rule("tag", {"action": "require_tag", "tags": ["x"]}), **early).allowed
    assert not judge(rule("known", "deny", when={"tags": {"any": ["x"]}}), tags=frozenset({"x"}), **early).allowed


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"then": {"action": "explode"}}, "then"),
        ({"then": {"action": "deny", "model": "x"}}, "then.deny.model"),
        ({"when": {"model": ["x"]}}, "when.model"),
        ({"when": {"time": {"zone": "Mars/Olympus"}}}, "when.time.zone"),
        ({"when": {"time": {"from": "25:00"}}}, "when.time.from"),
        ({"when": {"time": {"weekdays": [7]}}}, "when.time.weekdays.0"),
        ({"when": {"costAbove": 2, "costBelow": 1}}, ""),
        ({"when": {"costAbove": -1}}, "when.costAbove"),
        ({"then": {"action": "rewrite_model", "model": "a*"}}, "then.rewrite_model.model"),
        ({"then": {"action": "cap_tokens", "maxTokens": 0}}, "then.cap_tokens.maxTokens"),
        ({"then": {"action": "require_tag", "tags": []}}, "then.require_tag.tags"),
        ({"priority": -1}, "priority"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_bad_rule_names_its_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate({"name": "x", "then": {"action": "allow"}, **wrong})
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == field


def test_a_rule_is_stored_as_it_was_given() -> None:
    given = {"name": "x", "when": {"time": {"from": "09:00", "zone": "Europe/Berlin"}}, "then": {"action": "cap_tokens", "maxTokens": 5}}
    body = Policy.model_validate(given)
    assert Policy.model_validate_json(body.model_dump_json(by_alias=True, exclude_defaults=True)) == body


def test_every_condition_is_explained() -> None:
    when = {"keys": ["key_1"], "models": ["south/*"], "tags": {"any": ["red"]}, "costAbove": 1.0, "time": {"weekdays": [1]}}
    known = facts(tags=frozenset({"red"}), costs={("north/big", None): Cost(0.25, complete=True)})
    checks = {check.condition: check for check in explain(Rule(rule("a", "deny", when=when)), known, Verdict())}
    assert {name: check.matches for name, check in checks.items()} == {
        "keys": True, "models": False, "tags": True, "time": True, "costAbove": False,
    }  # fmt: skip
    assert checks["costAbove"].why == "this call may cost $0.250000"
    assert "2026-11-23T12:00" in checks["time"].why


globs = st.text("ab*?", min_size=1, max_size=6)


@given(globs, globs)
def test_two_patterns_meet_when_some_name_fits_both(first: str, second: str) -> None:
    names = [""]
    for _ in range(6):
        names += [name + letter for name in names for letter in "ab" if len(name) < 6]
        names = list(dict.fromkeys(names))
    found = any(matches(first, name) and matches(second, name) for name in names)
    # A name both fit, if there is any, is no longer than their letters together; those up to six are tried.
    if found or len(first.replace("*", "")) + len(second.replace("*", "")) <= 6:
        assert meets(first, second) is found


def when_of(**when: Any) -> Any:
    return rule("x", "deny", when=when).body.when


def test_what_can_never_match_together_does_not_overlap() -> None:
    assert overlap(when_of(), when_of())
    assert overlap(when_of(models=["a*"]), when_of(models=["*b"], keys=["x"]))
    for first, second in (
        ({"models": ["a*"]}, {"models": ["b*"]}),
        ({"stream": True}, {"stream": False}),
        ({"costAbove": 5}, {"costBelow": 2}),
        ({"time": {"weekdays": [1]}}, {"time": {"weekdays": [2]}}),
        ({"time": {"from": "09:00", "until": "12:00"}}, {"time": {"from": "12:00", "until": "09:00"}}),
    ):
        assert not overlap(when_of(**first), when_of(**second))


def test_contradictions_are_named() -> None:
    allow = rule("open", "allow", priority=1, when={"models": ["north/*"]})
    deny = rule("shut", "deny", priority=2, when={"models": ["*/big"]})
    other = rule("other", "deny", priority=3, when={"models": ["south/*"]})
    ordered = PolicySet([deny, allow, other]).ordered
    assert warnings(ordered) == ["'open' and 'shut' match some of the same calls: the first allows them, so the second does not deny them"]
    assert warnings(ordered, about="pol_other") == []
    rewrites = [rule(name, {"action": "rewrite_model", "model": name}) for name in ("a", "b")]
    assert "so the second does not rewrite it to 'b'" in warnings(rewrites)[0]
    assert warnings([rule("all", "deny")]) == ["'all' denies every call that no rule before it allows"]
    assert warnings([rule("open", "allow"), rule("shut", "deny", enabled=False)]) == []


def test_what_callers_send_does_not_pile_up() -> None:
    """SEC B8: model strings come from callers."""
    rules = PolicySet([rule("a", "deny", when={"models": ["never"]})])
    for number in range(3000):
        rules.judge(facts(model=f"m{number}"))
    assert len(rules._fitting) <= 1024  # pyright: ignore[reportPrivateUsage]


def test_twenty_rules_cost_microseconds() -> None:
    many = [rule(f"r{n}", "deny", when={"models": [f"south/{n}*"], "keys": ["key_*"]}) for n in range(14)]
    many += [rule(f"t{n}", "deny", when={"tags": {"any": [f"tag{n}"]}, "doors": ["open*"]}) for n in range(3)]
    many += [rule(f"h{n}", "deny", when={"time": {"weekdays": [0], "from": "09:00", "until": "17:00"}}) for n in range(2)]
    many.append(rule("cap", {"action": "cap_tokens", "maxTokens": 100}))
    rules, known = PolicySet(many), facts(tags=frozenset({"red"}))
    assert rules.judge(known).max_tokens == 100
    took = min(timeit.repeat(lambda: rules.judge(known), number=2000, repeat=5)) / 2000
    assert took < 20e-6  # about 3 us; generous, for machines under load
