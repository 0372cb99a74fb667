"""``python -m bench.dashboard``: every page of the dashboard over a million usage rows, in server time (at most 100 ms each)."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from bench.usage import build as fill
from hub.call import Hub
from hub.settings import Settings
from transports._dash.site import site_of
from transports._http import build

ROWS = 1_000_000
PAGE_LIMIT_MS = 100.0
_WINDOWS = ("24h", "30d", "90d")


async def pages(hub: Hub, rounds: int) -> dict[str, tuple[float, float, int]]:
    """Address -> milliseconds of the first and of the best later answer, and its bytes."""
    _, token = await hub.login.sessions.begin(address="127.0.0.1", agent="bench")
    plain = [page.url for page in site_of(hub).pages if "{" not in page.path]
    addresses = [*plain, *(f"/?window={window}" for window in _WINDOWS[1:]), "/dashboard/search?q=model"]
    found: dict[str, tuple[float, float, int]] = {}
    transport = httpx.ASGITransport(app=build(hub))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", cookies={"auth_token": token}, timeout=60) as client:
        for address in addresses:
            taken: list[float] = []
            for _ in range(rounds + 1):
                began = time.perf_counter()
                answer = await client.get(address)
                taken.append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
            found[address] = taken[0], min(taken[1:]), len(answer.content)
    return found


async def measure(rows: int = ROWS, rounds: int = 3) -> list[str]:
    """Build, measure, and return the printed lines, the slowest page first."""
    with TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        hub = Hub(settings)
        await hub.open()
        await hub.close()
        await asyncio.to_thread(fill, Path(folder) / "hubroute.db", rows, time.time_ns() // 1_000_000)
        hub = Hub(settings)
        await hub.open()
        try:
            found = await pages(hub, rounds)
        finally:
            await hub.close()
    lines = [f"{'dashboard page':44}{'first ms':>10}{'ms':>8}{'aim':>6}{'KiB':>8}"]
    for address, (first, again, size) in sorted(found.items(), key=lambda one: -one[1][1]):
        over = "  over" if again > PAGE_LIMIT_MS else ""
        lines.append(f"{address:44}{first:10.1f}{again:8.1f}{PAGE_LIMIT_MS:6.0f}{size / 1024:8.1f}{over}")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the usage table")
    print("\n".join(asyncio.run(measure(parser.parse_args().rows))))


if __name__ == "__main__":
    main()
