"""``hubroute serve`` and ``hubroute mcp``: the two ways to run a hub."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from hub import log as logs
from hub.commands.session import settings_of
from hub.process.bridge import bridge, connect
from hub.process.reach import PATIENCE
from hub.process.serve import serve as run_server
from hub.process.serve import serve_stdio
from hub.store.lock import FolderLocked, holder

if TYPE_CHECKING:
    from hub.settings import Settings


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 20128 by default, 0 picks a free one.")] = None,
) -> None:
    """Start the hub and all its doors."""
    run_server(settings_of(ctx, host=host, port=port), say=lambda words: print(words, flush=True))


def mcp(ctx: typer.Context) -> None:
    """Speak MCP on stdin and stdout.

    Beside a running hub on the same data folder it goes through that; alone it is the hub.
    The caller is the owner, or HUBROUTE_API_KEY where that is set.
    """
    settings = settings_of(ctx)
    key = os.environ.get("HUBROUTE_API_KEY") or None
    if settings.postgres:
        asyncio.run(_alone(settings, key))
        return
    deadline = time.monotonic() + PATIENCE
    while True:
        sock = connect(settings.data_dir)
        if sock is not None:
            bridge(sock, key=key)
            return
        lock = settings.data_dir / "hub.lock"
        pid = holder(lock)
        if pid is None:
            with suppress(FolderLocked):
                asyncio.run(_alone(settings, key))
                return
        elif time.monotonic() > deadline:
            raise FolderLocked(lock, pid or None)
        time.sleep(0.05)


async def _alone(settings: Settings, key: str | None) -> None:
    """Be the hub of the folder for as long as the client stays; other commands find it over the control socket."""
    logs.set_up(settings.log_level, style=settings.log_format)
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await serve_stdio(settings, key)
