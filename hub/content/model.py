"""What is kept of one request: how it came, and each call that was made for it, in texts that may be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A body. ``size`` is what it was in bytes, and more than what is here where it is ``cut``; ``binary`` says that it was no text."""

    text: str = ""
    size: int = 0
    cut: bool = False
    binary: bool = False


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call to a provider. ``address`` is without its query and empty for what is built in; ``format`` is the one it was written in.

    ``status`` is None where no answer began.
    """

    provider: str
    model: str
    connection_id: str
    address: str
    format: str
    sent: Part
    answer: Part
    status: int | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a request. ``dialect`` is its client's, empty for one that was made within the hub; ``path`` is where it came in,
    ``headers`` are the harmless ones. ``earlier`` is how many calls came before those of ``calls``."""

    request_id: str
    at: int
    key_id: str
    dialect: str
    path: str
    headers: dict[str, str]
    came: Part
    calls: list[Call]
    earlier: int = 0


def part(data: bytes, most: int, *, size: int, cut: bool = False) -> Part:
    """A body of ``size`` bytes of which ``data`` is there, and at most ``most`` bytes of that are kept."""
    cut = cut or len(data) > most
    kept = data[:most]
    try:
        return Part(text=kept.decode(), size=size, cut=cut)
    except UnicodeDecodeError as error:
        if cut and error.start >= len(kept) - 3:  # a letter was cut in two
            return Part(text=kept[: error.start].decode(), size=size, cut=cut)
        return Part(text=kept.decode(errors="replace"), size=size, cut=cut, binary=True)


def shares(sizes: Sequence[int], most: int) -> list[int]:
    """How much of each is kept so that all of it is at most ``most``: small ones whole, the others alike."""
    kept = [0] * len(sizes)
    left = most
    for count, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        kept[place] = min(sizes[place], left // (len(sizes) - count))
        left -= kept[place]
    return kept
