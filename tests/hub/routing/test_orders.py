"""What each strategy is for, one by one (routing.md 1.4, 2.2). What holds for all of them is in test_strategies.py."""

from __future__ import annotations

import pytest

from hub.routing.strategies.p2c import penalty
from hub.routing.strategy import Facts
from tests.hub.routing.options import STRATEGIES, keys, option, ordered, some


@pytest.mark.parametrize("name", ["priority", "fill-first", "context-relay", "fusion", "pipeline"])
def test_as_stored(name: str) -> None:
    assert ordered(name, [option(2, price=1), option(0, quota=0), option(1)]) == "201"


def test_weighted_the_drawn_one_then_by_weight() -> None:
    """routing.md 8.8: weight 0 beside positive weights is fallback only."""
    given = [option(0, weight=1), option(1), option(2, weight=10), option(3, weight=5)]
    found = {"".join(key[1:] for key in keys(STRATEGIES["weighted"].order(given, Facts(seed=seed)))) for seed in range(300)}
    assert found == {"0231", "2301", "3201"}


def test_round_robin_goes_round() -> None:
    assert [ordered("round-robin", some(3), turn=turn) for turn in range(4)] == ["012", "120", "201", "012"]
    assert [ordered("round-robin", some(3), turn=turn, sticky=0) for turn in range(2)] == ["012", "120"]


def test_random_is_any_order() -> None:
    assert {ordered("random", some(3), seed=seed) for seed in range(200)} == {"012", "021", "102", "120", "201", "210"}


def test_strict_random_draws_one_and_keeps_the_rest() -> None:
    for turn in range(12):
        found = ordered("strict-random", some(4), turn=turn, deck=3)
        assert list(found[1:]) == sorted(found[1:])


def test_strict_random_decks_differ() -> None:
    decks = {"".join(ordered("strict-random", some(4), turn=turn, deck=deck)[0] for turn in range(4)) for deck in range(200)}
    assert len(decks) == 24


def test_least_used() -> None:
    given = [
        option(0, uses=5),
        option(1, uses=2, last_used=9),
        option(2, uses=2, last_used=4),
        option(3, uses=2),
        option(4, uses=2, last_used=4),
    ]
    assert ordered("least-used", given) == "32410"


def test_cost_optimized_unknown_is_not_cheap() -> None:
    given = [option(0, price=3.0), option(1), option(2, price=0.0), option(3, price=0.5), option(4, price=0.5)]
    assert ordered("cost-optimized", given) == "23401"
    assert ordered("cost-optimized", [option(0, price=1.0), option(1, price=0.1, context=100)], tokens=101) == "01"


def test_context_optimized() -> None:
    given = [option(0, context=8000), option(1), option(2, context=1_000_000), option(3, context=128_000)]
    assert ordered("context-optimized", given) == "2301"
    assert ordered("context-optimized", given, tokens=10_000) == "2310"
    assert ordered("context-optimized", some(3), tokens=10_000) == "012"


def test_reset_aware_uses_what_would_be_wasted() -> None:
    given = [
        option(0, quota=90, resets_in=500_000.0),
        option(1, quota=0, resets_in=10.0),
        option(2, quota=5, resets_in=3600.0),
        option(3, quota=60, resets_in=3600.0),
        option(4, quota=100),
        option(5, quota=0, resets_in=5.0),
        option(6, quota=0),
        option(7),
    ]
    assert ordered("reset-aware", given) == "32047516"


def test_headroom() -> None:
    given = [option(0, quota=20), option(1), option(2, quota=80, running=2), option(3, quota=80, running=1), option(4, quota=0)]
    assert ordered("headroom", given) == "32104"


def test_cache_optimized() -> None:
    given = [option(0), option(1, warm=0.5), option(2, warm=0.9), option(3, input_price=2.0), option(4, input_price=1.0)]
    assert ordered("cache-optimized", given) == "21430"


def test_lkgp() -> None:
    assert ordered("lkgp", some(3), last_good="k2") == "201"
    assert ordered("lkgp", some(3), last_good="gone") == "012"
    nameless = some(2)
    for one in nameless:
        one.key = ""
    assert STRATEGIES["lkgp"].order(nameless, Facts())[0] is nameless[0]


def p2c(*given: object) -> set[str]:
    return {ordered("p2c", list(given), seed=seed) for seed in range(100)}  # pyright: ignore[reportArgumentType]


def test_p2c_the_better_of_two() -> None:
    assert p2c(option(0, trouble=1.0), option(1)) == {"10"}
    assert p2c(option(0), option(1, backoff=2)) == {"01"}
    # Of four, the worst is never the better one of a pair; the rest stay as stored behind the pick.
    assert p2c(option(0, quota=0), option(1), option(2), option(3)) == {"1023", "2013", "3012"}


def test_p2c_does_not_draw_what_cannot_answer() -> None:
    assert p2c(option(0, health=0.0), option(1, trouble=1.0), option(2, health=0.0)) == {"102"}
    assert p2c(option(0, health=0.0), option(1, health=0.0, trouble=1.0)) == {"01"}
    assert {ordered("p2c", [option(0, context=10), option(1, trouble=1.0)], tokens=11, seed=seed) for seed in range(50)} == {"10"}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"quota": 80}, {"quota": 70}),
        ({"quota": 30}, {"quota": 25}),
        ({"quota": 11}, {"quota": 10}),
        ({}, {"quota": 0}),
        ({"success": 1.0}, {"success": 0.9}),
        ({"latency": 100.0}, {"latency": 2000.0}),
        ({"running": 1}, {"running": 2}),
        ({}, {"health": 0.5}),
        ({"backoff": 1}, {"backoff": 2}),
        ({"trouble": 0.2}, {"trouble": 0.8}),
        ({"success": 0.99, "running": 3}, {"success": 0.5}),
    ],
)
def test_p2c_score(better: dict[str, float], worse: dict[str, float]) -> None:
    assert penalty(option(0, **better)) < penalty(option(1, **worse))


def test_p2c_score_in_points_of_the_reference() -> None:
    """routing.md 1.4: backoff 8 a level up to 40, priority up to 6, calls 2 each up to 12, quota as the table says."""
    base = penalty(option(0, quota=100))
    assert penalty(option(0, quota=100, backoff=9)) == base + 40
    assert penalty(option(0, quota=100, running=9)) == base + 12
    assert penalty(option(0, quota=100, priority=4)) == base + 3
    assert penalty(option(0, quota=100, priority=999)) == base + 6
    assert penalty(option(0, quota=20)) == base + 10 + 4
    assert penalty(option(0, quota=4)) == base + 12 + 10
    assert penalty(option(0)) == base + 4
    assert penalty(option(0, quota=0)) == base + 200


def test_nothing_to_order() -> None:
    for strategy in STRATEGIES.values():
        assert strategy.order([], Facts(tools=True, tokens=9, budget_cap=0.1, exploration=1.0)) == []
