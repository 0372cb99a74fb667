"""Auto: every option is scored on what is known of it, the best comes first (routing.md 2.4)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES
from hub.routing.scoring import Scale, weights_of
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

#: An option that scores less goes behind the others; keeping it away for longer is the breakers' work.
LOWEST_SCORE = 0.2
#: Milliseconds that a failed call costs the variant that looks for speed, times the share of calls that fail.
_FAILURE_COST = 1000.0
_UNKNOWN_LATENCY, _UNKNOWN_FAILURES = 1500.0, 0.05


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Best score first, each option with its score and with what each factor added to it.

    ``variant`` may put another measure before the score: price (``cost``, ``eco``), speed (``latency``, ``fast``) or the option that
    answered last (``lkgp``). Options that cannot do the work go last whatever they score: no tools where the request has tools,
    too small a window, an open breaker, a score below :data:`LOWEST_SCORE`. Now and then (``exploration``) one of the others is put
    in front by chance, unless more than half of the breakers are open. With a ``budget_cap`` the first must be known to cost no more.
    """
    if not options:
        return []
    _score(options, facts)
    measure = _MEASURES.get(facts.variant)
    hindered = [_hindrance(option, facts) for option in options]
    first = [measure(option, facts) for option in options] if measure else hindered
    keys = sorted(zip(hindered, first, [-(option.score or 0.0) for option in options], range(len(options)), strict=True))
    found = [options[number] for _, _, _, number in keys]
    if facts.exploration:
        _explore(found, facts)
    if facts.budget_cap is not None:
        _within(facts.budget_cap, found, facts)
    return found


def _score(options: Sequence[Option], facts: Facts) -> None:
    weights, scale = weights_of(facts), Scale(options, facts.tokens)
    for option in options:
        option.factors = factors = weights.contributions(scale.values(option.sight))
        option.score = sum(factors.values())


def _hindrance(option: Option, facts: Facts) -> int:
    """What speaks against an option: 2 that it cannot do the work, 1 that it is in a bad way, 3 both."""
    sight = option.sight
    bad = sight.health <= 0 or option.score is None or option.score < LOWEST_SCORE
    unable = (facts.tools and not sight.tools) or (sight.context is not None and sight.context < facts.tokens)
    return 2 * unable + bad


def _cost(option: Option, facts: Facts) -> float:
    price = option.sight.price
    return inf if price is None else price


def _speed(option: Option, facts: Facts) -> float:
    sight = option.sight
    latency = _UNKNOWN_LATENCY if sight.latency is None else sight.latency
    return latency + _FAILURE_COST * (_UNKNOWN_FAILURES if sight.success is None else 1 - sight.success)


def _last_good(option: Option, facts: Facts) -> float:
    return not facts.last_good or option.key != facts.last_good


#: Variant -> what it looks at before the score, lowest first; ``rules`` at nothing.
_MEASURES = {"cost": _cost, "eco": _cost, "latency": _speed, "fast": _speed, "lkgp": _last_good}


def _explore(found: list[Option], facts: Facts) -> None:
    """Put one of the able options in front by chance."""
    chance = facts.chance
    if chance.share() >= facts.exploration or sum(option.sight.health <= 0 for option in found) * 2 > len(found):
        return
    able = [number for number, option in enumerate(found) if not _hindrance(option, facts)]
    if able:
        found.insert(0, found.pop(able[chance.below(len(able))]))


def _within(cap: float, found: list[Option], facts: Facts) -> None:
    """Put the cheapest able option in front where the first is not known to cost ``cap`` US dollars per 1,000 tokens or less."""
    first = found[0].sight.price
    if first is not None and first / 1000 <= cap:
        return
    known = [
        (_hindrance(option, facts), option.sight.price, number) for number, option in enumerate(found) if option.sight.price is not None
    ]
    if known:
        found.insert(0, found.pop(min(known)[-1]))


AUTO = Strategy(
    "auto",
    "best score of what is known of each",
    order,
    sees=ROOM_SEES
    | {"price", "latency", "deviation", "success", "health", "quota", "resets_in", "running", "fit", "tier", "warm", "tools"},
    knows=ROOM_KNOWS | {"seed", "last_good", "weights", "pack", "variant", "exploration", "budget_cap", "tools"},
)
