"""The arithmetic of budgets, without a database: sums, periods under clocks that jump, and who gets how much."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.money.calibration import Calibration
from hub.money.periods import Kind
from hub.money.spending import UNSEEN, Account, Claim, Grant, Line, Refusal, Terms, Wait, decide, dollars, nanos

NOW = 1_800_000_000_000
HOUR, DAY = 3_600_000, 86_400_000


def account(name: str = "key", *, held: int = 0, strict: bool = True, tier: str = "", **limits: int) -> Account:
    made = Account(name, Terms(limits, "UTC", "00:00", strict=strict, tier=tier), held=held)  # type: ignore[arg-type]
    made.roll(NOW)
    return made


def claim(bound: int, least: int = 1, *, factor: float | None = 1.0, names: tuple[str, ...] = ("key",), number: int = 1) -> Claim:
    return Claim(names, bound, least, "g", number, factor)


@given(st.floats(0, 1000, allow_nan=False))
def test_money_is_never_rounded_down(amount: float) -> None:
    exact = amount * 1_000_000_000
    assert exact - 0.01 <= nanos(amount) < exact + 1.01


def test_money_that_is_no_amount() -> None:
    assert (nanos(0.07), nanos(0.1), nanos(1.5e-9), nanos(-1)) == (70_000_000, 100_000_000, 2, 0)
    assert nanos(math.nan) == nanos(math.inf) == nanos(1e30) == 10**15
    assert dollars(nanos(12.5)) == 12.5


@given(st.lists(st.tuples(st.integers(-2 * DAY, 2 * DAY), st.integers(0, 10)), max_size=40))
def test_a_period_begins_once_however_clocks_jump(jumps: list[tuple[int, int]]) -> None:
    """REL-12: a period that has begun is not left before its end, and nothing is forgotten within it."""
    made, now, starts = account(daily=1000), NOW, [0]
    spent = 0
    for jump, cost in jumps:
        now += jump
        before = made.windows["daily"].start if made.windows else 0
        made.spend(cost, now)
        window = made.windows["daily"]
        spent = cost if window.start != before else spent + cost
        assert window.spent == spent
        assert window.start >= starts[-1]
        assert now < window.end
        starts.append(window.start)


def test_leap_of_a_day_and_back() -> None:
    made = account(daily=1000)
    made.spend(7, NOW)
    made.spend(5, NOW + DAY)
    assert made.windows["daily"].spent == 5
    made.spend(1, NOW)  # the clock was mended: still the later day
    assert made.windows["daily"].spent == 6
    made.spend(1, NOW + DAY)
    assert made.windows["daily"].spent == 7
    made.roll(NOW + 2 * DAY)
    assert made.windows["daily"].spent == 0


def test_events_come_once_a_period() -> None:
    made = account(daily=100, weekly=1000)
    for cost in (79, 1, 10, 10, 10):
        made.spend(cost, NOW)
    assert [(kind, window.kind) for kind, window in made.news] == [("budget.warning", "daily"), ("budget.exceeded", "daily")]
    made.spend(80, NOW + DAY)
    assert [(kind, window.kind) for kind, window in made.news[2:]] == [("budget.warning", "daily")]


def test_changing_a_budget_gives_no_money_away() -> None:
    made = account(daily=100)
    made.spend(90, NOW)
    made.change(Terms({"daily": 100}, "UTC", "07:00"), NOW)  # NOW is 08:00: a period from 07:00
    assert (made.windows["daily"].start, made.windows["daily"].spent) == (NOW - HOUR, 90)
    made.change(Terms({"daily": 1000}, "UTC", "07:00"), NOW)
    assert (made.windows["daily"].spent, made.windows["daily"].warned_at) == (90, None)
    made.change(Terms({"daily": 100}, "UTC", "00:00"), NOW)
    made.roll(NOW + 15 * HOUR)
    assert made.windows["daily"].spent == 90
    made.roll(NOW + 16 * HOUR)
    assert made.windows["daily"].spent == 0


def test_a_session_begins_anew_when_it_is_set() -> None:
    made = Account("hub", Terms({"session": 100}, "UTC", "00:00", since=NOW))
    made.spend(50, NOW)
    made.spend(1, NOW + 400 * DAY)
    assert (made.windows["session"].spent, made.windows["daily"].spent) == (51, 1)
    made.change(Terms({"session": 100}, "UTC", "00:00", since=NOW + 1), NOW + 400 * DAY)
    assert (made.windows["session"].spent, made.windows["session"].start) == (0, NOW + 1)


def test_who_gets_how_much() -> None:
    assert decide(claim(30), [account(daily=100)]) == Grant(30, 30)
    assert decide(claim(30), [account(daily=100, held=70)]) == Grant(30, 30)
    assert decide(claim(31), [account(daily=100, held=70)]) == Wait("key")
    assert decide(claim(300), [account(daily=100)]) == Grant(100, 100)  # alone: all of it
    assert decide(claim(30, factor=2.0), [account(daily=100)]) == Grant(60, 30)
    assert decide(claim(80, factor=2.0), [account(daily=100)]) == Grant(100, 50)
    assert isinstance(decide(claim(300, 101), [account(daily=100)]), Refusal)
    assert isinstance(decide(claim(300, 51, factor=2.0), [account(daily=100)]), Refusal)
    assert isinstance(decide(claim(300, 101), [account(daily=100, held=5)]), Refusal)  # waiting would not help
    assert decide(claim(0), [account(daily=100, held=100)]) == Grant(0, 0)  # free calls go on


def test_every_limit_holds_at_once() -> None:
    made = account(daily=100, weekly=50, monthly=70)
    made.spend(20, NOW)
    assert decide(claim(30), [made]) == Grant(30, 30)
    assert decide(claim(31), [made]) == Grant(30, 30)
    made.spend(30, NOW)
    found = decide(claim(1), [made])
    assert isinstance(found, Refusal)
    assert (found.window.kind, found.limit) == ("weekly", 50)
    assert decide(claim(10), [account(daily=100), account("hub", session=5)]) == Grant(5, 5)


def test_calls_of_unknown_cost_hold_more_or_go_alone() -> None:
    assert decide(claim(10, factor=None), [account(daily=100)]) == Grant(round(10 * UNSEEN), 10)
    assert decide(claim(10, factor=None), [account(daily=100, held=80)]) == Wait("key")
    assert decide(claim(40, 1, factor=None), [account(daily=100)]) == Grant(100, 25)
    assert decide(claim(40, 40, factor=None), [account(daily=100)]) == Grant(100, 40)


def test_alert_and_degrade_refuse_nothing() -> None:
    alert = account(daily=10, strict=False)
    cheap = account("hub", session=10, strict=False, tier="cheap")
    assert decide(claim(50, 50), [alert, cheap]) == Grant(50, 50)
    alert.spend(10, NOW)
    cheap.spend(10, NOW)
    assert decide(claim(50, 50), [alert, cheap]) == Grant(50, 50, "cheap")
    assert decide(claim(50, 50), [account(daily=60), cheap]) == Grant(50, 50, "cheap")


def test_nobody_is_overtaken_on_the_same_budget() -> None:
    accounts = {name: account(name, daily=100) for name in ("a", "b")} | {"hub": account("hub", session=100)}
    accounts["hub"].held = 80
    accounts["a"].held = 0
    line = Line()
    served: list[int] = []
    for number, (name, bound) in enumerate([("a", 30), ("b", 10), ("a", 5)]):
        line.add(claim(bound, 1, names=(name, "hub"), number=number))
    line.add(claim(5, 1, names=("c",), number=9))
    accounts["c"] = account("c", daily=100)

    def verdict(one: Claim) -> Any:
        return decide(one, [accounts[name] for name in one.accounts])

    def apply(one: Claim, found: Grant | Refusal) -> None:
        assert isinstance(found, Grant)
        served.append(one.number)
        for name in one.accounts:
            accounts[name].held += found.amount

    line.serve(verdict, apply)
    assert (served, line.length) == ([9], 3)  # the small ones wait behind the one that waits for the hub
    accounts["hub"].held = 70
    line.serve(verdict, apply)
    assert served == [9, 0]
    accounts["hub"].held = 0
    line.serve(verdict, apply)
    assert (served, line.length) == ([9, 0, 1, 2], 0)


@given(
    limit=st.integers(1, 10_000),
    calls=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 300), st.floats(0, 1), st.booleans()), max_size=60),
)
def test_no_order_of_calls_spends_more_than_the_limit(limit: int, calls: list[tuple[int, int, float, bool]]) -> None:
    """D22, REL-13: while costs stay within what is held, spent and held together never pass the limit."""
    made = account(daily=limit)
    held: list[int] = []
    for bound, least, share, ends in calls:
        found = decide(claim(bound, min(bound, least)), [made])
        if isinstance(found, Grant):
            made.held += found.amount
            held.append(found.amount)
        if held and (ends or isinstance(found, Wait)):
            amount = held.pop(0)
            made.held -= amount
            made.spend(int(amount * share), NOW)
        assert made.windows["daily"].spent + made.held <= limit
        assert made.held == sum(held)


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=200))
def test_calibration_covers_what_was_seen(ratios: list[float]) -> None:
    known = Calibration()
    assert known.factor("g") is None
    for ratio in ratios:
        known.learn("g", 2.0, 2.0 * ratio)
    factor = known.factor("g")
    assert factor is not None
    assert factor >= max(1.0, ratios[-1])
    assert factor <= max(1.0, max(ratios) * 1.2501)
    assert known.factor("other") is None


def test_calibration_fades_and_is_bounded() -> None:
    known = Calibration()
    known.learn("g", 1.0, 3.0)
    for _ in range(2000):
        known.learn("g", 1.0, 0.5)
    assert known.factor("g") == 1.0
    known.learn("free", 0.0, 1.0)
    assert known.factor("free") is None
    for number in range(5000):
        known.learn(str(number), 1.0, 1.0)
    assert len(known._worst) <= 4096


@pytest.mark.parametrize("kind", ["daily", "weekly", "monthly"])
def test_what_was_stored_is_taken_over(kind: Kind) -> None:
    made = account(**{kind: 100})
    start = made.windows[kind].start
    fresh = Account("key", made.terms)
    fresh.put(kind, start, 42)
    fresh.put(kind, start - 40 * DAY, 7)  # an older period does not come back
    fresh.roll(NOW)
    assert (fresh.windows[kind].start, fresh.windows[kind].end, fresh.windows[kind].spent) == (start, made.windows[kind].end, 42)
