"""The dashboard's own files: style, scripts, icon. Named by what is in them, so that browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hub.errors import NotFound

if TYPE_CHECKING:
    from transports._http import Exchange

_FOLDER = Path(__file__).with_name("static")
#: What npm brought (``make assets``); not in the repository, and the pages do without.
_VENDOR = _FOLDER / "vendor"
_TYPES = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8", ".svg": b"image/svg+xml"}
_KEPT = (b"cache-control", b"public, max-age=31536000, immutable")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and packed."""

    kind: bytes
    plain: bytes
    packed: bytes


class Assets:
    """Every file by its public name, read once."""

    def __init__(self) -> None:
        self._by_name: dict[str, Asset] = {}
        self._urls: dict[str, str] = {}
        for path in sorted([*_FOLDER.glob("*.*"), *_VENDOR.glob("*.*")]):
            if path.suffix in _TYPES:
                self._take(path)

    def _take(self, path: Path) -> None:
        plain = path.read_bytes()
        name = f"{path.stem}.{hashlib.sha256(plain).hexdigest()[:12]}{path.suffix}"
        self._by_name[name] = Asset(_TYPES[path.suffix], plain, gzip.compress(plain, 9, mtime=0))
        self._urls[path.name] = f"/dashboard/static/{name}"

    def has(self, name: str) -> bool:
        """Whether a file is there; those that npm brings may not be."""
        return name in self._urls

    def url(self, name: str) -> str:
        """Where a file is served. Raises KeyError for one that is not there."""
        return self._urls[name]

    async def answer(self, exchange: Exchange, name: str) -> None:
        """Send a file. Raises NotFound."""
        asset = self._by_name.get(name)
        if asset is None:
            raise NotFound("there is no such file; the page that names it may be older than this hub: load it anew")
        headers = [(b"content-type", asset.kind), _KEPT, (b"vary", b"accept-encoding")]
        if b"gzip" in exchange.header(b"accept-encoding").encode():
            await exchange.answer(200, asset.packed, [*headers, (b"content-encoding", b"gzip")])
        else:
            await exchange.answer(200, asset.plain, headers)
