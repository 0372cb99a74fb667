"""One tunnel: a program as a child process, the address that it says, and its end (SEC-30)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hub.errors import Unavailable
from hub.log import logger, masked
from hub.process import child
from hub.tunnels import leftover

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.secret import Secret
    from hub.tunnels.rows import TunnelRow

log = logger("hub.tunnels")

_LINES = 40
_LONGEST = 400
#: How much of a line is looked through for an address.
_HEARD = 16 * 1024
#: Seconds from SIGTERM to SIGKILL.
_GRACE = 5.0
_INHERITED = ("LC_ALL", "TMPDIR", "TZ")


class Tunnel:
    """The tunnel of one program. ``changed`` is called when its address comes or goes, ``patience`` is how long it may take to say it."""

    patience = 30.0

    def __init__(self, row: TunnelRow, folder: Path, changed: Callable[[], None]) -> None:
        self.row = row
        self._folder = folder
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._said = asyncio.Event()
        self._hostname = ""
        self._secret: Secret | None = None
        #: starting, running, needs_auth, error, or stopped.
        self.phase = "stopped"
        self.url = ""
        self.error = ""
        self.lines: deque[str] = deque(maxlen=_LINES)

    @property
    def note(self) -> Path:
        """Where it is written down that the child runs."""
        return self._folder / f"{self.row.id}.json"

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def host(self) -> str:
        """The public host name, empty while there is none."""
        return urlsplit(self.url).hostname or "" if self.url else ""

    async def open(self, path: str, target: str, *, token: Secret, hostname: str = "") -> None:
        """Start the program and wait for its address. Raises Unavailable with what it said where that does not come; it is ended then."""
        await self.close()
        self.phase, self.error, self._hostname, self._secret = "starting", "", hostname, token
        self.lines.clear()
        self._said = asyncio.Event()
        try:
            process = self._process = await child.spawn(
                [path, *self._arguments(target, hostname)], env=self._environment(path, token), cwd=str(self._home()), talk=False
            )
        except Unavailable as error:
            self._failed(error.message)
            raise
        leftover.note(self.note, process.pid)
        self._tasks = [asyncio.create_task(self._read(pipe)) for pipe in (process.stdout, process.stderr) if pipe is not None]
        self._tasks.append(asyncio.create_task(self._wait(process)))
        try:
            async with asyncio.timeout(self.patience):
                await self._said.wait()
        except TimeoutError:
            await self._give_up(f"it gave no public address within {self.patience:g} seconds")
        except BaseException:
            await self.close()
            raise
        if self._process is not process:
            raise Unavailable(f"{self.row.name} was closed before it was open", code="tunnel_failed")
        if not self.url:
            await self._give_up(self.error)

    async def close(self) -> None:
        """End the program and its whole group, and take its address back. May be called twice."""
        process, self._process = self._process, None
        tasks, self._tasks = self._tasks, []
        self._gone("stopped")
        self._said.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if process is not None:
            await child.end(process, grace=_GRACE)
            leftover.forget(self.note)

    async def _give_up(self, words: str) -> None:
        phase = "needs_auth" if self.phase == "needs_auth" else "error"
        await self.close()
        last = "; ".join(list(self.lines)[-3:])
        words = f"{words} ({self.row.login_help})" if phase == "needs_auth" else words
        self._failed(f"{self.row.name} did not open a tunnel: {words}" + (f". It said: {last}" if last else ""), phase)
        raise Unavailable(self.error, code=phase if phase == "needs_auth" else "tunnel_failed")

    def _failed(self, words: str, phase: str = "error") -> None:
        self.phase, self.error = phase, words[:1000]
        log.warning("a tunnel is not open", tunnel=self.row.id, reason=self.error)

    def _gone(self, phase: str) -> None:
        self.phase = phase
        if self.url:
            log.info("a tunnel is closed", tunnel=self.row.id)
            self.url = ""
            self._changed()

    def _arguments(self, target: str, hostname: str) -> list[str]:
        choice = self.row.choice
        wanted = os.environ.get(choice.variable, "") if choice else ""
        fields = {"{target}": target, "{hostname}": hostname, "{choice}": wanted if choice and wanted in choice.values else ""}
        if choice and not fields["{choice}"]:
            fields["{choice}"] = choice.values[0]
        made: list[str] = []
        for argument in self.row.named if hostname else self.row.args:
            for name, value in fields.items():
                argument = argument.replace(name, value)
            made.append(argument)
        return made

    def _home(self) -> Path:
        home = self._folder / self.row.id
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home

    def _environment(self, path: str, token: Secret) -> dict[str, str]:
        env = child.environment(path, os.get_exec_path(), (*_INHERITED, *self.row.env))
        if self.row.own_home:
            env["HOME"] = str(self._home())
        if token and self.row.token:
            env[self.row.token] = token.reveal()
        return env

    async def _read(self, pipe: asyncio.StreamReader) -> None:
        """Look through what the program says for its address, for as long as it runs: a full pipe would stop it."""
        while True:
            try:
                line = await pipe.readline()
            except ValueError:  # a line over the limit, passed over
                continue
            if not line:
                return
            text = line[:_HEARD].decode(errors="replace").strip()
            if self._secret:
                text = text.replace(self._secret.reveal(), "…")
            if text:
                self.lines.append(masked(text[:_LONGEST]))
                self._heard(text)

    def _heard(self, text: str) -> None:
        row = self.row
        if self.phase == "starting":
            found = self._address(text)
            if found:
                self.url, self.phase = found, "running"
                log.info("a tunnel is open", tunnel=row.id, url=found)
                self._changed()
                self._said.set()
            elif row.login and re.search(row.login, text):
                self.phase = "needs_auth"
                self.error = "it wants a login first"
                self._said.set()

    def _address(self, text: str) -> str:
        row = self.row
        if self._hostname and row.ready:
            return f"https://{self._hostname}" if re.search(row.ready, text) else ""
        found = re.search(row.url, text)
        return found[found.re.groups].rstrip("/") if found else ""

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Note that the program ended by itself."""
        status = await process.wait()
        # What it said last may still be on its way through the pipes.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(*self._tasks[:-1], return_exceptions=True)
        ran = self.phase == "running"
        if self.phase != "needs_auth":
            self.error = f"it ended by itself (status {status})"
        if ran:
            self._gone("error")
            self._failed(f"{self.row.name} ended by itself (status {status})")
            leftover.forget(self.note)
            # What it left in its group goes, too; it cannot be awaited from its own task.
            await child.end(process, grace=0)
        self._said.set()
