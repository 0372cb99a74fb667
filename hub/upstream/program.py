"""A program that speaks MCP on its stdin and stdout: which may be started, and its life as a child process (SEC-30, REL-18)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from hub.errors import BadRequest, Conflict
from hub.log import logger, masked
from hub.process import child, place
from hub.process.programs import Kind, hands_code, kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

log = logger("hub.upstream")

_STDERR_LINES = 20
#: A server ends by itself when its stdin does (2025-11-25, Lifecycle, Shutdown).
_PATIENCE_SECONDS = 2.0

#: What a server sees of our environment besides what every child does.
_INHERITED = ("LC_ALL", "TMPDIR", "TZ")
_ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
_ENV_STOPPED = re.compile(r"^(?:LD_.*|DYLD_.*|PATH|IFS|SHELL|BASH_ENV|ENV|PYTHON.*|NODE_OPTIONS|NODE_PATH|RUBY(?:OPT|LIB)|PERL5.*|GIT_.*)$")


def checked(command: str, args: Sequence[str], env: Mapping[str, str]) -> Path:
    """The program's absolute path. Raises BadRequest naming the field for whatever could run more than that program."""
    found = shutil.which(command) if command and "\x00" not in command else None
    if found is None:
        raise BadRequest(f"there is no program {command[:200]!r}; give its absolute path or install it first", field="command")
    path = Path(os.path.abspath(found))
    if (kind := kind_of(path.name)) is Kind.SHELL:
        raise BadRequest(f"{path.name} starts other programs; name the server's own program", field="command")
    for arg in args:
        _check_argument(arg, path.name, kind)
    for name, value in env.items():
        if not _ENV_NAME.match(name) or _ENV_STOPPED.match(name):
            raise BadRequest(f"the variable {name[:60]!r} would change which code runs, or is no name", field="env")
        if "\x00" in value:
            raise BadRequest("a value holds a NUL byte", field="env")
    return path


def _check_argument(arg: str, program: str, kind: Kind | None) -> None:
    if any(letter in arg for letter in "\x00\n\r"):
        raise BadRequest("an argument holds a line break", field="args")
    if kind is not None and hands_code(arg, kind):
        raise BadRequest(f"{arg} makes {program} run code from its arguments; name a file, a module or a package", field="args")
    if "$(" in arg or "`" in arg:
        raise BadRequest("arguments are passed as they are, nothing substitutes in them; leave $( and backticks out", field="args")


class Program:
    """One start of a program. ``closed`` is set when it ended; ``errors`` holds the last lines of its stderr."""

    def __init__(self, path: Path, args: Sequence[str], env: Mapping[str, str], digest: str) -> None:
        self._path = path
        self._args = args
        self._env = env
        self._digest = digest
        self.closed = asyncio.Event()
        self.errors: deque[str] = deque(maxlen=_STDERR_LINES)

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Any]:
        """Run it; gives the message streams that the MCP client wants. Its whole process group is ended afterwards."""
        if await asyncio.to_thread(place.digest, str(self._path)) != self._digest:
            raise Conflict(f"{self._path.name} is not the file it was when it was allowed; add the server again if that is right")
        env = child.environment(str(self._path), os.get_exec_path(), _INHERITED) | dict(self._env)
        process = await child.spawn([str(self._path), *self._args], env=env, cwd=env["HOME"], talk=True)
        # Nothing is piled up: a line is read when the one before it was taken.
        received, incoming = anyio.create_memory_object_stream[Any](0)
        outgoing, sent = anyio.create_memory_object_stream[Any](64)
        tasks = [asyncio.create_task(work) for work in (self._read(process, received), self._write(process, sent), self._listen(process))]
        try:
            yield incoming, outgoing
        finally:
            with anyio.CancelScope(shield=True):
                await child.end(process, patience=_PATIENCE_SECONDS)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (received, incoming, outgoing, sent):
                stream.close()
            self.closed.set()

    async def _read(self, process: asyncio.subprocess.Process, received: Any) -> None:
        """Lines of stdout as messages; garbage is counted and passed over, an endless line ends it."""
        if process.stdout is None:
            raise RuntimeError("started without pipes")
        strange = 0
        async with received:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ValueError):
                # ValueError: a line over the limit.
                while line := await process.stdout.readline():
                    try:
                        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        strange += 1
                        if strange == 1:
                            log.warning("not a message on stdout", program=self._path.name)
                        continue
                    await received.send(SessionMessage(message))
        self.closed.set()

    async def _write(self, process: asyncio.subprocess.Process, sent: Any) -> None:
        if process.stdin is None:
            raise RuntimeError("started without pipes")
        with contextlib.suppress(OSError):
            async for message in sent:
                process.stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await process.stdin.drain()
        self.closed.set()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            raise RuntimeError("started without pipes")
        with contextlib.suppress(ValueError):
            while line := await process.stderr.readline():
                self.errors.append(masked(line.decode(errors="replace").rstrip()[:500]))
        while await process.stderr.read(65536):  # after an endless line: read on, so that the program is not held up
            pass
