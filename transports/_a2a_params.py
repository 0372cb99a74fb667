"""Reading JSON parameters of A2A requests strictly, with the path of the field in every error."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from hub.errors import BadRequest

_UPPER = re.compile(r"[A-Z]")


@cache
def _snake(name: str) -> str:
    return _UPPER.sub(lambda match: f"_{match.group().lower()}", name)


class Params:
    """One JSON object of a request. Names may be written as in JSON or as in the protocol buffer, as ProtoJSON allows.

    Empty strings count as absent, as they do in ProtoJSON. Every method raises BadRequest for a wrong type.
    """

    __slots__ = ("_data", "_path")

    def __init__(self, data: Any, path: str = "") -> None:
        if not isinstance(data, dict):
            raise BadRequest(f"{path or 'params'} must be an object", field=path or "params")
        self._data: dict[str, Any] = data
        self._path = path

    def where(self, name: str) -> str:
        """The path of a field, for errors."""
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, words: str) -> BadRequest:
        """The error of a field."""
        return BadRequest(f"{self.where(name)} {words}", field=self.where(name))

    def get(self, name: str) -> Any:
        """A field as it came, None when it is absent."""
        value = self._data.get(name)
        return self._data.get(_snake(name)) if value is None else value

    def text(self, name: str, *, required: bool = False) -> str:
        """A string, empty when it is absent."""
        value = self.get(name)
        if value is None or value == "":
            if required:
                raise self.wrong(name, "is required")
            return ""
        if not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return value

    def number(self, name: str, least: int, most: int = 2**31 - 1) -> int | None:
        """A whole number within limits, None when it is absent."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,10}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, "must be a whole number")
        if not least <= value <= most:
            raise self.wrong(name, f"must be at least {least}" if value < least else f"must be at most {most}")
        return value

    def object(self, name: str) -> dict[str, Any]:
        """An object as it came, empty when it is absent."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(name, "must be an object")
        return value  # pyright: ignore[reportUnknownVariableType] - JSON edge

    def inner(self, name: str, *, required: bool = False) -> Params:
        """An object to read further."""
        value = self.get(name)
        if value is None and required:
            raise self.wrong(name, "is required")
        return Params({} if value is None else value, self.where(name))

    def items(self, name: str, *, required: bool = False) -> list[Params]:
        """A list of objects to read further; a required one has at least one."""
        value = self.get(name)
        if value is None and not required:
            return []
        if not isinstance(value, list) or (required and not value):
            raise self.wrong(name, "must be a list with at least one element" if required else "must be a list")
        return [Params(one, f"{self.where(name)}[{index}]") for index, one in enumerate(value)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON edge

    def words(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value: Any = self.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):  # pyright: ignore[reportUnknownVariableType] - JSON edge
            raise self.wrong(name, "must be a list of strings")
        return tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON edge
