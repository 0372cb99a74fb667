"""Takes the fields of a client's JSON apart, naming the one at fault: what every dialect's decoder does alike.

Each function removes a field from ``fields`` and returns it; null counts as absent. ``at`` is the path of ``fields`` in the body,
such as ``messages.2``.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

import msgspec

from hub.chat import JsonObject
from hub.errors import BadRequest


def tree_of(body: bytes) -> JsonObject:
    """The body as an object. Raises BadRequest for anything else."""
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("Invalid JSON body") from error
    if not isinstance(tree, dict):
        raise BadRequest("Invalid JSON body: an object is expected")
    return cast("JsonObject", tree)


def bad(field: str, what: str) -> NoReturn:
    """Raise BadRequest for a field."""
    raise BadRequest(f"{field}: {what}", field=field)


def joined(at: str, name: str | int) -> str:
    """The path of a field within another."""
    return f"{at}.{name}" if at else str(name)


def take(fields: JsonObject, name: str, at: str, kind: type[Any], words: str) -> Any:
    """A field that is null or of this kind. Raises BadRequest for another kind."""
    value = fields.pop(name, None)
    # true and false are no numbers, though Python counts with them
    if value is None or (isinstance(value, kind) and not (isinstance(value, bool) and kind is int)):
        return value
    bad(joined(at, name), f"must be {words}")


def text(fields: JsonObject, name: str, at: str = "") -> str:
    """A string; empty where it is absent."""
    return take(fields, name, at, str, "a string") or ""


def flag(fields: JsonObject, name: str, at: str = "") -> bool | None:
    """True, false, or None where it is absent."""
    return take(fields, name, at, bool, "true or false")


def count(fields: JsonObject, name: str, at: str = "") -> int | None:
    """A whole number."""
    return take(fields, name, at, int, "a whole number")


def number(fields: JsonObject, name: str, at: str = "") -> float | None:
    """A number."""
    value = fields.pop(name, None)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        bad(joined(at, name), "must be a number")
    return value


def items(fields: JsonObject, name: str, at: str = "") -> list[Any]:
    """A list; empty where it is absent."""
    return take(fields, name, at, list, "a list") or []


def object_in(fields: JsonObject, name: str, at: str = "") -> JsonObject | None:
    """An object."""
    return take(fields, name, at, dict, "an object")


def words(fields: JsonObject, name: str, at: str = "") -> list[str]:
    """A list of strings."""
    found = items(fields, name, at)
    if not all(isinstance(item, str) for item in found):
        bad(joined(at, name), "must be a list of strings")
    return found


def object_of(value: object, at: str) -> JsonObject:
    """A copy of an object, to take apart. Raises BadRequest where it is none."""
    if not isinstance(value, dict):
        bad(at, "must be an object")
    return dict(cast("JsonObject", value))


def left(fields: JsonObject) -> JsonObject:
    """What was not taken, without nulls: carried along as it is (D20)."""
    return {name: value for name, value in fields.items() if value is not None}


def objects(value: object) -> list[JsonObject]:
    """The objects of a list, without what is none; none for anything but a list."""
    return [cast("JsonObject", item) for item in cast("list[object]", value) if isinstance(item, dict)] if isinstance(value, list) else []
