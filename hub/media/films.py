"""Films and music as providers give them."""

from __future__ import annotations

from dataclasses import dataclass

from hub.media.pictures import kind_of


@dataclass(slots=True)
class Clip:
    """A film or a piece of music: its bytes, or the address that the provider gives."""

    data: bytes = b""
    url: str = ""

    def form(self, otherwise: str) -> str:
        """What kind of file it is, by its first bytes or the end of its address."""
        kind = kind_of(self.data).rpartition("/")[2] if self.data else self.url.partition("?")[0].rpartition(".")[2].lower()
        return {"mpeg": "mp3"}.get(kind, kind) if kind.isalnum() and len(kind) <= 5 else otherwise
