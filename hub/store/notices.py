"""Short messages between the processes on one database: PostgreSQL's NOTIFY. What is said while nobody listens is lost (D15)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.store.database import Database

log = logger("hub.store")

#: PostgreSQL takes 8000 bytes less one.
LONGEST = 7900
_CHANNEL = "hubroute"
_TELL = "SELECT pg_notify(?, ?)"
_AGAIN_SECONDS = (0.5, 2.0, 5.0, 15.0)


class Notices:
    """Tells and hears. ``shared`` says that there may be others; on SQLite nobody is told, and nothing heard."""

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._url = url
        self._task: asyncio.Task[None] | None = None
        self.shared = bool(url)
        #: Whether what is told now is heard.
        self.hearing = False

    async def tell(self, messages: Sequence[str]) -> None:
        """Say something, at most :data:`LONGEST` ASCII characters each, to everybody, oneself included.

        Raises the HubError of the database.
        """
        await self._database.write(lambda link: [link.run(_TELL, _CHANNEL, message) for message in messages])

    def listen(self, heard: Callable[[str], None]) -> None:
        """Call ``heard`` on the event loop with each message from now on; called once, where it is shared."""
        self._task = asyncio.get_running_loop().create_task(self._listen(heard))

    async def close(self) -> None:
        """Hear nothing more. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self, heard: Callable[[str], None]) -> None:
        # Deferred: psycopg is needed with PostgreSQL only.
        import psycopg  # noqa: PLC0415 - deferred, see above

        failures = 0
        while True:
            try:
                link = await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=10, application_name="hubroute listens"
                )
                async with link:
                    await link.execute(f"LISTEN {_CHANNEL}".encode())
                    failures = 0
                    self.hearing = True
                    async for notice in link.notifies():
                        heard(notice.payload)
            except (psycopg.Error, OSError) as error:
                log.warning("other processes cannot be heard", reason=type(error).__name__)
            except Exception as error:  # the background loop must outlive a fault
                log.error("hearing other processes failed", exc_info=error)
            finally:
                self.hearing = False
            await asyncio.sleep(_AGAIN_SECONDS[min(failures, len(_AGAIN_SECONDS) - 1)])
            failures += 1
