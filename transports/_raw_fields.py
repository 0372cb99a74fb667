"""The members of a JSON object in a request, taken one by one with the kind that each must be; what nobody took is unknown here.

The twin of :mod:`transports._fields` for dialects whose tool arguments are objects: values stay JSON text until they are taken, so
that arguments are carried byte for byte as they came.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest
from transports._fields import bad

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.chat import JsonObject

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
#: What reading JSON that a client sent may raise.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def camel(name: str) -> str:
    """A name in camel case; one that is so already stays as it is."""
    return _SNAKE.sub(lambda found: found[1].upper(), name) if "_" in name else name


class Fields:
    """One object. ``at`` is where it lies in the request, for errors; with ``snake`` names are also taken in snake case."""

    __slots__ = ("_raw", "at", "snake")

    def __init__(self, value: msgspec.Raw | bytes, at: str = "", *, snake: bool = False) -> None:
        """Raises BadRequest for what is no object."""
        self.at = at
        self.snake = snake
        try:
            found = _OBJECT.decode(value)
        except UNREADABLE as error:
            if at:
                bad(at, "must be an object")
            raise BadRequest("Invalid JSON body: an object is expected") from error
        self._raw = {camel(name): raw for name, raw in found.items()} if snake else found

    def __contains__(self, name: str) -> bool:
        return self._given(name) is not None

    def is_text(self, name: str) -> bool:
        """Whether a member is a string."""
        found = self._given(name)
        return found is not None and bytes(found).lstrip().startswith(b'"')

    def path(self, name: str) -> str:
        """Where a member lies in the request."""
        return f"{self.at}.{name}" if self.at else name

    def raw(self, name: str) -> msgspec.Raw | None:
        """Take a member's JSON text; None where it is missing or null."""
        found = self._given(name)
        self._raw.pop(name, None)
        return found

    def take(self, name: str) -> Any:
        """Take a member, whatever it is. Raises BadRequest for text that is no JSON."""
        found = self.raw(name)
        return None if found is None else self._read(found, name)

    def text(self, name: str) -> str:
        """Take a string, empty where there is none. Raises BadRequest."""
        return self._of(name, (str,), "a string") or ""

    def flag(self, name: str) -> bool | None:
        """Take true or false. Raises BadRequest."""
        return self._of(name, (bool,), "true or false")

    def number(self, name: str) -> float | None:
        """Take a number. Raises BadRequest."""
        return self._of(name, (int, float), "a number")

    def count(self, name: str) -> int | None:
        """Take a whole number; protobuf's other spellings of one, ``40.0`` and ``"40"``, too. Raises BadRequest."""
        value = self._of(name, (int, float, str), "a whole number")
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) < 20:
            return int(value)
        if value is not None and not isinstance(value, int):
            bad(self.path(name), "must be a whole number")
        return value

    def object(self, name: str) -> Fields | None:
        """Take an object, to be taken apart itself. Raises BadRequest."""
        found = self.raw(name)
        return None if found is None else Fields(found, self.path(name), snake=self.snake)

    def tree(self, name: str) -> JsonObject | None:
        """Take an object as it is. Raises BadRequest."""
        return self._of(name, (dict,), "an object")

    def items(self, name: str, *, one: bool = False) -> list[msgspec.Raw]:
        """Take the JSON texts of a list; with ``one`` a single value counts as a list of it. Raises BadRequest."""
        found = self.raw(name)
        if found is None:
            return []
        text = bytes(found).lstrip()
        if one and not text.startswith(b"["):
            return [found]
        try:
            return _LIST.decode(text)
        except UNREADABLE:
            bad(self.path(name), "must be a list")

    def objects(self, name: str, *, one: bool = False) -> Iterator[Fields]:
        """Take the objects of a list, each knowing its place. Raises BadRequest."""
        for index, item in enumerate(self.items(name, one=one)):
            yield Fields(item, f"{self.path(name)}.{index}", snake=self.snake)

    def texts(self, name: str, *, one: bool = False) -> list[str]:
        """Take a list of strings. Raises BadRequest."""
        found = [self._read(item, name) for item in self.items(name, one=one)]
        if not all(isinstance(item, str) for item in found):
            bad(self.path(name), "must be a list of strings")
        return found

    def rest(self) -> JsonObject:
        """What nobody took, without members that are null."""
        return {name: value for name in list(self._raw) if (value := self.take(name)) is not None}

    def _of(self, name: str, kinds: tuple[type[Any], ...], words: str) -> Any:
        value = self.take(name)
        # true and false are no numbers, though Python counts with them
        if value is not None and not (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
            bad(self.path(name), f"must be {words}")
        return value

    def _given(self, name: str) -> msgspec.Raw | None:
        found = self._raw.get(name)
        return None if found is None or bytes(found).strip() == b"null" else found

    def _read(self, raw: msgspec.Raw, name: str) -> Any:
        try:
            return msgspec.json.decode(raw)
        except UNREADABLE as error:
            raise BadRequest(f"{self.path(name)}: is not valid JSON", field=self.path(name)) from error
