"""A serving process, put together: settings, hub, doors, control socket, signals (the composition root of ``hubroute serve``).

The doors are loaded by name: nothing in this layer imports upward.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from hub import log as logs
from hub.errors import Conflict, NotConfigured
from hub.process import welcome
from hub.process.announce import READY, STOPPING, announce
from hub.process.control import ABOUT, about
from hub.process.lifecycle import LISTEN_FD
from hub.process.reach import PATIENCE, STEP, open_hub
from hub.records import Caller
from hub.store.lock import FolderLocked, holder
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path
    from types import ModuleType

    from hub.call import Hub
    from hub.settings import Settings

log = logs.logger("hub.serve")

_BACKLOG = 2048


class Stop:
    """What a stop signal does: the first lets running answers finish, the second ends at once."""

    def __init__(self, hub: Hub, sock: socket.socket) -> None:
        self.hub = hub
        self.server: Any = None
        #: The listening socket, kept open for the process that takes over; None unless the hub starts anew.
        self.kept: socket.socket | None = None
        self._sock = sock
        self.deadline: float | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def listen(self, server: Any) -> None:
        """Take the signals from here on. ``server`` is the running :class:`transports._server.Server`."""
        self.server = server
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._signalled)
        # Said by a skill: its answer goes out first, as that of every call under way.
        self.hub.lifecycle.attach(lambda again: self._loop.call_soon(self._begin, again))
        announce(READY)

    @property
    def forced(self) -> bool:
        """Whether the second signal came."""
        return self.server is not None and self.server.force_exit

    def seconds_left(self) -> float:
        """What is left of the time to finish in."""
        if self.deadline is None or self.forced:
            return 0.0
        return max(0.0, self.deadline - self._loop.time())

    def _begin(self, again: bool) -> None:
        """Stop, or with ``again`` start anew: new calls wait in the socket's queue, or are refused; running answers may finish.

        For ``drain_seconds`` before that calls are taken as ever: who asks ``/ready`` learns of it and turns elsewhere first.
        """
        if self.deadline is not None:
            return
        if again:
            self.kept = self._sock.dup()
        seconds, drain = self.hub.settings.shutdown_seconds, self.hub.settings.drain_seconds
        self.deadline = self._loop.time() + drain + seconds
        log.info("stopping; running answers may finish, a second signal ends them", seconds=seconds, drain=drain, again=again)
        self.hub.events.emit("system.stopping", reason="restart" if again else "stop")
        if not again:
            announce(STOPPING)
        self.hub.leaving = True
        if drain:
            self._loop.call_later(drain, self._end)
        else:
            self._end()

    def _end(self) -> None:
        """Take no more calls."""
        self.server.leave()
        self.hub.stop()

    def _signalled(self) -> None:
        if self.deadline is None:
            self._begin(False)
        elif self.kept is not None:
            # A stop wins over a restart that is under way.
            self.kept.close()
            self.kept = None
            announce(STOPPING)
            log.info("the restart is a stop now; a further signal ends running answers")
        elif not self.forced and self._task is not None:
            self.server.force_exit = True
            self._task.cancel()


def serve(settings: Settings, *, say: Callable[[str], None]) -> None:
    """Serve until a stop signal. ``say`` shows a line to the person at the terminal.

    Raises Conflict when the folder or the address is taken, NotConfigured when a part is missing, and
    what :meth:`hub.call.Hub.open` raises.
    """
    logs.set_up(settings.log_level, style=settings.log_format)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        kept = runner.run(_serve(settings, say))
    if kept is not None:
        _become_new(kept)


def _become_new(sock: socket.socket) -> None:
    """Run the program anew in this very process, with the same arguments and the socket on which clients wait already.

    The socket is handed over as a service manager does it (sd_listen_fds), so that there is one way in.
    """
    log.info("starting anew")
    logging.shutdown()
    if sock.fileno() == LISTEN_FD:
        os.set_inheritable(LISTEN_FD, True)
    else:
        os.dup2(sock.fileno(), LISTEN_FD, inheritable=True)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line


async def _serve(settings: Settings, say: Callable[[str], None]) -> socket.socket | None:
    """Serve until a stop; the listening socket when the hub is to start anew."""
    _refuse_second(settings)
    server = _server()
    sock = server.listen(settings)
    try:
        settings = settings.model_copy(update={"port": sock.getsockname()[1]})
        hub = await _own(settings)
        try:
            await hub.login.check_exposure()
            stop = Stop(hub, sock)
            app = importlib.import_module("transports._http").build(hub)
            own = server.beside(hub, seconds_left=stop.seconds_left)
            async with hosted(hub, url=settings.base_url, seconds_left=stop.seconds_left), own:
                # Connections wait in the backlog from here on, so that who reads the words below can call at once.
                sock.listen(_BACKLOG)
                _settle()
                say(await welcome.greeting(hub))
                hub.events.emit("system.started", version=VERSION, url=settings.base_url)
                await _until_stopped(server.serve(app, sock, settings, started=stop.listen), stop)
        finally:
            await hub.close()
    finally:
        sock.close()
    log.info("stopped")
    return stop.kept


async def serve_stdio(settings: Settings, key: str | None) -> None:
    """Be the hub of a folder for one MCP client on standard input and output, until the input ends.

    Raises Unauthenticated for a key that is not valid; without one the client acts for the owner.
    """
    hub = await open_hub(settings)
    try:
        caller = hub.authenticate(key) if key else Caller.owner()
        async with hosted(hub, url=""):
            _settle()
            await importlib.import_module("transports.mcp_stdio").serve(hub, caller)
    finally:
        await hub.close()


async def _until_stopped(serving: Any, stop: Stop) -> None:
    try:
        await serving
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not stop.forced or task is None:
            raise
        task.uncancel()


@asynccontextmanager
async def hosted(hub: Hub, *, url: str, seconds_left: Callable[[], float] = lambda: 0.0) -> AsyncGenerator[None]:
    """While open, the other commands of this machine find this hub: control socket, and ``hub.json`` for tools.

    ``seconds_left`` says, at the end, how long calls over the socket may still take. On PostgreSQL there is no socket.
    """
    folder = hub.settings.data_dir
    listener = None
    if not hub.settings.postgres:
        listener = importlib.import_module("transports.control").Listener(hub, url)
        await listener.open(folder)
    _write(folder / ABOUT, {"pid": os.getpid(), "url": url, "version": VERSION})
    try:
        yield
    finally:
        if about(folder).get("pid") == os.getpid():
            (folder / ABOUT).unlink(missing_ok=True)
        if listener is not None:
            await listener.close(folder, seconds=seconds_left())


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(orjson.dumps(content))
    draft.replace(path)


def _refuse_second(settings: Settings) -> None:
    if settings.postgres:
        return
    pid = holder(settings.data_dir / "hub.lock")
    told = about(settings.data_dir)
    if pid is None or told.get("pid") != pid:
        return
    where = f" and answers at {told['url']}" if told.get("url") else ""
    raise Conflict(f"process {pid} already owns {settings.data_dir}{where}; stop it first, or choose another folder with --data-dir")


async def _own(settings: Settings) -> Hub:
    """Open the hub of the folder. One that a short command has for a moment, and that serves nobody, is waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while True:
        _refuse_second(settings)
        try:
            return await open_hub(settings)
        except FolderLocked:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(STEP)


def _settle() -> None:
    """The start is over: what is there stays, and is never looked at for garbage again (the launcher turned that off)."""
    gc.freeze()
    gc.enable()


def _server() -> ModuleType:
    try:
        return importlib.import_module("transports._server")
    except ModuleNotFoundError as error:
        raise NotConfigured(
            f"the Python package {error.name!r} is missing in this environment; install hubroute again (`make run` does in a checkout)"
        ) from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: not everywhere there is a build of it
    except ImportError:
        log.warning("uvloop is missing; the hub works, but slower")
        return None
    return uvloop.new_event_loop
