"""Changes top-level members of a JSON object in its bytes, leaving every other byte as it came (D20).

The members are found by a real scan (msgspec checks the whole text and gives each value's length), so
nesting, escapes and odd spacing cannot mislead it. What the scan does not settle, duplicate keys above all,
takes the orjson path, which means the same by definition (performance.md rule 7).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec
import orjson

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Change: TypeAlias = "bytes | Callable[[bytes | None], bytes]"
Span: TypeAlias = tuple[int, int]

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPEN = re.compile(rb"[ \t\r\n]*\{")
_KEY = re.compile(rb'[ \t\r\n]*"(?:[^"\\]|\\.)*"[ \t\r\n]*:[ \t\r\n]*')
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_NEXT = re.compile(rb"[ \t\r\n]*([,}])")


def edit_text(body: bytes, key: bytes, old: str, value: bytes) -> bytes | None:
    """``body`` with the top-level string member ``key`` replaced, where a glance is enough to find it; else None.

    ``old`` is the member's value as a parser of the whole body read it. The name stands in the body once only, no
    name can hide it behind an escape, and that value follows: then it is the member itself. Quotes inside strings
    are escaped, so no text can look like the name.
    """
    name = b'"' + key + b'"'
    at = body.find(name)
    if at < 0 or b"\\u00" in body or body.find(name, at + len(name)) >= 0:
        return None
    gap = _COLON.match(body, at + len(name))
    wire = old.encode()
    if gap is None or not body.startswith(b'"' + wire + b'"', gap.end()) or b"\\" in wire or b'"' in wire:
        return None
    return body[: gap.end()] + value + body[gap.end() + len(wire) + 2 :]


def edit(body: bytes, changes: Mapping[str, Change]) -> bytes:
    """``body`` with these members replaced, or added at the end where it lacks them.

    A change is the new value as JSON, or a function from the old value (None where absent) to the new one.
    Raises BadRequest when ``body`` is not a JSON object.
    """
    found = members(body)
    if found is None:
        return _rebuild(body, changes)
    spans, close = found
    edits: list[tuple[int, int, bytes]] = []
    added: list[bytes] = []
    for key, change in changes.items():
        span = spans.get(key)
        if span is not None:
            value = change if isinstance(change, bytes) else change(body[span[0] : span[1]])
            edits.append((span[0], span[1], value))
        else:
            value = change if isinstance(change, bytes) else change(None)
            added.append(orjson.dumps(key) + b":" + value)
    if added:
        edits.append((close, close, (b"," if spans else b"") + b",".join(added)))
    return _apply(body, sorted(edits, key=lambda item: item[0]))


def members(body: bytes) -> tuple[dict[str, Span], int] | None:
    """Where each top-level value lies in ``body``, and where its closing brace is; None where only a parser can tell."""
    try:
        values = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    opening = _OPEN.match(body)
    if opening is None:
        return None
    at, close, spans = opening.end(), -1, dict[str, Span]()
    for key, raw in values.items():
        name = _KEY.match(body, at)
        value = bytes(raw)
        if name is None or not body.startswith(value, name.end()):
            return None
        spans[key] = (name.end(), name.end() + len(value))
        after = _NEXT.match(body, spans[key][1])
        if after is None:
            return None
        at, close = after.end(), after.start(1)
    # A value that starts like the real one and ends at a delimiter is the real one, so each step takes one
    # member; with a key given twice the steps end too early, and the last delimiter is a comma.
    if not values:
        close = body.find(b"}", at)
    return (spans, close) if body[close : close + 1] == b"}" else None


def replace_model(body: bytes, model: str) -> bytes:
    """``body`` with its ``model`` replaced."""
    return edit(body, {"model": orjson.dumps(model)})


def set_stream_usage(body: bytes) -> bytes:
    """``body`` with ``stream_options.include_usage`` true, other stream options kept."""
    return edit(body, {"stream_options": with_usage})


def with_usage(options: bytes | None) -> bytes:
    """The value of ``stream_options`` that asks for usage; a change for :func:`edit`."""
    tree = orjson.loads(options) if options else None
    if not isinstance(tree, dict):
        return b'{"include_usage":true}'
    merged = cast("dict[str, object]", tree)
    if merged.get("include_usage") is True:
        return options or b""
    return orjson.dumps({**merged, "include_usage": True})


def _apply(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for start, stop, value in edits:
        pieces += (body[at:start], value)
        at = stop
    pieces.append(body[at:])
    return b"".join(pieces)


def _rebuild(body: bytes, changes: Mapping[str, Change]) -> bytes:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("Invalid JSON body") from error
    if not isinstance(tree, dict):
        raise BadRequest("Invalid JSON body: an object is expected")
    merged = cast("dict[str, object]", tree)
    for key, change in changes.items():
        old = orjson.dumps(merged[key]) if key in merged else None
        merged[key] = orjson.Fragment(change if isinstance(change, bytes) else change(old))
    return orjson.dumps(merged)
