"""TOML files edited in place: one table or key goes in, changes or goes out, every other line stays.

A file is taken apart into lines and statements; a statement is the shortest run of lines that is TOML by itself. Whatever
was put in is read again as a whole and compared with what it should say, so that an odd file is refused, not damaged.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any, Literal, cast

from hub.connect.faults import Malformed, by_hand

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_AT = re.compile(r"at line (\d+), column (\d+)")
_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines that belong together. ``path`` is absolute; ``other`` is a comment or an empty line."""

    kind: Literal["table", "tables", "pair", "other"]
    path: _Path
    text: str


def load(text: str) -> dict[str, Any]:
    """The whole document. Raises Malformed with line and column."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise Malformed(1, 1, "it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        words, place = str(error), _AT.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place else (text.count("\n") + 1, 1)
        raise Malformed(line, column, words.partition(" (at ")[0]) from None


def put(text: str, path: _Path, value: Any) -> str:
    """The document with a value at a path. A dict becomes a table of its own. Raises Malformed, and Conflict for an odd layout."""
    tree = load(text)
    end = "\r\n" if "\r\n" in text else "\n"
    pieces = _pieces(text)
    own = [place for place, piece in enumerate(pieces) if piece.path[: len(path)] == path]
    if not own:
        made = _added(text, pieces, path, value, end)
    elif len(own) == 1 and pieces[own[0]].kind == "pair" and pieces[own[0]].path == path:
        pieces[own[0]] = _rewritten(pieces[own[0]], value)
        made = _joined(pieces)
    else:
        block = _Piece("other", (), _table(path, value, end))
        made = _joined([*pieces[: own[0]], block, *_others(pieces, own)])
    _check(made, _with(tree, path, value))
    return made


def remove(text: str, path: _Path, original: str = "") -> str:
    """The document without what is at a path. ``original`` is not needed: tables leave no empty holder behind."""
    del original
    tree = load(text)
    pieces = _pieces(text)
    own = [place for place, piece in enumerate(pieces) if piece.path[: len(path)] == path]
    if not own:
        return text
    before = pieces[: own[0]]
    if before and pieces[own[0]].kind == "table" and not before[-1].text.strip():
        before.pop()
    made = _joined([*before, *_others(pieces, own)])
    _check(made, _without(tree, path))
    return made


def _others(pieces: list[_Piece], own: list[int]) -> list[_Piece]:
    """What follows the first piece of ours and is not ours; comments between two of ours are."""
    kept: list[_Piece] = []
    waiting: list[_Piece] = []
    for place in range(own[0] + 1, len(pieces)):
        piece = pieces[place]
        if place in own:
            waiting = []
        elif piece.kind == "other":
            waiting.append(piece)
        else:
            kept += [*waiting, piece]
            waiting = []
    return [*kept, *waiting]


def _added(text: str, pieces: list[_Piece], path: _Path, value: Any, end: str) -> str:
    if isinstance(value, dict):
        gap = "" if not text else end if text.endswith("\n") else end * 2
        return f"{text}{gap}{_table(path, value, end)}"
    if len(path) != 1:
        raise by_hand(f"{'.'.join(path)} cannot be placed in this layout")
    first = next((place for place, piece in enumerate(pieces) if piece.kind in ("table", "tables")), len(pieces))
    at = max((place + 1 for place in range(first) if pieces[place].kind == "pair"), default=0)
    before = _joined(pieces[:at])
    gap = end if before and not before.endswith("\n") else ""
    return f"{before}{gap}{_named(path[0])} = {_value(value)}{end}{_joined(pieces[at:])}"


def _rewritten(piece: _Piece, value: Any) -> _Piece:
    """A statement with another value, its key and comment as they were."""
    key, _, rest = piece.text.partition("=")
    for place in (found.start() for found in re.finditer("#", rest)):
        try:
            tomllib.loads(f"a={rest[:place]}")
        except tomllib.TOMLDecodeError:
            continue
        tail = rest[len(rest[:place].rstrip()) :]
        break
    else:
        tail = rest[len(rest.rstrip()) :]
    return _Piece(piece.kind, piece.path, f"{key}= {_value(value)}{tail}")


def _pieces(text: str) -> list[_Piece]:
    """A valid document, taken apart."""
    found: list[_Piece] = []
    table: _Path = ()
    lines = text.split("\n")
    waiting = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    while waiting:
        line = waiting.pop(0)
        start = line.strip()
        if not start or start.startswith("#"):
            found.append(_Piece("other", (), line))
        elif start.startswith("["):
            table = _key(start.lstrip("["))
            found.append(_Piece("tables" if start.startswith("[[") else "table", table, line))
        else:
            while waiting and not _whole(line):
                line += waiting.pop(0)
            found.append(_Piece("pair", (*table, *_key(line)), line))
    return found


def _whole(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _key(text: str) -> _Path:
    """The dotted key at the start of a text."""
    found = _KEY.match(text)
    names = re.findall(_NAME, found[1]) if found else []
    return tuple(next(iter(tomllib.loads(f"{name}=0"))) for name in names)


def _joined(pieces: list[_Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _table(path: _Path, value: Any, end: str) -> str:
    fields = cast("dict[str, Any]", value)
    lines = [f"[{'.'.join(map(_named, path))}]", *(f"{_named(name)} = {_value(item)}" for name, item in fields.items())]
    return "".join(f"{line}{end}" for line in lines)


def _named(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        inner = ", ".join(f"{_named(name)} = {_value(item)}" for name, item in fields.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in cast('list[Any]', value))}]"
    # What JSON escapes in strings, TOML escapes alike; DEL is the one character that only TOML does.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _with(tree: dict[str, Any], path: _Path, value: Any) -> dict[str, Any]:
    inner: Any = tree.get(path[0])
    if len(path) == 1:
        return {**tree, path[0]: value}
    return {**tree, path[0]: _with(cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}, path[1:], value)}


def _without(tree: dict[str, Any], path: _Path) -> dict[str, Any]:
    inner: Any = tree.get(path[0])
    if len(path) == 1 or not isinstance(inner, dict):
        return {name: item for name, item in tree.items() if name != path[0]}
    return {**tree, path[0]: _without(cast("dict[str, Any]", inner), path[1:])}


def _check(text: str, expected: dict[str, Any]) -> None:
    """Raise Conflict when an edit did not come out as meant; empty tables count as absent."""
    try:
        made = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        made = None
    if made is None or _full(made) != _full(expected):
        raise by_hand("its layout cannot be edited without changing other lines")


def _full(value: Any) -> Any:
    if isinstance(value, dict):
        fields = {name: _full(item) for name, item in cast("dict[str, Any]", value).items()}
        return {name: item for name, item in fields.items() if item != {}}
    return value
