"""Checks on what management writes store: text that a database and a person can read, known field names, bounded numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def words(field: str, value: str, *, limit: int, empty: bool = False) -> str:
    """One line of text without control characters. Raises BadRequest naming the field."""
    if not value.strip() and not empty:
        raise BadRequest(f"{field} must not be empty", field=field)
    if len(value) > limit:
        raise BadRequest(f"{field} is longer than {limit} characters", field=field)
    if _CONTROL.search(value):
        raise BadRequest(f"{field} holds a control character; write one line of plain text", field=field)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{field} is not valid Unicode text", field=field) from None
    return value


def lines(field: str, values: Sequence[str], *, limit: int) -> list[str]:
    """A list of such texts, at most 1000."""
    if len(values) > 1000:
        raise BadRequest(f"{field} has more than 1000 entries", field=field)
    return [words(field, value, limit=limit) for value in values]


def number(field: str, value: int, *, least: int = 0, most: int) -> int:
    """An integer in its range."""
    if not least <= value <= most:
        raise BadRequest(f"{field} must be from {least} to {most}", field=field)
    return value


def moment(field: str, value: int | None) -> int | None:
    """Epoch milliseconds or none."""
    return None if value is None else number(field, value, most=2**53)


def known(changes: Mapping[str, object], names: Iterable[str]) -> None:
    """Raise BadRequest when a change names a field that cannot be changed."""
    allowed = sorted(names)
    for name in changes:
        if name not in allowed:
            raise BadRequest(f"{name} cannot be changed; these can: {', '.join(allowed)}", field=name)
