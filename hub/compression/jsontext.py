"""JSON made shorter and still JSON: white space goes, and of long lists, objects and strings the middle, with a note in its place.

Numbers keep the spelling they have: nothing is read as a number and written again.
"""

from __future__ import annotations

import re

import msgspec

from hub.compression.technique import NOTE

_PIECES = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+')
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()
#: How much of a list, an object (members) and a string (characters) stays, tried in this order until the whole fits.
_SIZES = ((30, 60, 4000), (12, 40, 1500), (5, 20, 500), (3, 10, 160))
_TAIL = 2


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or list."""
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        return False
    try:
        _ANY.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def compact(text: str) -> str:
    """JSON without white space between its parts."""
    return "".join(_PIECES.findall(text))


def shortened(text: str, most: int, sizes: tuple[tuple[int, int, int], ...] = _SIZES) -> str:
    """JSON in at most so many characters where that can be done by leaving out; a text that was shortened before stays as it is."""
    if f'"{NOTE}' in text:
        return text
    made = text
    for size in sizes:
        if len(made) <= most:
            break
        made = _short(compact(text).encode(), size).decode()
    return made


def _short(raw: bytes, size: tuple[int, int, int]) -> bytes:
    kind = raw[:1]
    if kind == b"[":
        return _list(_LIST.decode(raw), size)
    if kind == b"{":
        return _members(raw, size)
    return _string(raw, size[2]) if kind == b'"' else raw


def _list(items: list[msgspec.Raw], size: tuple[int, int, int]) -> bytes:
    left = len(items) - size[0] - _TAIL
    kept = items if left <= 1 else [*items[: size[0]], *items[-_TAIL:]]
    made = [_short(bytes(item), size) for item in kept]
    if left > 1:
        made.insert(size[0], _note(f"{left} items left out"))
    return b"[" + b",".join(made) + b"]"


def _members(raw: bytes, size: tuple[int, int, int]) -> bytes:
    members = _OBJECT.decode(raw)
    left = len(members) - size[1]
    kept = list(members.items()) if left <= 1 else list(members.items())[: size[1]]
    made = [msgspec.json.encode(name) + b":" + _short(bytes(value), size) for name, value in kept]
    if left > 1:
        made.append(_note(f"{left} members left out") + b":true")
    return b"{" + b",".join(made) + b"}"


def _string(raw: bytes, most: int) -> bytes:
    if len(raw) <= most + 60:
        return raw
    text = _STRING.decode(raw)
    if len(text) <= most + 60:
        return raw
    return msgspec.json.encode(f"{text[: most // 2]} ... {len(text) - most // 2 * 2} characters left out ... {text[-(most // 2) :]}")


def _note(words: str) -> bytes:
    return msgspec.json.encode(f"{NOTE}{words}]")
