"""How a command reaches the hub: over the control socket when one owns the data folder, else by being it for a moment (D24)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from hub.errors import BadRequest
from hub.process.control import Remote, plain
from hub.records import Caller
from hub.store.lock import FolderLocked, holder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.call import Hub
    from hub.context import Context
    from hub.process.control import Progress
    from hub.settings import Settings
    from hub.skill import Skill

#: Seconds to wait for a process that holds the folder but does not listen: one that starts, another short command, or a hub that stops and
#: lets its answers finish (``shutdown_seconds``, 20 by default).
PATIENCE = 30.0
#: Seconds between two looks.
STEP = 0.05


class Reach(Protocol):
    """Calls skills by name and gives their outputs as plain JSON values. Raises HubError."""

    async def call(self, skill: str, data: object, *, progress: Progress | None = None) -> Any:
        """The output of a skill; of a streaming one the list of its items."""
        ...

    def stream(self, skill: str, data: object) -> AsyncGenerator[Any]:
        """The items of a streaming skill as they come, or the one output of another. Close it to stop the skill."""
        ...

    async def close(self) -> None:
        """Leave the hub, or close it where it is ours."""
        ...


class Local:
    """A hub opened in this process."""

    def __init__(self, hub: Hub, caller: Caller) -> None:
        self.hub = hub
        self.caller = caller

    async def call(self, skill: str, data: object, *, progress: Progress | None = None) -> Any:
        """The output of a skill; of a streaming one the list of its items."""
        made, ctx = self._asked(skill)
        if made.streams:
            return [plain(item) async for item in self.hub.stream(made, data, ctx)]
        if progress is not None:

            async def report(done: float, total: float | None, words: str) -> None:
                progress(done, total, words)

            ctx.report = report
        return plain(await self.hub.call(made, data, ctx))

    async def stream(self, skill: str, data: object) -> AsyncGenerator[Any]:
        """The items of a streaming skill as they come, or the one output of another."""
        made, ctx = self._asked(skill)
        if not made.streams:
            yield plain(await self.hub.call(made, data, ctx))
            return
        async with aclosing(self.hub.stream(made, data, ctx)) as items:
            async for item in items:
                yield plain(item)

    async def close(self) -> None:
        """Close the hub."""
        await self.hub.close()

    def _asked(self, skill: str) -> tuple[Skill, Context]:
        made = self.hub.find(skill)
        if not made.typed:
            raise BadRequest(f"{made.name} takes a client's own request; call it at its HTTP address", field="skill")
        return made, self.hub.context(self.caller, "cli")


@asynccontextmanager
async def reach(settings: Settings) -> AsyncGenerator[Reach]:
    """The hub of these settings, with the owner's authority.

    Raises FolderLocked when the folder's owner does not answer, and what :meth:`hub.call.Hub.open` raises.
    """
    found = await join_or_own(settings)
    try:
        yield found
    finally:
        await found.close()


async def join_or_own(settings: Settings) -> Remote | Local:
    """Connect to the process that owns the folder, or become it. On PostgreSQL every process has a hub of its own."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while True:
        if settings.postgres:
            return Local(await open_hub(settings), Caller.owner())
        remote = await Remote.connect(settings.data_dir)
        if remote is not None:
            return remote
        lock = settings.data_dir / "hub.lock"
        pid = holder(lock)
        if pid is None:
            try:
                return Local(await open_hub(settings), Caller.owner())
            except FolderLocked:
                # Somebody was quicker, or the database's own folder is another and taken.
                if loop.time() > deadline:
                    raise
        elif loop.time() > deadline:
            raise FolderLocked(lock, pid or None)
        await asyncio.sleep(STEP)


async def open_hub(settings: Settings) -> Hub:
    """A hub in this process. Raises HubError with what to do."""
    from hub.call import Hub  # noqa: PLC0415 - half of the start-up cost, and most commands talk to a hub that runs

    hub = Hub(settings)
    await hub.open()
    return hub
