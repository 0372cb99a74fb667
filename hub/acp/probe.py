"""Asks a program for its version: within five seconds, with little output, and without waiting for what it may leave running."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import Unavailable
from hub.log import masked
from hub.process import child

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 5.0
_MOST = 64 * 1024
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it: a version, or the reason why there is none."""

    version: str | None = None
    reason: str = ""


async def ask_version(path: str, arguments: Sequence[str], *, env: dict[str, str], cwd: str, seconds: float = SECONDS) -> Answer:
    """The first ``n.n.n`` that a program says, else its first line. A program that fails, is silent or slow has none."""
    try:
        process = await child.spawn([path, *arguments], env=env, cwd=cwd, talk=False)
    except Unavailable as error:
        return Answer(reason=error.message)
    try:
        async with asyncio.timeout(seconds):
            said, complaint = await asyncio.gather(_some(process.stdout), _some(process.stderr))
            code = await process.wait()
    except TimeoutError:
        return Answer(reason=f"it did not tell its version within {seconds:g} seconds")
    finally:
        await child.end(process, grace=0)
    words = f"{said}\n{complaint}".strip()
    if code != 0:
        first = words.partition("\n")[0][:200]
        return Answer(reason=f"asked for its version it failed with code {code}{f': {masked(first)}' if first else ''}")
    return Answer(version_in(said) or version_in(complaint)) if words else Answer(reason="asked for its version it said nothing")


def version_in(text: str) -> str | None:
    """The version in what a program says, None in nothing."""
    found = _VERSION.search(text)
    return found.group() if found else masked(text.strip().partition("\n")[0].strip()[:100]) or None


async def _some(stream: asyncio.StreamReader | None) -> str:
    """The beginning of a stream, which is read to its end or to what is enough."""
    pieces: list[bytes] = []
    size = 0
    while stream is not None and size < _MOST and (piece := await stream.read(_MOST - size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces).decode(errors="replace")
