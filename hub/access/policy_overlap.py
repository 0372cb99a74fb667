"""Rules that contradict each other on calls which both match: the one that comes first wins, and its owner should know."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hub.access.policy import RewriteModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.access.policy import Policy, TimeTest, When
    from hub.store.documents import Document

_PATTERNS = ("keys", "models", "providers", "skills", "doors")


def warnings(ordered: Sequence[Document[Policy]], *, about: str = "") -> list[str]:
    """What an owner should know of enabled rules in the order in which they are walked; ``about`` is the id of the only one of interest."""
    enabled = [document for document in ordered if document.body.enabled]
    found: list[str] = []
    for place, first in enumerate(enabled):
        if first.body.then.action == "deny" and not first.body.when.model_fields_set and about in ("", first.id):
            found.append(f"{first.name!r} denies every call that no rule before it allows")
        found.extend(
            f"{first.name!r} and {second.name!r} match some of the same calls: {words}"
            for second in enabled[place + 1 :]
            if about in ("", first.id, second.id)
            and (words := _clash(first.body, second.body))
            and overlap(first.body.when, second.body.when)
        )
    return found


def _clash(first: Policy, second: Policy) -> str:
    """How two actions contradict each other where both match; empty when they do not."""
    pair = (first.then.action, second.then.action)
    if pair == ("allow", "deny"):
        return "the first allows them, so the second does not deny them"
    if pair == ("deny", "allow"):
        return "the first denies them, so the second does not allow them"
    if pair == ("allow", "require_tag"):
        return "the first allows them, so the second asks for no tag"
    if isinstance(first.then, RewriteModel) and isinstance(second.then, RewriteModel) and first.then.model != second.then.model:
        return f"the first rewrites the model to {first.then.model!r}, so the second does not rewrite it to {second.then.model!r}"
    return ""


def overlap(first: When, second: When) -> bool:
    """Whether some call may match both. Errs to True where hours lie in different zones, and for tags, which add up."""
    streams = {first.stream, second.stream} - {None}
    named = all(_any_meet(getattr(first, name), getattr(second, name)) for name in _PATTERNS)
    return named and len(streams) < 2 and _costs_meet(first, second) and _times_meet(first.time, second.time)


def _any_meet(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether two lists of patterns, of which an empty one takes everything, have a name in common."""
    return not ours or not theirs or any(meets(one.lower(), other.lower()) for one in ours for other in theirs)


@lru_cache(maxsize=4096)
def meets(first: str, second: str) -> bool:
    """Whether some name fits both patterns; len(first) x len(second) steps."""
    # below[j]: whether what is left of ``first`` after this row and of ``second`` from j on have a name in common.
    below = [False] * len(second) + [True]
    for one in ("", *reversed(first)):
        row = below if not one else [False] * len(second) + [one == "*" and below[-1]]
        for j in reversed(range(len(second))):
            row[j] = _step(one, second[j], j, row, below)
        below = row
    return below[0]


def _step(one: str, other: str, j: int, row: list[bool], below: list[bool]) -> bool:
    if not one:
        return other == "*" and row[j + 1]
    if "*" in (one, other):
        return below[j] or row[j + 1]
    return (one == other or "?" in (one, other)) and below[j + 1]


def _costs_meet(first: When, second: When) -> bool:
    least = max(first.cost_above or 0.0, second.cost_above or 0.0)
    bounds = [bound for bound in (first.cost_below, second.cost_below) if bound is not None]
    return not bounds or least < min(bounds)


def _times_meet(first: TimeTest | None, second: TimeTest | None) -> bool:
    if first is None or second is None or first.zone != second.zone:
        return True
    return not _minutes(first).isdisjoint(_minutes(second))


def _minutes(test: TimeTest) -> frozenset[int]:
    """The minutes of the week of a test."""
    start, until = _clock(test.start, 0), _clock(test.until, 1440)
    if start == until:
        start, until = 0, 1440
    length = (until - start) % 1440 or 1440
    return frozenset((day * 1440 + start + step) % 10080 for day in test.weekdays or range(7) for step in range(length))


def _clock(value: str, default: int) -> int:
    return int(value[:2]) * 60 + int(value[3:]) if value else default
