"""What a routing strategy is: a pure function that orders candidates by facts (style.md 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from hub.records import Connection


@dataclass(slots=True)
class Option:
    """One target that may be tried. ``score`` and ``factors`` are filled by strategies that score, for the decision record."""

    connection: Connection
    provider: str
    model: str
    score: float | None = None
    factors: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Facts:
    """What a strategy may know besides the candidates. ``now`` is monotonic seconds."""

    now: float
    random: random.Random
    model: str


@dataclass(frozen=True, slots=True)
class Strategy:
    """A named way to order candidates. ``order`` returns every candidate exactly once.

    ``steady`` promises that the same candidates always give the same order, so that a plan may be kept.
    """

    name: str
    summary: str
    order: Callable[[Sequence[Option], Facts], list[Option]]
    steady: bool = False
