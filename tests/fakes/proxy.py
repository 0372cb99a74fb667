"""An HTTP proxy for tests: CONNECT and absolute-form requests, or a fault instead."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Literal, Self

Mode = Literal["ok", "refuse", "silent", "drop", "dead end"]


class FakeProxy:
    """``async with FakeProxy() as proxy:`` listens on 127.0.0.1. ``credentials`` (``user:pass``, base64) makes it ask for them.

    ``seen`` holds the request lines; ``mode`` may be changed at any time.
    """

    def __init__(self, mode: Mode = "ok", *, credentials: str = "") -> None:
        self.mode: Mode = mode
        self.seen: list[str] = []
        self._credentials = credentials
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.seen.append(line.decode())
        if self.mode == "drop":
            return
        if self.mode == "silent":
            await reader.read()
            return
        if self._credentials and f"proxy-authorization: basic {self._credentials}".lower() not in head.decode().lower():
            writer.write(b"HTTP/1.1 407 Credentials\r\ncontent-length: 0\r\nproxy-authenticate: Basic\r\n\r\n")
            await writer.drain()
            return
        if self.mode == "refuse":
            writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        method, target, _ = line.decode().split(" ")
        host = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        there, back = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            if self.mode == "dead end":
                back.close()
                return
        else:
            path = target.removeprefix("http://").partition("/")[2]
            back.write(f"{method} /{path} HTTP/1.1\r\n".encode() + rest)
        await asyncio.gather(_relay(reader, back), _relay(there, writer))


class FakeSocks:
    """A SOCKS5 proxy (RFC 1928, 1929) that looks every name up as this machine. ``seen`` holds where it was asked to connect to."""

    def __init__(self, *, credentials: tuple[str, str] | None = None, refuse: bool = False, silent: bool = False) -> None:
        self.seen: list[str] = []
        self.ended = 0
        self._silent = silent
        self._credentials = credentials
        self._refuse = refuse

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"socks5://127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self.ended += 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._silent:
            await reader.read()
            return
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 2 if self._credentials else 0
        writer.write(bytes([5, wanted if wanted in methods else 0xFF]))
        if wanted not in methods:
            await writer.drain()
            return
        if self._credentials:
            _, size = await reader.readexactly(2)
            user = await reader.readexactly(size)
            word = await reader.readexactly((await reader.readexactly(1))[0])
            good = (user.decode(), word.decode()) == self._credentials
            writer.write(bytes([1, 0 if good else 1]))
            if not good:
                await writer.drain()
                return
        host, port = await self._wanted(reader)
        self.seen.append(f"{host}:{port}")
        writer.write(bytes([5, 5 if self._refuse else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        await writer.drain()
        if not self._refuse:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_relay(reader, back), _relay(there, writer))

    async def _wanted(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        kind = (await reader.readexactly(4))[3]
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        name = await reader.readexactly(size)
        host = name.decode() if kind == 3 else str(ipaddress.ip_address(name))
        return host, int.from_bytes(await reader.readexactly(2), "big")


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.transport.abort()
