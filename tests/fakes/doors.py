"""What tests of client dialects share: a hub with every vendor of :mod:`tests.fakes.vendors` behind it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendors import BASES, KEY, MODELS, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def vendor_hub(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    """A hub with a connection to each vendor, all of them behind one upstream; no request waits for a connection to come back."""
    async with FaultUpstream() as upstream, running_hub(tmp_path, **settings) as running:
        upstream.script(answer)
        for vendor in MODELS:
            await running.hub.store.connections.create(
                provider=vendor,
                name=f"my {vendor}",
                base_url=upstream.url + BASES[vendor],
                secret="" if vendor == "ollama" else KEY,
                allow_private=True,
            )
        await impatient(running)
        yield running, upstream


async def rows_of(running: Running) -> list[Any]:
    """The usage rows so far, newest first."""
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=100, offset=0)
    return rows
