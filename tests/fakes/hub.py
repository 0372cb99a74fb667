"""A whole hub on a loopback port, in this process: store, skills and every door behind the real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.call import Hub
from hub.settings import Settings
from tests.fakes.database import furnish
from transports._http import App, build
from transports._server import beside, listen, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from types import ModuleType

    from hub.clock import Clock
    from hub.registry import Skills


@dataclass(slots=True)
class Running:
    """A hub that serves. ``url`` has no trailing slash."""

    hub: Hub
    url: str
    _made: list[int] = field(default_factory=list[int])

    async def key(self, *scopes: str, **options: Any) -> str:
        """A new key with these grants (all of them when none is named); returns its secret."""
        self._made.append(1)
        _, secret = await self.hub.store.keys.create(f"test key {len(self._made)}", grants=scopes or ("*",), **options)
        return secret

    async def headers(self, *scopes: str) -> dict[str, str]:
        """Request headers with a new key of these grants."""
        return {"authorization": f"Bearer {await self.key(*scopes)}"}


@asynccontextmanager
async def running_hub(
    tmp_path: Path, *, skills: Skills | None = None, clock: Clock | None = None, doors: Iterable[ModuleType] = (), **settings: Any
) -> AsyncIterator[Running]:
    """Open a hub with its own data folder and serve it on a free port; stop both in the end. ``doors`` limits it to these transports."""
    options: dict[str, Any] = {"data_dir": tmp_path / "data", "port": 0, "shutdown_seconds": 1.0, **settings}
    config = furnish(Settings(**options))
    hub = Hub(config, clock=clock, skills=skills)
    await hub.open()
    try:
        app = App(hub, [route for door in doors for route in door.routes(hub)]) if doors else build(hub)
        async with beside(hub):
            sock = listen(config)
            servers: list[Any] = []
            task = asyncio.create_task(serve(app, sock, config, started=servers.append))
            try:
                while not (servers and servers[0].started):
                    if task.done():
                        await task
                    await asyncio.sleep(0.005)
                yield Running(hub, f"http://127.0.0.1:{sock.getsockname()[1]}")
            finally:
                await _stop(servers, task)
                sock.close()
    finally:
        await hub.close()


async def _stop(servers: list[Any], task: asyncio.Task[None]) -> None:
    for server in servers:
        server.leave()
    await task


async def impatient(running: Running) -> None:
    """No request waits for a connection to come back: what is refused is refused at once."""
    await running.hub.preferences.change({"resilienceSettings": {"waitForCooldown": {"enabled": False}}})
