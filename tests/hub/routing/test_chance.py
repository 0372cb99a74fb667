"""Chance of a seed: fair, and the same in every process and version, as records replay by it (D21)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing.chance import Chance


def test_the_numbers_of_a_seed_never_change() -> None:
    """SplitMix64's published first numbers for seed 1234567."""
    chance = Chance(1234567)
    assert [chance.below(1 << 64) for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.integers(-(2**70), 2**70), st.integers(1, 10**6), st.integers(0, 30))
def test_ranges(seed: int, limit: int, count: int) -> None:
    chance = Chance(seed)
    assert 0 <= chance.share() < 1
    assert 0 <= chance.below(limit) < limit
    items = list(range(count))
    assert sorted(chance.shuffled(items)) == items == list(range(count))


def test_seeds_that_follow_one_another_have_nothing_in_common() -> None:
    shares = [Chance(seed).share() for seed in range(20_000)]
    tenths = Counter(int(share * 10) for share in shares)
    assert all(count == pytest.approx(2000, abs=5 * (20_000 * 0.1 * 0.9) ** 0.5) for count in tenths.values())
    pairs = Counter((one < 0.5, other < 0.5) for one, other in pairwise(shares))
    assert all(count == pytest.approx(5000, abs=5 * (20_000 * 0.25 * 0.75) ** 0.5) for count in pairs.values())


@pytest.mark.parametrize("count", [5, 16])
def test_every_place_of_a_deck_is_as_likely(count: int) -> None:
    """Above a dozen items the deck needs more than one number."""
    turns = 4000
    found = Counter((place, card) for seed in range(turns) for place, card in enumerate(Chance(seed, 3).shuffled(range(count))))
    assert len(found) == count * count
    expected = turns / count
    assert all(seen == pytest.approx(expected, abs=5.5 * (expected * (1 - 1 / count)) ** 0.5) for seen in found.values())


def test_parts_of_a_seed_are_not_added_up() -> None:
    assert Chance(1, 2).share() != Chance(2, 1).share() != Chance(3).share()
