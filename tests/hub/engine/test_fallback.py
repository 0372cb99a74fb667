"""The one table from a failure to what follows (routing.md 3.4)."""

from __future__ import annotations

import pytest

from hub.engine.fallback import TABLE, Next, Scope, rule_for
from hub.providers.base import Failure, FailureKind
from hub.records import TestStatus

K = FailureKind
ROWS = [
    (K.CALLER, 400, Next.STOP, Scope.NONE, False, False),
    (K.CONTEXT, 400, Next.LARGER, Scope.NONE, False, False),
    (K.AUTH, 401, Next.MOVE_ON, Scope.TERMINAL, False, False),
    (K.PERMISSION, 403, Next.MOVE_ON, Scope.COOLDOWN, False, False),
    (K.CREDIT, 402, Next.MOVE_ON, Scope.TERMINAL, False, False),
    (K.RATE, 429, Next.MOVE_ON, Scope.COOLDOWN, False, False),
    (K.QUOTA, 429, Next.MOVE_ON, Scope.COOLDOWN, False, False),
    (K.MODEL, 404, Next.MOVE_ON, Scope.NONE, False, False),
    (K.CAPACITY, 503, Next.MOVE_ON, Scope.COOLDOWN, True, True),
    (K.SERVER, 500, Next.MOVE_ON, Scope.COOLDOWN, True, True),
    (K.NETWORK, 504, Next.MOVE_ON, Scope.COOLDOWN, True, True),
    (K.CONFIG, 400, Next.MOVE_ON, Scope.NONE, False, False),
]


def failure(kind: FailureKind, status: int, code: str = "") -> Failure:
    return Failure(kind, status, "why", code=code)


def test_every_kind_has_its_row() -> None:
    assert set(TABLE) == set(FailureKind) == {row[0] for row in ROWS}


@pytest.mark.parametrize(("kind", "status", "following", "scope", "soft", "trips"), ROWS)
def test_the_table(kind: FailureKind, status: int, following: Next, scope: Scope, soft: bool, trips: bool) -> None:
    rule = rule_for(failure(kind, status))
    assert (rule.next, rule.scope, rule.soft, rule.retry_same, rule.trips_breaker) == (following, scope, soft, soft, trips)


def test_what_ends_a_connection_says_as_what() -> None:
    assert rule_for(failure(K.AUTH, 401)).status is TestStatus.EXPIRED
    assert rule_for(failure(K.AUTH, 403, "account_deactivated")).status is TestStatus.BANNED
    assert rule_for(failure(K.CREDIT, 402)).status is TestStatus.CREDITS_EXHAUSTED


@pytest.mark.parametrize("code", ["", "account_deactivated"])
def test_a_lenient_connection_cools_instead_of_ending(code: str) -> None:
    """#1594, #2997: a refusal of a pooled upstream passes."""
    rule = rule_for(failure(K.AUTH, 403, code), lenient=True)
    assert (rule.scope, rule.status, rule.soft, rule.trips_breaker) == (Scope.COOLDOWN, TestStatus.UNAVAILABLE, False, False)
    assert rule_for(failure(K.CREDIT, 402), lenient=True).scope is Scope.TERMINAL


@pytest.mark.parametrize(("kind", "status", "base"), [(K.RATE, 429, 0.0), (K.QUOTA, 429, 0.0), (K.MODEL, 404, 120.0)])
def test_with_quotas_for_each_model_only_the_model_is_left_alone(kind: FailureKind, status: int, base: float) -> None:
    rule = rule_for(failure(kind, status), per_model=True)
    assert (rule.next, rule.scope, rule.trips_breaker, rule.base) == (Next.MOVE_ON, Scope.LOCKOUT, False, base)


def test_quotas_by_model_change_nothing_else() -> None:
    for kind, status, *_ in ROWS:
        if kind not in (K.RATE, K.QUOTA, K.MODEL):
            assert rule_for(failure(kind, status), per_model=True) == rule_for(failure(kind, status))


@pytest.mark.parametrize(
    ("kind", "status", "reached", "trips"),
    [
        (K.NETWORK, 502, True, True),
        (K.NETWORK, 502, False, False),
        (K.SERVER, 408, True, True),
        (K.SERVER, 520, True, True),
        (K.SERVER, 418, True, False),
        (K.CAPACITY, 529, True, True),
        (K.CAPACITY, 429, True, False),
    ],
)
def test_what_counts_against_the_provider_as_a_whole(kind: FailureKind, status: int, reached: bool, trips: bool) -> None:
    """#9342: a fault on the way to a provider says nothing about it; #1804: its own faults do count."""
    rule = rule_for(failure(kind, status), reached=reached)
    assert (rule.trips_breaker, rule.scope, rule.soft) == (trips, Scope.COOLDOWN, True)


def test_a_call_that_the_provider_calls_malformed_leaves_nothing_alone() -> None:
    rule = rule_for(failure(K.CAPACITY, 400))
    assert (rule.next, rule.scope, rule.trips_breaker) == (Next.MOVE_ON, Scope.NONE, False)
