"""Marks whose reasoning a signature signs, so that one vendor's is never sent to another, which would refuse the whole call.

Reasoning travels through clients that know nothing of vendors. A signature with a mark is ``<dialect>:<signature>``;
one without a colon is of the vendor whose clients all expect it bare (base64 has no colon).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

#: How a wrapped signature begins before and after base64; 9 bytes become 12 characters, whatever follows.
_WRAPPED = b"hubroute:"
WRAPPED = base64.b64encode(_WRAPPED)


def mark(dialect: str, signature: str) -> str:
    """A signature that says whose it is; empty stays empty."""
    return f"{dialect}:{signature}" if signature else ""


def unmark(dialect: str, signature: str, *, bare: bool = False) -> str:
    """The signature as its vendor gave it, or empty when it is another's. ``bare`` takes one without a mark as ours."""
    owner, colon, rest = signature.partition(":")
    if not colon:
        return signature if bare else ""
    return rest if owner == dialect else ""


def wrapped(signature: str, redacted: str = "") -> str:
    """What another vendor gave with a thought, as clients of a format keep it whose signatures are base64; empty for nothing."""
    kept = {name: value for name, value in (("signature", signature), ("redacted", redacted)) if value}
    return base64.b64encode(_WRAPPED + msgspec.json.encode(kept)).decode() if kept else ""


def unwrapped(text: str) -> tuple[str, str] | None:
    """The signature and redacted block of a wrapped one; None where it is none, but a vendor's own."""
    try:
        # Clients that read the field as bytes write it in the alphabet for addresses.
        found = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        if not found.startswith(_WRAPPED):
            return None
        kept = msgspec.json.decode(found[len(_WRAPPED) :], type=dict[str, Any])
    except (binascii.Error, ValueError):
        return None
    return str(kept.get("signature", "")), str(kept.get("redacted", ""))
