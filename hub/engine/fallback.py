"""What follows a failed call: one table from the kind of a failure to the next step and to what is left alone (routing.md 3.4).

A bad request is the caller's and is returned as it came; a prompt that is too long goes to a larger window; auth and
quota errors move on. The last real upstream error is what the client sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from hub.providers.base import FailureKind
from hub.records import TestStatus

if TYPE_CHECKING:
    from hub.providers.base import Failure


class Next(StrEnum):
    """Where the request goes now."""

    STOP = "stop"  # back to the client: no other target can mend it
    MOVE_ON = "move_on"  # the next target
    LARGER = "larger"  # only targets with a larger context window


class Scope(StrEnum):
    """What is left alone for a while because of the failure."""

    NONE = "none"
    TERMINAL = "terminal"  # the connection, until a person acts; Rule.status says as what
    COOLDOWN = "cooldown"  # the connection, by a timer
    LOCKOUT = "lockout"  # the model at this connection, by a timer


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows. ``soft``: a retry may well survive it; ``retry_same``: worth another try at the very same target.

    ``trips_breaker``: it counts against the provider as a whole. ``base`` is the first wait in seconds, 0 the profile's.
    ``of_service``: it is a fault of what was called and says nothing of the account, so other services of it go on.
    """

    next: Next = Next.MOVE_ON
    scope: Scope = Scope.NONE
    status: TestStatus = TestStatus.UNAVAILABLE
    trips_breaker: bool = False
    soft: bool = False
    retry_same: bool = False
    base: float = 0.0
    of_service: bool = False


_PASSING = Rule(scope=Scope.COOLDOWN, trips_breaker=True, soft=True, retry_same=True, of_service=True)
_LIMIT = Rule(scope=Scope.COOLDOWN)

TABLE: dict[FailureKind, Rule] = {
    FailureKind.CALLER: Rule(Next.STOP),
    FailureKind.CONTEXT: Rule(Next.LARGER),
    FailureKind.AUTH: Rule(scope=Scope.TERMINAL, status=TestStatus.EXPIRED),
    FailureKind.PERMISSION: Rule(scope=Scope.COOLDOWN, of_service=True),
    FailureKind.CREDIT: Rule(scope=Scope.TERMINAL, status=TestStatus.CREDITS_EXHAUSTED),
    FailureKind.RATE: _LIMIT,
    FailureKind.QUOTA: _LIMIT,
    FailureKind.MODEL: Rule(),
    FailureKind.CAPACITY: _PASSING,
    FailureKind.SERVER: _PASSING,
    FailureKind.NETWORK: _PASSING,
    FailureKind.CONFIG: Rule(),
}
#: With quotas for each model these concern the model and not the account; first waits in seconds.
_OF_MODEL = {FailureKind.RATE: 0.0, FailureKind.QUOTA: 0.0, FailureKind.MODEL: 120.0}
#: The code by which a provider says that the account is closed.
_CLOSED = "account_deactivated"


def rule_for(failure: Failure, *, per_model: bool = False, lenient: bool = False, reached: bool = True) -> Rule:
    """What follows a failure.

    ``per_model``: the provider counts by model; ``lenient``: a 401 or 403 of this connection passes by itself;
    ``reached``: the provider was there to fail. A network fault on the way says nothing about the provider as a whole.
    """
    rule = TABLE[failure.kind]
    if per_model and failure.kind in _OF_MODEL:
        return replace(rule, scope=Scope.LOCKOUT, base=_OF_MODEL[failure.kind])
    if failure.kind is FailureKind.AUTH:
        return _credential(rule, failure, lenient)
    if rule.trips_breaker:
        return _passing(rule, failure, reached)
    return rule


def _credential(rule: Rule, failure: Failure, lenient: bool) -> Rule:
    if lenient:
        return _LIMIT
    return replace(rule, status=TestStatus.BANNED) if failure.code == _CLOSED else rule


def _passing(rule: Rule, failure: Failure, reached: bool) -> Rule:
    if failure.kind is FailureKind.CAPACITY and failure.status in (400, 422):
        return Rule()  # "improperly formed request": the provider's word for this one request, no reason to wait
    if not reached or not (failure.status == 408 or failure.status >= 500):
        return replace(rule, trips_breaker=False)
    return rule
