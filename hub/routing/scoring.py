"""Scores of ``auto``: what each factor of an option is worth, from 0 to 1, and how much it counts (routing.md 2.4)."""

from __future__ import annotations

from itertools import compress
from operator import mul
from typing import TYPE_CHECKING

from hub.routing.ranking import UNKNOWN_QUOTA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hub.routing.strategy import Facts, Option, Sight

#: In the order in which :class:`Scale` gives them.
FACTORS = (
    "quota",
    "health",
    "costInv",
    "latencyInv",
    "taskFit",
    "stability",
    "tierPriority",
    "contextAffinity",
    "connectionDensity",
    "cacheAffinity",
    "resetWindowAffinity",
    "success",
)

#: Points of each pack. The first seven are the reference's, in hundredths (3.7.9; those of the last two packs 3.8.40). The other
#: five are factors that the reference has later or that we know: room for the prompt, few calls under way, a warm prompt cache,
#: quota that would go to waste, calls that worked. They get a sixth where nothing is asked for, less where a pack has one aim.
_POINTS: dict[str, tuple[int, ...]] = {
    "": (20, 25, 20, 15, 10, 5, 5, 3, 5, 6, 2, 4),
    "ship-fast": (15, 30, 5, 35, 10, 0, 5, 1, 5, 4, 0, 3),
    "cost-saver": (15, 20, 40, 5, 10, 5, 5, 1, 3, 10, 2, 2),
    "quality-first": (10, 20, 5, 5, 40, 15, 5, 3, 3, 3, 0, 4),
    "offline-friendly": (40, 30, 10, 5, 0, 10, 5, 1, 5, 2, 2, 4),
    "reliability-first": (14, 37, 4, 5, 10, 20, 5, 1, 5, 2, 0, 10),
    "chaos-mode": (5, 42, 2, 3, 20, 18, 2, 3, 5, 0, 0, 0),
}


class Weights:
    """How much each factor counts. ``names`` and ``counted`` leave out those that count nothing."""

    __slots__ = ("_all", "counted", "names")

    def __init__(self, weights: Sequence[float]) -> None:
        self._all = tuple(weights)
        self.names = tuple(compress(FACTORS, self._all))
        self.counted = tuple(compress(self._all, self._all))

    def contributions(self, values: Sequence[float]) -> dict[str, float]:
        """What each factor adds to the score: its weight times its value."""
        return dict(zip(self.names, map(mul, self.counted, compress(values, self._all)), strict=True))


PACKS: Mapping[str, Weights] = {name: Weights([one / sum(points) for one in points]) for name, points in _POINTS.items()}

#: Words of ``X-OmniRoute-Mode`` -> the pack they stand for; a pack's own name may be written too.
MODES: Mapping[str, str] = {
    "default": "",
    "balanced": "",
    "fast": "ship-fast",
    "cheap": "cost-saver",
    "quality": "quality-first",
    "offline": "offline-friendly",
    "reliable": "reliability-first",
    **{name: name for name in PACKS if name},
}

#: Names of the weights that a person gives -> the factors they weigh.
_GIVEN = {
    "quota": "quota",
    "health": "health",
    "cost_inv": "costInv",
    "latency_inv": "latencyInv",
    "task_fit": "taskFit",
    "stability": "stability",
    "tier_priority": "tierPriority",
}

_MONTH, _WEEK = 2_592_000, 604_800
#: What an unknown factor is worth: neither good nor bad, so that the known ones decide and a new option gets its first calls.
_UNKNOWN = 0.5
#: Share of calls that work where none was counted yet.
_USUAL_SUCCESS = 0.95


def weights_of(facts: Facts) -> Weights:
    """The weight of each factor. Weights that were given hold when they sum to 1 within 0.01, and then no other factor counts;
    else the pack's do, and those of no pack where it is not known."""
    given = facts.weights
    if given and abs(sum(given.values()) - 1) <= 0.01:
        named = {_GIVEN.get(name, name): weight for name, weight in given.items()}
        return Weights([named.get(name, 0.0) for name in FACTORS])
    return PACKS.get(facts.pack) or PACKS[""]


class Scale:
    """The greatest price, latency and deviation among the options: the factors that compare are shares of them."""

    __slots__ = ("_deviation", "_latency", "_price", "_room")

    def __init__(self, options: Sequence[Option], tokens: int) -> None:
        # Shares are multiplied with, so that the most is divided by once; where all have nothing of it, nothing is lost.
        price = latency = deviation = 0.0
        for option in options:
            sight = option.sight
            price = max(price, sight.price or 0.0)
            latency = max(latency, sight.latency or 0.0)
            deviation = max(deviation, sight.deviation or 0.0)
        self._price = 1 / price if price else 0.0
        self._latency = 1 / latency if latency else 0.0
        self._deviation = 1 / deviation if deviation else 0.0
        # Room for the prompt twice: an answer and the next turns need it too.
        self._room = 1 / (2 * tokens) if tokens else 1.0

    def values(self, sight: Sight) -> tuple[float, ...]:
        """What each of :data:`FACTORS` is worth for an option."""
        left = UNKNOWN_QUOTA if sight.quota is None else sight.quota
        tier, wasted = _timed(sight, left)
        return (
            left / 100,
            sight.health,
            _UNKNOWN if sight.price is None else 1 - sight.price * self._price,
            _UNKNOWN if sight.latency is None else 1 - sight.latency * self._latency,
            sight.fit,
            _UNKNOWN if sight.deviation is None else 1 - sight.deviation * self._deviation,
            tier,
            _UNKNOWN if sight.context is None else min(sight.context * self._room, 1.0),
            1 / (1 + sight.running),
            sight.warm,
            wasted,
            _USUAL_SUCCESS if sight.success is None else sight.success,
        )


def _timed(sight: Sight, left: float) -> tuple[float, float]:
    """The factors that a soon reset makes greater: the account's tier, and its quota that would go to waste."""
    tier, resets_in = 0.8 * sight.tier, sight.resets_in
    if resets_in is None:
        return tier, 0.0
    if resets_in < _MONTH:
        tier += 0.2 * (1 - max(resets_in, 0.0) / _MONTH)
    return tier, 1 - max(resets_in, 0.0) / _WEEK if left > 0 and resets_in < _WEEK else 0.0
