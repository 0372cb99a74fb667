"""Every tunnel of a hub: which could be opened, under which conditions, and what the hub is called while one stands."""

from __future__ import annotations

import asyncio
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING

from hub.access.address_filter import is_local
from hub.errors import BadRequest, Conflict, NotConfigured, NotFound
from hub.outbound.address import forms
from hub.process.place import Found, Places
from hub.secret import NO_SECRET, Secret
from hub.tunnels import leftover
from hub.tunnels.rows import rows
from hub.tunnels.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.settings import Settings
    from hub.tunnels.rows import TunnelRow

#: Where such programs are installed besides the folders of PATH.
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "~/.local/bin", "~/bin", "/snap/bin")
_HOSTNAME = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}\Z")
_TOKEN = re.compile(r"[!-~]{8,4096}\Z")


class Tunnels:
    """The tunnels of one process. ``hosts`` are the public names by which clients come while tunnels are open."""

    def __init__(self, settings: Settings, locked_down: Callable[[], list[str]]) -> None:
        self._settings = settings
        self._locked_down = locked_down
        self._changing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.places = Places(_FOLDERS)
        self.hosts: set[str] = set()
        self.opened: dict[str, Tunnel] = {}

    @cached_property
    def rows(self) -> dict[str, TunnelRow]:
        """Every program that is known."""
        return rows()

    async def open(self) -> None:
        """End what a hub of this folder that was killed left behind."""
        folder = self._settings.data_dir / "tunnels"
        if folder.is_dir():
            await leftover.end(sorted(folder.glob("*.json")))

    async def close(self) -> None:
        """Close every tunnel."""
        for tunnel in self.opened.values():
            await tunnel.close()

    @property
    def url(self) -> str:
        """The public address of the tunnel that has been open for longest, empty without one."""
        return next((tunnel.url for tunnel in self.opened.values() if tunnel.url), "")

    @property
    def target(self) -> str:
        """The hub's own address, as a program on this machine reaches it."""
        host = self._settings.host
        found = forms(host)
        if found and found[0].is_unspecified:
            host = "::1" if found[0].version == 6 else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"

    def carries(self, peer: str, host: str) -> bool:
        """Whether a request from ``peer`` with this Host came through a tunnel: its program runs here and names the tunnel's host."""
        return host.partition(":")[0].lower() in self.hosts and is_local(peer)

    def row(self, kind: str) -> TunnelRow:
        """The row of a program. Raises NotFound."""
        found = self.rows.get(kind)
        if found is None:
            raise NotFound(f"there is no tunnel {kind[:60]!r}; there are {', '.join(self.rows)}", field="kind")
        return found

    def tunnel(self, kind: str) -> Tunnel:
        """The tunnel of a program, open or not. Raises NotFound."""
        found = self.opened.get(kind)
        return found if found is not None else Tunnel(self.row(kind), self._settings.data_dir / "tunnels", self._changed)

    def find(self, row: TunnelRow) -> tuple[Found, str]:
        """Where a program is, and how that was found (``env``, ``path``, empty). Touches the disk: call it in a thread."""
        named = os.environ.get(row.variable, "")
        if named and not os.path.isabs(named):
            return Found(reason=f"{row.variable} must be an absolute path"), "env"
        found = self.places.find([named] if named else row.programs)
        return found, ("env" if named else "path") if found.path else ""

    def blockers(self) -> list[str]:
        """Why no tunnel may be opened now; empty when one may."""
        settings = self._settings
        found = self._locked_down()
        if not settings.programs_allowed:
            found.append("this hub may start no programs; HUBROUTE_PROGRAMS=on allows it beyond loopback")
        if not settings.port:
            found.append("the hub's port is not fixed; set HUBROUTE_PORT")
        return found

    async def enable(self, kind: str, *, token: str = "", hostname: str = "") -> Tunnel:
        """Open a tunnel; one that is open stays as it is.

        Raises NotFound, BadRequest for a token or hostname that does not go with the program, Conflict while the hub must not be
        reachable from outside, NotConfigured without the program, and Unavailable with what it said.
        """
        row = self.row(kind)
        _check(row, token, hostname)
        if blockers := self.blockers():
            raise Conflict(f"no tunnel is opened: {'; '.join(blockers)}", code="not_locked_down", data={"blockers": blockers})
        found, _ = await asyncio.to_thread(self.find, row)
        if found.reason:
            raise NotConfigured(f"{row.name} cannot be run: {found.reason}; {row.help}", code="not_installed")
        async with self._changing:
            tunnel = self.tunnel(kind)
            if tunnel.pid is None or not tunnel.url:
                # The one that is opened last stands last.
                self.opened.pop(kind, None)
                self.opened[kind] = tunnel
                await tunnel.open(found.path, self.target, token=Secret(token) if token else NO_SECRET, hostname=hostname)
        return tunnel

    async def disable(self, kind: str) -> Tunnel:
        """Close a tunnel. Raises NotFound for no such program."""
        tunnel = self.tunnel(kind)
        # At once, without waiting for one that is opening: closing ends that.
        await tunnel.close()
        tunnel.error = ""
        return tunnel

    def refresh(self) -> None:
        """Settings may have changed: a hub that is open to strangers now is not left reachable."""
        if self.hosts and self._locked_down():
            for tunnel in self.opened.values():
                task = asyncio.get_running_loop().create_task(tunnel.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def _changed(self) -> None:
        self.hosts.clear()
        self.hosts.update(tunnel.host for tunnel in self.opened.values() if tunnel.host)


def _check(row: TunnelRow, token: str, hostname: str) -> None:
    """Raise BadRequest for what a program does not take."""
    if token:
        if not row.token:
            raise BadRequest(f"{row.name} takes no token; {row.login_help}", field="authToken")
        if not _TOKEN.match(token):
            raise BadRequest("a token is one word of 8 to 4096 plain characters", field="authToken")
    if hostname:
        if not row.hostname:
            raise BadRequest(f"{row.name} chooses the name itself; leave hostname out", field="hostname")
        if not _HOSTNAME.match(hostname):
            raise BadRequest("hostname is a name such as hub.example.com, in lower case", field="hostname")
    if row.ready and bool(token) != bool(hostname):
        raise BadRequest(f"{row.name} needs authToken and hostname together, or neither for an address of its own choice", field="hostname")
