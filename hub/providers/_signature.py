"""Marks whose reasoning a signature signs, so that one vendor's is never sent to another, which would refuse the whole call.

Reasoning travels through clients that know nothing of vendors. A signature with a mark is ``<dialect>:<signature>``;
one without a colon is of the vendor whose clients all expect it bare (base64 has no colon).
"""

from __future__ import annotations


def mark(dialect: str, signature: str) -> str:
    """A signature that says whose it is; empty stays empty."""
    return f"{dialect}:{signature}" if signature else ""


def unmark(dialect: str, signature: str, *, bare: bool = False) -> str:
    """The signature as its vendor gave it, or empty when it is another's. ``bare`` takes one without a mark as ours."""
    owner, colon, rest = signature.partition(":")
    if not colon:
        return signature if bare else ""
    return rest if owner == dialect else ""
