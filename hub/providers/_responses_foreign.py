"""Takes out of a client's own bytes the reasoning that no Responses vendor made, which it would refuse (:mod:`hub.seals`).

Most requests hold none, which a search for its marks tells; they are not touched. A vendor's own ``encrypted_content`` is base64,
which has no colon; what the hub wrote says whose it is before a colon, and reasoning that came without a signature is known by its id.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hub.providers._responses_request import DIALECT
from hub.providers._signature import unmark
from hub.splice import edit

DROPPED = "reasoning"
_MARKED = re.compile(rb'"encrypted_content"\s*:\s*"[a-z_-]{1,40}:|"id"\s*:\s*"rs_[^"]{1,80}_[0-9]{1,6}"')
_HUB_ID = re.compile(r"rs_.+_[0-9]+\Z")


class _Top(msgspec.Struct):
    input: list[msgspec.Raw]


class _Item(msgspec.Struct):
    """What of an item tells whose it is."""

    type: Any = None
    id: Any = None
    encrypted_content: Any = None


_TOP = msgspec.json.Decoder(_Top)
_ITEM = msgspec.json.Decoder(_Item)


def without_foreign(body: bytes) -> tuple[bytes, list[str]]:
    """The body without reasoning of others, its vendor's own without a mark, and the names of what went."""
    if _MARKED.search(body) is None:
        return body, []
    try:
        given = _TOP.decode(body).input
        kept = [item for raw in given if (item := own_item(raw)) is not None]
    except msgspec.DecodeError:
        return body, []  # words alone, or what the vendor says is wrong
    if all(map(lambda item, raw: item is raw, kept, given)) and len(kept) == len(given):
        return body, []
    return edit(body, {"input": msgspec.json.encode(kept)}), [DROPPED] if len(kept) < len(given) else []


def own_item(raw: msgspec.Raw) -> msgspec.Raw | None:
    """An item as its vendor gave it: the very same where nothing marks it, None where it is reasoning of another."""
    if _MARKED.search(bytes(raw)) is None:
        return raw
    item = _ITEM.decode(raw)
    if item.type != "reasoning":
        return raw
    sealed = item.encrypted_content if isinstance(item.encrypted_content, str) else ""
    if ":" not in sealed:
        return raw if sealed or _HUB_ID.match(str(item.id)) is None else None
    own = unmark(DIALECT, sealed)
    return msgspec.Raw(edit(bytes(raw), {"encrypted_content": msgspec.json.encode(own)})) if own else None
