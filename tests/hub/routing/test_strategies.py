"""Every strategy of the folder: it orders, and does nothing else (D21, style.md 5). What each is for is in test_orders.py."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadRequest
from hub.routing.strategy import SIGHTS, Facts, Option, Sight, Strategy, named
from tests.hub.routing.options import FACTS, STRATEGIES, facts, keys, made_facts, made_options, option, options, some
from tests.hub.routing.options import SIGHTS as KNOWN

SWEEP = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())

EVERY = {
    "priority", "weighted", "round-robin", "random", "strict-random", "least-used", "cost-optimized", "context-optimized", "p2c",
    "fill-first", "lkgp", "context-relay", "auto", "reset-aware", "headroom", "cache-optimized", "fusion", "pipeline",
}  # fmt: skip
ACCOUNTS = {
    "fill-first", "priority", "weighted", "round-robin", "p2c", "random", "least-used", "cost-optimized", "strict-random", "headroom",
    "reset-aware",
}  # fmt: skip


def test_all_are_there() -> None:
    """routing.md 2.2, and 1.4 for those that order accounts."""
    assert set(STRATEGIES) == EVERY
    assert {name for name, strategy in STRATEGIES.items() if strategy.accounts} == ACCOUNTS
    assert {name: strategy.mode for name, strategy in STRATEGIES.items() if strategy.mode != "fallback"} == {
        "fusion": "fusion",
        "pipeline": "pipeline",
    }
    assert {name for name, strategy in STRATEGIES.items() if strategy.steady} == {
        "priority", "fill-first", "context-relay", "fusion", "pipeline"
    }  # fmt: skip


@SWEEP
def test_it_says_what_it_does(strategy: Strategy) -> None:
    assert strategy.name
    assert strategy.summary
    assert strategy.sees <= SIGHTS
    assert strategy.knows <= {one.name for one in fields(Facts)}


def test_the_tests_know_every_fact() -> None:
    """A fact that is added must be told to the sweeps."""
    assert set(KNOWN) == SIGHTS
    assert set(FACTS) == {one.name for one in fields(Facts)}


@SWEEP
@given(given_options=options(), given_facts=facts())
def test_nothing_is_lost_doubled_or_changed(strategy: Strategy, given_options: list[Option], given_facts: Facts) -> None:
    """The very same options come back, each once; nothing is changed but the score that is there to be filled."""
    listed = list(given_options)
    before = [repr((one.connection, one.provider, one.model, one.key, one.weight, one.sight)) for one in given_options]
    found = strategy.order(given_options, given_facts)
    assert sorted(map(id, found)) == sorted(map(id, given_options))
    assert found is not given_options
    assert all(one is other for one, other in zip(given_options, listed, strict=True))
    assert [repr((one.connection, one.provider, one.model, one.key, one.weight, one.sight)) for one in given_options] == before


@SWEEP
@given(given_options=options(), given_facts=facts(), others=options(), other_facts=facts())
def test_the_same_question_has_the_same_answer(
    strategy: Strategy, given_options: list[Option], given_facts: Facts, others: list[Option], other_facts: Facts
) -> None:
    """Pure: what it ordered before makes no difference, nor do scores that are left from it."""
    first = keys(strategy.order(given_options, given_facts))
    strategy.order(others, other_facts)
    strategy.order(list(reversed(given_options)), other_facts)
    assert keys(strategy.order(given_options, given_facts)) == first


@SWEEP
@given(given_options=options(), given_facts=facts(), other=facts(), seed=st.integers(0, 2**32))
def test_facts_that_it_does_not_name_change_nothing(
    strategy: Strategy, given_options: list[Option], given_facts: Facts, other: Facts, seed: int
) -> None:
    """``sees`` and ``knows`` are all that it reads: the planner gathers no more, the record keeps no more."""
    first = keys(strategy.order(given_options, given_facts))
    chance = random.Random(seed)
    blind = {name: getattr(other, name) for name in FACTS if name not in strategy.knows}
    for one in given_options:
        unseen = {name: draw(chance) for name, draw in KNOWN.items() if name not in strategy.sees}
        one.sight = msgspec.structs.replace(one.sight, **unseen)
    assert keys(strategy.order(given_options, replace(given_facts, **blind))) == first


@pytest.mark.parametrize(
    ("strategy", "name"),
    [(one, name) for one in STRATEGIES.values() for name in sorted(one.sees | one.knows)],
    ids=lambda one: getattr(one, "name", one),
)
def test_facts_that_it_names_matter(strategy: Strategy, name: str) -> None:
    """It names none in vain: some change of each fact changes some order."""
    for seed in range(2000):
        given_options, given_facts = made_options(4, seed), made_facts(seed)
        first = keys(strategy.order(given_options, given_facts))
        chance = random.Random(seed + 1)
        if name in strategy.knows:
            given_facts = replace(given_facts, **{name: FACTS[name](chance)})
        if name in strategy.sees:
            for one in given_options:
                one.sight = msgspec.structs.replace(one.sight, **{name: KNOWN[name](chance)})
        if keys(strategy.order(given_options, given_facts)) != first:
            return
    pytest.fail(f"{strategy.name} names {name} and does not read it")


@SWEEP
@given(given_options=options(), given_facts=facts())
def test_the_record_makes_the_same_order_again(strategy: Strategy, given_options: list[Option], given_facts: Facts) -> None:
    """D21: from JSON, with the facts that were kept and no others; scores too."""
    found = strategy.order(given_options, given_facts)
    scores = {one.key: (one.score, dict(one.factors)) for one in found}
    kept = orjson.dumps(
        {
            "inputs": given_facts.inputs(strategy.knows),
            "sights": [{name: getattr(one.sight, name) for name in strategy.sees} for one in given_options],
        }
    )
    read = orjson.loads(kept)
    again = [
        Option(one.connection, one.provider, one.model, key=one.key, weight=one.weight, sight=Sight(**sight))
        for one, sight in zip(given_options, read["sights"], strict=True)
    ]
    replayed = strategy.order(again, Facts(**read["inputs"]))
    assert keys(replayed) == keys(found)
    assert {one.key: (one.score, dict(one.factors)) for one in replayed} == scores


def test_weights_of_any_mapping_become_json() -> None:
    from types import MappingProxyType

    given_facts = Facts(weights=MappingProxyType({"quota": 1.0}))
    inputs = orjson.loads(orjson.dumps(given_facts.inputs(frozenset({"weights", "budget_cap", "seed"}))))
    assert Facts(**inputs) == Facts(weights={"quota": 1.0})


@pytest.mark.parametrize("strategy", [one for one in STRATEGIES.values() if one.steady], ids=lambda one: one.name)
@given(given_options=options(), given_facts=facts())
def test_a_steady_one_keeps_the_stored_order(strategy: Strategy, given_options: list[Option], given_facts: Facts) -> None:
    """Its plans are kept, so nothing but the options may matter."""
    assert keys(strategy.order(given_options, given_facts)) == keys(given_options)


@SWEEP
@given(count=st.integers(0, 6))
def test_options_that_are_alike_stay_as_stored(strategy: Strategy, count: int) -> None:
    """Unless chance or the turn is to spread them. Turn 0 of round-robin is the stored order."""
    if not strategy.knows & {"seed", "deck"} or strategy.name == "auto":
        assert keys(strategy.order(some(count), Facts())) == keys(some(count))


@pytest.mark.parametrize(
    "name", ["auto", "cache-optimized", "context-optimized", "cost-optimized", "headroom", "least-used", "p2c", "reset-aware"]
)
@given(given_options=options(), given_facts=facts())
def test_too_small_a_window_goes_last(name: str, given_options: list[Option], given_facts: Facts) -> None:
    """Where options are compared: one that must refuse the prompt is behind all that need not. (P2C knows dead ones as well.)"""
    given_facts = replace(given_facts, exploration=0.0, budget_cap=None, tools=False)
    for one in given_options:
        one.sight = msgspec.structs.replace(one.sight, health=1.0)
    small = [(one.sight.context or 10**9) < given_facts.tokens for one in STRATEGIES[name].order(given_options, given_facts)]
    assert small == sorted(small)


@pytest.mark.parametrize(("name", "facts_of"), [("round-robin", {}), ("strict-random", {"deck": 77})])
@given(count=st.integers(1, 7), rounds=st.integers(1, 6), data=st.data())
def test_every_option_once_a_round(name: str, facts_of: dict[str, int], count: int, rounds: int, data: st.DataObject) -> None:
    """REL: over n x k turns each option is first exactly k times, and once in each round."""
    start = data.draw(st.integers(0, 50)) * count
    strategy = STRATEGIES[name]
    first = [strategy.order(some(count), Facts(turn=start + turn, **facts_of))[0].key for turn in range(count * rounds)]
    for number in range(rounds):
        assert sorted(first[number * count : (number + 1) * count]) == sorted(keys(some(count)))
    if count > 1:
        assert all(one != other for one, other in pairwise(first))


@given(deck=st.integers(0, 2**32 - 1), count=st.integers(2, 8))
def test_a_strict_deck_never_repeats_across_the_seam(deck: int, count: int) -> None:
    first = [STRATEGIES["strict-random"].order(some(count), Facts(turn=turn, deck=deck))[0].key for turn in range(count * 30)]
    assert all(one != other for one, other in pairwise(first))
    assert set(Counter(first).values()) == {30}


def test_a_strict_deck_is_shuffled_anew_each_round() -> None:
    first = [STRATEGIES["strict-random"].order(some(4), Facts(turn=turn, deck=5))[0].key for turn in range(4 * 50)]
    assert len({tuple(first[start : start + 4]) for start in range(0, 200, 4)}) > 12


def test_round_robin_stays_for_its_sticky_turns() -> None:
    first = [STRATEGIES["round-robin"].order(some(3), Facts(turn=turn, sticky=3))[0].key for turn in range(12)]
    assert first == ["k0"] * 3 + ["k1"] * 3 + ["k2"] * 3 + ["k0"] * 3


_TURNS = 6000


def firsts(name: str, given_options: list[Option]) -> dict[str, float]:
    """How often each option comes first, as a share."""
    counted = Counter(STRATEGIES[name].order(given_options, Facts(seed=seed))[0].key for seed in range(_TURNS))
    return {one.key: counted[one.key] / _TURNS for one in given_options}


def near(expected: float) -> object:
    """Five standard deviations of a share of :data:`_TURNS` draws."""
    return pytest.approx(expected, abs=5 * (expected * (1 - expected) / _TURNS) ** 0.5 + 1e-9)


def test_weighted_is_as_fair_as_its_weights() -> None:
    found = firsts("weighted", [option(0, weight=1), option(1, weight=0), option(2, weight=6), option(3, weight=3)])
    assert found == {"k0": near(0.1), "k1": 0, "k2": near(0.6), "k3": near(0.3)}


def test_weighted_without_weights_is_fair() -> None:
    """routing.md 8.8"""
    assert firsts("weighted", some(4)) == dict.fromkeys(keys(some(4)), near(0.25))


def test_random_is_fair_in_every_order() -> None:
    counted = Counter(tuple(keys(STRATEGIES["random"].order(some(3), Facts(seed=seed)))) for seed in range(_TURNS))
    assert len(counted) == 6
    assert [number / _TURNS for number in counted.values()] == [near(1 / 6)] * 6


def test_p2c_tries_all_that_are_alike_and_never_the_worst() -> None:
    found = firsts("p2c", [option(0), option(1), option(2), option(3, success=0.0)])
    assert found["k3"] == 0
    assert [found[key] for key in ("k0", "k1", "k2")] == [near(1 / 3)] * 3


def test_a_strategy_is_found_by_name_and_alias() -> None:
    assert named(STRATEGIES, "p2c").name == "p2c"
    aliases = {"usage": "least-used", "context": "context-optimized", "reset-window": "reset-aware"}
    assert {alias: named(STRATEGIES, alias).name for alias in aliases} == aliases
    with pytest.raises(BadRequest, match=r"no routing strategy 'usag'; there are auto, .*weighted") as caught:
        named(STRATEGIES, "usag")
    assert caught.value.field == "strategy"


def test_no_alias_is_a_name() -> None:
    written = [name for strategy in STRATEGIES.values() for name in (strategy.name, *strategy.aliases)]
    assert len(written) == len(set(written))
