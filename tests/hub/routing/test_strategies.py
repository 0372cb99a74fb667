"""Every strategy of the folder: it orders, and does nothing else (D21, style.md 5)."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.records import Connection
from hub.registry import load
from hub.routing.strategy import Facts, Option, Strategy
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

STRATEGIES: Mapping[str, Strategy] = load("hub.routing.strategies", Strategy, lambda strategy: strategy.name)
SWEEP = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())


def option(number: int, *, priority: int = 1, created_at: int = 0, provider: str = "a", model: str = "m") -> Option:
    connection = Connection(
        id=f"con_{number}", provider=provider, name=f"n{number}", secret=Secret("x"), priority=priority, created_at=created_at
    )
    return Option(connection, provider, model)


@st.composite
def options(draw: st.DrawFn) -> list[Option]:
    facts = st.fixed_dictionaries(
        {
            "priority": st.integers(1, 3),
            "created_at": st.integers(0, 2),
            "provider": st.sampled_from("ab"),
            "model": st.sampled_from(["m", "n"]),
        }
    )
    return [option(number, **one) for number, one in enumerate(draw(st.lists(facts, max_size=8)))]


def facts(seed: int = 1) -> Facts:
    return Facts(now=5.0, random=random.Random(seed), model="m")


def names(found: list[Option]) -> list[str]:
    return [one.connection.id for one in found]


def state(found: list[Option]) -> list[Any]:
    return [copy.deepcopy((one.connection, one.provider, one.model)) for one in found]


def test_there_is_the_default_one() -> None:
    assert "priority" in STRATEGIES


@SWEEP
def test_it_says_what_it_does(strategy: Strategy) -> None:
    assert strategy.name
    assert strategy.summary


@SWEEP
@given(given_options=options(), seed=st.integers(0, 5))
def test_nothing_is_lost_doubled_or_changed(strategy: Strategy, given_options: list[Option], seed: int) -> None:
    """The very same options come back, each once; neither they nor their list are changed."""
    before, listed = state(given_options), list(given_options)
    ordered = strategy.order(given_options, facts(seed))
    assert sorted(map(id, ordered)) == sorted(map(id, given_options))
    assert ordered is not given_options
    assert all(one is other for one, other in zip(given_options, listed, strict=True))
    assert state(given_options) == before


@SWEEP
@given(given_options=options(), seed=st.integers(0, 5))
def test_the_same_question_has_the_same_answer(strategy: Strategy, given_options: list[Option], seed: int) -> None:
    """Pure but for the chance it is given: no state of its own between calls."""
    first = names(strategy.order(given_options, facts(seed)))
    strategy.order(list(reversed(given_options)), facts(seed + 1))
    assert names(strategy.order(given_options, facts(seed))) == first


@SWEEP
@given(given_options=options())
def test_a_steady_one_leaves_nothing_to_chance_or_time(strategy: Strategy, given_options: list[Option]) -> None:
    """Its plans are kept, so neither may matter."""
    if strategy.steady:
        later = Facts(now=9e9, random=random.Random(99), model="m")
        assert names(strategy.order(given_options, later)) == names(strategy.order(given_options, facts()))


@given(options())
def test_priority_does_not_depend_on_the_order_it_is_given(given_options: list[Option]) -> None:
    order = STRATEGIES["priority"].order
    ordered = order(given_options, facts())
    assert names(order(list(reversed(given_options)), facts(2))) == names(ordered)
    keys = [(one.connection.priority, one.connection.created_at) for one in ordered]
    assert keys == sorted(keys)


def test_priority_then_age_then_id() -> None:
    mixed = [option(3, priority=2), option(2), option(1), option(0, created_at=9), option(4, priority=1, created_at=-1)]
    assert names(STRATEGIES["priority"].order(mixed, facts())) == ["con_4", "con_1", "con_2", "con_0", "con_3"]
