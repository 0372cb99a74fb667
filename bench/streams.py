"""What streams cost that are read slowly: memory of the hub with 500 of them, early and late (REL-07)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.load import rss_mib

if TYPE_CHECKING:
    from bench.load import Request

_STREAMS = 500
_SECONDS = 9.0
#: MiB that the streams may add in all, and between the first third of the time and its end.
_AIM, _DRIFT = 60.0, 6.0


def slow_readers(pid: int, port: int, request: Request) -> str:
    """One line: what 500 streams of 4 MiB that are read at 4 KiB a second each add to a hub's memory, and whether that grows."""
    before, early, late = asyncio.run(_watched(pid, port, request))
    missed = "  over" if late - before > _AIM or late - early > _DRIFT else ""
    line = f"{f'{_STREAMS} slow streams, RSS':28}{late - before:+7.1f}MiB{'':8}{f'{_AIM:.0f} MiB':>8}{missed}"
    return f"{line}   ({late - early:+.1f} MiB over the last 6 s)"


async def _watched(pid: int, port: int, request: Request) -> tuple[float, float, float]:
    before, early = rss_mib(pid), 0.0
    readers = [asyncio.create_task(_read(port, request)) for _ in range(_STREAMS)]
    try:
        await asyncio.sleep(_SECONDS / 3)
        early = rss_mib(pid)
        await asyncio.sleep(_SECONDS * 2 / 3)
        late = rss_mib(pid)
        ended = [reader for reader in readers if reader.done()]
        if ended:
            raise RuntimeError(f"{len(ended)} streams ended early: {ended[0]}")
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    return before, early, late


async def _read(port: int, request: Request) -> None:
    """Read a stream a little at a time, for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    try:
        writer.write(b"".join(request.encode()))
        while await reader.read(4096):
            await asyncio.sleep(1)
    finally:
        writer.close()
