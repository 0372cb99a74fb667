"""Tool calls on their way through: arguments are JSON text, checked but never re-written; ids are unique in an answer."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from hub.errors import BadRequest

#: What reading a provider's JSON may raise: text that is no JSON, JSON of another shape, or bytes that are no text.
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError)

_EMPTY = msgspec.Raw(b"{}")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def object_of(arguments: str, *, message: int) -> msgspec.Raw:
    """Arguments as a JSON object to embed in a body, byte for byte as they came; empty text is an empty object.

    Raises BadRequest, naming the message by its index, when the text is not a JSON object.
    """
    if not arguments.strip():
        return _EMPTY
    try:
        raw = arguments.encode()
        _OBJECT.decode(raw)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadRequest(
            f"messages[{message}]: the arguments of a tool call are not a JSON object", field=f"messages[{message}].tool_calls"
        ) from error
    return msgspec.Raw(raw)


def text_of(value: msgspec.Raw) -> str:
    """A JSON object as a provider wrote it, as argument text; ``{}`` where it gave none. Raises UnicodeDecodeError."""
    text = bytes(value).decode()
    return "{}" if text in ("", "null") else text


class CallIds:
    """Gives each tool call of one answer an id of its own.

    A provider's own id is kept when no earlier call has it; else one is made from ``salt``, which should be
    something that only this answer has. Made ids are the same each time the same answer is read, and at most
    40 characters long, the least any known vendor takes.
    """

    __slots__ = ("_count", "_salt", "_taken")

    def __init__(self, salt: bytes) -> None:
        self._salt = blake2b(salt, digest_size=12).hexdigest()
        self._taken: set[str] = set()
        self._count = 0

    def take(self, offered: str | None) -> str:
        """The id of the next call."""
        self._count += 1
        made = offered if offered and offered not in self._taken else f"call_{self._salt}_{self._count}"
        self._taken.add(made)
        return made
