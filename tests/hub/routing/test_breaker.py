"""Breakers against a plain model of the rule (routing.md 3.2), with the clock held by the test."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.routing import breaker as breakers
from hub.routing.breaker import Breaker, Breakers, BreakerState, Trip

TRIP = Trip(threshold=3, reset=20.0, probe=7.0)
NAMES = st.sampled_from(["north", "south"])


class BreakerMachine(RuleBasedStateMachine):
    """Calls are admitted, fail, succeed, or never report back, in any order (REL-05)."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Breakers()
        self.now = 1000.0
        self.failures: dict[str, int] = {}
        self.reopens: dict[str, float] = {}
        self.probe_ends: dict[str, float] = {}

    def expected(self, name: str) -> BreakerState:
        if name not in self.reopens:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.reopens[name] > self.now else BreakerState.HALF_OPEN

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=NAMES)
    def its_time_is_just_over(self, name: str) -> None:
        self.now = max(self.now, self.reopens.get(name, 0.0))

    @rule(name=NAMES)
    def a_request_asks(self, name: str) -> None:
        state = self.expected(name)
        probing = self.probe_ends.get(name, 0.0) > self.now
        allowed = state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and not probing)
        assert self.made.blocks(name, self.now) is not allowed
        assert self.made.admit(name, self.now) is allowed
        if allowed and state is BreakerState.HALF_OPEN:
            self.probe_ends[name] = self.now + TRIP.probe
            assert not self.made.admit(name, self.now), "one probe at a time"

    @rule(name=NAMES)
    def a_request_fails(self, name: str) -> None:
        before = self.expected(name)
        self.failures[name] = self.failures.get(name, 0) + 1
        if name in self.reopens or self.failures[name] >= TRIP.threshold:
            self.reopens[name] = self.now + TRIP.reset
        self.probe_ends.pop(name, None)
        opened = self.made.fail(name, self.now, TRIP, reason="503: no")
        assert opened is (name in self.reopens and before is not BreakerState.OPEN)

    @rule(name=NAMES)
    def a_request_succeeds(self, name: str) -> None:
        assert (self.made.succeed(name) is not None) is (name in self.failures)
        for known in (self.failures, self.reopens, self.probe_ends):
            known.pop(name, None)

    @rule(name=NAMES)
    def a_request_is_not_made(self, name: str) -> None:
        self.made.release(name)
        self.probe_ends.pop(name, None)

    @rule(name=NAMES, seconds=st.floats(-30, 30), failures=st.integers(1, 9))
    def it_is_restored(self, name: str, seconds: float, failures: int) -> None:
        self.made.restore(name, Breaker(failures, True, self.now, self.now + seconds, self.now, "stored", TRIP.probe))
        self.failures[name], self.reopens[name] = failures, self.now + seconds
        self.probe_ends.pop(name, None)

    @invariant()
    def the_state_is_the_model_s(self) -> None:
        assert self.made.quiet is not bool(self.reopens)
        assert {name: one.failures for name, one in self.made.all().items()} == self.failures
        for name in ("north", "south"):
            assert self.made.state(name, self.now) is self.expected(name)


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBreakers = BreakerMachine.TestCase


def test_it_opens_at_the_threshold_and_not_before() -> None:
    made = Breakers()
    assert [made.fail("a", 0.0, TRIP, reason="x") for _ in range(4)] == [False, False, True, False]
    assert made.state("a", 19.9) is BreakerState.OPEN
    assert made.state("a", 20.0) is BreakerState.HALF_OPEN


def test_failures_with_a_success_between_them_never_open_it() -> None:
    """REL-05: a provider that answers every other call stays in use."""
    made = Breakers()
    for second in range(50):
        assert not made.fail("a", float(second), TRIP, reason="x")
        made.succeed("a")
    assert made.quiet


def test_a_probe_that_fails_opens_it_again_for_the_whole_time() -> None:
    made = Breakers()
    for _ in range(3):
        made.fail("a", 0.0, TRIP, reason="x")
    assert made.admit("a", 20.0)
    assert made.fail("a", 21.0, TRIP, reason="y")
    assert (made.state("a", 40.9), made.state("a", 41.0)) == (BreakerState.OPEN, BreakerState.HALF_OPEN)
    found = made.get("a")
    assert found is not None
    assert (found.failures, found.since, found.reason) == (4, 0.0, "y")


def test_a_probe_that_never_reports_back_makes_way() -> None:
    made = Breakers()
    for _ in range(3):
        made.fail("a", 0.0, TRIP, reason="x")
    assert [made.admit("a", 20.0), made.admit("a", 26.9), made.admit("a", 27.0)] == [True, False, True]


def test_providers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakers, "MOST", 2)
    made = Breakers()
    for name in ("a", "b", "a", "c"):
        made.fail(name, 0.0, Trip(threshold=1), reason="x")
    assert set(made.all()) == {"a", "c"}
    assert "b" not in made
    assert made.admit("b", 0.0)
