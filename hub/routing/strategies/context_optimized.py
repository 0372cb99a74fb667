"""Context-optimized: the largest context window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES, ranked
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Largest window first, unknown ones after them; as stored where none is known."""
    return ranked(options, facts, _window)


def _window(option: Option) -> int:
    return -(option.sight.context or 0)


CONTEXT_OPTIMIZED = Strategy(
    "context-optimized", "largest context window first", order, sees=ROOM_SEES, knows=ROOM_KNOWS, aliases=("context",)
)
