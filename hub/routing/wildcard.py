"""Wildcard names: ``*`` any run of characters, ``?`` one; the whole name must fit, letters of any case (routing.md 1.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEPARATORS = re.compile(r"[/*?]")


def matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern. Takes at most len(pattern) x len(name) steps, whatever the pattern."""
    pattern, name = pattern.lower(), name.lower()
    at = p = 0
    star, resume = -1, 0
    while at < len(name):
        if p < len(pattern) and pattern[p] == "*":
            star, resume = p, at
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", name[at]):
            p += 1
            at += 1
        elif star >= 0:
            # The last star takes one character more; earlier stars never need to give any back.
            resume += 1
            p, at = star + 1, resume
        else:
            return False
    return not pattern[p:].strip("*")


def specificity(pattern: str) -> int:
    """How particular a pattern is: 10 for each literal character, -50 for each ``*``, -5 for each ``?``, and its length."""
    literal = sum(map(len, _SEPARATORS.split(pattern)))
    return 10 * literal - 50 * pattern.count("*") - 5 * pattern.count("?") + len(pattern)


def best(patterns: Iterable[str], name: str) -> str | None:
    """The most specific wildcard pattern that fits a name; of equals the one that sorts first. None when none fits."""
    fitting = [pattern for pattern in patterns if ("*" in pattern or "?" in pattern) and matches(pattern, name)]
    return min(fitting, key=lambda pattern: (-specificity(pattern), pattern), default=None)
