"""A WebSocket client made of bytes, for what no library would send."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.hub import Running


class RawClient:
    """A WebSocket client made of bytes. ``status`` is that of the handshake's answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.status = 0
        self._rest = b""

    @classmethod
    async def handshake(
        cls, running: Running, key: str, headers: dict[str, str] | None = None, *, buffer: int = 0, path: str = "/v1/ws"
    ) -> RawClient:
        port = int(running.url.rpartition(":")[2])
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        made = cls(sock)
        lines = {
            "host": f"127.0.0.1:{port}",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
            "authorization": f"Bearer {key}",
            **(headers or {}),
        }
        await loop.sock_sendall(
            sock, f"GET {path} HTTP/1.1\r\n{''.join(f'{name}: {value}' + chr(13) + chr(10) for name, value in lines.items())}\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += await asyncio.wait_for(loop.sock_recv(sock, 65536), 5)
        made.status = int(head.split(b" ", 2)[1])
        made._rest = head.partition(b"\r\n\r\n")[2]
        return made

    @classmethod
    async def open(cls, running: Running, *, buffer: int = 0) -> RawClient:
        made = await cls.handshake(running, await running.key(), buffer=buffer)
        assert made.status == 101
        return made

    async def send(self, first: int, payload: bytes = b"", *, length: int | None = None) -> None:
        """One frame: its first byte (FIN and opcode), masked with zeros; ``length`` claims another length than it has."""
        size = len(payload) if length is None else length
        if size < 126:
            head = bytes([first, 0x80 | size])
        else:
            head = struct.pack("!BBH", first, 0xFE, size) if size < 65536 else struct.pack("!BBQ", first, 0xFF, size)
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().sock_sendall(self._sock, head + bytes(4) + payload)

    async def refused(self, first: int, payload: bytes, *, times: int) -> bool:
        """Send the same frame again and again; whether the server cuts that short."""
        try:
            for _ in range(times):
                await self.send(first, payload)
                await asyncio.sleep(0)
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    async def text(self, words: str) -> None:
        await self.send(0x81, words.encode())

    async def frame(self, timeout: float = 5.0) -> tuple[int, bytes]:
        """The next frame's opcode and payload."""
        head = await self._read(2, timeout)
        size = head[1] & 0x7F
        if size == 126:
            size = struct.unpack("!H", await self._read(2, timeout))[0]
        elif size == 127:
            size = struct.unpack("!Q", await self._read(8, timeout))[0]
        return head[0] & 0x0F, await self._read(size, timeout)

    async def close_code(self, timeout: float = 5.0) -> int:
        """Read on up to the close frame; its code."""
        while True:
            opcode, payload = await self.frame(timeout)
            if opcode == 8:
                return struct.unpack("!H", payload[:2])[0]

    async def gone(self, timeout: float) -> bool:
        """Whether the server closes the connection in time."""
        try:
            async with asyncio.timeout(timeout):
                while await asyncio.get_running_loop().sock_recv(self._sock, 65536):
                    pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    async def _read(self, size: int, timeout: float) -> bytes:
        while len(self._rest) < size:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._sock, 65536), timeout)
            if not data:
                raise EOFError
            self._rest += data
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def close(self) -> None:
        self._sock.close()
