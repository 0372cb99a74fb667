"""The quantile sketch against exact quantiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.resilience.sketch import ACCURACY, MOST, Sketch, merged

NUMBERS = st.lists(st.one_of(st.integers(0, 10_000_000), st.floats(1, 1e9), st.just(0.0)), min_size=1, max_size=300)
SHARES = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)


def of(numbers: list[float]) -> Sketch:
    made = Sketch()
    for number in numbers:
        made.add(number)
    return made


@settings(max_examples=200, deadline=None)
@given(NUMBERS)
def test_quantiles_are_within_one_per_cent(numbers: list[float]) -> None:
    sketch, exact = of(numbers), sorted(numbers)
    for share, found in zip(SHARES, sketch.quantiles(*SHARES), strict=True):
        want = exact[int(share * (len(exact) - 1))]
        assert found is not None
        assert abs(found - want) <= want * ACCURACY * 1.0001 + 1e-9
    assert (sketch.count, sketch.low, sketch.high) == (len(exact), exact[0], exact[-1])
    assert sketch.total == pytest.approx(sum(numbers))
    assert sketch.mean == pytest.approx(sum(numbers) / len(numbers))


@settings(max_examples=100, deadline=None)
@given(NUMBERS, NUMBERS)
def test_a_merge_is_the_union_and_a_decoded_sketch_is_the_same(one: list[float], two: list[float]) -> None:
    whole, joined = of([*one, *two]), merged([of(one), Sketch(), of(two)])
    back = Sketch.decode(joined.encode())
    for sketch in (joined, back):
        assert sketch.quantiles(*SHARES) == whole.quantiles(*SHARES)
        assert (sketch.count, sketch.low, sketch.high) == (whole.count, whole.low, whole.high)
        assert sketch.total == pytest.approx(whole.total)
        assert sketch.deviation == pytest.approx(whole.deviation, rel=1e-6, abs=whole.high * 1e-6)


def test_an_empty_sketch_knows_nothing() -> None:
    for empty in (Sketch(), Sketch.decode(Sketch().encode())):
        assert (empty.quantile(0.5), empty.mean, empty.deviation, empty.low) == (None, None, None, math.inf)
        empty.add(5)
        assert (empty.quantile(0.5), empty.deviation) == (5, 0.0)


def test_room_is_bounded_and_out_of_range_is_not_lost() -> None:
    sketch = of([1.01**power for power in range(3000)] + [-5, 1e300, math.inf])
    assert sketch.count == 3003
    assert len(sketch._buckets) <= 1200
    assert (sketch.low, sketch.high) == (0, MOST)


@pytest.mark.parametrize(
    "text", ["", "[]", "[1,1,1,1,1,[]]", "[1,1,1,1,1,[9999,1]]", "[0,0,0,0,0,[3,-1,0,1]]", "[1,1,1,1,1,[3]]", "nonsense"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Sketch.decode(text)
