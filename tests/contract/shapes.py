"""How a value is compared with a promised shape, and how a right body is made wrong in one place.

A shape is a type's name (``string``, ``string?`` where null is allowed, ``array|string``, ``any``; ``null`` was always null where it was
recorded: it must be there), a list of one shape, a map of fields (``name?`` may be missing, ``*`` stands for every key), ``{"?": shape}``
where null is allowed, or ``{"|": [shapes]}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def differences(value: Any, shape: Any, at: str = "") -> Iterator[str]:
    """Where a value is not as promised: ``path: what``."""
    if isinstance(shape, str):
        if shape not in ("any", "null") and not _is(value, shape):
            yield f"{at or '.'}: {shape} promised, {_name(value)} given"
    elif isinstance(shape, list):
        yield from _items(value, shape[0], at)
    elif "|" in shape:
        yield from min((list(differences(value, one, at)) for one in shape["|"]), key=len)
    elif "?" in shape:
        yield from () if value is None else differences(value, shape["?"], at)
    elif not isinstance(value, dict):
        yield f"{at or '.'}: object promised, {_name(value)} given"
    else:
        yield from _fields(value, shape, at)


def _items(value: Any, shape: Any, at: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{at or '.'}: array promised, {_name(value)} given"
        return
    for item in value:
        yield from differences(item, shape, f"{at}[]")


def _fields(value: dict[str, Any], shape: dict[str, Any], at: str) -> Iterator[str]:
    for name, inner in shape.items():
        key = name.removesuffix("?")
        if name == "*":
            for one in value.values():
                yield from differences(one, inner, f"{at}.*")
        elif key in value:
            yield from differences(value[key], inner, f"{at}.{key}")
        elif name == key:
            yield f"{at}.{key}: missing"


def _is(value: Any, shape: str) -> bool:
    names = shape.removesuffix("?").split("|")
    if value is None:
        return shape.endswith("?") or "null" in names
    if isinstance(value, bool):
        return "boolean" in names
    return isinstance(value, tuple(kind for name in names for kind in _TYPES[name]))


def _name(value: Any) -> str:
    kinds = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def wrongs(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Values that promised fields must refuse: (field, value). ``...`` for the value says: left out."""
    for name, field in fields.items():
        if field.get("required"):
            yield name, ...
        kind = field["type"]
        if "enum" in field:
            yield name, "no-such-value"
        elif isinstance(kind, str) and kind.removesuffix("?") in _WRONG:
            yield name, _WRONG[kind.removesuffix("?")]
        elif isinstance(kind, (list, dict)):
            yield name, 7
        yield from ((name, value) for value in _beyond(field))


_WRONG: dict[str, Any] = {"string": 7, "integer": "many", "number": "much", "boolean": "maybe", "object": 7}


def _beyond(field: dict[str, Any]) -> Iterator[Any]:
    """Just outside the bounds of a field."""
    if "minimum" in field:
        yield field["minimum"] - 1
    if "exclusiveMinimum" in field:
        yield field["exclusiveMinimum"]
    if "maximum" in field:
        yield field["maximum"] + 1
    if field.get("minLength") and field.get("required"):  # an empty one that may be left out is as if it were
        yield ""
    if "maxLength" in field:
        yield "x" * (field["maxLength"] + 1)
    if field.get("minItems"):
        yield []
