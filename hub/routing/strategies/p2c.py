"""P2C, the power of two choices: of two options drawn by chance, the one in better shape."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """The better of two in front, the rest as stored. Two that are in the same shape share the work by chance.

    Those that cannot answer (their breaker is open, their window too small) are not drawn while others are there, and go last.
    """
    if len(options) < 2:
        return list(options)
    tokens = facts.tokens
    able: list[Option] = []
    unable: list[Option] = []
    for option in options:
        context = option.sight.context
        (able if option.sight.health > 0 and (context is None or context >= tokens) else unable).append(option)
    return _better_first(able, facts) + unable if able else _better_first(unable, facts)


def _better_first(options: list[Option], facts: Facts) -> list[Option]:
    count = len(options)
    if count < 2:
        return options
    chance = facts.chance
    first, second = chance.below(count), chance.below(count - 1)
    second += second >= first
    # Equal ones go by chance too: the first of a pair is as likely to be the one as the other.
    pick = second if penalty(options[second]) < penalty(options[first]) else first
    return [options[pick], *options[:pick], *options[pick + 1 :]]


def penalty(option: Option) -> float:
    """How bad it is to choose this option, in the points of the account score (routing.md 1.4).

    The reference scores accounts and targets apart. Both are here in one sum, as what one of them knows nothing of adds the
    same to every option: 40 points are one point of the target score (success rate and speed), which makes an option that
    fails half the time as bad as an account with a fresh error. Recent use is told by the calls under way, which is what it
    was to stand for.
    """
    sight = option.sight
    success = 0.5 if sight.success is None else sight.success
    speed = 0.25 if sight.latency is None else 1 / log10(sight.latency + 10)
    points = 40 * (2 - success - speed) + (10 if 0 < sight.health < 1 else 0)
    points += _quota(sight.quota) + 30 * sight.trouble + min(option.connection.priority - 1, 6)
    if sight.backoff:
        points += min(8 * sight.backoff, 40)
    if sight.running:
        points += min(2 * sight.running, 12)
    return points


def _quota(left: float | None) -> float:
    if left is None:
        return 4
    if left <= 0:
        return 200
    return (100 - left) / 8 + (10 if left <= 10 else 4 if left <= 25 else 0)


P2C = Strategy(
    "p2c",
    "the better of two drawn by chance",
    order,
    sees=ROOM_SEES | {"success", "latency", "health", "quota", "trouble", "backoff", "running"},
    knows=ROOM_KNOWS | {"seed"},
    accounts=True,
)
