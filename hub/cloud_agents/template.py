"""The little language of the vendor rows: paths into JSON, and JSON with fields to fill in. Text that is filled in is never read again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FIELD = re.compile(r"{([A-Za-z][A-Za-z.]*)}")
_MISSING = object()


def values(tree: Any, path: str) -> list[Any]:
    """What stands at a path: names joined by ``.``, ``*`` for every item of a list; of ``a|b`` the first that is there."""
    for choice in path.split("|"):
        found = [one for one in _walk(tree, choice.split(".")) if one is not None and one != ""]
        if found:
            return found
    return []


def first(tree: Any, path: str) -> Any:
    """The first value at a path, None where there is none."""
    found = values(tree, path)
    return found[0] if found else None


def objects(tree: Any, path: str) -> list[dict[str, Any]]:
    """The objects at a path."""
    return [cast("dict[str, Any]", one) for one in values(tree, path) if isinstance(one, dict)]


def text(tree: Any, path: str) -> str:
    """The values at a path as lines of text."""
    return "\n".join(str(one) for one in values(tree, path) if isinstance(one, (str, int, float)))


def _walk(tree: Any, names: list[str]) -> Iterator[Any]:
    if not names:
        yield tree
        return
    name, rest = names[0], names[1:]
    if name == "*" and isinstance(tree, list):
        for one in cast("list[Any]", tree)[:1000]:
            yield from _walk(one, rest)
    elif isinstance(tree, dict):
        yield from _walk(cast("dict[str, Any]", tree).get(name), rest)


def fill(template: Any, facts: Mapping[str, Any]) -> Any:
    """A template with its ``{fields}`` filled in. ``{"if": name, "then": value}`` stands where the fact is true.

    A field whose whole text is one ``{name}`` takes the fact as it is; what is missing is left out, with the objects that it leaves empty.
    """
    filled = _fill(template, facts)
    return {} if filled is _MISSING else filled


def _fill(template: Any, facts: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        return _fill_text(template, facts)
    if isinstance(template, dict):
        return _fill_fields(cast("dict[str, Any]", template), facts)
    return template


def _fill_text(template: str, facts: Mapping[str, Any]) -> Any:
    whole = _FIELD.fullmatch(template)
    if whole is None:
        return _FIELD.sub(lambda match: str(facts.get(match[1]) or ""), template)
    value = facts.get(whole[1])
    return _MISSING if value is None or value == "" else value


def _fill_fields(fields: dict[str, Any], facts: Mapping[str, Any]) -> Any:
    if "if" in fields:
        return fields["then"] if facts.get(fields["if"]) else _MISSING
    filled = {name: _fill(value, facts) for name, value in fields.items()}
    kept = {name: value for name, value in filled.items() if value is not _MISSING}
    return kept if kept or not fields else _MISSING


def place(template: str, facts: Mapping[str, Any]) -> str:
    """A path of a URL with its ``{fields}`` filled in, each percent-encoded: none of them can leave its place (SEC-13)."""
    return _FIELD.sub(lambda match: quote(str(facts.get(match[1]) or ""), safe=""), template)
