"""Strict-random: chance that is fair, every option once per round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.chance import Chance
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Each round of as many turns as there are options deals a shuffled deck; the card of this turn comes first, the rest as stored.

    The last card of a round is not the first of the next. Decks come of ``deck`` and the number of the round alone, so nothing
    is kept from turn to turn.
    """
    count = len(options)
    if count < 2:
        return list(options)
    turn, place = divmod(facts.turn, count)
    card = _deck(facts.deck, turn, count, place)[place]
    return [options[card], *options[:card], *options[card + 1 :]]


def _deck(seed: int, turn: int, count: int, place: int) -> list[int]:
    # With two cards the seam leaves no choice: every deck is the first one.
    deck = Chance(seed, turn if count > 2 else 0).shuffled(range(count))
    # Only the first two cards may change places at the seam, so a deck's last card never depends on the deck before it.
    if place < 2 < count and turn and deck[0] == Chance(seed, turn - 1).shuffled(range(count))[-1]:
        deck[0], deck[1] = deck[1], deck[0]
    return deck


STRICT_RANDOM = Strategy("strict-random", "a shuffled deck, each once per round", order, knows=frozenset({"deck", "turn"}), accounts=True)
