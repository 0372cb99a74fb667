"""A load balancer on loopback: every request goes to the next backend, whatever connection it came by, with a key added."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_OWN = (b"connection:", b"authorization:")


class _Balancer:
    def __init__(self, backends: Iterator[tuple[str | None, int | None]], key: str) -> None:
        self._backends = backends
        self._own = [b"connection: close", b"authorization: Bearer " + key.encode()]
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.create_task(self._answer(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(_OWN)]
            back_reader, back_writer = await asyncio.open_connection(*next(self._backends))
            self._writers.add(back_writer)
            back_writer.write(b"\r\n".join([*lines, *self._own]) + b"\r\n\r\n")
            ways = {asyncio.create_task(_pipe(reader, back_writer)), asyncio.create_task(_pipe(back_reader, writer))}
            self._tasks |= ways
            # Either side's end is the end of both: a client that hangs up is heard of behind the balancer.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            self._tasks -= ways
            back_writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two is gone
        finally:
            writer.close()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def balanced(*urls: str, key: str) -> AsyncIterator[str]:
    """The URL of a balancer over these hubs. A connection serves one request, so a client that keeps its own is spread as well."""
    balancer = _Balancer(itertools.cycle([(found.hostname, found.port) for found in map(urlsplit, urls)]), key)
    server = await asyncio.start_server(balancer.accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await balancer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
