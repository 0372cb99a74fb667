"""The control socket's serving side (D24): the other commands of this machine reach the hub that owns the data folder.

What goes over it is described in :mod:`hub.process.control`. The socket's mode is 0600, so who can open it is the
owner; a client that sends a key has that key's authority instead.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest, HubError, Internal
from hub.log import logger
from hub.process import control
from hub.records import Caller
from hub.version import VERSION
from transports import mcp_stdio

if TYPE_CHECKING:
    from pathlib import Path

    from hub.call import Hub
    from hub.context import Context
    from hub.skill import Skill

log = logger("transports.control")

_HELLO_SECONDS = 10


class Listener:
    """The open socket and its sessions."""

    def __init__(self, hub: Hub, url: str) -> None:
        self.hub = hub
        self.url = url
        self._server: asyncio.Server
        self._sessions: dict[asyncio.Task[None], Session] = {}

    async def open(self, data_dir: Path) -> None:
        """Listen in a data folder whose lock this process holds."""
        path = control.prepare(data_dir)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode must be right from the first moment, so it comes from the umask and not from a later chmod.
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._joined, sock=sock, limit=control.LINE_LIMIT)

    async def close(self, data_dir: Path, *, seconds: float = 0.0) -> None:
        """Stop listening; calls that run may end within ``seconds``, all else ends now."""
        self._server.close()
        control.remove(data_dir)
        busy = [task for task, session in self._sessions.items() if session.busy]
        for task in self._sessions.keys() - set(busy):
            task.cancel()
        if busy and seconds > 0:
            waits = [asyncio.create_task(self._sessions[task].idle()) for task in busy]
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()
        tasks = list(self._sessions)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: the one that asyncio would make complains when it is cancelled.
        session = Session(self.hub, self.url, reader, writer)
        task = asyncio.create_task(self._serve(session))
        self._sessions[task] = session
        task.add_done_callback(self._sessions.pop)

    async def _serve(self, session: Session) -> None:
        """One client, from hello until it leaves: the transport boundary."""
        try:
            await session.run()
        except (ConnectionError, TimeoutError):
            return
        except Exception as error:
            log.error("control session failed", exc_info=error)
        finally:
            session.writer.close()


class Session:
    """One client of the socket; its calls run side by side and end with it."""

    def __init__(self, hub: Hub, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hub = hub
        self.url = url
        self.reader = reader
        self.writer = writer
        self.caller: Caller
        self._calls: dict[object, asyncio.Task[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def busy(self) -> bool:
        """Whether a call of this client runs."""
        return bool(self._calls)

    async def idle(self) -> None:
        """Return when no call runs."""
        await self._idle.wait()

    async def run(self) -> None:
        """Greet, then take orders until the client leaves."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                await self._greet()
            while data := await self._read():
                if not await self._order(_object(data)):
                    return
        except HubError as error:
            await self._send({"ok": False, "error": control.described(error)})
        finally:
            for task in self._calls.values():
                task.cancel()
            await asyncio.gather(*self._calls.values(), return_exceptions=True)

    async def _greet(self) -> None:
        ask = _object(await self._read())
        if ask.get("op") != "hello" or ask.get("protocol") != control.PROTOCOL:
            raise BadRequest(f"this hub speaks control protocol {control.PROTOCOL}; use the hubroute command of its version, {VERSION}")
        key = ask.get("key")
        self.caller = self.hub.authenticate(str(key)) if key else Caller.owner()
        await self._send({"ok": True, "version": VERSION, "pid": os.getpid(), "url": self.url})

    async def _order(self, ask: dict[str, Any]) -> bool:
        """Carry out one line; False when the session is over."""
        match ask.get("op"):
            case "call":
                self._start(ask)
            case "cancel":
                if task := self._calls.get(ask.get("id")):
                    task.cancel()
            case "mcp":
                await mcp_stdio.serve_stream(self.hub, self.caller, self.reader, self.writer)
                return False
            case other:
                raise BadRequest(f"unknown operation {other!r}; there are call, cancel and mcp", field="op")
        return True

    def _start(self, ask: dict[str, Any]) -> None:
        number = ask.get("id")
        if not isinstance(number, int | str) or number in self._calls:
            raise BadRequest("each call needs an id of its own, a number or text", field="id")
        task = asyncio.create_task(self._call(number, ask))
        self._calls[number] = task
        self._idle.clear()
        task.add_done_callback(lambda _: self._ended(number))

    def _ended(self, number: int | str) -> None:
        del self._calls[number]
        if not self._calls:
            self._idle.set()

    async def _call(self, number: int | str, ask: dict[str, Any]) -> None:
        """One call, whatever it ends with: the task boundary."""
        try:
            await self._run(number, ask)
        except ConnectionError:
            return
        except HubError as error:
            await self._answer(number, error)
        except Exception as error:
            log.error("control call failed", skill=ask.get("skill"), exc_info=error)
            await self._answer(number, Internal("the hub failed; its log has the cause"))

    async def _run(self, number: int | str, ask: dict[str, Any]) -> None:
        made = self.hub.find(str(ask.get("skill")))
        data: object = ask.get("input") or {}
        if not made.typed:
            raise BadRequest(f"{made.name} takes a client's own request; call it at its HTTP address", field="skill")
        ctx = self.hub.context(self.caller, "cli")

        async def report(done: float, total: float | None, words: str) -> None:
            await self._send({"id": number, "progress": [done, total, words]})

        ctx.report = report
        if made.streams:
            await self._stream(number, made, data, ctx)
        else:
            await self._send({"id": number, "result": await self.hub.call(made, data, ctx)})

    async def _stream(self, number: int | str, made: Skill, data: object, ctx: Context) -> None:
        async with aclosing(self.hub.stream(made, data, ctx)) as items:
            async for item in items:
                await self._send({"id": number, "item": item})
        await self._send({"id": number, "end": True})

    async def _answer(self, number: int | str, error: HubError) -> None:
        with suppress(ConnectionError):
            await self._send({"id": number, "error": control.described(error)})

    async def _send(self, message: dict[str, Any]) -> None:
        self.writer.write(control.line(message))
        await self.writer.drain()

    async def _read(self) -> bytes:
        """The next line, empty when the client left. Raises BadRequest for one that is too long."""
        try:
            return await self.reader.readline()
        except ValueError:
            raise BadRequest(f"a line is over the limit of {control.LINE_LIMIT // 1024**2} MiB") from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"a line is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest("a line is not a JSON object")
    return cast("dict[str, Any]", value)
