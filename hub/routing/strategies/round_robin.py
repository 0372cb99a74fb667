"""Round-robin: each option in its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """The next option comes first after every ``sticky`` turns, the others follow in stored order from there on."""
    if not options:
        return []
    start = facts.turn // max(1, facts.sticky) % len(options)
    return [*options[start:], *options[:start]]


ROUND_ROBIN = Strategy("round-robin", "each in its turn", order, knows=frozenset({"turn", "sticky"}), accounts=True)
