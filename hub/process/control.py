"""The control socket (D24): where it is, what goes over it, and the side that calls a hub in another process.

A unix socket that only the owner of the data folder may open, with JSON lines (the serving side is
:mod:`transports.control`). The first line of a client is ``{"op": "hello", "protocol": 1, "key": null}``, answered
with ``{"ok": true, "version", "pid", "url"}``; without a key the client acts for the owner, with one it has that
key's authority. Then::

    {"op": "call", "id": 1, "skill": "keys-list", "input": {}}   ->  {"id": 1, "result": ...}
                                                                 or  {"id": 1, "error": {"status", "code", "message", ...}}
    a skill that streams                                         ->  {"id": 1, "item": ...} ... {"id": 1, "end": true}
    work that takes long                                         ->  {"id": 1, "progress": [done, total, words]}
    {"op": "cancel", "id": 1}                                     stops that call
    {"op": "mcp"}                                                 from here on both sides speak MCP, one message a line
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from pydantic import BaseModel

from hub.errors import HubError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    Progress = Callable[[float, float | None, str], None]

PROTOCOL = 1

#: Largest line in bytes; a chat with a few images fits.
LINE_LIMIT = 64 * 1024 * 1024

#: Where a hub says who it is, in its data folder.
ABOUT = "hub.json"
_NAME = "hub.sock"
_POINTER = "hub.sock.path"
#: ``sun_path`` holds 104 bytes on macOS and 108 on Linux, the closing zero included.
_PATH_LIMIT = 100


class RemoteError(HubError):
    """An error of the hub in the other process, as it described it."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["message"], code=told["code"], field=told.get("field"), data=told.get("data"))
        self.retry_after = told.get("retryAfter")
        self._status: int = told["status"]

    @property
    def status(self) -> int:
        """The HTTP status this error has at the other doors."""
        return self._status


def described(error: HubError) -> dict[str, Any]:
    """An error as it goes over the socket."""
    return {
        "status": error.status,
        "code": error.code,
        "message": error.message,
        "field": error.field,
        "retryAfter": error.retry_after,
        "data": error.data,
    }


def _default(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    return msgspec.to_builtins(value)


def line(message: object) -> bytes:
    """A message as one line. Skill outputs inside it (models, structs) become the JSON that every door shows."""
    return orjson.dumps(message, default=_default, option=orjson.OPT_APPEND_NEWLINE)


def plain(value: object) -> Any:
    """A skill's output as plain JSON values, the same as if it had come over the socket."""
    return orjson.loads(line(value))


def address(data_dir: Path) -> Path | None:
    """Where the socket of a data folder is, or would be; None when nothing says where."""
    direct = data_dir / _NAME
    if _fits(direct):
        return direct
    try:
        return Path((data_dir / _POINTER).read_text("utf-8").strip())
    except (FileNotFoundError, NotADirectoryError):
        return None


def about(data_dir: Path) -> dict[str, Any]:
    """What the hub of a folder wrote about itself: pid, url, version; empty when none did. It may be gone since."""
    try:
        return orjson.loads((data_dir / ABOUT).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}


def prepare(data_dir: Path) -> Path:
    """Make room for the socket and return its path. Call it with the folder's lock held: what is there is left over.

    Where the folder's path is too long for a socket, it lies in a private folder of its own and a file points to it.
    """
    remove(data_dir)
    direct = data_dir / _NAME
    if _fits(direct):
        return direct
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = runtime if runtime and _fits(Path(runtime) / "hubroute-12345678" / _NAME) and Path(runtime).is_dir() else "/tmp"  # noqa: S108 - mkdtemp
    folder = Path(tempfile.mkdtemp(prefix="hubroute-", dir=parent))
    (data_dir / _POINTER).write_text(f"{folder / _NAME}\n", "utf-8")
    return folder / _NAME


def remove(data_dir: Path) -> None:
    """Take the socket away, and the private folder if it has one."""
    path = address(data_dir)
    if path is None:
        return
    path.unlink(missing_ok=True)
    if path.parent != data_dir and path.parent.name.startswith("hubroute-"):
        shutil.rmtree(path.parent, ignore_errors=True)
        (data_dir / _POINTER).unlink(missing_ok=True)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _PATH_LIMIT


def hello(key: str | None) -> bytes:
    """The first line of a client. Without a key the client acts for the owner."""
    return line({"op": "hello", "protocol": PROTOCOL, "key": key or None})


def welcomed(data: bytes) -> dict[str, Any]:
    """The hub's answer to hello. Raises Unauthenticated for a bad key, Unavailable when the hub left or speaks otherwise."""
    if not data:
        raise Unavailable("the hub closed its control socket; look at its log, or start it again")
    answer = orjson.loads(data)
    if not answer.get("ok"):
        error = RemoteError(answer["error"])
        raise Unauthenticated(error.message) if error.status == 401 else error
    return answer


class Remote:
    """A hub in another process. One call at a time; used by the command line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self.about: dict[str, Any] = {}

    @classmethod
    async def connect(cls, data_dir: Path, *, key: str | None = None) -> Remote | None:
        """Connect to the hub that owns a data folder; None when none listens there.

        Raises Unauthenticated for a key the hub does not take.
        """
        path = address(data_dir)
        if path is None:
            return None
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_LIMIT)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise Unavailable(f"cannot open the control socket of {data_dir} ({error.strerror}); run this as the hub's own user") from error
        remote = cls(reader, writer)
        try:
            writer.write(hello(key))
            remote.about = welcomed(await reader.readline())
        except ConnectionError:
            await remote.close()
            return None
        except BaseException:
            await remote.close()
            raise
        return remote

    async def call(self, skill: str, data: object, *, progress: Progress | None = None) -> Any:
        """Call a skill and return its output as plain JSON; of a streaming one the list of its items."""
        number = self._ask(skill, data)
        items: list[Any] = []
        while True:
            message = await self._answer(number)
            if "progress" in message:
                if progress is not None:
                    progress(*message["progress"])
            elif "item" in message:
                items.append(message["item"])
            else:
                return items if "end" in message else message["result"]

    async def stream(self, skill: str, data: object) -> AsyncGenerator[Any]:
        """The items of a streaming skill as they come; leaving the loop early stops the skill."""
        number = self._ask(skill, data)
        ended = False
        try:
            while not ended:
                message = await self._answer(number)
                ended = "item" not in message and "progress" not in message
                if "progress" not in message and "end" not in message:
                    yield message["result" if ended else "item"]
        except RemoteError:
            ended = True
            raise
        finally:
            if not ended:
                self._writer.write(line({"op": "cancel", "id": number}))

    async def close(self) -> None:
        """Leave; the hub stops what still runs for this client."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return

    def _ask(self, skill: str, data: object) -> int:
        number = next(self._ids)
        self._writer.write(line({"op": "call", "id": number, "skill": skill, "input": data}))
        return number

    async def _answer(self, number: int) -> dict[str, Any]:
        """The next message about a call; those about cancelled ones are skipped. Raises the call's error."""
        while True:
            try:
                data = await self._reader.readline()
            except ConnectionError:
                data = b""
            if not data:
                raise Unavailable("the hub stopped while it worked on this; start it again and look whether the change is there")
            message = orjson.loads(data)
            if message.get("id") == number:
                if "error" in message:
                    raise RemoteError(message["error"])
                return message
