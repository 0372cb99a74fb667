"""Resources of other servers that clients of this hub watch: subscribed to there for as long as somebody does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.upstream.link import Link
    from hub.upstream.offered import Item

    Tell = Callable[[], None]
    Reach = Callable[[str, str], Awaitable[Link]]

#: Seconds until a server that could not be reached is tried again, at first and at most.
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


@dataclass(slots=True)
class _Standing:
    """What one principal watches at one server: the server's own URIs, and who is told."""

    tells: dict[str, list[Tell]] = field(default_factory=dict[str, "list[Tell]"])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Watching:
    """Of one hub. ``reach`` gives the live session of a principal with a server, and raises HubError."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._standing: dict[tuple[str, str], _Standing] = {}

    @property
    def size(self) -> int:
        """How many resources are watched, those of each principal by themselves."""
        return sum(len(one.tells) for one in self._standing.values())

    def watch(self, item: Item, principal: str, tell: Tell) -> Callable[[], None]:
        """Have ``tell`` called when a resource may be new. Gives what ends it."""
        key = (item.server, principal)
        standing = self._standing.setdefault(key, _Standing())
        standing.tells.setdefault(item.own, []).append(tell)
        standing.changed.set()
        if standing.task is None:
            standing.task = asyncio.create_task(self._keep(key, standing))

        def stop() -> None:
            kept = standing.tells.get(item.own, [])
            if tell in kept:
                kept.remove(tell)
            if not kept:
                standing.tells.pop(item.own, None)
            standing.changed.set()

        return stop

    def told(self, identity: str, principal: str, uri: str) -> None:
        """A server says that a resource is new."""
        standing = self._standing.get((identity, principal))
        for tell in list(standing.tells.get(uri, ())) if standing is not None else ():
            tell()

    async def close(self) -> None:
        """Watch nothing any more."""
        tasks = [one.task for one in self._standing.values() if one.task is not None]
        self._standing.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _keep(self, key: tuple[str, str], standing: _Standing) -> None:
        """Hold a session as long as something is watched, and subscribe anew on each."""
        pause, lost = _PAUSE, False
        while standing.tells:
            try:
                link = await self._reach(*key)
                pause = _PAUSE
                if lost:
                    # What happened meanwhile, nobody told.
                    for uri in list(standing.tells):
                        self.told(*key, uri)
                await self._held(link, standing)
                lost = bool(standing.tells)
            except HubError:
                lost = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        if self._standing.get(key) is standing:
            del self._standing[key]
        standing.task = None

    async def _held(self, link: Link, standing: _Standing) -> None:
        """Follow what is watched on one session, until that is nothing or the session ends."""
        link.busy += 1
        try:
            while not link.dead:
                standing.changed.clear()
                await link.watch(frozenset(standing.tells))
                if not standing.tells:
                    return
                waits = [asyncio.ensure_future(standing.changed.wait()), asyncio.ensure_future(link.ended())]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in waits:
                        one.cancel()
        finally:
            link.busy -= 1
