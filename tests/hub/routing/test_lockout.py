"""Model lockouts against a plain model of the rule (routing.md 3.5), with clock and chance held by the test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.routing import lockout
from hub.routing.cooldown import Backoff
from hub.routing.lockout import Lock, Lockouts, Triple, until_midnight

BACKOFF = Backoff(base=3.0, steps=4, probe=9.0)
WINDOW = 30.0
TRIPLES: list[Triple] = [("north", "con_1", "m"), ("north", "con_1", "n"), ("north", "con_2", "m")]
ANY = st.sampled_from(TRIPLES)


class LockoutMachine(RuleBasedStateMachine):
    """Failures, successes and time in any order; each triple stands for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Lockouts()
        self.now = 1000.0
        self.until: dict[Triple, float] = {}
        self.count: dict[Triple, int] = {}
        self.probe_ends: dict[Triple, float] = {}

    def locked(self, triple: Triple) -> bool:
        return self.until.get(triple, 0.0) > self.now

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(triple=ANY)
    def its_time_is_just_over(self, triple: Triple) -> None:
        self.now = max(self.now, self.until.get(triple, 0.0))

    @rule(triple=ANY, hint=st.none() | st.floats(-5, 0) | st.floats(0.001, 200_000))
    def it_fails(self, triple: Triple, hint: float | None) -> None:
        before = self.made.of(triple, self.now)
        lock = self.made.fail(triple, self.now, reason="429", backoff=BACKOFF, window=WINDOW, hint=hint)
        if self.locked(triple):
            assert lock is before
            return
        together = triple in self.until and self.now < self.until[triple] + WINDOW
        count = self.count[triple] + 1 if together else 1
        wait = min(hint, lockout.LONGEST) if hint is not None and hint > 0 else 3.0 * 2 ** min(count - 1, 4)
        assert lock.count == count
        assert lock.until == self.now + wait
        assert lock.source == ("header" if hint is not None and hint > 0 else "backoff")
        self.until[triple], self.count[triple] = lock.until, count
        self.probe_ends.pop(triple, None)

    @rule(triple=ANY)
    def a_request_asks(self, triple: Triple) -> None:
        allowed = not self.locked(triple) and self.probe_ends.get(triple, 0.0) <= self.now
        assert self.made.blocks(triple, self.now) is not allowed
        assert self.made.admit(triple, self.now) is allowed
        if allowed and triple in self.until:
            self.probe_ends[triple] = self.now + BACKOFF.probe

    @rule(triple=ANY)
    def a_request_is_not_made(self, triple: Triple) -> None:
        self.made.release(triple)
        self.probe_ends.pop(triple, None)

    @rule(triple=ANY)
    def it_answers(self, triple: Triple) -> None:
        assert self.made.clear(triple) is (triple in self.until)
        for known in (self.until, self.count, self.probe_ends):
            known.pop(triple, None)

    @rule()
    def what_is_stale_is_forgotten(self) -> None:
        self.made.forget(self.now)
        for triple in [triple for triple, until in self.until.items() if until + WINDOW <= self.now]:
            for known in (self.until, self.count, self.probe_ends):
                known.pop(triple, None)

    @invariant()
    def what_is_locked_is_told(self) -> None:
        assert self.made.quiet is not bool(self.until)
        assert set(self.made.active(self.now)) == {triple for triple in TRIPLES if self.locked(triple)}
        for triple in TRIPLES:
            assert (self.made.of(triple, self.now) is not None) is self.locked(triple)


LockoutMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLockouts = LockoutMachine.TestCase


def test_failures_close_together_wait_longer_up_to_the_last_step_and_start_anew_later() -> None:
    made, now = Lockouts(), 0.0
    waits: list[float] = []
    for gap in (0, 1, 29, 1, 1, 1, 30):
        now += gap
        lock = made.fail(TRIPLES[0], now, reason="x", backoff=BACKOFF, window=WINDOW)
        waits.append(lock.until - now)
        now = lock.until
    assert waits == [3, 6, 12, 24, 48, 48, 3]


@given(spread=st.floats(-1, 1), hint=st.none() | st.floats(0.1, 90_000))
def test_chance_moves_the_end_a_little_and_never_before_the_moment_that_was_asked_for(spread: float, hint: float | None) -> None:
    """REL-04: the herd is spread."""
    lock = Lockouts().fail(TRIPLES[0], 0.0, reason="x", backoff=BACKOFF, window=WINDOW, hint=hint, spread=spread)
    if hint is None:
        assert 2.7 - 1e-9 <= lock.until <= 3.3 + 1e-9
    else:
        kept = min(hint, lockout.LONGEST)
        assert kept <= lock.until <= kept + min(kept * 0.1, 30.0) + 1e-6


def test_without_hints_only_our_own_rules_count() -> None:
    plain = Backoff(base=3.0, hints=False)
    for source, wait in (("header", 3.0), ("text", 3.0), ("rule", 500.0)):
        lock = Lockouts().fail(TRIPLES[0], 0.0, reason="x", backoff=plain, window=WINDOW, hint=500.0, source=source)
        assert lock.until == wait


def test_the_oldest_locks_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "MOST", 2)
    made = Lockouts()
    for triple in (*TRIPLES[:2], TRIPLES[0]):
        made.restore(triple, Lock(10.0, 1, "x", 0.0, "backoff", 40.0))
    made.fail(TRIPLES[2], 0.0, reason="x", backoff=BACKOFF, window=WINDOW)
    assert set(made.active(0.0)) == {TRIPLES[0], TRIPLES[2]}


def test_locks_are_found_by_any_of_their_names() -> None:
    made = Lockouts()
    for triple in TRIPLES:
        made.restore(triple, Lock(10.0, 1, "x", 0.0, "backoff", 40.0))
    assert made.find(provider="north", model="m") == [TRIPLES[0], TRIPLES[2]]
    assert made.find(connection_id="con_1") == TRIPLES[:2]
    assert made.find() == TRIPLES
    assert made.find(provider="south") == []


@pytest.mark.parametrize(("now_ms", "seconds"), [(0, 86_400.0), (86_399_000, 1.0), (1_700_000_000_000, 6400.0), (86_400_500, 86_399.5)])
def test_a_day_ends_at_midnight_utc(now_ms: int, seconds: float) -> None:
    """routing.md 3 'Better': not the machine's zone."""
    assert until_midnight(now_ms) == seconds
