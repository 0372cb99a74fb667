"""Takes out of a client's own bytes what another vendor's answer made, which the Messages API would refuse: thinking (:mod:`hub.seals`),
and notes of sources (:mod:`hub.citations`).

Most requests hold none, which a search for its marks tells; they are not touched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from hub.citations import is_foreign
from hub.providers._signature import unmark
from hub.seals import is_sealed
from hub.splice import edit

if TYPE_CHECKING:
    from collections.abc import Callable

#: A signature or redacted data with a mark: a word and a colon, of which a vendor's own have none.
_MARKED = re.compile(rb'"(?:signature|data)"\s*:\s*"[a-z_-]{1,40}:')
#: A note of a source that is none of the vendor's own.
_NOTED = re.compile(rb'"encrypted_index"\s*:\s*""')
DROPPED, CITATIONS = "reasoning", "citations"


class _Top(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Block(msgspec.Struct):
    """What of a block tells whose it is."""

    type: Any = None
    signature: Any = None
    data: Any = None


_TOP = msgspec.json.Decoder(_Top)
_TURN = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CONTENT = msgspec.json.Decoder(list[msgspec.Raw])
_BLOCK = msgspec.json.Decoder(_Block)
_NOTE = msgspec.json.Decoder(Any)
_NO_NOTES = msgspec.Raw(b"null")


def without_foreign(body: bytes, dialect: str) -> tuple[bytes, list[str]]:
    """The body without thinking of other vendors and without notes of their sources, and the names of what went.

    A turn of nothing but such thinking goes too.
    """
    dropped: list[str] = []
    if b"thinking" in body and _MARKED.search(body) is not None:
        body, gone = _edited(body, lambda raw: _cleaned(raw, dialect))
        dropped += [DROPPED] if gone else []
    if b'"encrypted_index"' in body and _NOTED.search(body) is not None:
        body, gone = _edited(body, _unnoted)
        dropped += [CITATIONS] if gone else []
    return body, dropped


def _edited(body: bytes, clean: Callable[[msgspec.Raw], msgspec.Raw | None]) -> tuple[bytes, bool]:
    """The body with each turn as ``clean`` gives it, and whether that is another body."""
    try:
        given = _TOP.decode(body).messages
        turns = [clean(raw) for raw in given]
    except msgspec.DecodeError:
        return body, False  # the vendor says what is wrong with it
    if all(turn is raw for turn, raw in zip(turns, given, strict=True)):
        return body, False
    return edit(body, {"messages": msgspec.json.encode([turn for turn in turns if turn is not None])}), True


def _unnoted(raw: msgspec.Raw) -> msgspec.Raw:
    """A turn without notes of other vendors' sources; the very same where it has none."""
    if _NOTED.search(bytes(raw)) is None:
        return raw
    turn = _TURN.decode(raw)
    content = turn.get("content", msgspec.Raw(b"null"))
    if not bytes(content).startswith(b"["):
        return raw
    blocks = [_TURN.decode(block) for block in _CONTENT.decode(content)]
    for block in blocks:
        if bytes(block.get("citations", _NO_NOTES)).startswith(b"["):
            notes = [note for note in _CONTENT.decode(block.pop("citations")) if not is_foreign(_NOTE.decode(note))]
            block |= {"citations": msgspec.Raw(msgspec.json.encode(notes))} if notes else {}
    return msgspec.Raw(msgspec.json.encode({**turn, "content": blocks}))


def _cleaned(raw: msgspec.Raw, dialect: str) -> msgspec.Raw | None:
    """A turn without such blocks; the very same where it has none, None where it has no others."""
    if _MARKED.search(bytes(raw)) is None:
        return raw
    turn = _TURN.decode(raw)
    content = turn.get("content", msgspec.Raw(b"null"))
    if not bytes(content).startswith(b"["):
        return raw
    blocks = _CONTENT.decode(content)
    kept = [block for block in blocks if not _is_foreign(_BLOCK.decode(block), dialect)]
    if len(kept) == len(blocks):
        return raw
    return msgspec.Raw(msgspec.json.encode({**turn, "content": kept})) if kept else None


def _is_foreign(block: _Block, dialect: str) -> bool:
    if block.type == "redacted_thinking":
        return is_sealed(str(block.data))
    signature = str(block.signature or "") if block.type == "thinking" else ""
    return ":" in signature and not unmark(dialect, signature)
