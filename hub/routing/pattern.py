"""Regular expressions that owners write, searched in steps linear in the text: no pattern can stall the hub (SEC-34).

The pattern is read by the standard library's own parser, so that its syntax is the one people know, and run
as a set of states (Thompson). What needs backtracking (back-references, look-around) is refused.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_CHARACTERS = 1000
#: Longer texts never fit: names of tools are shorter, and the steps of one search stay bounded.
MOST_TEXT = 128
_MOST_WEIGHT = 1500
#: What a state within a repetition weighs: there many states can be alive at once, which costs time at every character.
_REPEATED = 5
_MOST_STEPS = 5000
_MOST_KEPT = 1024
_FLAGS = re.IGNORECASE | re.UNICODE | re.ASCII | re.DOTALL | re.VERBOSE

#: The standard library's own; compression looks at expressions with it, too.
PARSER: Any = importlib.import_module("re._parser")
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})


class Pattern:
    """A compiled pattern: ``pattern(text)`` says whether it is found anywhere in a text. Remembers what it was asked, within a limit."""

    __slots__ = ("_kept", "_nodes", "_start", "text")

    def __init__(self, text: str, nodes: list[_Node], start: int) -> None:
        self.text = text
        self._nodes = nodes
        self._start = start
        self._kept: dict[str, bool] = {}

    def __call__(self, text: str) -> bool:
        found = self._kept.get(text)
        if found is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            found = self._kept[text] = len(text) <= MOST_TEXT and self._search(text)
        return found

    def _search(self, text: str) -> bool:
        return bool(self.within(text, sys.maxsize))

    def within(self, text: str, steps: int) -> bool | None:
        """Whether it is found in a text of any length; None where that takes more than so many steps. Nothing is remembered."""
        nodes = self._nodes
        active: set[int] = set()
        for at in range(len(text) + 1):
            active = self._closure((*active, self._start), text, at)
            if 0 in active:
                return True
            steps -= len(active)
            if steps < 0:
                return None
            if at < len(text):
                c = text[at]
                active = {node.out[0] for index in active if (node := nodes[index]).test is not None and node.test(c)}
        return False

    def _closure(self, starts: Iterable[int], text: str, at: int) -> set[int]:
        """All states that can be reached from these without reading a character."""
        found: set[int] = set()
        waiting = list(starts)
        while waiting:
            index = waiting.pop()
            if index in found:
                continue
            found.add(index)
            node = self._nodes[index]
            if node.test is None and (node.place is None or node.place(text, at)):
                waiting += node.out
        return found


class _Node:
    """One state: reads a character that passes ``test``, or goes on to all of ``out`` (where ``place`` holds) without reading."""

    __slots__ = ("out", "place", "test")

    def __init__(self, out: list[int], test: Callable[[str], bool] | None = None, place: Callable[[str, int], bool] | None = None) -> None:
        self.out = out
        self.test = test
        self.place = place


def compiled(text: str, *, field: str = "pattern") -> Pattern:
    """The pattern of a text. Raises BadRequest naming ``field`` for one that is malformed, too long or needs backtracking."""
    if len(text) > MOST_CHARACTERS:
        raise BadRequest(f"{field} is longer than {MOST_CHARACTERS} characters", field=field)
    try:
        tree = PARSER.parse(text)
        builder = _Builder(field, tree.state.flags)
        start = builder.sequence(tree, 0, builder.flags)
    except (re.error, OverflowError) as error:
        raise BadRequest(f"{field} is not a regular expression: {error}", field=field) from None
    except RecursionError:
        raise BadRequest(f"{field} is nested too deeply", field=field) from None
    return Pattern(text, builder.nodes, start)


class _Builder:
    """Builds states from the end backwards: each part is given where to go on. State 0 is the end."""

    def __init__(self, field: str, flags: int) -> None:
        self.field = field
        self.flags = flags
        self.nodes = [_Node([])]
        self._steps = self._weight = self._depth = 0
        if flags & ~_FLAGS:
            raise self._refused("flags other than i, s, x, a and u are not supported")

    def sequence(self, items: Any, then: int, flags: int) -> int:
        """The first state of some parts in a row."""
        for op, argument in reversed(list(items)):
            then = self._part(str(op), argument, then, flags)
        return then

    def _part(self, op: str, argument: Any, then: int, flags: int) -> int:
        self._count()
        if op in _REPEATS:
            self._depth += 1
            start = self._repeat(argument, then, flags)
            self._depth -= 1
            return start
        if op == "BRANCH":
            return self._add(_Node([self.sequence(branch, then, flags) for branch in argument[1]]))
        if op == "SUBPATTERN":
            _, on, off, inner = argument
            return self.sequence(inner, then, (flags | on) & ~off)
        if op == "AT":
            return self._add(_Node([then], place=_PLACES[str(argument)]))
        test = _test(op, argument, flags)
        if test is None:
            raise self._refused("back-references, look-around and atomic groups are not supported")
        return self._add(_Node([then], test=test))

    def _repeat(self, argument: Any, then: int, flags: int) -> int:
        least, most, inner = argument
        if most == PARSER.MAXREPEAT:
            loop = _Node([then])
            start = self._add(loop)
            loop.out.insert(0, self.sequence(inner, start, flags))
        else:
            start = then
            for _ in range(most - least):
                self._count()
                start = self._add(_Node([self.sequence(inner, start, flags), then]))
        for _ in range(least):
            self._count()
            start = self.sequence(inner, start, flags)
        return start

    def _add(self, node: _Node) -> int:
        self._weight += _REPEATED if self._depth else 1
        if self._weight > _MOST_WEIGHT:
            raise self._refused("it is too large; repeat less, or write shorter alternatives")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise self._refused("it repeats too much")

    def _refused(self, why: str) -> BadRequest:
        return BadRequest(f"{self.field} cannot be used: {why}", field=self.field)


def _test(op: str, argument: Any, flags: int) -> Callable[[str], bool] | None:
    """Whether a character fits, as a function; None for a part that is no single character."""
    if op == "ANY":
        return (lambda c: True) if flags & re.DOTALL else (lambda c: c != "\n")
    if op in ("LITERAL", "NOT_LITERAL"):
        chars = frozenset(_cased(chr(argument), flags))
        return chars.__contains__ if op == "LITERAL" else (lambda c: c not in chars)
    return _set(argument, flags) if op == "IN" else None


def _set(items: Any, flags: int) -> Callable[[str], bool]:
    kinds = [(str(op), argument) for op, argument in items]
    wanted = not any(op == "NEGATE" for op, _ in kinds)
    chars = frozenset(c for op, argument in kinds if op == "LITERAL" for c in _cased(chr(argument), flags))
    ranges = [argument for op, argument in kinds if op == "RANGE"]
    categories = [_category(str(argument), flags) for op, argument in kinds if op == "CATEGORY"]

    def fits(c: str) -> bool:
        inside = (
            c in chars
            or any(low <= ord(form) <= high for form in _cased(c, flags) for low, high in ranges)
            or any(category(c) for category in categories)
        )
        return inside is wanted

    return fits


def _category(name: str, flags: int) -> Callable[[str], bool]:
    test = _CATEGORIES[name]
    if not flags & re.ASCII:
        return test
    negated = "_NOT_" in name
    return lambda c: test(c) if c.isascii() else negated


def _cased(c: str, flags: int) -> set[str]:
    """The ways to write a character that count as the same."""
    if not flags & re.IGNORECASE or (flags & re.ASCII and not c.isascii()):
        return {c}
    return {form for form in (c, c.lower(), c.upper()) if len(form) == 1}


def _word(c: str) -> bool:
    return c.isalnum() or c == "_"


def _boundary(text: str, at: int) -> bool:
    before = at > 0 and _word(text[at - 1])
    return before is not (at < len(text) and _word(text[at]))


def _end(text: str, at: int) -> bool:
    return at == len(text) or (at == len(text) - 1 and text[at] == "\n")


_PLACES: dict[str, Callable[[str, int], bool]] = {
    "AT_BEGINNING": lambda text, at: at == 0,
    "AT_BEGINNING_STRING": lambda text, at: at == 0,
    "AT_END": _end,
    "AT_END_STRING": lambda text, at: at == len(text),
    "AT_BOUNDARY": _boundary,
    # As in the standard library up to 3.13: an empty text has no place that is not a boundary.
    "AT_NON_BOUNDARY": lambda text, at: (bool(text) or sys.version_info >= (3, 14)) and not _boundary(text, at),
}


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda c: not c.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda c: not c.isspace(),
    "CATEGORY_WORD": _word,
    "CATEGORY_NOT_WORD": lambda c: not _word(c),
}
