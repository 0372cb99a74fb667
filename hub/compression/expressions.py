"""Regular expressions that owners write for compression, kept to such as cannot stall the hub (SEC-34).

They are searched in long texts, so the standard library's engine runs them, a line at a time. What could make it try very many ways
is refused: a repetition within one, alternatives within one, and more than one without an end (two where the expression is anchored).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from hub.errors import BadRequest
from hub.routing.pattern import PARSER

#: Longer lines are searched up to here.
MOST_LINE = 2000
_OPEN = 64
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


@lru_cache(maxsize=2048)
def safe(text: str, field: str = "pattern") -> re.Pattern[str]:
    """The expression. Raises BadRequest naming ``field`` for one that is malformed or could take long."""
    try:
        tree = PARSER.parse(text)
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadRequest(f"{field} is not a regular expression: {error}", field=field) from None
    items = list(tree)
    anchored = bool(items) and str(items[0][0]) == "AT" and str(items[0][1]) == "AT_BEGINNING"
    found = _open(items, inside=False, field=field)
    if found > 1 + anchored:
        raise _refused(field, "it has more than one repetition without an end (two after ^)")
    return compiled


def _open(items: Any, *, inside: bool, field: str) -> int:
    """How many repetitions there are whose number is not small."""
    total = 0
    for op, argument in items:
        name = str(op)
        if name in _REPEATS:
            total += _repeated(argument, inside=inside, field=field)
        elif name == "BRANCH":
            if inside:
                raise _refused(field, "it has alternatives within a repetition")
            total += max(_open(branch, inside=False, field=field) for branch in argument[1])
        elif name == "SUBPATTERN":
            total += _open(argument[3], inside=inside, field=field)
        elif name not in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "RANGE", "CATEGORY"):
            raise _refused(field, "back-references, look-around and atomic groups are not supported")
    return total


def _repeated(argument: Any, *, inside: bool, field: str) -> int:
    _, most, inner = argument
    endless = most == PARSER.MAXREPEAT or int(most) > _OPEN
    if inside and most != 1:
        raise _refused(field, "it has a repetition within a repetition")
    return endless + _open(inner, inside=inside or most != 1, field=field)


def _refused(field: str, why: str) -> BadRequest:
    return BadRequest(f"{field} cannot be used: {why}", field=field)


def found(patterns: tuple[re.Pattern[str], ...], line: str) -> bool:
    """Whether a line has any of the patterns."""
    line = line[:MOST_LINE]
    return any(pattern.search(line) for pattern in patterns)
