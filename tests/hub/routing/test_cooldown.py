"""Cooldowns against a plain model of the rule (routing.md 3.3), with the clock held by the test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.routing.cooldown import Backoff, Cooldowns, Cooling

BACKOFF = Backoff(base=3.0, steps=5, cap=600.0)
IDS = st.sampled_from(["a", "b"])


class CooldownMachine(RuleBasedStateMachine):
    """Failures, successes, restores and time in any order; ``wait`` and ``level`` are what the rule gives."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Cooldowns(BACKOFF)
        self.now = 1000.0
        self.until: dict[str, float] = {}
        self.level: dict[str, int] = {}

    def cooling(self, name: str) -> bool:
        return self.until.get(name, 0.0) > self.now

    @rule(seconds=st.floats(0, 900))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=IDS)
    def the_cooldown_just_ends(self, name: str) -> None:
        self.now = max(self.now, self.until.get(name, 0.0))

    @rule(name=IDS, soft=st.booleans(), hint=st.none() | st.floats(-5, 0) | st.floats(0.001, 5000))
    def it_fails(self, name: str, soft: bool, hint: float | None) -> None:
        before = self.made.of(name, self.now)
        state = self.made.fail(name, self.now, reason="why", soft=soft, hint=hint)
        if self.cooling(name):
            assert state is before  # a burst counts once
            return
        if hint is not None and hint > 0:
            level, wait = 0, min(hint, BACKOFF.cap)
        else:
            level = self.level[name] + 1 if name in self.level else 0
            wait = min(BACKOFF.base * 2 ** min(level, BACKOFF.steps), BACKOFF.cap)
        assert (state.level, state.soft, state.reason) == (level, soft, "why")
        assert state.until == self.now + wait
        self.until[name], self.level[name] = state.until, level

    @rule(name=IDS)
    def it_succeeds(self, name: str) -> None:
        assert self.made.clear(name) is (name in self.level)
        self.until.pop(name, None)
        self.level.pop(name, None)

    @rule(name=IDS, seconds=st.floats(-10, 900), level=st.integers(0, 9))
    def it_is_restored(self, name: str, seconds: float, level: int) -> None:
        self.made.restore(name, Cooling(self.now + seconds, level, "stored", soft=False))
        self.until[name], self.level[name] = self.now + seconds, level

    @invariant()
    def what_is_cooling_is_told(self) -> None:
        assert self.made.quiet is not bool(self.level)
        assert set(self.made.active(self.now)) == {name for name in ("a", "b") if self.cooling(name)}
        for name in ("a", "b"):
            found = self.made.of(name, self.now)
            assert (found is not None) is self.cooling(name)
            if found is not None:
                assert found.until - self.now <= max(BACKOFF.cap, 900) + 1e-6


CooldownMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCooldowns = CooldownMachine.TestCase


def test_the_first_wait_is_the_base_and_each_next_twice_as_long_up_to_the_last_step() -> None:
    made, now = Cooldowns(), 0.0
    waits: list[float] = []
    for _ in range(8):
        state = made.fail("a", now, reason="503", soft=True)
        waits.append(state.until - now)
        now = state.until
    assert waits == [3, 6, 12, 24, 48, 96, 96, 96]


def test_a_burst_counts_once() -> None:
    """REL-04: a storm of concurrent failures is one step."""
    made = Cooldowns()
    first = made.fail("a", 10.0, reason="one", soft=False)
    for _ in range(50):
        assert made.fail("a", 10.5, reason="two", soft=True, hint=100.0) is first
    assert (first.until, first.level, first.reason) == (13.0, 0, "one")


@pytest.mark.parametrize(("hint", "wait"), [(0.5, 0.5), (60, 60), (3600, 3600), (86_400, 3600), (float("inf"), 3600), (0, 3), (-1, 3)])
def test_what_the_upstream_asks_for_is_kept_exactly_within_the_cap(hint: float, wait: float) -> None:
    """REL-04: Retry-After of seconds; a negative or huge one does no harm."""
    assert Cooldowns().fail("a", 100.0, reason="429", soft=False, hint=hint).until == 100.0 + wait


def test_a_hint_starts_the_steps_anew() -> None:
    made = Cooldowns()
    made.fail("a", 0.0, reason="x", soft=True)
    made.fail("a", 3.0, reason="x", soft=True)
    assert made.fail("a", 9.0, reason="x", soft=True, hint=5).level == 0
    assert made.fail("a", 14.0, reason="x", soft=True).until == 14.0 + 6


def test_a_success_clears_everything() -> None:
    made = Cooldowns()
    made.fail("a", 0.0, reason="x", soft=True)
    made.fail("a", 3.0, reason="x", soft=True)
    assert made.clear("a")
    assert not made.clear("a")
    assert made.of("a", 4.0) is None
    assert made.fail("a", 4.0, reason="x", soft=True).until == 7.0


def test_a_restored_state_goes_on_from_its_level() -> None:
    made = Cooldowns()
    made.restore("a", Cooling(50.0, 3, "stored", soft=False))
    assert made.of("a", 49.9) is not None
    assert made.of("a", 50.0) is None
    assert made.fail("a", 50.0, reason="x", soft=True).until == 50.0 + 3 * 2**4


def test_connections_do_not_touch_one_another() -> None:
    made = Cooldowns()
    made.fail("a", 0.0, reason="x", soft=True)
    assert made.of("b", 0.0) is None
    assert set(made.active(1.0)) == {"a"}
    assert made.active(3.0) == {}


def test_after_a_cooldown_one_request_probes_at_a_time() -> None:
    """REL-05: half-open probes are single-flight; a success opens the connection, a failure cools it longer."""
    cooldowns = Cooldowns(Backoff(base=10, steps=5, cap=3600, probe=15))
    assert cooldowns.admit("a", 0)
    cooldowns.fail("a", 0, reason="x", soft=False)
    assert not cooldowns.admit("a", 9)
    assert not cooldowns.admit("a", 9, last_resort=True)
    assert [cooldowns.admit("a", 10), cooldowns.admit("a", 10), cooldowns.admit("a", 24.9)] == [True, False, False]
    assert cooldowns.admit("a", 25), "a probe that never came back makes way for the next"
    assert cooldowns.fail("a", 26, reason="y", soft=False).until == 46
    assert cooldowns.admit("a", 46)
    cooldowns.clear("a")
    assert cooldowns.admit("a", 46)
    assert cooldowns.admit("a", 46)


def test_a_soft_failure_is_admitted_as_last_resort_only() -> None:
    cooldowns = Cooldowns()
    cooldowns.fail("a", 0, reason="x", soft=True)
    assert cooldowns.soft("a")
    assert not cooldowns.soft("b")
    assert not cooldowns.admit("a", 1)
    assert cooldowns.admit("a", 1, last_resort=True)


@given(spread=st.floats(-1, 1), hint=st.none() | st.floats(0.1, 7200))
def test_chance_spreads_the_herd_but_never_before_the_moment_that_was_asked_for(spread: float, hint: float | None) -> None:
    """REL-04: ten per cent either way, after a hint only later and by half a minute at most."""
    until = Cooldowns().fail("a", 0.0, reason="x", soft=True, hint=hint, spread=spread).until
    if hint is None:
        assert 2.7 - 1e-9 <= until <= 3.3 + 1e-9
    else:
        kept = min(hint, 3600.0)
        assert kept <= until <= kept + min(kept * 0.1, 30.0) + 1e-6


def test_each_profile_has_its_own_steps_and_its_own_belief_in_hints() -> None:
    made = Cooldowns()
    local = Backoff(base=2.0, steps=3)
    waits: list[float] = []
    now = 0.0
    for _ in range(5):
        state = made.fail("a", now, reason="x", soft=True, backoff=local)
        waits.append(state.until - now)
        now = state.until
    assert waits == [2, 4, 8, 16, 16]
    plain = Backoff(base=5.0, hints=False)
    assert made.fail("b", 0.0, reason="x", soft=True, hint=60.0, backoff=plain).until == 5.0
    assert made.fail("c", 0.0, reason="x", soft=True, hint=60.0, backoff=plain, source="rule").until == 60.0
    assert made.fail("d", 0.0, reason="x", soft=True, backoff=Backoff(base=7200.0, steps=0)).until == 7200.0, "the owner's own word"


@pytest.mark.parametrize(("hint", "source", "kept"), [(9.0, "header", "header"), (9.0, "text", "text"), (None, "header", "backoff")])
def test_a_state_says_since_when_and_on_whose_word(hint: float | None, source: str, kept: str) -> None:
    state = Cooldowns().fail("a", 50.0, reason="x", soft=True, hint=hint, source=source)
    assert (state.since, state.source) == (50.0, kept)


def test_a_probe_that_was_not_made_makes_way_and_what_is_long_over_is_forgotten() -> None:
    made = Cooldowns()
    made.fail("a", 0.0, reason="x", soft=True)
    assert made.admit("a", 3.0)
    assert not made.admit("a", 3.0)
    made.release("a")
    made.release("unknown")
    assert made.admit("a", 3.0)
    assert made.forget(2.9) == []
    assert made.forget(3.1) == ["a"]
    assert made.quiet
