"""``auto``: factors, weights, packs, variants and limits (routing.md 2.4)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from hub.routing.combo import ScoringWeights
from hub.routing.scoring import FACTORS, MODES, PACKS
from hub.routing.strategy import Facts, Option
from tests.hub.routing.options import STRATEGIES, facts, option, options, ordered, some

AUTO = STRATEGIES["auto"]


def only(factor: str) -> dict[str, float]:
    return {factor: 1.0}


def scores(given: list[Option], **more: object) -> list[float]:
    AUTO.order(given, Facts(**more))  # pyright: ignore[reportArgumentType]
    return [round(one.score or 0.0, 6) for one in given]


@given(given_options=options(), given_facts=facts())
def test_the_score_is_what_the_factors_add(given_options: list[Option], given_facts: Facts) -> None:
    """D21: what each factor contributed, nothing else, each within its weight."""
    AUTO.order(given_options, given_facts)
    for one in given_options:
        assert one.score == pytest.approx(sum(one.factors.values()))
        assert 0 <= one.score <= 1.01
        assert set(one.factors) <= set(FACTORS)


@pytest.mark.parametrize(
    ("factor", "sights", "expected"),
    [
        ("quota", [{"quota": 80}, {}, {"quota": 0}], [0.8, 0.5, 0]),
        ("health", [{"health": 1.0}, {"health": 0.5}, {"health": 0.0}], [1, 0.5, 0]),
        ("costInv", [{"price": 1.0}, {"price": 4.0}, {}, {"price": 0.0}], [0.75, 0, 0.5, 1]),
        ("costInv", [{"price": 0.0}, {"price": 0.0}], [1, 1]),
        ("latencyInv", [{"latency": 500.0}, {"latency": 2000.0}, {}], [0.75, 0, 0.5]),
        ("taskFit", [{"fit": 0.9}, {}], [0.9, 0.5]),
        ("stability", [{"deviation": 10.0}, {"deviation": 100.0}, {}], [0.9, 0, 0.5]),
        ("tierPriority", [{"tier": 1.0}, {"tier": 1.0, "resets_in": 0.0}, {"tier": 0.0, "resets_in": 1_296_000.0}], [0.8, 1, 0.1]),
        ("contextAffinity", [{"context": 1000}, {"context": 4000}, {}], [0.5, 1, 0.5]),
        ("connectionDensity", [{}, {"running": 1}, {"running": 3}], [1, 0.5, 0.25]),
        ("cacheAffinity", [{"warm": 0.9}, {}], [0.9, 0]),
        ("resetWindowAffinity", [{"resets_in": 302_400.0}, {}, {"resets_in": 0.0, "quota": 0}, {"resets_in": 9e6}], [0.5, 0, 0, 0]),
        ("success", [{"success": 0.6}, {}], [0.6, 0.95]),
    ],
)
def test_what_a_factor_is_worth(factor: str, sights: list[dict[str, float]], expected: list[float]) -> None:
    given_options = [option(number, **sight) for number, sight in enumerate(sights)]
    assert scores(given_options, weights=only(factor), tokens=1000) == expected
    assert set(given_options[0].factors) == {factor}


def test_every_factor_has_a_case() -> None:
    marks = test_what_a_factor_is_worth.pytestmark[0].args[1]  # pyright: ignore[reportFunctionMemberAccess]
    assert {case[0] for case in marks} == set(FACTORS)


@pytest.mark.parametrize("pack", PACKS)
def test_packs_share_out_one(pack: str) -> None:
    given_options = [
        option(0, quota=100, price=0.0, latency=0.0, deviation=0.0, fit=1, tier=1, warm=1, success=1, resets_in=0.0, context=1)
    ]
    assert scores(given_options, pack=pack) == [pytest.approx(1)]
    assert {"quota", "health", "tierPriority"} <= set(given_options[0].factors)


def test_the_default_keeps_the_reference_s_proportions() -> None:
    given_options = [option(0, quota=100, price=0.0, latency=0.0, deviation=0.0, fit=1, tier=1, resets_in=0.0)]
    scores(given_options)
    one = given_options[0].factors
    assert [one[name] / one["quota"] for name in FACTORS[:7]] == pytest.approx([1, 1.25, 1, 0.75, 0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("pack", "winner"),
    [("ship-fast", "0"), ("cost-saver", "1"), ("quality-first", "2"), ("offline-friendly", "3"), ("reliability-first", "4")],
)
def test_a_pack_has_its_aim(pack: str, winner: str) -> None:
    middle = {"price": 5.0, "latency": 3000.0, "fit": 0.5, "quota": 40.0, "deviation": 500.0, "success": 0.9}
    given_options = [
        option(0, **{**middle, "latency": 100.0}),
        option(1, **{**middle, "price": 0.1}),
        option(2, **{**middle, "fit": 1.0}),
        option(3, **{**middle, "quota": 100.0}),
        option(4, **{**middle, "deviation": 0.0, "success": 1.0}),
    ]
    assert ordered("auto", given_options, pack=pack)[0] == winner


def test_an_unknown_pack_is_none() -> None:
    assert scores([option(0, quota=30)], pack="no such") == scores([option(0, quota=30)])


def test_modes_name_packs() -> None:
    assert set(MODES.values()) == set(PACKS)
    assert (MODES["fast"], MODES["balanced"], MODES["cost-saver"]) == ("ship-fast", "", "cost-saver")


def test_weights_hold_when_they_sum_to_one() -> None:
    """As ScoringWeights has them, in either spelling; within 0.01."""
    given_weights = ScoringWeights(quota=0, health=0, cost_inv=0.9, latency_inv=0.05, task_fit=0, stability=0, tier_priority=0.05)
    given_options = [option(0, price=10.0, fit=1.0), option(1, price=1.0, fit=0.0)]
    for weights in (given_weights.model_dump(), given_weights.model_dump(by_alias=True)):
        assert ordered("auto", given_options, weights=weights, pack="quality-first") == "10"
        assert set(given_options[0].factors) == {"costInv", "latencyInv", "tierPriority"}
    assert ordered("auto", given_options, weights={"cost_inv": 1.009}, pack="quality-first") == "10"
    assert ordered("auto", given_options, weights={"cost_inv": 1.02}, pack="quality-first") == "01"


def test_variants() -> None:
    given_options = [
        option(0, price=5.0, latency=900.0, success=1.0, quota=100, fit=1.0),
        option(1, price=1.0, latency=2000.0, success=1.0),
        option(2, latency=300.0, success=0.2),
        option(3, price=3.0),
    ]
    for cheap in ("cost", "eco"):
        assert ordered("auto", given_options, variant=cheap) == "1302"
    for quick in ("latency", "fast"):  # 900, 2000, 300 + 800, 1500 + 50
        assert ordered("auto", given_options, variant=quick) == "0231"
    rules = ordered("auto", given_options)
    assert rules[0] == "0"
    assert ordered("auto", given_options, variant="lkgp", last_good="k3") == "3" + rules.replace("3", "")
    assert ordered("auto", given_options, variant="lkgp") == rules
    assert ordered("auto", given_options, variant="rules", last_good="k3") == rules


def test_a_request_with_tools_goes_where_tools_are() -> None:
    given_options = [option(0, tools=False, quota=100), option(1, quota=10)]
    assert ordered("auto", given_options) == "01"
    assert ordered("auto", given_options, tools=True) == "10"
    assert ordered("auto", [option(0, tools=False), option(1, tools=False, quota=100)], tools=True) == "10"


def test_the_unfit_go_last_whatever_they_score() -> None:
    given_options = [option(0, health=0.0, price=0.1), option(1, context=100, price=0.2), option(2, price=9.0, quota=1)]
    for variant in ("rules", "cost"):
        assert ordered("auto", given_options, variant=variant, tokens=200) == "201"
    weak = [option(0, fit=0.1, price=1.0), option(1, fit=0.5, price=9.0)]
    assert ordered("auto", weak, weights=only("taskFit"), variant="cost") == "10"


def test_exploration_comes_as_often_as_it_is_set() -> None:
    given_options = [option(0, quota=100), option(1, quota=10), option(2, quota=5), option(3, health=0.0)]
    counted = Counter(ordered("auto", given_options, exploration=0.3, seed=seed) for seed in range(3000))
    assert set(counted) == {"0123", "1023", "2013"}
    assert counted["0123"] / 3000 == pytest.approx(0.8, abs=0.05)
    assert {ordered("auto", given_options, seed=seed) for seed in range(50)} == {"0123"}


def test_no_experiments_while_most_are_down() -> None:
    given_options = [option(0), option(1, quota=10), *(option(number, health=0.0) for number in range(2, 5))]
    assert {ordered("auto", given_options, exploration=1.0, seed=seed)[0] for seed in range(50)} == {"0"}


def test_the_budget_cap_is_per_thousand_tokens() -> None:
    given_options = [option(0, price=20.0, quota=100, fit=1.0), option(1, price=3.0, quota=10), option(2, price=2.0, quota=10)]
    free = ordered("auto", given_options, pack="quality-first")
    assert free[0] == "0"
    assert ordered("auto", given_options, pack="quality-first", budget_cap=0.02) == free
    assert ordered("auto", given_options, pack="quality-first", budget_cap=0.019)[0] == "2"
    assert ordered("auto", given_options, pack="quality-first", budget_cap=0.0001)[0] == "2"


def test_an_unknown_price_is_not_within_the_cap() -> None:
    given_options = [option(0, quota=100, fit=1.0), option(1, price=3.0, quota=10)]
    assert ordered("auto", given_options)[0] == "0"
    assert ordered("auto", given_options, budget_cap=0.01)[0] == "1"
    assert ordered("auto", some(2), budget_cap=0.01) == "01"


def test_the_cap_does_not_choose_what_cannot_answer() -> None:
    given_options = [option(0, price=20.0), option(1, price=1.0, health=0.0), option(2, price=5.0, quota=1)]
    assert ordered("auto", given_options, budget_cap=0.001) == "201"


def test_a_warm_cache_decides_between_equals() -> None:
    assert ordered("auto", [option(0), option(1, warm=0.8)]) == "10"
    assert ordered("auto", [option(0, running=5), option(1)]) == "10"
