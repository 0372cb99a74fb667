"""JSON files edited in place: one member goes in, changes or goes out, every other byte stays."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from hub.connect.faults import COMMENTED, Malformed, not_an_object
from hub.errors import Conflict

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
#: A string, or what JSON with comments has and JSON has not; strings are matched so that they are passed over.
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class _Object:
    start: int
    end: int
    members: tuple[_Member, ...]

    def find(self, name: str) -> _Member | None:
        found = [member for member in self.members if member.name == name]
        if len(found) > 1:
            raise Conflict(f"{name!r} stands twice in one object; take one of them out first", code="ambiguous_config")
        return found[0] if found else None


def load(text: str) -> dict[str, Any]:
    """The whole document; nothing but space is an empty one.

    Raises Malformed with line and column, and Conflict (``commented_config``) for JSON with comments.
    """
    if not text.strip():
        return {}
    try:
        tree = json.loads(text)
    except RecursionError:
        raise Malformed(1, 1, "it is nested too deeply") from None
    except json.JSONDecodeError as error:
        if _commented(text):
            raise Conflict(
                "it has comments or trailing commas, which an edit could lose, so it is left alone; paste the lines by hand", code=COMMENTED
            ) from None
        raise Malformed(error.lineno, error.colno, error.msg) from None
    if not isinstance(tree, dict):
        raise not_an_object("")
    return cast("dict[str, Any]", tree)


def put(text: str, path: tuple[str, ...], value: Any) -> str:
    """The document with a value at a path, made where it is missing. Raises what :func:`load` raises, and Conflict."""
    load(text)
    if not text.strip():
        return _dumped(_nested(path, value), "  ") + "\n"
    at = _object(text, _skip(text, 0))
    for depth, name in enumerate(path):
        member = at.find(name)
        if member is None:
            return _inserted(text, at, name, _nested(path[depth + 1 :], value))
        if depth == len(path) - 1:
            return _replaced(text, at, member, value)
        at = _inner(text, member, path[: depth + 1])
    raise AssertionError("a path has at least one name")


def remove(text: str, path: tuple[str, ...], original: str = "") -> str:
    """The document without what is at a path. ``original`` is an earlier state, whose empty object an emptied one looks like again."""
    found = _find(text, path)
    if found is None:
        return text
    at, member = found
    place = at.members.index(member)
    if len(at.members) == 1:
        return text[: at.start] + _emptied(original, path[:-1]) + text[at.end :]
    if place:
        return text[: at.members[place - 1].end] + text[member.end :]
    return text[: member.start] + text[at.members[1].start :]


def _find(text: str, path: tuple[str, ...]) -> tuple[_Object, _Member] | None:
    if not load(text):
        return None
    at = _object(text, _skip(text, 0))
    for depth, name in enumerate(path):
        member = at.find(name)
        if member is None:
            return None
        if depth == len(path) - 1:
            return at, member
        if text[member.value] != "{":
            return None
        at = _object(text, member.value)
    return None


def _emptied(original: str, path: tuple[str, ...]) -> str:
    """How the object at a path was written while it was empty; ``{}`` where it was not there or not empty."""
    at = _object(original, _skip(original, 0)) if original.strip() else None
    if at is not None and path:
        found = _find(original, path)
        at = _object(original, found[1].value) if found and original[found[1].value] == "{" else None
    return original[at.start : at.end] if at is not None and not at.members else "{}"


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _object(text: str, start: int) -> _Object:
    """The members of the object that begins at ``start``, with their places. The text is known to be valid."""
    members: list[_Member] = []
    at = _skip(text, start + 1)
    while text[at] != "}":
        key = at
        name, at = _DECODER.raw_decode(text, key)
        value = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, value)
        members.append(_Member(name, key, value, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return _Object(start, at + 1, tuple(members))


def _inner(text: str, member: _Member, path: tuple[str, ...]) -> _Object:
    if text[member.value] != "{":
        raise not_an_object(".".join(path))
    return _object(text, member.value)


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _dumped(value: Any, unit: str | None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=unit, separators=(",", ": ") if unit is not None else None)


def _replaced(text: str, at: _Object, member: _Member, value: Any) -> str:
    return text[: member.value] + _laid_out(text, at, value) + text[member.end :]


def _inserted(text: str, at: _Object, name: str, value: Any) -> str:
    written = f"{json.dumps(name, ensure_ascii=False)}: {_laid_out(text, at, value)}"
    if at.members:
        end = at.members[-1].end
        return text[:end] + "," + _space_before(text, at.members[-1].start) + written + text[end:]
    outer, unit = _indent_at(text, at.start), _unit(text)
    if unit is None:
        return f"{text[: at.start]}{{{written}}}{text[at.end :]}"
    end_of_line = _end_of_line(text)
    return f"{text[: at.start]}{{{end_of_line}{outer}{unit}{written}{end_of_line}{outer}}}{text[at.end :]}"


def _space_before(text: str, at: int) -> str:
    start = at
    while text[start - 1] in " \t\r\n":
        start -= 1
    return text[start:at]


def _laid_out(text: str, at: _Object, value: Any) -> str:
    """A value as the document writes its own: on one line, or over several in its indentation."""
    unit = _unit(text)
    gap = _space_before(text, at.members[-1].start) if at.members else ""
    if unit is None or (at.members and "\n" not in gap):
        return _dumped(value, None)
    indent = gap.rpartition("\n")[2] if at.members else _indent_at(text, at.start) + unit
    return _dumped(value, unit).replace("\n", _end_of_line(text) + indent)


def _indent_at(text: str, at: int) -> str:
    """The indentation of the line that holds a place."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str | None:
    """One step of the document's indentation; None where everything stands on one line."""
    root = _object(text, _skip(text, 0))
    if not root.members:
        return "  "
    gap = _space_before(text, root.members[0].start)
    if "\n" not in gap:
        return "  " if "\n" in text.strip() else None
    return gap.rpartition("\n")[2][len(_indent_at(text, root.start)) :] or "  "


def _end_of_line(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _commented(text: str) -> bool:
    plain = _COMMENT.sub(lambda found: found[1] or "", text)
    try:
        json.loads(_TRAILING.sub(lambda found: found[1] or "", plain))
    except (json.JSONDecodeError, RecursionError):
        return False
    return True
