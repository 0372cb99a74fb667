"""MCP over lines of JSON: this process's standard input and output, or any pair of streams such as the control socket.

One JSON-RPC message a line, UTF-8. The connection is one caller's; it ends with its input, which cancels what still runs.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import anyio
import orjson

from hub.errors import Conflict, HubError, TooLarge
from transports import _mcp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from hub.call import Hub
    from hub.records import Caller
    from transports._mcp_pipe import Pipe


class Reader(Protocol):
    """What :func:`serve_stream` needs of an ``asyncio.StreamReader``."""

    async def read(self, n: int = -1, /) -> bytes:
        """Some bytes, none at the end."""
        ...


class Writer(Protocol):
    """What :func:`serve_stream` needs of an ``asyncio.StreamWriter``."""

    def write(self, data: bytes, /) -> None:
        """Take bytes to send."""
        ...

    async def drain(self) -> None:
        """Wait until more bytes are welcome."""
        ...


async def serve(hub: Hub, caller: Caller) -> None:
    """Serve MCP on this process's standard input and output until the input ends.

    Meanwhile file 1 is standard error and file 0 is empty, so that nothing but JSON-RPC gets onto the wire.
    """
    with _claimed() as (source, target):
        await serve_stream(hub, caller, _Input(source), _Output(target))


async def serve_stream(hub: Hub, caller: Caller, reader: Reader, writer: Writer) -> None:
    """Serve MCP to one caller over a pair of streams until the reader ends. Closing the writer is the caller's part."""
    pipe = await _mcp.of(hub).pipe()
    visitor = _mcp.Visitor(caller)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(pipe.run)
            group.start_soon(_write, pipe, writer)
            await _read(hub, pipe, visitor, reader=reader, writer=writer)
            pipe.end()
    finally:
        pipe.close()


async def _read(hub: Hub, pipe: Pipe, visitor: _mcp.Visitor, *, reader: Reader, writer: Writer) -> None:
    """Feed the lines of the input; a bad one is answered and the next one read."""
    limit = hub.settings.max_body_mb * 1024 * 1024
    try:
        async for line in _lines(reader, limit):
            try:
                await pipe.feed(line, visitor)
            except Conflict:
                return
            except HubError as error:
                await _send(writer, orjson.dumps(_mcp.error_body(error)))
    except TooLarge as error:
        # Where the next message begins is unknown, so the connection cannot go on.
        await _send(writer, orjson.dumps(_mcp.error_body(error)))


async def _lines(reader: Reader, limit: int) -> AsyncIterator[bytes]:
    """The lines of a stream that are not empty. Raises TooLarge for one over the limit."""
    rest = bytearray()
    while data := await reader.read(65536):
        rest += data
        if b"\n" not in data:
            if len(rest) > limit:
                raise TooLarge(f"a message is over the limit of {limit // (1024 * 1024)} MiB; HUBROUTE_MAX_BODY_MB raises it")
            continue
        *whole, last = rest.split(b"\n")
        rest = last
        for line in whole:
            if line.strip():
                yield bytes(line)
    if rest.strip():
        yield bytes(rest)


async def _write(pipe: Pipe, writer: Writer) -> None:
    try:
        while (data := await pipe.next()) is not None:
            await _send(writer, data)
    except OSError:  # the reader of our output is gone: nobody is left to serve
        pipe.hang_up()


async def _send(writer: Writer, data: bytes) -> None:
    writer.write(data + b"\n")
    await writer.drain()


@contextmanager
def _claimed() -> Generator[tuple[int, int]]:
    """Files 0 and 1 for the protocol alone: private copies of them, while the originals lead elsewhere."""
    source, target, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    try:
        yield source, target
    finally:
        os.dup2(source, 0)
        os.dup2(target, 1)
        # A thread may still wait on the input, so its copy is left to the process's end.
        os.close(target)


class _Input:
    """Bytes of a file read in a thread that the process does not wait for: any kind of file, and cancelling is immediate."""

    def __init__(self, file: int) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._pump, args=(file,), name="stdin", daemon=True).start()

    async def read(self, n: int = -1, /) -> bytes:
        """The next bytes, however many came."""
        return await self._queue.get()

    def _pump(self, file: int) -> None:
        data = b"-"
        while data:
            try:
                data = os.read(file, 65536)
            except OSError:
                data = b""
            try:
                asyncio.run_coroutine_threadsafe(self._queue.put(data), self._loop).result()
            except (RuntimeError, asyncio.CancelledError):  # the loop is closed: nobody reads any more
                return


class _Output:
    """A file written in a worker thread, so that a client that does not read holds up nobody else."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._waiting = bytearray()
        self._turn = asyncio.Lock()

    def write(self, data: bytes, /) -> None:
        """Take bytes to send."""
        self._waiting += data

    async def drain(self) -> None:
        """Wait until all that was taken is written. Raises BrokenPipeError when the reader is gone."""
        async with self._turn:
            data, self._waiting = bytes(self._waiting), bytearray()
            if data:
                await asyncio.to_thread(self._write_all, data)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
