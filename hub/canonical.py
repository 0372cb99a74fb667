"""JSON in its canonical form: RFC 8785 (JCS), the bytes that a signature over JSON covers."""

from __future__ import annotations

import json
import math
from typing import Any, cast

_MOST_DEPTH = 64
#: Whole numbers beyond this are no longer themselves as a double, which all JSON numbers are here (RFC 8785, 3.2.2.3).
_MOST_INT = 2**53 - 1


def canonical(value: Any) -> bytes:
    """The canonical form of a JSON value. Raises ValueError where there is none: NaN, half characters, large integers, deep nesting."""
    return "".join(_pieces(value, _MOST_DEPTH)).encode()


def _pieces(value: Any, depth: int) -> list[str]:
    if not depth:
        raise ValueError(f"it is nested more than {_MOST_DEPTH} deep")
    if isinstance(value, dict):
        # Names go by UTF-16 code units (3.2.3), which is not the order of code points beyond the basic plane.
        fields = sorted(cast("dict[str, Any]", value).items(), key=lambda pair: pair[0].encode("utf-16-be"))
        return ["{", *_joined([[_text(name), ":", *_pieces(item, depth - 1)] for name, item in fields]), "}"]
    if isinstance(value, list):
        return ["[", *_joined([_pieces(item, depth - 1) for item in cast("list[Any]", value)]), "]"]
    return [_plain(value)]


def _joined(parts: list[list[str]]) -> list[str]:
    return [piece for at, part in enumerate(parts) for piece in ([",", *part] if at else part)]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) > _MOST_INT:
            raise ValueError("it holds a whole number beyond 2^53")
        return str(value)
    return _number(float(value))


def _text(value: str) -> str:
    # The standard library escapes exactly what RFC 8785 (3.2.2.2) does, in the same spelling.
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """A double as ECMAScript writes it (ECMA-262, Number::toString): the shortest digits, plain from 1e-6 up to 1e21."""
    if not math.isfinite(value):
        raise ValueError("it holds a number that JSON has not")
    if value == 0:
        return "0"
    sign, text = ("-" if value < 0 else ""), repr(abs(value))
    mantissa, _, exponent = text.partition("e")
    whole, _, part = mantissa.partition(".")
    part = "" if part == "0" else part
    point = len(whole) + int(exponent or 0)
    digits = (whole + part).lstrip("0")
    point -= len(whole + part) - len(digits)
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """Digits with their point after so many of them."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
