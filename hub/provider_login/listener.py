"""Ports of this machine that wait for a browser to come back from a login (RFC 8252, 7.3): loopback only, one login each, for ten minutes.

For providers that know programs on the user's own machine and not the hub's address.
"""

from __future__ import annotations

import asyncio
import html
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hub.errors import BadRequest, HubError, Unavailable
from hub.grants.way import once
from hub.log import logger
from hub.provider_login.clients import LOOPBACK_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logger("hub.provider_login")

_MOST = 8
_HEAD_BYTES = 16 * 1024
_HEAD_SECONDS = 5.0
_PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{words}</p></html>"
_HEADERS = (
    "content-type: text/html; charset=utf-8\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
    "referrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n"
)


class Listeners:
    """Waiting ports. Each is closed once its login has an answer, when its time is over, or with the hub."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[asyncio.Server, asyncio.TimerHandle]] = {}

    @property
    def ports(self) -> list[int]:
        """The ports that wait now."""
        return list(self._open)

    async def start(self, host: str, port: int, seconds: float, take: Callable[[Mapping[str, str], str], Awaitable[None]]) -> str:
        """Wait for an answer at a port, 0 for any; the address to come back to. ``take`` gets the answer's fields and that address.

        Raises Unavailable where the port is taken or too many logins wait, BadRequest for a port that no program may take.
        """
        if len(self._open) >= _MOST:
            raise Unavailable(f"{_MOST} logins wait for a browser already; finish one, or wait ten minutes", retry_after=60)
        waiting = _Waiting(host, take)
        try:
            server = await asyncio.start_server(waiting.serve, "127.0.0.1", port, limit=_HEAD_BYTES)
        except PermissionError as error:
            raise BadRequest(f"port {port} may not be listened at; choose one above 1023", field="port") from error
        except OSError as error:
            raise Unavailable(f"port {port} is taken; choose another, or leave it out for any that is free") from error
        number = server.sockets[0].getsockname()[1]
        waiting.address = f"http://{host}:{number}{LOOPBACK_PATH}"
        timer = asyncio.get_running_loop().call_later(seconds, self.stop, number)
        waiting.done = lambda: self.stop(number)
        self._open[number] = (server, timer)
        return waiting.address

    def stop(self, port: int) -> None:
        """Wait at a port no longer."""
        found = self._open.pop(port, None)
        if found is not None:
            found[1].cancel()
            found[0].close()

    async def close(self) -> None:
        """Wait nowhere any more."""
        for port in self.ports:
            self.stop(port)


class _Waiting:
    """The answers of one port."""

    def __init__(self, host: str, take: Callable[[Mapping[str, str], str], Awaitable[None]]) -> None:
        self.address = ""
        self.done: Callable[[], None] = lambda: None
        self._host = host
        self._take = take

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, words = await self._answered(head)
            title = "You are logged in" if status == 200 else "The login did not work"
            body = _PAGE.format(title=title, words=html.escape(words)).encode()
            writer.write(f"HTTP/1.1 {status} -\r\n{_HEADERS}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # no request of a browser
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answered(self, head: str) -> tuple[int, str]:
        line, *rest = head.split("\r\n")
        method, _, tail = line.partition(" ")
        target = urlsplit(tail.partition(" ")[0])
        host = next((value.strip() for name, _, value in (one.partition(":") for one in rest) if name.lower() == "host"), "")
        # Another site that names this machine its own (DNS rebinding) has another Host.
        if method != "GET" or target.path != LOOPBACK_PATH or host != urlsplit(self.address).netloc:
            return 404, "Nothing is here."
        try:
            answer = once(target.query)
            await self._take(answer, self.address)
        except HubError as error:
            return 400, error.message
        self.done()
        if "error" in answer:
            return 400, "The provider did not agree. You can close this page."
        return 200, "You can close this page and go back to where you began."
