"""Takes out of a client's own bytes the thinking that another vendor's answer made, which the Messages API would refuse (:mod:`hub.seals`).

Most requests hold none, which a search for its marks tells; they are not touched.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hub.providers._signature import unmark
from hub.seals import is_sealed
from hub.splice import edit

#: A signature or redacted data with a mark: a word and a colon, of which a vendor's own have none.
_MARKED = re.compile(rb'"(?:signature|data)"\s*:\s*"[a-z_-]{1,40}:')
DROPPED = "reasoning"


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


def without_foreign(body: bytes, dialect: str) -> tuple[bytes, list[str]]:
    """The body without blocks of thinking of other vendors, and the names of what went. A turn of nothing else goes too."""
    if b"thinking" not in body or _MARKED.search(body) is None:
        return body, []
    try:
        given = _TOP.decode(body).messages
        turns = [_cleaned(raw, dialect) for raw in given]
    except msgspec.DecodeError:
        return body, []  # the vendor says what is wrong with it
    if all(turn is raw for turn, raw in zip(turns, given, strict=True)):
        return body, []
    return edit(body, {"messages": msgspec.json.encode([turn for turn in turns if turn is not None])}), [DROPPED]


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
