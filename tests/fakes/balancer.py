"""A load balancer on loopback: every request goes to the next backend, whatever connection it came by, with a key added."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

_OWN = (b"connection:", b"authorization:")


@asynccontextmanager
async def balanced(*urls: str, key: str) -> AsyncIterator[str]:
    """The URL of a balancer over these hubs. A connection serves one request, so a client that keeps its own is spread as well."""
    turns = itertools.cycle([(found.hostname, found.port) for found in map(urlsplit, urls)])
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(_OWN)]
        lines += [b"connection: close", b"authorization: Bearer " + key.encode()]
        host, port = next(turns)
        back_reader, back_writer = await asyncio.open_connection(host, port)
        back_writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        ways = {asyncio.create_task(_pipe(reader, back_writer)), asyncio.create_task(_pipe(back_reader, writer))}
        try:
            # Either side's end is the end of both: a client that hangs up is heard of behind the balancer.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            await _closed(back_writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_served(answer(reader, writer), writer))
        answering.add(task)
        task.add_done_callback(answering.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(answering):
            task.cancel()
        if answering:
            await asyncio.wait(list(answering))


async def _served(answer: Coroutine[Any, Any, None], writer: asyncio.StreamWriter) -> None:
    try:
        await answer
    except (OSError, asyncio.IncompleteReadError):
        pass  # one of the two is gone
    finally:
        await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
